#pragma once
/* S3's answers, by expat: capped in depth and length of a text, without DTDs and so without entities of their making. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

#define S3_XML_TEXT_MAX 2048

/**
 * Calls `leaf` for each element that ended, in order.
 *
 * @param leaf  `path`: names below the root with '/' between, without name spaces ("Contents/Key"); "" for the root itself.
 *              `text`: what stood in it directly. False stops: out of memory
 * @param ret_root  the root's name, cut at 63 bytes
 *
 * ERR_CORRUPT: not XML, or more than is sensible.
 */
int s3_xml(const char *p, size_t n, bool (*leaf)(void *arg, const char *path, const char *text), void *arg,
           char ret_root[64], struct err *err);
