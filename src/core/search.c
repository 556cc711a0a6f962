#include "core/search.h"
#include "base/json.h"
#include <string.h>
#include <strings.h>

/* Of bytes that are no ASCII letters each is only itself: right for UTF-8, where none of a character's bytes is one. */
static bool part_of(const char *whole, const char *text)
{
    return whole && strcasestr(whole, text) != NULL;
}

static bool begins_id(const struct uuid *id, const char *text)
{
    char name[UUID_STR_MAX];

    uuid_format(id, name);
    return strncasecmp(name, text, strlen(text)) == 0;
}

/* Only where the whole text has it (or might, behind an escape) it is parsed: nearly none does. */
static bool in_labels(const char *labels, const char *text)
{
    json_t *map = NULL, *value;
    const char *key;
    bool found = false;

    if (!labels || (!strchr(labels, '\\') && !part_of(labels, text)) ||
        json_parse(labels, strlen(labels), &map, NULL) != ERR_OK)
        return false;
    json_object_foreach (map, key, value)
        found = found || part_of(json_string_value(value), text);
    json_decref(map);
    return found;
}

bool job_has_text(const struct job *job, const char *text)
{
    return begins_id(&job->job_id, text) || part_of(job->task_type, text) || part_of(job->dedup_key, text) ||
           part_of(job->error_log, text) || in_labels(job->labels, text);
}

static bool is(const char *text, size_t n, const char *whole)
{
    return strncmp(text, whole, n) == 0 && whole[n] == '\0';
}

/** As the parser sees them. */
static bool parsed_have(const char *labels, const char *key, const char *value)
{
    json_t *map = NULL;
    bool found = false;

    if (json_parse(labels, strlen(labels), &map, NULL) == ERR_OK) {
        const char *its = json_string_value(json_object_get(map, key));
        found = its && (!value || strcmp(its, value) == 0);
    }
    json_decref(map);
    return found;
}

bool labels_have(const char *labels, const char *key, const char *value)
{
    const char *k, *v;
    size_t pos = 0, n_k, n_v;
    int more;

    while ((more = json_plain_member(labels, &pos, &k, &n_k, &v, &n_v)) == 1)
        if (is(k, n_k, key))
            return !value || is(v, n_v, value);
    return more < 0 && parsed_have(labels, key, value);
}
