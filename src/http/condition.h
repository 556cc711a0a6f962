#pragma once
/* Conditional requests (RFC 9110, 13) for a GET or HEAD of something with an entity tag and a time of its last change. Pure. */
#include <stdbool.h>
#include <stdint.h>

struct http_validators {
    const char *etag;   /* quoted, strong. NULL: none */
    int64_t modified_s; /* since the epoch. 0: not known */
};

/* The fields as sent; several lines of one are joined by commas. NULL: absent. */
struct http_conditions {
    const char *if_match, *if_none_match, *if_modified_since, *if_unmodified_since, *if_range;
};

enum http_condition { HTTP_HOLDS, HTTP_NOT_MODIFIED, HTTP_FAILED };
/** What the answer is: as without them, 304, or 412. */
enum http_condition http_condition(const struct http_conditions *asked, const struct http_validators *is);
/** Does `If-Range` allow a part? True when it is absent. */
bool http_condition_range(const struct http_conditions *asked, const struct http_validators *is);

#define HTTP_DATE_MAX 40
/** "Sun, 06 Nov 1994 08:49:37 GMT" */
void http_date_format(int64_t s, char ret[HTTP_DATE_MAX]);
/** That form and the two obsolete ones, which a server has to understand. */
bool http_date_parse(const char *s, int64_t *ret_s);
