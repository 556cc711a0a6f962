/* POST /v1/jobs:batch: the body is taken apart as text. Held against a parser that reads all of it. */
#include "fuzz.h"
#include "api/batch_items.h"

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* What jansson says of the whole: how many jobs, or -1 when it is no batch. */
static int whole(const char *body, size_t n)
{
    json_t *root = json_loadb(n ? body : "", n, FLAGS, NULL), *jobs = json_object_get(root, "jobs");
    int count = json_is_array(jobs) && json_object_size(root) == 1 ? (int)json_array_size(jobs) : -1;
    json_decref(root);
    return count;
}

static bool all_parse(const struct batch_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *root = json_loadb(items[i].text, items[i].n, FLAGS, NULL);
        if (!root)
            return false;
        json_decref(root);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data;
    struct arena *arena = arena_new(16u << 20);
    struct batch_item *items = NULL;
    struct err err = {0};
    size_t n = 0;
    MUST(arena);

    int rc = batch_items(body, size, 1000, arena, &items, &n, &err);
    int count = whole(body, size);
    if (rc != ERR_OK) {
        MUST(err.msg[0] && err.code == (enum err_code)rc);
        MUST(count <= 0 || count > 1000 || rc == ERR_TOO_LARGE); /* a batch is taken */
    } else {
        MUST(n >= 1 && n <= 1000);
        for (size_t i = 0; i < n; i++)
            MUST(items[i].n > 0 && items[i].text > body && items[i].text + items[i].n < body + size &&
                 (i == 0 || items[i].text > items[i - 1].text + items[i - 1].n));
        MUST(all_parse(items, n) == (count == (int)n)); /* and what is taken is one, when its items are JSON */
    }
    arena_free(arena);
    return 0;
}
