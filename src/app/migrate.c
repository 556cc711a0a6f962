/* First every table's rows, a portion a transaction, each with the mark that says how far it is; then the blobs' bytes; then both sides are
 * read and compared; then the target loses the mark, and may be used. Killed anywhere, it goes on from the mark. */
#include "app/drivers.h"
#include "app/migrate_work.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/timefmt.h"
#include "store/snapshot.h"
#include <stdlib.h>
#include <unistd.h>

#define BLOBS_FOLDER "blobs"
#define SAMPLE_US    USEC_PER_SEC

/* --- the two sides --- */

static int open_folder(struct side *s, bool make, struct err *err)
{
    int rc = make ? fs_mkdirs(s->options->data, 0700, err) : ERR_OK;
    char path[PATH_MAX];

    if (rc == ERR_OK && !fs_exists(s->options->data))
        return ERR_NOT_FOUND;
    if (rc == ERR_OK)
        rc = fs_join(path, sizeof(path), s->options->data, "lock", err);
    if (rc == ERR_OK)
        rc = fs_lock(path, &s->lock_fd, err);
    if (rc == ERR_LOCKED)
        rc = err_set(err, ERR_LOCKED, 0, "a server uses the data folder '%.180s': stop it first", s->options->data);
    return rc;
}

static bool same_path(const char *a, const char *b)
{
    AUTO_FREE char *x = realpath(a, NULL), *y = realpath(b, NULL);

    return x && y && strcmp(x, y) == 0;
}

static bool same_blobs(const struct work *w)
{
    const char *a = w->from.options->blob, *b = w->to.options->blob;

    return a && b ? strcmp(a, b) == 0 : !a && !b && w->same_data;
}

static int lock_both(struct work *w, struct err *err)
{
    int rc = open_folder(&w->from, false, err);

    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND, 0, "source: there is no data folder '%.180s'", w->from.options->data);
    if (rc != ERR_OK)
        return err_wrap(err, rc, "source");
    w->same_data = same_path(w->from.options->data, w->to.options->data);
    w->m->same_folder = same_blobs(w);
    if (w->same_data)
        return ERR_OK;
    rc = open_folder(&w->to, !w->m->dry_run, err);
    return rc == ERR_OK || rc == ERR_NOT_FOUND ? ERR_OK : err_wrap(err, rc, "target");
}

/** @param ret  caller: s->moves->close */
static int open_as(struct side *s, enum move_role role, struct store_side **ret, struct err *err)
{
    const struct store_driver *d = NULL;
    const struct store_config config = {.dir = s->options->data, .url = s->options->store, .clock = clock_real()};
    int rc = app_store_driver(config.url, &d, err);

    if (rc == ERR_OK && !d->moves)
        rc = err_set(err, ERR_UNSUPPORTED, 0, "a database of this kind cannot be moved");
    if (rc == ERR_OK) {
        s->moves = d->moves;
        rc = d->moves->open(&config, role, ret, err);
    }
    return rc;
}

static int open_store(struct side *s, enum move_role role, struct err *err)
{
    int rc = open_as(s, role, &s->store, err);

    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, role == MOVE_SOURCE ? "source" : "target");
}

static int check_different(const struct work *w, struct err *err)
{
    char a[MOVE_ID_MAX], b[MOVE_ID_MAX];
    int rc = w->from.moves->identity(w->from.store, a, err);

    if (rc == ERR_OK)
        rc = w->to.moves->identity(w->to.store, b, err);
    if (rc == ERR_OK && strcmp(a, b) == 0)
        rc = err_set(err, ERR_INVALID, 0, "--from and --to name the same database");
    return rc;
}

static int open_stores(struct work *w, struct err *err)
{
    int rc = open_store(&w->from, MOVE_SOURCE, err);

    if (rc == ERR_OK && w->same_data && !w->from.options->store && !w->to.options->store)
        rc = err_set(err, ERR_INVALID, 0, "--from and --to name the same database");
    if (rc == ERR_OK)
        rc = open_store(&w->to, MOVE_LOOK, err);
    if (rc == ERR_OK)
        rc = check_different(w, err);
    if (rc != ERR_OK || w->m->dry_run)
        return rc;
    w->to.moves->close(w->to.store);
    w->to.store = NULL;
    return open_store(&w->to, MOVE_TARGET, err);
}

static int open_blobs(struct side *s, struct err *err)
{
    const char *url = s->options->blob;
    int rc = app_blob_driver(url, &s->blob_driver, err);

    if (rc == ERR_OK && !url)
        rc = fs_join(s->folder, sizeof(s->folder), s->options->data, BLOBS_FOLDER, err);
    return rc == ERR_OK ? s->blob_driver->open(url ? url : s->folder, &s->blobs, s->folder_id, err) : rc;
}

