#pragma once
/* Headers for a collector, as OTEL_EXPORTER_OTLP_HEADERS has them: name=value,name=value, values percent-encoded. They are secrets: no error
 * repeats a part of them. */
#include "base/config.h"
#include "base/err.h"

#define HEADERS_BYTES_MAX 8192
#define HEADERS_MAX       32

/**
 * @param text   at most HEADERS_BYTES_MAX with 1 to HEADERS_MAX headers
 * @param parts  what stands between two headers, "," or ",\n"
 * @param field  named by errors: ERR_INVALID says which header, by its number
 * @param ret    "Name: value" each, fit to be sent; owned: headers_release, after an error too
 */
int headers_parse(const char *text, const char *parts, const char *field, struct string_list *ret, struct err *err);
/** The same from a file, where a line's end parts headers as well. */
int headers_read(const char *path, const char *field, struct string_list *ret, struct err *err);
/** Wipes them first. */
void headers_release(struct string_list *headers);
