/* Rows, then blobs, then a comparison. Rows go in portions: each a transaction of the target, with the mark that says how far it is. */
#include "app/migrate_work.h"
#include "base/auto.h"
#include "base/json.h"
#include "base/sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PORTION_BYTES ((size_t)1 << 20)
#define PORTION_ROWS  8192
#define BLOBS_A_TELL  64
#define BYTES_A_TELL  ((int64_t)64 << 20)

/* --- the mark --- */

int mark_make(const struct work *w, char ret[MOVE_MARK_MAX], struct err *err)
{
    char cursor[2 * CURSOR_MAX + 1] = "";

    if (w->cursor.len > CURSOR_MAX)
        return err_set(err, ERR_INTERNAL, 0, "a key of %zu bytes", w->cursor.len);
    hex_format((const uint8_t *)buf_str(&w->cursor), w->cursor.len, cursor);
    snprintf(
        ret, MOVE_MARK_MAX,
        "{\"source\":\"%s\",\"blobs\":\"%s\",\"table\":\"%s\",\"rows\":%lld,\"blob_bytes\":%lld,\"cursor\":\"%s\"}",
        w->from.folder_id, w->to.folder_id, w->table < move_n_tables ? move_tables[w->table].name : "",
        (long long)w->moved, (long long)w->bytes, cursor);
    return ERR_OK;
}

static int mark_members(struct work *w, json_t *doc, struct err *err)
{
    struct json_reader r;

    json_reader_init(&r, doc, "", err);
    const char *source = json_get_string(&r, "source", true, 0, UUID_STR_MAX);
    const char *blobs = json_get_string(&r, "blobs", true, 0, UUID_STR_MAX);
    const char *table = json_get_string(&r, "table", true, 0, 64);
    const char *cursor = json_get_string(&r, "cursor", true, 0, 2 * CURSOR_MAX);
    w->moved = json_get_int(&r, "rows", 0, 0, INT64_MAX);
    w->bytes = json_get_int(&r, "blob_bytes", 0, 0, INT64_MAX);
    int rc = json_reader_end(&r);
    if (rc != ERR_OK)
        return rc;
    if (strcmp(source, w->from.folder_id) != 0)
        return err_set(err, ERR_CONFLICT, 0,
                       "the target holds the unfinished move of another source (%s): empty it, or finish that one",
                       source);
    if (strcmp(blobs, w->to.folder_id) != 0)
        return err_set(err, ERR_CONFLICT, 0, "the move into the target was begun with other blobs (%s): name those",
                       blobs);
    for (w->table = 0; w->table < move_n_tables && strcmp(move_tables[w->table].name, table) != 0;)
        w->table++;
    uint8_t bytes[CURSOR_MAX];
    if ((w->table == move_n_tables && *table) || hex_parse(cursor, bytes, strlen(cursor) / 2) != 0)
        return err_set(err, ERR_CORRUPT, 0, "the target's mark of how far it is cannot be read");
    buf_reset(&w->cursor);
    buf_add(&w->cursor, bytes, strlen(cursor) / 2);
    return ERR_OK;
}

int mark_take(struct work *w, struct err *err)
{
    json_t *doc = NULL;
    int rc = json_parse(w->mark, strlen(w->mark), &doc, err);

    if (rc == ERR_OK)
        rc = mark_members(w, doc, err);
    json_decref(doc);
    w->before = w->moved;
    w->bytes_before = w->bytes;
    return rc;
}

/** Rows, or none, and how far it is then: together. */
static int advance(struct work *w, const struct buf *rows, struct err *err)
{
    char mark[MOVE_MARK_MAX];
    int rc = mark_make(w, mark, err);

    if (rc == ERR_OK)
        rc = w->to.moves->write(w->to.store, w->table, rows, w->mark, mark, err);
    if (rc == ERR_OK)
        memcpy(w->mark, mark, sizeof(mark));
    return rc;
}

static int tell(struct work *w, enum migrate_stage stage, int64_t done, struct err *err)
{
    const struct migrate_progress p = {.stage = stage,
                                       .done = done,
                                       .total = stage == MIGRATE_BLOBS ? w->m->blob_bytes : w->m->rows,
                                       .before = stage == MIGRATE_BLOBS  ? w->bytes_before
                                                 : stage == MIGRATE_ROWS ? w->before
                                                                         : 0};

    return w->m->progress && w->m->progress(w->m->arg, &p) != 0
               ? err_set(err, ERR_CANCELLED, 0, "stopped; the same command goes on where it was")
               : ERR_OK;
}

/* --- rows --- */

/** Adds the rows that a portion holds. */
static void digest_add(struct digest *d, const struct buf *rows, const char *types)
{
    struct move_value v[MOVE_COLUMNS_MAX];
    size_t at = 0, from = 0;

    for (; move_row_next(rows, &at, types, v); from = at) {
        uint8_t hash[32];
        uint64_t part[2];
        sha256_once(rows->data + from, at - from, hash);
        memcpy(part, hash, sizeof(part));
        d->sum[0] += part[0];
        d->sum[1] += part[1];
        d->rows++;
    }
}

