#include "store/sqlite/key_chunks.h"
#include <endian.h>
#include <stdlib.h>

void key_run_free(struct key_run *run)
{
    if (run)
        free(run->chunks);
    free(run);
}

void key_run_free_all(struct key_run *run)
{
    while (run) {
        struct key_run *next = run->next;
        key_run_free(run);
        run = next;
    }
}

void key_run_spend(struct key_space *space, struct key_run *run)
{
    if (run->n_chunks == 0) {
        key_run_free(run);
        return;
    }
    run->next = space->spent;
    space->spent = run;
}

static int room_make(struct key_run *run, struct err *err)
{
    size_t room = MAX(2 * run->room, (size_t)64);
    struct key_entry *larger = realloc(run->chunks, room * sizeof(*larger));

    if (!larger)
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    run->chunks = larger;
    run->room = room;
    return ERR_OK;
}

int key_space_add(struct key_space *space, int64_t id, struct err *err)
{
    if (!space->spent && !(space->spent = calloc(1, sizeof(*space->spent))))
        return err_set(err, ERR_NO_MEMORY, 0, "keys");
    struct key_run *run = space->spent;
    if (run->n_chunks == run->room && room_make(run, err) != ERR_OK)
        return ERR_NO_MEMORY;
    run->chunks[run->n_chunks++].row = id;
    return ERR_OK;
}

static int64_t chunk_id(struct key_space *space)
{
    struct key_run *spent = space->spent;

    if (!spent)
        return space->next++;
    int64_t id = spent->chunks[--spent->n_chunks].row;
    if (spent->n_chunks == 0) {
        space->spent = spent->next;
        key_run_free(spent);
    }
    return id;
}

size_t key_run_chunk(const struct key_run *run, int64_t hash)
{
    size_t from = key_entries_from(run->chunks, 0, run->n_chunks, hash);

    return from ? from - 1 : 0;
}

int key_chunks_damaged(struct err *err)
{
    return err_set(err, ERR_CORRUPT, 0, "the index of keys (key_chunks) is damaged");
}

int key_chunk_read(struct conn *c, int64_t id, struct key_entry *ret, size_t *ret_n, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool row = false;
    size_t size = 0;
    const void *bytes = NULL;
    int rc = q_open(c, &st, err, "SELECT entries FROM key_chunks WHERE chunk = ?1", "i", id);

    if (rc == ERR_OK)
        rc = q_step(c, st, &row, err);
    if (rc != ERR_OK)
        return rc;
    if (row)
        bytes = col_bytes(st, 0, &size);
    if (!bytes || size == 0 || size % sizeof(*ret) || size > KEY_CHUNK * sizeof(*ret))
        return key_chunks_damaged(err);
    memcpy(ret, bytes, size);
    *ret_n = size / sizeof(*ret);
    for (size_t i = 0; i < *ret_n; i++)
        ret[i] = (struct key_entry){(int64_t)le64toh((uint64_t)ret[i].hash), (int64_t)le64toh((uint64_t)ret[i].row)};
    return ERR_OK;
}

int key_chunk_append(struct conn *c, struct key_space *space, struct key_run *run, const struct key_entry *e, size_t n,
                     struct err *err)
{
    struct key_entry le[KEY_CHUNK];

    if (run->n_chunks == run->room && room_make(run, err) != ERR_OK)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        le[i] = (struct key_entry){(int64_t)htole64((uint64_t)e[i].hash), (int64_t)htole64((uint64_t)e[i].row)};
        run->top = MAX(run->top, e[i].row);
    }
    int64_t nth = (int64_t)run->n_chunks, id = chunk_id(space);
    run->chunks[run->n_chunks++] = (struct key_entry){e[0].hash, id};
    run->entries += (int64_t)n;
    return q_run(c, NULL, err, "INSERT OR REPLACE INTO key_chunks (chunk, run, nth, entries) VALUES (?1, ?2, ?3, ?4)",
                 "iiib", id, run->id, nth, (const void *)le, n * sizeof(le[0]));
}
