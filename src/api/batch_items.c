/* A batch is taken apart as text: a tree of 16 MiB of JSON may take 30 times as much memory, and payloads are kept as they were
 * written (ADR 4). So the items are found by brackets and quotes, and each is parsed by itself; what is left without them must be
 * a JSON object with nothing else in it. */
#include "api/batch_items.h"
#include "base/auto.h"
#include "base/text.h"

#define BESIDE_MAX 4096 /* bytes of the body that are no item */
#define INDEX_MAX  4    /* "/999" */

/* The body with an empty array for its jobs: strict about all the rest. */
static int check_frame(const char *body, size_t n, const char *jobs, size_t n_jobs, struct err *err)
{
    size_t before = (size_t)(jobs - body), after = n - before - n_jobs;
    struct buf frame;
    json_t *root = NULL;
    struct json_reader r;
    if (before + after > BESIDE_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "the batch has %zu bytes beside its jobs, at most %d are allowed",
                       before + after, BESIDE_MAX);
    buf_init(&frame, BESIDE_MAX + 8);
    buf_add(&frame, body, before);
    buf_adds(&frame, "[]");
    buf_add(&frame, jobs + n_jobs, after);
    int rc = frame.failed ? no_memory(err) : json_parse(buf_str(&frame), frame.len, &root, err);
    if (!rc) {
        json_reader_init(&r, root, "", err);
        json_get_value(&r, "jobs", true, JSON_ARRAY);
        rc = json_reader_end(&r);
    }
    json_decref(root);
    buf_release(&frame);
    return rc ? err_wrap(err, rc, "around the jobs") : ERR_OK;
}

/* There is no member `jobs` to be found: says what is wrong with the body. */
static int no_jobs(const char *body, size_t n, size_t max_items, struct err *err)
{
    json_t *root = NULL;
    struct json_reader r;
    int rc = n == 0 ? err_set(err, ERR_MALFORMED, 0, "a JSON body is required") : ERR_OK;
    if (!rc && n <= BESIDE_MAX)
        rc = json_parse(body, n, &root, err);
    if (!rc && root) {
        json_reader_init(&r, root, "", err);
        rc = r.code;
    }
    json_decref(root);
    return rc ? rc : err_field(err, "jobs", "required: an array of 1 to %zu submissions", max_items);
}

/* @return as json_raw_item's last; *ret_n counts them all, of which at most `max` are kept */
static int find_items(const char *jobs, size_t n_jobs, struct batch_item *items, size_t max, size_t *ret_n)
{
    struct batch_item item;
    size_t pos = 0;
    int more;
    *ret_n = 0;
    while ((more = json_raw_item(jobs, n_jobs, &pos, &item.text, &item.n)) == 1) {
        if (*ret_n < max)
            items[*ret_n] = item;
        ++*ret_n;
    }
    return more;
}

int batch_items(const char *body, size_t n, size_t max_items, struct arena *arena, struct batch_item **ret,
                size_t *ret_n, struct err *err)
{
    const char *jobs = NULL;
    size_t n_jobs = 0, count = 0;
    if (!json_raw_member(body, n, "jobs", &jobs, &n_jobs))
        return no_jobs(body, n, max_items, err);
    int rc = check_frame(body, n, jobs, n_jobs, err);
    if (rc)
        return rc;
    if (n_jobs == 0 || jobs[0] != '[')
        return err_field(err, "jobs", "must be an array");
    struct batch_item *items = arena_array(arena, max_items, sizeof(*items));
    if (!items)
        return no_memory(err);
    if (find_items(jobs, n_jobs, items, max_items, &count) != 0)
        return err_set(err, ERR_MALFORMED, 0, "JSON: jobs[%zu] does not end, or a comma is missing behind it", count);
    if (count == 0)
        return err_field(err, "jobs", "must have 1 to %zu items", max_items);
    if (count > max_items) {
        err_set(err, ERR_TOO_LARGE, 0, "the batch has %zu jobs, at most %zu are allowed: split it", count, max_items);
        snprintf(err->field, sizeof(err->field), "jobs");
        return ERR_TOO_LARGE;
    }
    *ret = items;
    *ret_n = count;
    return ERR_OK;
}

bool batch_item_breaks(const struct batch_item *item, const struct err *refusal)
{
    return refusal->code == ERR_MALFORMED && !json_well_formed(item->text, item->n);
}

int batch_key(const char *key, size_t index, struct arena *arena, const char **ret, struct err *err)
{
    *ret = NULL;
    if (!key)
        return ERR_OK;
    const size_t n = strlen(key);
    if (n < 1 || n > JOB_KEY_MAX - INDEX_MAX || !utf8_valid(key, n))
        return err_field(err, "Idempotency-Key", "must be text of 1 to %d bytes: item i gets the key with /i behind it",
                         JOB_KEY_MAX - INDEX_MAX);
    char digits[24], text[JOB_KEY_MAX + sizeof(digits)]; /* by hand: printf costs more than all the rest of a key */
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + index % 10);
        index /= 10;
    } while (index > 0);
    digits[--at] = '/';
    memcpy(text, key, n + 1);
    memcpy(text + n, digits + at, sizeof(digits) - at);
    *ret = arena_strndup(arena, text, n + sizeof(digits) - at);
    return *ret ? ERR_OK : no_memory(err);
}
