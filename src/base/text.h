#pragma once
/* Text checks. */
#include <stdbool.h>
#include <stddef.h>

bool utf8_valid(const char *s, size_t n);
/** Largest m <= n that ends on a character boundary. */
size_t utf8_cut(const char *s, size_t n);
/** Bytes that are no UTF-8 become '?': as long as before, and safe to send. */
void utf8_mend(char *s, size_t n);
/** Name for queues, task types: 1..max bytes of [A-Za-z0-9._:-], first one a letter, digit or '_' ('_' allowed throughout). */
bool name_valid(const char *s, size_t max);
/** File name for inputs and outputs: 1..255 bytes UTF-8, no '/', no control characters, not "." or "..". */
bool filename_valid(const char *s);
