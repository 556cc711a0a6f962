#include "store/sqlite/postings.h"
#include <stdlib.h>

#define ID_MAX    sizeof(((struct uuid *)0)->b)
#define OWN       (ID_MAX - POSTING_IDS_SHARED) /* bytes that are written of an id */
#define ROW_BYTES 940 /* of texts and ids: a fourth of a page of 4 KiB holds it, and nothing lies in pages of its own */

struct posting_row {
    enum posting_of of;
    const struct posting *last;
    const uint8_t *others;
    size_t n_others;
};

struct posting_rows {
    struct posting_row row[POSTINGS_MAX];
    const void *rows[POSTINGS_MAX];
    uint8_t bytes[POSTINGS_MAX * OWN];
    size_t n, n_bytes;
};

/* --- which belong together --- */

static int compare(enum posting_of of, const struct posting *a, const struct posting *b)
{
    int d = a->project == b->project ? 0 : strcmp(a->project, b->project);

    if (d == 0 && a->name != b->name)
        d = strcmp(a->name, b->name);
    return d == 0 && of == POSTING_LABEL ? strcmp(a->value, b->value) : d;
}

static int by_id(int d, const struct posting *a, const struct posting *b)
{
    return d ? d : uuid_compare(&a->job_id, &b->job_id);
}

static int label_order(const void *a, const void *b)
{
    const struct posting *const *x = a, *const *y = b;

    return by_id(compare(POSTING_LABEL, *x, *y), *x, *y);
}

static int name_order(const void *a, const void *b)
{
    const struct posting *const *x = a, *const *y = b;

    return by_id(compare(POSTING_KEY, *x, *y), *x, *y);
}

static bool same_time(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, POSTING_IDS_SHARED) == 0;
}

/** Mostly they are in order. */
static void sort(enum posting_of of, const struct posting **all, size_t n)
{
    int (*order)(const void *a, const void *b) = of == POSTING_LABEL ? label_order : name_order;
    size_t i = 1;

    while (i < n && order(&all[i - 1], &all[i]) <= 0)
        i++;
    if (i < n)
        qsort(all, n, sizeof(*all), order);
}

/* --- a row's bytes --- */

static size_t row_room(enum posting_of of, const struct posting *p)
{
    size_t texts = strlen(p->project) + strlen(p->name) + strlen(posting_value(of, p->value)) + ID_MAX;

    return texts < ROW_BYTES ? MIN(1 + (ROW_BYTES - texts) / OWN, (size_t)POSTING_IDS_MAX) : 1;
}

static uint8_t *own_put(uint8_t *at, const struct uuid *id)
{
    memcpy(at, id->b + POSTING_IDS_SHARED, OWN);
    return at + OWN;
}

int posting_ids_of(const uint8_t *last, size_t n_last, const uint8_t *others, size_t n_others, struct posting_ids *ret,
                   struct err *err)
{
    if (n_last != ID_MAX || n_others % OWN || n_others / OWN >= POSTING_IDS_MAX)
        return err_set(err, ERR_CORRUPT, 0, "the database is damaged: the jobs of a type or label cannot be read");
    ret->n = n_others / OWN + 1;
    for (size_t k = 0; k < ret->n; k++)
        memcpy(ret->id[k].b, last, ID_MAX);
    for (size_t k = 0; k + 1 < ret->n; k++)
        memcpy(ret->id[k].b + POSTING_IDS_SHARED, others + k * OWN, OWN);
    return ERR_OK;
}

int posting_ids_read(struct query *row, int i, struct posting_ids *ret, struct err *err)
{
    size_t n_last, n_others;
    const uint8_t *last = col_bytes(row, i, &n_last), *others = col_bytes(row, i + 1, &n_others);

    return posting_ids_of(last, n_last, others, n_others, ret, err);
}

/* --- adding --- */

static int row_bind(struct query *st, size_t i, const void *arg, struct err *err)
{
    const struct posting_row *r = arg;

    return q_bind(st, (int)(i * 6), err, "itttub", (int64_t)r->of, r->last->project, r->last->name,
                  posting_value(r->of, r->last->value), &r->last->job_id, (const void *)r->others, r->n_others);
}

static const struct sql_rows inserts = SQL_ROWS(
    "INSERT OR FAIL INTO postings (what, project, name, value, last, others) VALUES ", "(?,?,?,?,?,?)", row_bind);

/** One row of the first of them, and of those that fit in with it. @return how many these are */
static size_t row_fill(struct posting_rows *rows, enum posting_of of, const struct posting *const *all, size_t n)
{
    struct posting_row *r = &rows->row[rows->n];
    uint8_t *end = rows->bytes + rows->n_bytes;
    size_t k = 1, room = row_room(of, all[0]);

    r->of = of;
    r->others = end;
    while (k < n && k < room && compare(of, all[0], all[k]) == 0 && same_time(&all[0]->job_id, &all[k]->job_id))
        end = own_put(end, &all[k++ - 1]->job_id);
    r->n_others = (size_t)(end - r->others);
    r->last = all[k - 1];
    rows->n_bytes += r->n_others;
    rows->rows[rows->n++] = r;
    return k;
}

