#pragma once
/* Plain JSON (ADR 11) read member by member, without a tree: for objects that come in large numbers. Whatever is unusual, and whatever is no
 * JSON, ends it: then the text is read from its beginning by json_parse, which words the error, if it is one. What it reads to the end
 * json_parse accepts, as long as the caller takes no member twice. Example:
 *      struct json_pull p = json_pull(text, n);
 *      if (!json_pull_object(&p)) return false;
 *      while ((more = json_pull_member(&p, &key, &key_n)) == 1)
 *          if (!json_pull_string(&p, &value, &value_n)) return false;
 *      return more == 0 && json_pull_end(&p); */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_pull {
    const char *at, *end;
    unsigned depth;
    bool first; /* no member of the object at hand was read yet */
};

/** Of `text`, from which everything is borrowed. */
struct json_pull json_pull(const char *text, size_t n);
/** Where an object may stand: into it. */
bool json_pull_object(struct json_pull *p);
/** @return 1: a member, whose value is to be read next; 0: there is none any more, and the object lies behind; -1: not plain */
int json_pull_member(struct json_pull *p, const char **ret_key, size_t *ret_key_n);
/** UTF-8 without an escape, without the quotes. */
bool json_pull_string(struct json_pull *p, const char **ret, size_t *ret_n);
/** Of 18 digits at most. */
bool json_pull_integer(struct json_pull *p, int64_t *ret);
/** Any value, of which the text is wanted: checked as strictly as the rest. */
bool json_pull_text(struct json_pull *p, const char **ret, size_t *ret_n);
/** Nothing but space follows. */
bool json_pull_end(struct json_pull *p);
