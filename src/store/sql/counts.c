/* How many jobs of each queue and task type there are in each status, and in which lanes they stand. Kept in memory, where one
 * connection writes; the rows of a batch are written once, with its commit. What a batch changed is noted, so that it can be taken back.
 *
 * Where several servers write, each adds to rows of its own, and readers sum: what is in memory is then only what the batch at work adds. */
#include "store/sql/internal.h"
/* Without memory uthash would end the process; so an entry that could not be added has no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PRIORITIES (JOB_PRIORITY_MAX + 1)
#define NAMES_MAX  (3 * (JOB_NAME_MAX + 1))

struct pair {
    int64_t n[JOB_STATUS_COUNT], saved[JOB_STATUS_COUNT]; /* as they are; as the table has them */
    int64_t lane_id[PRIORITIES];                          /* 0: not looked up yet */
    unsigned lanes_era;                                   /* lane_id is good while this is the store's */
    bool touched;                                         /* by the batch at work */
    struct pair *next_touched;
    UT_hash_handle hh;
    const char *project, *queue, *task_type; /* in `names` */
    size_t names_n;
    char names[]; /* each with its zero byte */
};

struct count_change {
    struct pair *pair;
    enum job_status status;
    int64_t by;
};

/** Its lanes spare a look, where nothing else is known of it. */
static bool lanes_remembered(const struct store *s, const struct pair *p)
{
    return s->sql->shared && p->lanes_era == s->lanes_era && HASH_COUNT(s->pairs) <= COUNTERS_MAX;
}

static void touch(struct store *s, struct pair *p)
{
    if (p->touched)
        return;
    p->touched = true;
    p->next_touched = s->touched;
    s->touched = p;
}

/* @return bytes; 0 when they are no names of ours */
static size_t names_of(const char *project, const char *queue, const char *task_type, char ret[NAMES_MAX])
{
    const char *const parts[] = {project, queue, task_type};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t len = strlen(parts[i]) + 1;
        if (len > NAMES_MAX - n)
            return 0;
        memcpy(ret + n, parts[i], len);
        n += len;
    }
    return n;
}

static struct pair *pair_add(struct store *s, const char *names, size_t n)
{
    struct pair *p = calloc(1, sizeof(*p) + n);

    if (!p)
        return NULL;
    memcpy(p->names, names, n);
    p->names_n = n;
    p->project = p->names;
    p->queue = p->project + strlen(p->project) + 1;
    p->task_type = p->queue + strlen(p->queue) + 1;
    HASH_ADD_KEYPTR(hh, s->pairs, p->names, p->names_n, p);
    if (!p->hh.tbl) {
        free(p);
        return NULL;
    }
    touch(s, p); /* gone with the batch, should nothing be counted in it */
    return p;
}

static int pair_of(struct store *s, const char *project, const char *queue, const char *task_type, struct pair **ret,
                   struct err *err)
{
    char names[NAMES_MAX];
    size_t n = names_of(project, queue, task_type, names);

    if (n == 0)
        return err_set(err, ERR_INVALID, 0, "queue or task type are longer than %d bytes", JOB_NAME_MAX);
    *ret = s->pair_last; /* five times a job's life; and most batches are of few */
    if (!*ret || (*ret)->names_n != n || memcmp((*ret)->names, names, n) != 0)
        HASH_FIND(hh, s->pairs, names, n, *ret);
    if (!*ret)
        *ret = pair_add(s, names, n);
    s->pair_last = *ret;
    return *ret ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "counters");
}

static void pair_free(struct store *s, struct pair *p)
{
    if (s->pair_last == p)
        s->pair_last = NULL;
    HASH_DEL(s->pairs, p);
    free(p);
}

static bool pair_empty(const struct pair *p)
{
    for (size_t i = 0; i < JOB_STATUS_COUNT; i++)
        if (p->n[i] != 0 || p->saved[i] != 0)
            return false;
    return true;
}

static void add(struct store *s, struct pair *p, enum job_status status, int64_t by)
{
    const int before = p->n[status] != 0;

    p->n[status] += by;
    if (!s->sql->shared)
        s->counters += (p->n[status] != 0) - before;
}

