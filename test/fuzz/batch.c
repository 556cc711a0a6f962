/* POST /v1/jobs:batch: the body taken apart as text, and each item as a submission. */
#include "fuzz.h"
#include "api/batch_items.h"
#include "api/submission.h"

#define ITEMS_MAX 50

/* What a parser of the whole would say of it. */
static void agrees(const char *body, size_t n, size_t count, bool broken)
{
    json_t *root = NULL;
    struct err err = {0};
    if (json_parse(body, n, &root, &err) == ERR_OK)
        MUST(!broken && json_array_size(json_object_get(root, "jobs")) == count);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(64u << 20);
    struct policy policy = policy_default();
    struct batch_item *items = NULL;
    size_t n = 0;
    struct err err = {0};
    bool broken = false;
    const char *body = (const char *)data;
    MUST(arena);
    int rc = batch_items(body, size, ITEMS_MAX, arena, &items, &n, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK)
        MUST(n >= 1 && n <= ITEMS_MAX);
    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        struct op_submit op = {0};
        const char *key = NULL;
        MUST(items[i].text >= body && items[i].text + items[i].n <= body + size);
        err_clear(&err);
        must_explain(batch_key("key", i, arena, &key, &err), &err);
        int one = submission_parse_item(items[i].text, items[i].n, key, &policy, arena, &op, &err);
        must_explain(one, &err);
        broken = broken || (one != ERR_OK && batch_item_breaks(&items[i], &err));
    }
    if (rc == ERR_OK)
        agrees(body, size, n, broken);
    arena_free(arena);
    return 0;
}