/** The source's rows and its folder must belong together, as at a server's start. */
static int open_both_blobs(struct work *w, struct err *err)
{
    char known[UUID_STR_MAX + 1];
    int rc = w->from.moves->meta(w->from.store, STORE_META_BLOB_FOLDER, known, sizeof(known), err);

    if (rc == ERR_OK)
        rc = open_blobs(&w->from, err);
    if (rc == ERR_OK && strcmp(known, w->from.folder_id) != 0)
        rc = err_set(err, ERR_CONFLICT, 0, "the blob folder is %s, but the database belongs to %s", w->from.folder_id,
                     known[0] ? known : "none: no server ever started on it");
    if (rc != ERR_OK)
        return err_wrap(err, rc, "source");
    if (w->m->same_folder) {
        memcpy(w->to.folder_id, w->from.folder_id, sizeof(w->to.folder_id));
        return ERR_OK;
    }
    rc = w->m->dry_run ? ERR_OK : open_blobs(&w->to, err);
    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, "target");
}

static void side_release(struct side *s)
{
    if (s->store)
        s->moves->close(s->store);
    if (s->blobs)
        s->blob_driver->close(s->blobs);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
}

/* --- all of it --- */

static int count_all(struct work *w, struct err *err)
{
    struct migrate *m = w->m;
    int rc = ERR_OK;

    for (unsigned i = 0; rc == ERR_OK && i < move_n_tables; i++) {
        rc = w->from.moves->count(w->from.store, i, &m->table_rows[i], err);
        m->rows += m->table_rows[i];
        w->read[i].rows = -1;
    }
    m->blobs = m->table_rows[move_blobs_table];
    return rc;
}

/** Their sizes, as the rows say. */
static int sum_blobs(struct work *w, struct err *err)
{
    struct move_value row[MOVE_COLUMNS_MAX];
    char types[MOVE_COLUMNS_MAX + 1];
    struct buf cursor;
    size_t n = 1;
    int rc = ERR_OK;

    types_of(move_blobs_table, types);
    buf_init(&cursor, CURSOR_MAX);
    while (rc == ERR_OK && n > 0) {
        size_t at = 0;
        rc = portion(w, &w->from, move_blobs_table, &cursor, &n, err);
        while (rc == ERR_OK && move_row_next(&w->rows, &at, types, row))
            w->m->blob_bytes += row[2].i;
    }
    buf_release(&cursor);
    return rc;
}

/** How fast the source gives the rows of its largest table. */
static int sample(struct work *w, struct err *err)
{
    struct clock clock = clock_real();
    usec began = clock.boot_us(clock.self), now = began;
    struct buf cursor;
    int64_t rows = 0;
    size_t n = 1;
    unsigned most = 0;
    int rc = ERR_OK;

    for (unsigned i = 0; i < move_n_tables; i++)
        most = w->m->table_rows[i] > w->m->table_rows[most] ? i : most;
    buf_init(&cursor, CURSOR_MAX);
    while (rc == ERR_OK && n > 0 && now - began < SAMPLE_US) {
        rc = portion(w, &w->from, most, &cursor, &n, err);
        rows += (int64_t)n;
        now = clock.boot_us(clock.self);
    }
    buf_release(&cursor);
    w->m->read_rate = now > began ? (double)rows * USEC_PER_SEC / (double)(now - began) : 0;
    return rc;
}

/** What was moved out of the source goes on elsewhere since: moved again, both would hand out the same jobs. */
static int check_not_moved(const struct work *w, struct err *err)
{
    char moved[MOVE_MOVED_MAX];
    int rc = w->from.moves->meta(w->from.store, STORE_META_MOVED, moved, sizeof(moved), err);

    if (rc == ERR_OK && moved[0])
        rc = err_set(err, ERR_CONFLICT, 0,
                     "all was moved out of the source %.320s; to move it again: haul migrate --unmark CONFIG", moved);
    return rc;
}

/** Goes on with what the target says, or begins. A dry run only looks whether it could. */
static int begin(struct work *w, struct err *err)
{
    int rc = w->to.moves->meta(w->to.store, STORE_META_MOVE, w->mark, sizeof(w->mark), err);

    if (rc == ERR_OK && w->mark[0]) {
        w->m->resumed = true;
        return w->m->dry_run ? ERR_OK : mark_take(w, err);
    }
    if (rc == ERR_OK)
        rc = check_not_moved(w, err);
    if (rc == ERR_OK && !w->m->dry_run)
        rc = mark_make(w, w->mark, err);
    if (rc == ERR_OK)
        rc = w->to.moves->begin(w->to.store, w->m->dry_run ? NULL : w->mark, err);
    return rc;
}

