#pragma once
/* The head of a request that is as nearly all are. Pure: bytes in, what they mean out. Called by plain.c. */
#include <stdbool.h>
#include <stddef.h>

#define PLAIN_HEADERS_MAX 32

struct plain_line {
    char *name, *value; /* NUL-terminated, in the head that was given */
};

struct plain_head {
    char *method, *uri;
    struct plain_line lines[PLAIN_HEADERS_MAX];
    size_t n_lines;
};

enum plain_is {
    PLAIN_OURS,
    PLAIN_OTHER /* not plain: whoever knows all of HTTP is to read it */
};

/**
 * How long a request is. Says nothing of what else is in its head.
 *
 * @param p         bytes from its first on
 * @param n         of them
 * @param ret_head  bytes of its head, the empty line included
 * @param ret_body  of its body by Content-Length, at most `body_max`
 * @return PLAIN_OTHER: no whole head in there, no Content-Length in a plain spelling, or more than body_max
 */
enum plain_is plain_measure(const char *p, size_t n, size_t body_max, size_t *ret_head, size_t *ret_body);

/**
 * Takes a head apart, in its place.
 *
 * @param head  `n` bytes, as plain_measure found them, and a NUL behind; is written to and borrowed by *ret
 * @return PLAIN_OTHER: not HTTP/1.1, a method other than GET and POST, a character that has no business in a line, a folded line, a header that
 * changes how the message or the connection goes on (Transfer-Encoding, Expect, Upgrade, Connection), or too many lines
 */
enum plain_is plain_read(char *head, size_t n, struct plain_head *ret);
