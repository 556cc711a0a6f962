/* What a filter matches: ids to act upon, counts to show. */
#include "cli/selection.h"
#include "base/auto.h"
#include "base/buf.h"
#include "cli/table.h"

#define ROWS_SHOWN 20

struct picked {
    struct uuid id;
    size_t row;
};

struct picking {
    struct selection *sel;
    size_t limit;
    struct picked *jobs;
    size_t n, cap;
    struct bar bar;
};

static int no_memory(void)
{
    struct err err = {0};
    err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
    return cli_err(&err, NULL);
}

/* The row for the counts; n_rows when memory is short. */
static size_t row_of(struct selection *s, const char *status, const char *task_type)
{
    for (size_t i = s->n_rows; i-- > 0;)
        if (strcmp(s->rows[i].task_type, task_type) == 0 && strcmp(s->rows[i].status, status) == 0)
            return i;
    struct selection_row *more = reallocarray(s->rows, s->n_rows + 1, sizeof(*more));
    if (!more)
        return s->n_rows;
    s->rows = more;
    struct selection_row *r = &s->rows[s->n_rows];
    *r = (struct selection_row){.status = strdup(status), .task_type = strdup(task_type)};
    if (r->status && r->task_type)
        return s->n_rows++;
    free(r->status);
    free(r->task_type);
    return s->n_rows;
}

static int take(void *arg, json_t *job)
{
    struct picking *p = arg;
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 1024;
        struct picked *more = reallocarray(p->jobs, cap, sizeof(*more));
        if (!more)
            return no_memory();
        p->jobs = more;
        p->cap = cap;
    }
    struct picked *job_at = &p->jobs[p->n];
    job_at->row = row_of(p->sel, jtext(job, "status"), jtext(job, "task_type"));
    if (job_at->row == p->sel->n_rows)
        return no_memory();
    if (!uuid_parse(jtext(job, "job_id"), &job_at->id)) {
        struct err err = {0};
        err_set(&err, ERR_INTERNAL, 0, "the server's answer has a job without an id");
        return cli_err(&err, "jobs list");
    }
    if (++p->n % 1000 == 0 && term_is(stderr)) {
        char text[64];
        snprintf(text, sizeof(text), "%zu jobs", p->n);
        bar_line(&p->bar, -1, text);
    }
    return EXIT_OK;
}

static int newest_first(const void *a, const void *b)
{
    return uuid_compare(&((const struct picked *)b)->id, &((const struct picked *)a)->id);
}

static int most_first(const void *a, const void *b)
{
    const struct selection_row *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->task_type, y->task_type);
}

/* Each job once (it may have changed its status between two listings), the newest `limit` of them. */
static int settle(struct picking *p, size_t limit)
{
    struct selection *s = p->sel;
    if (p->n > 0)
        qsort(p->jobs, p->n, sizeof(*p->jobs), newest_first);
    s->ids = reallocarray(NULL, p->n + 1, sizeof(*s->ids));
    if (!s->ids)
        return no_memory();
    for (size_t i = 0; i < p->n && s->n < limit; i++) {
        if (i > 0 && uuid_equal(&p->jobs[i].id, &p->jobs[i - 1].id))
            continue;
        s->ids[s->n++] = p->jobs[i].id;
        s->rows[p->jobs[i].row].n++;
    }
    if (s->n_rows > 0)
        qsort(s->rows, s->n_rows, sizeof(*s->rows), most_first);
    while (s->n_rows > 0 && s->rows[s->n_rows - 1].n == 0) { /* fell to the limit */
        free(s->rows[--s->n_rows].status);
        free(s->rows[s->n_rows].task_type);
    }
    return EXIT_OK;
}

int selection_fill(struct cli *cli, const struct command *cmd, const struct filter *f, const char *const *statuses,
                   struct selection *ret)
{
    *ret = (struct selection){0};
    struct picking p = {
        .sel = ret,
        .limit = f->limit > 0 ? (size_t)f->limit : SIZE_MAX / 2,
        .bar = {.label = "counting:"},
    };
    struct buf query;
    int status = filter_query(cmd, f, &query);
    for (size_t i = 0; status == EXIT_OK && statuses[i]; i++) {
        if (!f->status || strcmp(f->status, statuses[i]) == 0)
            status = filter_walk(cli, buf_str(&query), statuses[i], (int64_t)p.limit, take, &p, NULL);
    }
    bar_clear(&p.bar);
    buf_release(&query);
    if (status == EXIT_OK)
        status = settle(&p, p.limit);
    free(p.jobs);
    return status;
}

void selection_release(struct selection *s)
{
    for (size_t i = 0; i < s->n_rows; i++) {
        free(s->rows[i].status);
        free(s->rows[i].task_type);
    }
    free(s->rows);
    free(s->ids);
}

void selection_print(const struct selection *s, FILE *f)
{
    struct table *t = table_new(">JOBS|STATUS|*TYPE");
    size_t rest = 0;
    for (size_t i = 0; i < s->n_rows; i++) {
        if (i >= ROWS_SHOWN) {
            rest += s->rows[i].n;
            continue;
        }
        table_cellf(t, "%zu", s->rows[i].n);
        table_cell_colour(t, s->rows[i].status, status_colour(s->rows[i].status));
        table_cell(t, s->rows[i].task_type);
    }
    table_print(t, f, 0);
    table_free(t);
    if (rest > 0)
        fprintf(f, "and %zu more of other types\n", rest);
}

json_t *selection_json(const struct selection *s)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < s->n_rows; i++)
        json_array_append_new(rows, json_pack("{s:s,s:s,s:I}", "status", s->rows[i].status, "task_type",
                                              s->rows[i].task_type, "jobs", (json_int_t)s->rows[i].n));
    return rows;
}