/** Before the target may be used, so that at no time both may. */
static int note_moved(struct work *w, struct err *err)
{
    struct store_side *s = NULL;
    struct clock clock = clock_real();
    char place[MOVE_PLACE_MAX], at[RFC3339_MAX], word[MOVE_MOVED_MAX];

    w->to.moves->place(w->to.store, place);
    rfc3339_format(clock.wall_us(clock.self) / USEC_PER_SEC * USEC_PER_SEC, at);
    snprintf(word, sizeof(word), "to %s at %s", place, at);
    int rc = open_as(&w->from, MOVE_NOTE, &s, err);
    if (rc == ERR_OK)
        rc = w->from.moves->moved(s, word, err);
    if (s)
        w->from.moves->close(s);
    return rc == ERR_OK ? ERR_OK : err_wrap(err, rc, "note in the source that all was moved");
}

static int finish(struct work *w, struct err *err)
{
    static const char *const carried[] = {"id_skew_us", "time_us", "dead_entered"};
    char value[ARRAY_LEN(carried)][64];
    const char *pairs[2 * (ARRAY_LEN(carried) + 1)] = {STORE_META_BLOB_FOLDER, w->to.folder_id};
    size_t n = 1;
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(carried); i++) {
        rc = w->from.moves->meta(w->from.store, carried[i], value[i], sizeof(value[i]), err);
        if (rc != ERR_OK || !value[i][0])
            continue;
        pairs[2 * n] = carried[i];
        pairs[2 * n++ + 1] = value[i];
    }
    return rc == ERR_OK ? w->to.moves->finish(w->to.store, w->mark, pairs, n, err) : rc;
}

/** Dead letters of an early version are entered by a running server; not every database's sweeper knows of them. */
static int check_source(const struct work *w, struct err *err)
{
    char entered[8];
    int rc = w->from.moves->meta(w->from.store, "dead_entered", entered, sizeof(entered), err);

    if (rc == ERR_OK && strcmp(entered, "1") != 0)
        rc = err_set(
            err, ERR_UNSUPPORTED, 0,
            "the source's dead letters of an earlier version are not entered yet: start its server for a minute, stop "
            "it, and move then");
    return rc;
}

static int move_all(struct work *w, struct err *err)
{
    int rc = begin(w, err);

    if (rc == ERR_OK && w->m->dry_run)
        return sample(w, err);
    if (rc == ERR_OK)
        rc = copy_rows(w, err);
    if (rc == ERR_OK)
        rc = copy_blobs(w, err);
    if (rc == ERR_OK)
        rc = check_rows(w, err);
    if (rc == ERR_OK)
        rc = note_moved(w, err);
    return rc == ERR_OK ? finish(w, err) : rc;
}

static int work_init(struct work *w, struct migrate *m, struct err *err)
{
    w->m = m;
    w->from = (struct side){.options = m->from, .lock_fd = -1};
    w->to = (struct side){.options = m->to, .lock_fd = -1};
    buf_init(&w->cursor, CURSOR_MAX);
    buf_init(&w->rows, MOVE_PORTION_MAX);
    w->piece = malloc(MIGRATE_PIECE);
    w->read = calloc(move_n_tables, sizeof(*w->read));
    m->table_rows = calloc(move_n_tables, sizeof(*m->table_rows));
    return w->piece && w->read && m->table_rows ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "migrate");
}

int migrate_run(struct migrate *m, struct err *err)
{
    struct work *w = calloc(1, sizeof(*w));

    if (!w)
        return err_set(err, ERR_NO_MEMORY, 0, "migrate");
    int rc = work_init(w, m, err);
    if (rc == ERR_OK)
        rc = lock_both(w, err);
    if (rc == ERR_OK)
        rc = open_stores(w, err);
    if (rc == ERR_OK)
        rc = check_source(w, err);
    if (rc == ERR_OK)
        rc = open_both_blobs(w, err);
    if (rc == ERR_OK)
        rc = count_all(w, err);
    if (rc == ERR_OK)
        rc = sum_blobs(w, err);
    if (rc == ERR_OK)
        rc = move_all(w, err);
    side_release(&w->from);
    side_release(&w->to);
    buf_release(&w->cursor);
    buf_release(&w->rows);
    free(w->piece);
    free(w->read);
    free(w);
    return rc;
}

int migrate_unmark(const struct server_options *of, char ret_was[MOVE_MOVED_MAX], struct err *err)
{
    struct side s = {.options = of, .lock_fd = -1};
    int rc = open_folder(&s, false, err);

    if (rc == ERR_NOT_FOUND)
        rc = err_set(err, ERR_NOT_FOUND, 0, "there is no data folder '%.180s'", of->data);
    if (rc == ERR_OK)
        rc = open_as(&s, MOVE_NOTE, &s.store, err);
    if (rc == ERR_OK)
        rc = s.moves->meta(s.store, STORE_META_MOVED, ret_was, MOVE_MOVED_MAX, err);
    if (rc == ERR_OK)
        rc = s.moves->moved(s.store, NULL, err);
    side_release(&s);
    return rc;
}

void migrate_release(struct migrate *m)
{
    free(m->table_rows);
    m->table_rows = NULL;
}