int postings_add(struct conn *c, enum posting_of of, const struct posting **all, size_t n, struct err *err)
{
    struct posting_rows rows;

    rows.n = rows.n_bytes = 0;
    sort(of, all, n);
    for (size_t i = 0; i < n;)
        i += row_fill(&rows, of, all + i, n - i);
    return q_rows(c, &inserts, rows.rows, rows.n, err);
}

/* --- removing --- */

#define ROWS_OF               "what = ?1 AND project = ?2 AND name = ?3 AND value = ?4"
#define ROWS_OF_TYPES         "ittt"
#define ROWS_OF_VALUES(of, p) (int64_t)(of), (p)->project, (p)->name, posting_value(of, (p)->value)

static bool holds(const struct posting_ids *ids, const struct uuid *id)
{
    for (size_t i = 0; i < ids->n; i++)
        if (uuid_equal(&ids->id[i], id))
            return true;
    return false;
}

/** The row that has the job's id: of those that may, the one whose last comes first is nearly always it. ret->n 0: none. */
static int row_of(struct conn *c, enum posting_of of, const struct posting *p, struct posting_ids *ret, struct err *err)
{
    struct uuid top = p->job_id;
    AUTO_QUERY struct query *st = NULL;
    bool more;

    memset(top.b + POSTING_IDS_SHARED, 0xff, OWN);
    int rc = q_open(c, &st, err,
                    "SELECT last, others FROM postings WHERE " ROWS_OF " AND last BETWEEN ?5 AND ?6 ORDER BY last",
                    ROWS_OF_TYPES "uu", ROWS_OF_VALUES(of, p), &p->job_id, &top);
    while (rc == ERR_OK && (rc = q_step(c, st, &more, err)) == ERR_OK && more)
        if ((rc = posting_ids_read(st, 0, ret, err)) == ERR_OK && holds(ret, &p->job_id))
            return ERR_OK;
    ret->n = 0;
    return rc;
}

static int row_write(struct conn *c, enum posting_of of, const struct posting *p, const struct uuid *last,
                     const struct posting_ids *ids, struct err *err)
{
    uint8_t others[POSTING_IDS_MAX * OWN], *end = others;

    if (ids->n == 0)
        return q_run(c, NULL, err, "DELETE FROM postings WHERE " ROWS_OF " AND last = ?5", ROWS_OF_TYPES "u",
                     ROWS_OF_VALUES(of, p), last);
    for (size_t i = 0; i + 1 < ids->n; i++)
        end = own_put(end, &ids->id[i]);
    return q_run(c, NULL, err, "UPDATE postings SET last = ?6, others = ?7 WHERE " ROWS_OF " AND last = ?5",
                 ROWS_OF_TYPES "uub", ROWS_OF_VALUES(of, p), last, &ids->id[ids->n - 1], (const void *)others,
                 (size_t)(end - others));
}

/** Where few came at a time it is the only one of its row. */
static int remove_alone(struct conn *c, enum posting_of of, const struct posting *p, bool *ret_gone, struct err *err)
{
    int64_t changed = 0;
    int rc = q_run(c, &changed, err, "DELETE FROM postings WHERE " ROWS_OF " AND last = ?5 AND others = x''",
                   ROWS_OF_TYPES "u", ROWS_OF_VALUES(of, p), &p->job_id);

    *ret_gone = changed > 0;
    return rc;
}

/** Takes out the first of them, and those behind it that are next in its row. @return how many these are */
static size_t ids_cut(struct posting_ids *ids, enum posting_of of, const struct posting *const *all, size_t n)
{
    size_t k = 0, kept = 0;

    for (size_t i = 0; i < ids->n; i++)
        if (k < n && compare(of, all[0], all[k]) == 0 && uuid_equal(&ids->id[i], &all[k]->job_id))
            k++;
        else
            ids->id[kept++] = ids->id[i];
    ids->n = kept;
    return k;
}

/** @param ret_n  how many of them, from the first on, are gone now */
static int remove_some(struct conn *c, enum posting_of of, const struct posting *const *all, size_t n, size_t *ret_n,
                       struct err *err)
{
    struct posting_ids ids;
    bool gone;
    int rc = remove_alone(c, of, all[0], &gone, err);

    *ret_n = 1;
    if (rc != ERR_OK || gone || (rc = row_of(c, of, all[0], &ids, err)) != ERR_OK || ids.n == 0)
        return rc;
    struct uuid last = ids.id[ids.n - 1];
    *ret_n = ids_cut(&ids, of, all, n);
    return row_write(c, of, all[0], &last, &ids, err);
}

int postings_remove(struct conn *c, enum posting_of of, const struct posting **all, size_t n, struct err *err)
{
    int rc = ERR_OK;

    sort(of, all, n);
    for (size_t i = 0, k; rc == ERR_OK && i < n; i += k)
        rc = remove_some(c, of, all + i, n - i, &k, err);
    return rc;
}

/* --- counting --- */

int postings_count(struct conn *c, enum posting_of of, const struct posting *p, int64_t max, int64_t *ret,
                   struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;
    int rc =
        q_open(c, &st, err, "SELECT length(others) FROM postings WHERE " ROWS_OF, ROWS_OF_TYPES, ROWS_OF_VALUES(of, p));

    *ret = 0;
    while (rc == ERR_OK && *ret < max && (rc = q_step(c, st, &more, err)) == ERR_OK && more)
        *ret += 1 + col_int(st, 0) / (int64_t)OWN;
    *ret = MIN(*ret, max);
    return rc;
}
