/* One run: the ground, a slice of the bare limits, the load, another slice, and what the server itself counted. */
#include "bench/bench.h"
#include "base/auto.h"
#include "base/rng.h"
#include "bench/ground.h"
#include "bench/life.h"
#include "bench/start.h"
#include "bench/counted.h"
#include <sys/resource.h>

#define BENCH_TYPE "bench_v1"
#define SLICE_NS   INT64_C(60000000) /* of each bare limit, before and after, for each second of load */
#define SECOND_NS  INT64_C(1000000000)

struct run {
    const struct bench_plan *plan;
    struct bench_report *report;
    struct ground ground;
    struct names names[BENCH_SERVERS_MAX];
    union {
        struct submit submit;
        struct life life;
    };
};

static struct latency *step(struct bench_report *r, const char *name)
{
    r->steps[r->n_steps].name = name;
    return &r->steps[r->n_steps++].latency;
}

static double cpu_self_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- the loads ---- */

static void keep(struct bench_report *r, const struct load_result *l, const struct load_plan *plan)
{
    r->requests = l->requests;
    r->repeats = l->repeats;
    r->broken = l->broken;
    r->unsent = l->unsent;
    r->first = l->first;
    r->elapsed_s = (double)l->elapsed_ns / 1e9;
}

static int load(struct run *r, const struct workload *work, struct err *err)
{
    const struct bench_plan *p = r->plan;
    struct load_result result;
    struct load_plan plan = {.to = r->ground.servers,
                             .n_to = r->ground.n_servers,
                             .connections = p->connections,
                             .rate = (double)p->rate / p->batch,
                             .for_ns = p->seconds * SECOND_NS,
                             .stop = p->stop};
    double client = cpu_self_s();
    int64_t server = child_cpu_ns(&r->ground.server);
    r->report->begun = true;
    int rc = load_run(&plan, work, &result, err);
    keep(r->report, &result, &plan);
    r->report->client_cpu_s = cpu_self_s() - client;
    if (r->ground.own && child_cpu_ns(&r->ground.server) > 0) {
        r->report->server_cpu_s = (double)(child_cpu_ns(&r->ground.server) - server) / 1e9;
        r->report->server_peak_bytes = child_peak_bytes(&r->ground.server);
    }
    return rc;
}

static int run_submit(struct run *r, struct err *err)
{
    const struct bench_plan *p = r->plan;
    struct submit *s = &r->submit;
    int rc = submit_init(s, r->names, r->ground.n_servers, p->connections, p->batch, p->jobs, err);
    struct workload work = submit_workload(s);
    if (!rc)
        rc = load(r, &work, err);
    r->report->acknowledged = s->acknowledged;
    *step(r->report, "submit") = s->latency;
    submit_release(s);
    return rc;
}

static int run_life(struct run *r, struct err *err)
{
    const struct bench_plan *p = r->plan;
    struct life *l = &r->life;
    int rc = life_init(l, r->names, r->ground.n_servers, p->connections, p->batch, p->workers, p->jobs, err);
    struct workload work = life_workload(l);
    if (!rc)
        rc = load(r, &work, err);
    r->report->acknowledged = l->completed;
    *step(r->report, "life") = l->whole;
    *step(r->report, "submit") = l->submit.latency;
    *step(r->report, "lease") = l->lease;
    *step(r->report, "complete") = l->complete;
    life_release(l);
    return rc;
}

static int run_start(struct run *r, struct err *err)
{
    struct start s = {.ground = &r->ground, .names = r->names, .samples = r->plan->samples, .stop = r->plan->stop};
    int64_t begin = mono_ns();
    r->report->begun = true;
    int rc = start_run(&s, err);
    r->report->elapsed_s = (double)(mono_ns() - begin) / 1e9;
    for (unsigned i = 0; i < s.n_steps; i++) {
        r->report->acknowledged += strcmp(s.steps[i].name, "sync") ? s.steps[i].latency.n : 0;
        *step(r->report, s.steps[i].name) = s.steps[i].latency;
    }
    return rc;
}

static int measured(struct run *r, struct err *err)
{
    switch (r->plan->kind) {
    case BENCH_SUBMIT:
        return run_submit(r, err);
    case BENCH_LIFE:
        return run_life(r, err);
    case BENCH_START:
        return run_start(r, err);
    }
    return ERR_OK;
}

/* ---- around them ---- */