void types_of(unsigned table, char ret[MOVE_COLUMNS_MAX + 1])
{
    size_t n = 0;

    for (const char *p = move_tables[table].columns; (p = strchr(p, ':')) && n < MOVE_COLUMNS_MAX; p++)
        ret[n++] = p[1];
    ret[n] = '\0';
}

/** As much of the table as a portion may hold. */
int portion(struct work *w, const struct side *s, unsigned table, struct buf *cursor, size_t *ret_n, struct err *err)
{
    size_t n = 1;
    int rc = ERR_OK;

    *ret_n = 0;
    buf_reset(&w->rows);
    while (rc == ERR_OK && n > 0 && w->rows.len < PORTION_BYTES && *ret_n < PORTION_ROWS) {
        rc = s->moves->read(s->store, table, cursor, &w->rows, &n, err);
        *ret_n += n;
    }
    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, s == &w->from ? "source" : "target");
}

static int copy_table(struct work *w, struct err *err)
{
    struct digest d = {.rows = 0};
    bool whole = w->cursor.len == 0;
    char types[MOVE_COLUMNS_MAX + 1];
    size_t n = 1;
    int rc = ERR_OK;

    types_of(w->table, types);
    while (rc == ERR_OK && n > 0) {
        rc = portion(w, &w->from, w->table, &w->cursor, &n, err);
        if (rc != ERR_OK || n == 0)
            break;
        digest_add(&d, &w->rows, types);
        w->moved += (int64_t)n;
        rc = advance(w, &w->rows, err);
        if (rc != ERR_OK)
            err_wrap(err, rc, "target");
        else
            rc = tell(w, MIGRATE_ROWS, w->moved, err);
    }
    if (rc == ERR_OK && whole)
        w->read[w->table] = d;
    return rc;
}

int copy_rows(struct work *w, struct err *err)
{
    int rc = ERR_OK;

    while (rc == ERR_OK && w->table < move_n_tables) {
        rc = copy_table(w, err);
        if (rc != ERR_OK)
            break;
        w->table++;
        buf_reset(&w->cursor);
    }
    return rc;
}

/* --- blobs --- */

static void note_damaged(struct work *w, const struct uuid *id)
{
    if (w->m->damaged++ == 0)
        uuid_format(id, w->m->first_damaged);
}

/** The bytes of a blob into an upload, and their hash. */
static int pump(struct work *w, struct blob_reader *from, struct blob_upload *up, uint8_t ret[32], int64_t *ret_size,
                struct err *err)
{
    struct sha256 *hash = sha256_new();
    int rc = hash ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "migrate");
    int64_t at = 0, n = 1;

    for (; rc == ERR_OK && n > 0; at += n) {
        n = from->read(from, at, w->piece, MIGRATE_PIECE, err);
        if (n < 0)
            rc = (int)err->code;
        else if (n > 0) {
            sha256_add(hash, w->piece, (size_t)n);
            rc = w->to.blob_driver->write(up, w->piece, (size_t)n, err);
        }
    }
    *ret_size = at;
    if (rc == ERR_OK)
        sha256_end(hash, ret);
    sha256_free(hash);
    return rc;
}

static bool same(const struct move_value *row, int64_t size, const uint8_t hash[32])
{
    return size == row[2].i && row[3].n == 32 && memcmp(hash, row[3].p, 32) == 0;
}

/** Did a run before this one bring it? Then it was compared before it became visible. */
static int there_already(struct work *w, const struct uuid *id, const struct move_value *row, bool *ret,
                         struct err *err)
{
    struct blob_reader *r = NULL;
    int rc = w->to.blob_driver->open_read(w->to.blobs, id, &r, err);

    *ret = rc == ERR_OK;
    if (rc == ERR_NOT_FOUND) {
        err_clear(err);
        return ERR_OK;
    }
    if (rc == ERR_OK && r->size != row[2].i)
        rc = err_set(err, ERR_CORRUPT, 0, "a blob of the target has %lld bytes, not %lld", (long long)r->size,
                     (long long)row[2].i);
    blob_reader_close(r);
    return rc;
}

static int copy_bytes(struct work *w, struct blob_reader *from, const struct uuid *id, const struct move_value *row,
                      struct err *err)
{
    const struct blob_driver *d = w->to.blob_driver;
    struct blob_upload *up = NULL;
    uint8_t hash[32];
    int64_t size = 0;
    int rc = d->begin(w->to.blobs, id, &up, err);

    if (rc == ERR_OK)
        rc = pump(w, from, up, hash, &size, err);
    if (rc == ERR_OK && same(row, size, hash))
        return d->commit(up, &size, hash, err);
    d->abort(up);
    if (rc == ERR_OK)
        note_damaged(w, id);
    return rc;
}