static int note(struct store *s, struct count_change change, struct err *err)
{
    if (s->n_changes == s->changes_max) {
        size_t max = s->changes_max ? s->changes_max * 2 : 256;
        struct count_change *more = realloc(s->changes, max * sizeof(*more));
        if (!more)
            return err_set(err, ERR_NO_MEMORY, 0, "counters");
        s->changes = more;
        s->changes_max = max;
    }
    s->changes[s->n_changes++] = change;
    return ERR_OK;
}

int count(struct tx *t, const struct job *job, enum job_status status, int64_t by)
{
    struct store *s = t->s;
    struct pair *p;
    int rc = pair_of(s, job->project, job->queue, job->task_type, &p, t->err);

    if (rc == ERR_OK)
        rc = note(s, (struct count_change){p, status, by}, t->err);
    if (rc != ERR_OK)
        return rc;
    touch(s, p);
    add(s, p, status, by);
    return ERR_OK;
}

int counters_ask(struct conn *c, int64_t *ret, struct err *err)
{
    return q_int(c, 0, ret, err,
                 "SELECT count(*) FROM (SELECT 1 FROM counters GROUP BY project, queue, task_type, status"
                 " HAVING sum(n) <> 0) AS k",
                 "");
}

/** Has the pair jobs? */
static int pair_known(struct tx *t, const struct job *job, bool *ret)
{
    struct pair *p;
    int64_t n = 0;
    int rc = pair_of(t->s, job->project, job->queue, job->task_type, &p, t->err);

    *ret = false;
    for (size_t i = 0; rc == ERR_OK && i < JOB_STATUS_COUNT; i++)
        *ret = *ret || p->n[i] != 0;
    if (rc != ERR_OK || *ret || !t->s->sql->shared)
        return rc;
    rc = q_int(t->c, 0, &n, t->err,
               "SELECT 1 FROM counters WHERE project = ?1 AND queue = ?2 AND task_type = ?3"
               " GROUP BY status HAVING sum(n) <> 0 LIMIT 1",
               "ttt", job->project, job->queue, job->task_type);
    *ret = n != 0;
    return rc;
}

int count_room(struct tx *t, const struct job *job)
{
    int64_t counters = t->s->counters;
    bool known = false;

    if (counters < COUNTERS_MAX)
        return ERR_OK;
    int rc = pair_known(t, job, &known);
    if (t->guess)
        return rc;
    if (rc == ERR_OK && !known && t->s->sql->shared) {
        rc = counters_ask(t->c, &counters, t->err);
        t->s->counters = counters;
    }
    if (rc != ERR_OK || known || counters < COUNTERS_MAX)
        return rc;
    return err_set(t->err, ERR_CONFLICT, 0,
                   "there are jobs of %d different queues and task types already, and none of this queue and type: put "
                   "what differs from job to job into labels or the payload",
                   COUNTERS_MAX);
}

void counts_undo(struct store *s, size_t mark)
{
    while (s->n_changes > mark) {
        const struct count_change *c = &s->changes[--s->n_changes];
        add(s, c->pair, c->status, -c->by);
    }
}

/** A count that came back to nothing has no row: names that clients made up leave nothing behind. */
static int row_write(struct store *s, const struct pair *p, enum job_status status, struct err *err)
{
    if (s->sql->shared)
        return q_run(
            s->w, NULL, err,
            "INSERT INTO counters (server_id, project, queue, task_type, status, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            " ON CONFLICT (project, queue, task_type, status, server_id) DO UPDATE SET n = counters.n + excluded.n",
            "itttii", s->writer_id, p->project, p->queue, p->task_type, (int64_t)status, p->n[status]);
    if (p->n[status] == 0)
        return q_run(s->w, NULL, err,
                     "DELETE FROM counters WHERE project = ?2 AND queue = ?3 AND task_type = ?4 AND status = ?5 AND "
                     "server_id = ?1",
                     "ittti", s->writer_id, p->project, p->queue, p->task_type, (int64_t)status);
    return q_run(
        s->w, NULL, err,
        "INSERT INTO counters (server_id, project, queue, task_type, status, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (project, queue, task_type, status, server_id) DO UPDATE SET n = excluded.n",
        "itttii", s->writer_id, p->project, p->queue, p->task_type, (int64_t)status, p->n[status]);
}

