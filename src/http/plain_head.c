#include "http/plain_head.h"
#include "base/auto.h"
#include <string.h>
#include <strings.h>

static const char length_name[] = "\r\nContent-Length:";

/* @return digits read, 0 when there are none, or more than a plain request has */
static size_t digits(const char *p, const char *end, size_t *ret)
{
    size_t n = 0;
    for (*ret = 0; p + n < end && p[n] >= '0' && p[n] <= '9' && n < 8; n++)
        *ret = *ret * 10 + (size_t)(p[n] - '0');
    return n < 8 ? n : 0;
}

enum plain_is plain_measure(const char *p, size_t n, size_t body_max, size_t *ret_head, size_t *ret_body)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4), *at = p;
    *ret_body = 0;
    if (!end)
        return PLAIN_OTHER;
    *ret_head = (size_t)(end - p) + 4;
    for (; at < end; at++) { /* each line's end: is it the one that says how long the body is? */
        at = memchr(at, '\r', (size_t)(end - at));
        if (!at)
            return PLAIN_OURS; /* no such line, no body */
        if ((size_t)(end - at) >= sizeof(length_name) - 1 && strncasecmp(at, length_name, sizeof(length_name) - 1) == 0)
            break;
    }
    if (at >= end)
        return PLAIN_OURS;
    at += sizeof(length_name) - 1;
    at += *at == ' ';
    size_t read = digits(at, end, ret_body);
    return read > 0 && at[read] == '\r' && *ret_body <= body_max ? PLAIN_OURS : PLAIN_OTHER;
}

/* Cuts the line that begins at p off the rest. NULL: it holds a control character, or does not end as lines do. */
static char *next_line(char *p)
{
    while ((unsigned char)*p >= ' ' ? *p != 0x7f : *p == '\t')
        p++;
    if (p[0] != '\r' || p[1] != '\n')
        return NULL;
    *p = '\0';
    return p + 2;
}

static char *next_word(char *p)
{
    char *space = strchr(p, ' ');
    if (!space)
        return NULL;
    *space = '\0';
    return space + 1;
}

static bool read_request_line(char *line, struct plain_head *ret)
{
    ret->method = line;
    ret->uri = next_word(line);
    const char *version = ret->uri ? next_word(ret->uri) : NULL;
    return version && ret->uri[0] == '/' && strcmp(version, "HTTP/1.1") == 0 &&
           (strcmp(ret->method, "POST") == 0 || strcmp(ret->method, "GET") == 0);
}

/* What only libmicrohttpd does. `Connection: keep-alive` says what is so in any case. */
static bool changes_course(const struct plain_line *l)
{
    switch (l->name[0] | 0x20) {
    case 't':
        return strcasecmp(l->name, "Transfer-Encoding") == 0 || strcasecmp(l->name, "Trailer") == 0 ||
               strcasecmp(l->name, "TE") == 0;
    case 'e':
        return strcasecmp(l->name, "Expect") == 0;
    case 'u':
        return strcasecmp(l->name, "Upgrade") == 0;
    case 'c':
        return strcasecmp(l->name, "Connection") == 0 && strcasecmp(l->value, "keep-alive") != 0;
    default:
        return false;
    }
}

static bool read_line(char *line, struct plain_line *ret)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return false;
    *colon = '\0';
    ret->name = line;
    ret->value = colon + 1 + strspn(colon + 1, " \t");
    for (char *last = ret->value + strlen(ret->value); last > ret->value && (last[-1] == ' ' || last[-1] == '\t');)
        *--last = '\0';
    return true;
}

enum plain_is plain_read(char *head, size_t n, struct plain_head *ret)
{
    char *end = head + n - 2, *next = next_line(head); /* end: the empty line */
    *ret = (struct plain_head){.n_lines = 0};
    if (!next || !read_request_line(head, ret))
        return PLAIN_OTHER;
    while (next < end) {
        char *line = next;
        struct plain_line *l = &ret->lines[ret->n_lines];
        next = next_line(line);
        if (!next || ret->n_lines == PLAIN_HEADERS_MAX || !read_line(line, l) || changes_course(l))
            return PLAIN_OTHER;
        ret->n_lines++;
    }
    return PLAIN_OURS;
}
