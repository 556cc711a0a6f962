#include "bench/counted.h"
#include "base/auto.h"
#include "base/json.h"
#include "bench/form.h"

#define ANSWER_MS 10000

static int64_t number(const json_t *row, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(row, key));
}

static int read_stats(const struct answer *a, const char *queue, struct counted *ret, struct err *err)
{
    json_t *doc = NULL, *row;
    size_t i;
    int rc = json_parse(a->body, a->n, &doc, err);
    if (rc || !json_is_array(json_object_get(doc, "queues"))) {
        json_decref(doc);
        return err_set(err, ERR_CORRUPT, 0, "the answer to GET /v1/stats is not haul's: is it a haul server?");
    }
    json_array_foreach (json_object_get(doc, "queues"), i, row) {
        const char *name = json_string_value(json_object_get(row, "queue"));
        if (!name || strcmp(name, queue) != 0)
            continue;
        ret->success += number(row, "success");
        ret->all += number(row, "pending") + number(row, "running") + number(row, "success") + number(row, "failed") +
                    number(row, "cancelled");
    }
    json_decref(doc);
    return ERR_OK;
}

int counted_get(const struct address *to, const char *queue, struct counted *ret, struct err *err)
{
    struct wire w;
    struct buf b;
    struct answer a;
    *ret = (struct counted){0};
    wire_init(&w);
    buf_init(&b, 4096);
    request_get(&b, to->host, "/v1/stats");
    int rc = wire_exchange(&w, to, buf_str(&b), b.len, ANSWER_MS, &a, err);
    if (!rc)
        rc = a.status == 200 ? read_stats(&a, queue, ret, err) : answer_refusal(&a, err);
    buf_release(&b);
    wire_release(&w);
    return rc;
}