int counts_save(struct store *s, struct err *err)
{
    int rc = ERR_OK;

    for (const struct pair *p = s->touched; p; p = p->next_touched)
        for (unsigned i = 0; rc == ERR_OK && i < JOB_STATUS_COUNT; i++)
            if (p->n[i] != p->saved[i])
                rc = row_write(s, p, (enum job_status)i, err);
    return rc;
}

void counts_settle(struct store *s, bool committed)
{
    if (!committed)
        counts_undo(s, 0);
    s->n_changes = 0;
    while (s->touched) {
        struct pair *p = s->touched;
        s->touched = p->next_touched;
        p->touched = false;
        if (s->sql->shared)
            memset(p->n, 0, sizeof(p->n));
        else if (committed)
            memcpy(p->saved, p->n, sizeof(p->saved));
        if (pair_empty(p) && !lanes_remembered(s, p))
            pair_free(s, p);
    }
}

int counts_load(struct store *s, struct err *err)
{
    AUTO_QUERY struct query *st = NULL;
    bool more;

    if (s->sql->shared) {
        int64_t counters = 0;
        int known = counters_ask(s->w, &counters, err);
        s->counters = counters;
        return known;
    }
    int rc = q_open(s->w, &st, err,
                    "SELECT project, queue, task_type, status, n FROM counters WHERE n <> 0 AND server_id = ?1", "i",
                    s->writer_id);

    while (rc == ERR_OK && (rc = q_step(s->w, st, &more, err)) == ERR_OK && more) {
        const char *name[3];
        struct pair *p;
        int status = (int)col_int(st, 3);
        for (int i = 0; i < 3; i++)
            name[i] = col_borrow(st, i);
        if (!name[0] || !name[1] || !name[2] || status < 0 || status >= JOB_STATUS_COUNT)
            return err_set(err, ERR_CORRUPT, 0, "a counter without a name");
        rc = pair_of(s, name[0], name[1], name[2], &p, err);
        if (rc == ERR_OK)
            add(s, p, (enum job_status)status, col_int(st, 4));
    }
    if (rc == ERR_OK)
        counts_settle(s, true);
    return rc;
}

void counts_free(struct store *s)
{
    struct pair *p, *tmp;

    HASH_ITER (hh, s->pairs, p, tmp)
        pair_free(s, p);
    free(s->changes);
}

static int lane_find(struct tx *t, const struct job *job, int64_t *ret)
{
    int rc = q_int(t->c, 0, ret, t->err,
                   "SELECT lane_id FROM lanes WHERE project = ?1 AND queue = ?2 AND task_type = ?3 AND priority = ?4",
                   "ttti", job->project, job->queue, job->task_type, (int64_t)job->priority);

    if (rc != ERR_OK || *ret != 0)
        return rc;
    if (t->s->sql->shared) /* by another server at this moment, perhaps: then it has that one's id */
        return q_int(t->c, 0, ret, t->err,
                     "INSERT INTO lanes (project, queue, task_type, priority) VALUES (?1, ?2, ?3, ?4)"
                     " ON CONFLICT (project, queue, task_type, priority) DO UPDATE SET priority = excluded.priority"
                     " RETURNING lane_id",
                     "ttti", job->project, job->queue, job->task_type, (int64_t)job->priority);
    *ret = t->s->lane_next++;
    return q_run(t->c, NULL, t->err,
                 "INSERT INTO lanes (lane_id, project, queue, task_type, priority) VALUES (?5, ?1, ?2, ?3, ?4)",
                 "tttii", job->project, job->queue, job->task_type, (int64_t)job->priority, *ret);
}

int lane_of(struct tx *t, const struct job *job, int64_t *ret)
{
    struct store *s = t->s;
    struct pair *p;
    int rc = pair_of(s, job->project, job->queue, job->task_type, &p, t->err);

    if (rc != ERR_OK || job->priority < 0 || job->priority >= PRIORITIES)
        return rc == ERR_OK ? lane_find(t, job, ret) : rc;
    if (p->lanes_era != s->lanes_era) {
        memset(p->lane_id, 0, sizeof(p->lane_id));
        p->lanes_era = s->lanes_era;
    }
    if (p->lane_id[job->priority] == 0)
        rc = lane_find(t, job, ret);
    else
        *ret = p->lane_id[job->priority];
    if (rc == ERR_OK)
        p->lane_id[job->priority] = *ret;
    return rc;
}
