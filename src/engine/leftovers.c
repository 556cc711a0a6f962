/* At the start, before anything runs: uploads whose row is gone, by a crash between the row's end and the bytes'. */
#include "engine/engine.h"

#define IDS_ARENA_BYTES (4u << 20) /* more than the policy allows, and each twice */
#define ROW_ARENA_BYTES (64u << 10)

static int look(const struct engine_config *cfg, const struct uuid *id, struct arena *arena, struct err *err)
{
    struct upload_row upload;
    struct blob_row blob;

    if (!arena)
        return err_set(err, ERR_NO_MEMORY, 0, "a row");
    int rc = cfg->store_driver->upload_get(cfg->store, "default", id, true, arena, &upload, err);

    if (rc != ERR_NOT_FOUND)
        return rc;
    err_clear(err);
    rc = cfg->blob_driver->discard(cfg->blobs, id, err);
    if (rc == ERR_OK)
        rc = cfg->store_driver->blob_get(cfg->store, "default", id, arena, &blob, err);
    if (rc == ERR_NOT_FOUND) {
        err_clear(err);
        rc = cfg->blob_driver->remove(cfg->blobs, id, err);
    }
    return rc;
}

int engine_remove_leftovers(const struct engine_config *cfg, struct err *err)
{
    struct arena *ids_arena = arena_new(IDS_ARENA_BYTES);
    struct uuid *ids = NULL;
    size_t n = 0;
    int rc = ids_arena ? cfg->blob_driver->unfinished(cfg->blobs, ids_arena, &ids, &n, err)
                       : err_set(err, ERR_NO_MEMORY, 0, "unfinished uploads");

    for (size_t i = 0; rc == ERR_OK && i < n; i++) {
        struct arena *arena = arena_new(ROW_ARENA_BYTES);

        rc = look(cfg, &ids[i], arena, err);
        arena_free(arena);
    }
    arena_free(ids_arena);
    return rc == ERR_OK ? rc : err_wrap(err, rc, "unfinished uploads");
}