/* A server that is gone says nothing itself: where it is ours, how it ended is known. */
static int explain(struct run *r, int rc, struct err *err)
{
    struct err ended = {0};
    if (rc != ERR_NETWORK)
        return rc;
    if (child_alive(&r->ground.server, &ended) == ERR_OK) /* of a list, the error names the one */
        return r->ground.n_servers > 1 ? rc : err_wrap(err, rc, "%s", r->ground.url);
    *err = ended;
    return (int)err->code;
}

static int check_count(struct run *r, const struct counted *before, struct err *err)
{
    struct counted after;
    struct bench_report *report = r->report;
    int rc = counted_get(&r->ground.servers[0], r->report->queue, &after, err);
    if (rc)
        return rc;
    report->counted = report->plan->kind == BENCH_LIFE ? after.success - before->success : after.all - before->all;
    if (report->counted < (int64_t)report->acknowledged)
        return err_set(err, ERR_CORRUPT, 0, "the server acknowledged %llu jobs and counts %lld",
                       (unsigned long long)report->acknowledged, (long long)report->counted);
    return ERR_OK;
}

static int with_ground(struct run *r, struct err *err)
{
    struct counted before;
    struct bare *bare = &r->ground.bare;
    int64_t slice_ns = SLICE_NS * (r->plan->kind == BENCH_START ? 2 : MAX(MIN(r->plan->seconds, 10U), 1U));
    int rc = counted_get(&r->ground.servers[0], r->report->queue, &before, err);
    if (!rc)
        rc = bare_slice(bare, slice_ns, err);
    if (!rc)
        rc = measured(r, err);
    if (!rc)
        rc = bare_slice(bare, slice_ns, err);
    if (!rc && r->plan->kind != BENCH_START)
        rc = check_count(r, &before, err);
    r->report->sync = bare->sync;
    memcpy(r->report->sqlite, bare->sqlite, sizeof(bare->sqlite));
    r->report->n_sqlite = bare->n_sqlite;
    return explain(r, rc, err);
}

static void name_run(struct run *r)
{
    static const char *const whats[] = {"submit", "life", "start"};
    struct bench_report *report = r->report;
    char random[33];
    rng_hex128(rng_real(), random);
    random[16] = '\0';
    if (r->plan->queue)
        snprintf(report->queue, sizeof(report->queue), "%s", r->plan->queue);
    else
        snprintf(report->queue, sizeof(report->queue), "bench-%.8s", random);
    report->what = whats[r->plan->kind];
    for (unsigned i = 0; i < r->ground.n_servers; i++) {
        struct names *n = &r->names[i];
        *n = (struct names){.type = BENCH_TYPE, .queue = report->queue, .host = r->ground.servers[i].host};
        snprintf(n->run, sizeof(n->run), "%.16s", random);
    }
}

/* No server of a list is left without load. */
static int check_servers(const struct run *r, struct err *err)
{
    const unsigned n = r->ground.n_servers;
    if (r->plan->kind == BENCH_START && n > 2)
        return err_set(err, ERR_USAGE, 0,
                       "%u servers in the list: start takes at most two, one to submit to and one to lease at", n);
    if (r->plan->kind != BENCH_START && r->plan->connections < n)
        return err_set(err, ERR_USAGE, 0, "--connections: %u do not reach the %u servers of the list: give at least %u",
                       r->plan->connections, n, n);
    return ERR_OK;
}

static void tell_servers(const struct ground *g, struct bench_report *report)
{
    snprintf(report->url, sizeof(report->url), "%s", g->url);
    report->n_servers = g->n_servers;
    if (g->n_servers == 0)
        return;
    snprintf(report->submitted_at, sizeof(report->submitted_at), "http://%s", g->servers[0].host);
    snprintf(report->leased_at, sizeof(report->leased_at), "http://%s", g->servers[g->n_servers - 1].host);
}

int bench_run(const struct bench_plan *plan, struct bench_report *ret, struct err *err)
{
    AUTO_FREE struct run *r = calloc(1, sizeof(*r));
    *ret = (struct bench_report){.plan = plan, .server_cpu_s = -1, .server_peak_bytes = -1, .counted = -1};
    if (!r)
        return err_set(err, ERR_NO_MEMORY, 0, "bench");
    r->plan = plan;
    r->report = ret;
    int rc = ground_open(&r->ground, plan->data, plan->server, plan->batch, err);
    name_run(r);
    tell_servers(&r->ground, ret);
    snprintf(ret->disk, sizeof(ret->disk), "%s", r->ground.kind);
    if (!rc)
        rc = check_servers(r, err);
    if (!rc)
        rc = with_ground(r, err);
    ground_close(&r->ground);
    return rc;
}
