/* Three steps, none of which makes the engine wait: read the store on the pool, copy the engine's counts on its thread, render on the
 * pool. In this order a pair that the store's counts name is one that the engine had counted by then. */
#include "api/survey.h"

#define SURVEY_ARENA_MAX (64u * 1024 * 1024)

static int pair_order(const void *a, const void *b)
{
    const struct metrics_pair *x = *(struct metrics_pair *const *)a, *y = *(struct metrics_pair *const *)b;
    int queues = strcmp(x->queue, y->queue);

    return queues ? queues : strcmp(x->task_type, y->task_type);
}

static int pairs_order(struct survey *s, struct err *err)
{
    struct engine_metrics *m = &s->engine;

    s->by_name = arena_array(s->arena, m->n_pairs, sizeof(*s->by_name));
    if (!s->by_name)
        return no_memory(err);
    for (size_t i = 0; i < m->n_pairs; i++)
        s->by_name[i] = &m->pairs[i];
    qsort(s->by_name, m->n_pairs, sizeof(*s->by_name), pair_order);
    return ERR_OK;
}

size_t survey_pair(const struct survey *s, const struct stat_row *row)
{
    struct metrics_pair key = {.queue = row->queue, .task_type = row->task_type}, *p = &key;
    struct metrics_pair **found = bsearch(&p, s->by_name, s->engine.n_pairs, sizeof(*s->by_name), pair_order);

    return found ? (size_t)(*found - s->engine.pairs) : 0;
}

void survey_rates_add(const struct survey *s, const struct metrics_pair *pair, double per_min[RATE_COUNT])
{
    for (unsigned i = 0; i < RATE_COUNT; i++)
        per_min[i] += rates_per_min(&pair->rates, (enum rates_what)i, s->engine.began_boot_us, s->engine.boot_us);
}

void survey_render_rates(struct json_writer *w, const double *per_min)
{
    static const char *const keys[RATE_COUNT] = {[RATE_SUBMITTED] = "submitted_per_min",
                                                 [RATE_SUCCEEDED] = "succeeded_per_min",
                                                 [RATE_FAILED] = "failed_per_min"};

    for (size_t i = 0; i < RATE_COUNT; i++)
        if (per_min)
            jw_real(w, keys[i], (double)(int64_t)(per_min[i] * 1000 + 0.5) / 1000);
        else
            jw_null(w, keys[i]);
}

static int pause_order(const void *a, const void *b)
{
    const struct pause *x = a, *y = b;

    return strcmp(x->queue, y->queue);
}

const struct pause *survey_pause(const struct survey *s, const char *queue)
{
    const struct pause key = {.queue = queue};

    return s->n_pauses ? bsearch(&key, s->pauses, s->n_pauses, sizeof(key), pause_order) : NULL;
}

static void render_task(void *arg)
{
    struct survey *s = arg;
    struct err err;

    err_clear(&err);
    if (pairs_order(s, &err) != ERR_OK || s->render(s, &err) != ERR_OK)
        s->failed(s, &err);
}

static void run(struct survey *s, void (*task)(void *arg))
{
    struct err err;

    err_clear(&err);
    if (pool_run(s->api->reads, task, s, &err) != ERR_OK)
        s->failed(s, &err);
}

static void engine_letter(struct engine *e, void *arg)
{
    struct survey *s = arg;
    struct err err;

    err_clear(&err);
    if (engine_metrics(e, s->arena, &s->engine, &err) != ERR_OK)
        s->failed(s, &err);
    else
        run(s, render_task);
}

static void read_task(void *arg)
{
    struct survey *s = arg;
    struct err err;

    err_clear(&err);
    const struct api *api = s->api;
    int rc = api->store_driver->stats(api->store, s->arena, &s->stats, &s->n_stats, &err);
    if (!rc)
        rc = api->store_driver->pauses(api->store, API_PROJECT, s->arena, &s->pauses, &s->n_pauses, &err);
    if (rc)
        s->failed(s, &err);
    else
        loop_post(s->api->loop, &s->letter, engine_letter, s);
}

static struct survey *survey_new(struct api *api, int (*render)(struct survey *s, struct err *err),
                                 void (*failed)(struct survey *s, const struct err *err))
{
    struct survey *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    *s = (struct survey){.api = api, .render = render, .failed = failed};
    s->arena = arena_new(SURVEY_ARENA_MAX);
    if (s->arena)
        return s;
    free(s);
    return NULL;
}

static void board_not_rendered(struct survey *s, const struct err *err)
{
    board_failed(s->board);
    survey_free(s);
}

void survey_board(struct board *board, int (*render)(struct survey *s, struct err *err))
{
    struct survey *s = survey_new(board->all->api, render, board_not_rendered);

    if (!s) {
        board_failed(board);
        return;
    }
    s->board = board;
    run(s, read_task);
}

void survey_free(void *data)
{
    struct survey *s = data;

    if (!s)
        return;
    arena_free(s->arena);
    free(s);
}

static void refuse(struct survey *s, const struct err *err)
{
    reply_err(s->req, err);
}

void survey_start(struct http_request *req, int (*render)(struct survey *s, struct err *err))
{
    struct api *api = api_enter(req);
    struct err err;

    if (!api)
        return;
    err_clear(&err);
    struct survey *s = survey_new(api, render, refuse);
    if (!s ? no_memory(&err) : req_query_none(req, &err)) {
        survey_free(s);
        reply_err(req, &err);
        return;
    }
    s->req = req;
    http_set_data(req, s, survey_free);
    run(s, read_task);
}