static int copy_blob(struct work *w, const struct move_value *row, struct err *err)
{
    struct uuid id;
    struct blob_reader *from = NULL;
    bool there = false;

    memcpy(id.b, row[0].p, sizeof(id.b));
    int rc = w->from.blob_driver->open_read(w->from.blobs, &id, &from, err);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && from->size != row[2].i)) {
        err_clear(err);
        note_damaged(w, &id);
        rc = ERR_OK;
    } else if (rc == ERR_OK && !w->m->same_folder) {
        rc = there_already(w, &id, row, &there, err);
        if (rc == ERR_OK && !there)
            rc = copy_bytes(w, from, &id, row, err);
    }
    blob_reader_close(from);
    return rc;
}

/** Needed before the first byte, so that a disk that is too small is not found after an hour. */
static int check_space(const struct work *w, struct err *err)
{
    struct statvfs st;
    int64_t needs = w->m->blob_bytes - w->bytes;

    if (w->m->same_folder || !w->to.folder[0] || statvfs(w->to.folder, &st) < 0)
        return ERR_OK;
    int64_t has = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    if (has >= needs)
        return ERR_OK;
    return err_set(err, ERR_NO_SPACE, 0, "the blobs need %lld MiB in '%.120s', there are %lld MiB free",
                   (long long)(needs >> 20) + 1, w->to.folder, (long long)(has >> 20));
}

/** Blobs one by one; the mark moves on now and then. */
static int copy_some_blobs(struct work *w, struct buf *cursor, size_t *ret_n, struct err *err)
{
    struct move_value row[MOVE_COLUMNS_MAX];
    char types[MOVE_COLUMNS_MAX + 1];
    size_t at = 0;

    types_of(move_blobs_table, types);
    buf_reset(&w->rows);
    int rc = w->from.moves->read(w->from.store, move_blobs_table, cursor, &w->rows, ret_n, err);
    for (int64_t n = 0, bytes = 0; rc == ERR_OK && move_row_next(&w->rows, &at, types, row);) {
        rc = copy_blob(w, row, err);
        n++;
        bytes += row[2].i;
        w->bytes += row[2].i;
        if (rc == ERR_OK && (n == BLOBS_A_TELL || bytes >= BYTES_A_TELL)) {
            n = bytes = 0;
            rc = tell(w, MIGRATE_BLOBS, w->bytes, err);
        }
    }
    return rc;
}

int copy_blobs(struct work *w, struct err *err)
{
    size_t n = 1;
    int rc = check_space(w, err);

    while (rc == ERR_OK && n > 0) {
        rc = copy_some_blobs(w, &w->cursor, &n, err);
        if (rc == ERR_OK && n > 0 && w->m->damaged == 0) /* else a repetition looks at those again */
            rc = advance(w, NULL, err);
        if (rc == ERR_OK)
            rc = tell(w, MIGRATE_BLOBS, w->bytes, err);
    }
    if (rc == ERR_OK && w->m->damaged > 0 && !w->m->allow_damaged)
        rc = err_set(
            err, ERR_CORRUPT, 0,
            "%lld blobs of the source are missing or damaged, the first is %s: --allow-damaged moves all the rest",
            (long long)w->m->damaged, w->m->first_damaged);
    return rc;
}

/* --- comparing --- */

static int digest_table(struct work *w, const struct side *s, struct digest *ret, int64_t *done, struct err *err)
{
    char types[MOVE_COLUMNS_MAX + 1];
    struct buf cursor;
    size_t n = 1;
    int rc = ERR_OK;

    *ret = (struct digest){.rows = 0};
    types_of(w->table, types);
    buf_init(&cursor, CURSOR_MAX);
    while (rc == ERR_OK && n > 0) {
        rc = portion(w, s, w->table, &cursor, &n, err);
        if (rc == ERR_OK)
            digest_add(ret, &w->rows, types);
        *done += (int64_t)n;
        if (rc == ERR_OK && s == &w->to)
            rc = tell(w, MIGRATE_CHECK, *done, err);
    }
    buf_release(&cursor);
    return rc;
}

int check_rows(struct work *w, struct err *err)
{
    struct digest got;
    int64_t done = 0, other = 0;
    int rc = ERR_OK;

    for (w->table = 0; rc == ERR_OK && w->table < move_n_tables; w->table++) {
        struct digest *want = &w->read[w->table];
        if (want->rows < 0)
            rc = digest_table(w, &w->from, want, &other, err);
        if (rc == ERR_OK)
            rc = digest_table(w, &w->to, &got, &done, err);
        if (rc == ERR_OK && memcmp(&got, want, sizeof(got)) != 0)
            rc = err_set(
                err, ERR_CORRUPT, 0,
                "%s differs: %lld rows in the source, %lld in the target. If a server used the source since the move "
                "began, empty the target and begin anew",
                move_tables[w->table].name, (long long)want->rows, (long long)got.rows);
    }
    return rc;
}
