/* Gathering lines into one request, and reading their outcomes. */
#include "cli/batch_parcel.h"
#include "base/auto.h"
#include "base/json.h"
#include "cli/batch_line.h"

#define PARCEL_BYTES (4 << 20)
#define BODY_MAX     (15 << 20) /* the server takes 16 MiB */

void parcel_init(struct parcel *p)
{
    *p = (struct parcel){.n = 0};
    buf_init(&p->raw, PARCEL_BYTES + LINE_BYTES_MAX + 16);
    buf_init(&p->body, BODY_MAX);
}

static void empty(struct parcel *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->lines[i].why);
    p->n = 0;
    p->n_sent = 0;
    buf_reset(&p->raw);
    buf_reset(&p->body);
    buf_adds(&p->body, "{\"jobs\":[");
}

void parcel_release(struct parcel *p)
{
    empty(p);
    buf_release(&p->raw);
    buf_release(&p->body);
}

static char *reason(const char *field, const char *text)
{
    AUTO_FREE char *whole = NULL;
    if (strncmp(text, field, strlen(field)) == 0) /* the server's detail may name it already */
        field = "";
    if (asprintf(&whole, "%s%s%s", field, *field ? ": " : "", text) < 0)
        whole = NULL;
    return text_safe(whole ? whole : "refused");
}

static void body_truncate(struct buf *b, size_t len)
{
    b->len = len;
    b->data[len] = '\0';
}

/* Memory that is short shows up in the buffers' `failed`. */
static void take_line(struct parcel *p, const struct line *line, const json_t *defaults)
{
    struct parcel_line *l = &p->lines[p->n++];
    size_t before = p->body.len;
    struct err err = {0};
    *l = (struct parcel_line){.number = line->number, .at = p->raw.len, .index = -1};
    buf_add(&p->raw, line->text, (size_t)line->bytes);
    buf_adds(&p->raw, line->crlf ? "\r\n" : "\n");
    l->n = p->raw.len - l->at;
    if (p->n_sent > 0)
        buf_addc(&p->body, ',');
    if (batch_line(line->text, (size_t)line->bytes, defaults, &p->body, &l->own_key, &err) == ERR_OK) {
        l->index = p->n_sent++;
    } else {
        body_truncate(&p->body, before);
        l->why = reason(err.field, err.msg);
    }
}

static void take_long(struct parcel *p, const struct line *line)
{
    struct parcel_line *l = &p->lines[p->n++];
    char why[200];
    *l = (struct parcel_line){.number = line->number, .at = p->raw.len, .index = -1};
    snprintf(why, sizeof(why),
             "has %lld bytes, at most %d are taken: upload what is large and use payload_ref (not copied to --rejects)",
             (long long)line->bytes, LINE_BYTES_MAX);
    l->why = strdup(why);
}

enum line_kind parcel_gather(struct parcel *p, struct lines *lines, const json_t *defaults, struct err *err)
{
    empty(p);
    while (p->n < PARCEL_LINES && p->raw.len < PARCEL_BYTES && p->body.len < PARCEL_BYTES) {
        struct line line;
        enum line_kind k = lines_next(lines, &line, err);
        if (k == LINE_IDLE && p->n == 0)
            continue;
        if (k == LINE_TEXT)
            take_line(p, &line, defaults);
        else if (k == LINE_TOO_LONG)
            take_long(p, &line);
        else
            return k;
        if (p->raw.failed || p->body.failed) {
            err_set(err, ERR_NO_MEMORY, 0, "line %lld: out of memory", (long long)line.number);
            empty(p);
            return LINE_FAILED;
        }
        p->end_offset = lines->offset;
        p->end_line = lines->number;
    }
    return LINE_TEXT;
}

static bool undecided(const json_t *r)
{
    const char *code = jtext(json_object_get(r, "problem"), "code");
    return !*jtext(r, "job_id") && err_repeatable(err_from_name(code));
}

/* EXIT_OK with *ret_open: asks for another round. */
static int read_results(struct parcel *p, const json_t *doc, bool *ret_open)
{
    const json_t *results = json_object_get(doc, "results");
    struct err err = {0};
    *ret_open = false;
    if (json_array_size(results) != (size_t)p->n_sent) {
        err_set(&err, ERR_INTERNAL, 0, "the server's answer tells of %zu jobs, not of %d", json_array_size(results),
                p->n_sent);
        return cli_err(&err, "submit");
    }
    for (size_t i = 0; i < p->n; i++) {
        struct parcel_line *l = &p->lines[i];
        const json_t *r = l->index >= 0 ? json_array_get(results, (size_t)l->index) : NULL;
        const json_t *problem = json_object_get(r, "problem");
        if (!r)
            continue;
        if (undecided(r)) {
            *ret_open = true;
            return EXIT_OK;
        }
        free(l->why);
        l->why = NULL;
        snprintf(l->job_id, sizeof(l->job_id), "%s", jtext(r, "job_id"));
        l->duplicate = json_is_true(json_object_get(r, "duplicate"));
        if (!l->job_id[0]) {
            const char *detail = jtext(problem, "detail");
            l->why = reason(jtext(problem, "field"), *detail ? detail : jtext(problem, "title"));
        }
    }
    return EXIT_OK;
}

int parcel_send(struct parcel *p, struct cli *cli, const char *key, struct bar *bar)
{
    usec until = now_mono() + PATIENCE_US;
    if (p->n_sent == 0)
        return EXIT_OK;
    buf_adds(&p->body, "]}");
    for (unsigned round = 1;; round++) {
        AUTO_FREE char *text = NULL;
        struct haul_error herr;
        struct err err = {0};
        json_t *doc = NULL;
        bool open = false;
        int rc = call_patiently(cli, "POST", "/v1/jobs:batch", buf_str(&p->body), key, bar, &text, NULL, &herr);
        if (rc == HAUL_ABORTED)
            return err_exit(ERR_CANCELLED);
        if (rc != HAUL_OK) {
            bar_clear(bar);
            return cli_haul_err(cli, &herr, "submit");
        }
        if (json_parse(text, strlen(text), &doc, &err) != ERR_OK) {
            bar_clear(bar);
            return cli_err(&err, "the server's answer");
        }
        int status = read_results(p, doc, &open);
        json_decref(doc);
        if (status != EXIT_OK || !open)
            return status;
        if (now_mono() >= until) {
            bar_clear(bar);
            err_set(&err, ERR_BUSY, 0, "the server has been too busy for some of the lines for ten minutes");
            return cli_err(&err, "submit");
        }
        if (!patient_sleep(round, 0))
            return err_exit(ERR_CANCELLED);
    }
}
