/* What a run found, for people and for programs. */
#include "base/auto.h"
#include "base/json.h"
#include "bench/bench.h"

static double rate(const struct bench_report *r)
{
    return r->elapsed_s > 0 ? (double)r->acknowledged / r->elapsed_s : 0;
}

static double per_thousand_ms(const struct bench_report *r, double cpu_s)
{
    return r->acknowledged ? cpu_s * 1e6 / (double)r->acknowledged : 0;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* ---- for people ---- */

/* "42,310": thousands apart, for figures that are read across. */
static const char *grouped(double v, char ret[32])
{
    char plain[24];
    int n = snprintf(plain, sizeof(plain), "%.0f", v);
    size_t k = 0;
    for (int i = 0; i < n && k < 30; i++) {
        if (i > 0 && (n - i) % 3 == 0 && plain[i - 1] != '-')
            ret[k++] = ',';
        ret[k++] = plain[i];
    }
    ret[k] = '\0';
    return ret;
}

/* "87 us", "1.25 ms", "2.1 s": three digits are as many as a figure of this kind carries. */
static const char *lasting(int64_t ns, char ret[32])
{
    double us = (double)ns / 1e3;
    if (us < 1e3)
        snprintf(ret, 32, "%.*f us", us < 10 ? 1 : 0, us);
    else if (us < 1e6)
        snprintf(ret, 32, "%.*f ms", us < 1e4 ? 2 : us < 1e5 ? 1 : 0, us / 1e3);
    else
        snprintf(ret, 32, "%.2f s", us / 1e6);
    return ret;
}

static void print_latency(const char *name, const struct latency *l, FILE *f)
{
    char p50[32], p95[32], p99[32], max[32];
    if (l->n > 0)
        fprintf(f, "  %-20s p50 %-10s p95 %-10s p99 %-10s max %s\n", name, lasting(latency_at(l, 0.5), p50),
                lasting(latency_at(l, 0.95), p95), lasting(latency_at(l, 0.99), p99), lasting(l->max_ns, max));
}

static void print_load(const struct bench_report *r, FILE *f)
{
    char a[32], b[32], c[32];
    fprintf(f, "  %-20s %s/s   %s acknowledged in %.2f s", r->plan->kind == BENCH_LIFE ? "jobs done" : "jobs",
            grouped(rate(r), a), grouped((double)r->acknowledged, b), r->elapsed_s);
    if (r->counted >= 0)
        fprintf(f, ", the server counts %s", grouped((double)r->counted, c));
    fprintf(f, "\n  %-20s %s refused as busy and repeated, %s connections broken", "errors",
            grouped((double)r->repeats, a), grouped((double)r->broken, b));
    if (r->plan->rate)
        fprintf(f, ", %s requests were due and never sent", grouped((double)r->unsent, c));
    fprintf(f, "\n");
}

static void print_cpu(const struct bench_report *r, FILE *f)
{
    fprintf(f, "  %-20s client %.2f ms", "CPU per 1000 jobs", per_thousand_ms(r, r->client_cpu_s));
    if (r->server_cpu_s >= 0)
        fprintf(f, ", server %.2f ms   its memory at most %.1f MiB", per_thousand_ms(r, r->server_cpu_s),
                (double)r->server_peak_bytes / 1048576);
    fprintf(f, "\n");
}

static void print_bare(const struct bench_report *r, FILE *f)
{
    char a[32], b[32];
    bool load = r->plan->kind != BENCH_START;
    if (r->sync.done == 0)
        return;
    fprintf(f, "bare limits of this disk (%s), in this run:\n", r->disk);
    fprintf(f, "  %-20s %10s/s  p50 %-9s", "synced writes", grouped(bare_per_second(&r->sync), a),
            lasting(latency_at(&r->sync.latency, 0.5), b));
    if (load)
        fprintf(f, " jobs reach %.2f of it", ratio(rate(r), bare_per_second(&r->sync)));
    fprintf(f, "\n");
    for (unsigned i = 0; i < r->n_sqlite; i++) {
        const struct bare_rate *s = &r->sqlite[i];
        char name[32];
        snprintf(name, sizeof(name), "SQLite, %u a commit", s->batch);
        if (s->done == 0)
            continue;
        fprintf(f, "  %-20s %10s/s  p50 %-9s", name, grouped(bare_per_second(s), a),
                lasting(latency_at(&s->latency, 0.5), b));
        if (load)
            fprintf(f, " jobs reach %.2f of it", ratio(rate(r), bare_per_second(s)));
        fprintf(f, "\n");
    }
}

static void print_start(const struct bench_report *r, FILE *f)
{
    static const struct {
        const char *name, *text;
    } texts[] = {{"submit", "answered"},
                 {"sync", "  the disk's sync"},
                 {"lease", "lease held"},
                 {"handler", "handler runs"},
                 {"handler_unconfined", "  without sandbox"}};
    for (unsigned i = 0; i < r->n_steps; i++)
        for (size_t k = 0; k < ARRAY_LEN(texts); k++)
            if (strcmp(texts[k].name, r->steps[i].name) == 0)
                print_latency(texts[k].text, &r->steps[i].latency, f);
    if (r->n_steps > 1 && r->steps[1].latency.n > 0)
        fprintf(f, "  an idle submission is answered in %.2f times the disk's own sync (p50)\n",
                ratio((double)latency_at(&r->steps[0].latency, 0.5), (double)latency_at(&r->steps[1].latency, 0.5)));
}

static void print_title(const struct bench_report *r, FILE *f)
{
    const struct bench_plan *p = r->plan;
    fprintf(f, "%s, ", r->what);
    if (p->kind == BENCH_START)
        fprintf(f, "%u samples", p->samples);
    else
        fprintf(f, "%u connection%s, %u job%s a request", p->connections, p->connections == 1 ? "" : "s", p->batch,
                p->batch == 1 ? "" : "s");
    if (p->rate)
        fprintf(f, ", %u jobs/s due", p->rate);
    if (p->kind == BENCH_START && r->n_servers > 1)
        fprintf(f, ", submitted at %s, leased at %s:\n", r->submitted_at, r->leased_at);
    else
        fprintf(f, ", %s%s:\n", p->server ? "" : "own server at ", r->url);
}

void bench_print(const struct bench_report *r, FILE *f)
{
    if (!r->begun)
        return;
    print_title(r, f);
    if (r->plan->kind == BENCH_START) {
        print_start(r, f);
    } else {
        print_load(r, f);
        for (unsigned i = 0; i < r->n_steps; i++)
            print_latency(r->steps[i].name, &r->steps[i].latency, f);
        if (r->plan->rate && r->steps[0].latency.n > 0) /* a stall shows here first */
            fprintf(
                f, "  %-20s p99 is %.1f times p50\n", "steady",
                ratio((double)latency_at(&r->steps[0].latency, 0.99), (double)latency_at(&r->steps[0].latency, 0.5)));
        print_cpu(r, f);
    }
    print_bare(r, f);
}

/* ---- for programs ---- */

static void write_latency(struct json_writer *w, const char *key, const struct latency *l)
{
    jw_object(w, key);
    jw_int(w, "n", (int64_t)l->n);
    jw_real(w, "p50_us", (double)latency_at(l, 0.5) / 1e3);
    jw_real(w, "p95_us", (double)latency_at(l, 0.95) / 1e3);
    jw_real(w, "p99_us", (double)latency_at(l, 0.99) / 1e3);
    jw_real(w, "max_us", (double)l->max_ns / 1e3);
    jw_object_end(w);
}

static void write_bare(struct json_writer *w, const struct bench_report *r, const char *key, const struct bare_rate *b)
{
    jw_object(w, key);
    if (!key)
        jw_int(w, "batch", b->batch);
    jw_real(w, "per_s", bare_per_second(b));
    jw_real(w, "p50_us", (double)latency_at(&b->latency, 0.5) / 1e3);
    if (r->plan->kind != BENCH_START)
        jw_real(w, "ratio", ratio(rate(r), bare_per_second(b)));
    jw_object_end(w);
}

static void write_load(struct json_writer *w, const struct bench_report *r)
{
    const struct bench_plan *p = r->plan;
    jw_int(w, "connections", p->connections);
    jw_int(w, "batch", p->batch);
    if (p->rate)
        jw_int(w, "due_per_s", p->rate);
    jw_real(w, "jobs_per_s", rate(r));
    jw_real(w, "elapsed_s", r->elapsed_s);
    jw_int(w, "acknowledged", (int64_t)r->acknowledged);
    if (r->counted >= 0)
        jw_int(w, "counted_by_server", r->counted);
    else
        jw_null(w, "counted_by_server");
    jw_int(w, "requests", (int64_t)r->requests);
    jw_int(w, "repeats", (int64_t)r->repeats);
    jw_int(w, "broken", (int64_t)r->broken);
    jw_int(w, "unsent", (int64_t)r->unsent);
    jw_real(w, "client_cpu_ms_per_1000", per_thousand_ms(r, r->client_cpu_s));
    if (r->server_cpu_s >= 0)
        jw_real(w, "server_cpu_ms_per_1000", per_thousand_ms(r, r->server_cpu_s));
    else
        jw_null(w, "server_cpu_ms_per_1000");
    if (r->server_peak_bytes >= 0)
        jw_int(w, "server_peak_bytes", r->server_peak_bytes);
    else
        jw_null(w, "server_peak_bytes");
}

int bench_print_json(const struct bench_report *r, FILE *f, struct err *err)
{
    struct buf b;
    struct json_writer w;
    if (!r->begun)
        return ERR_OK;
    buf_init(&b, 1 << 20);
    jw_init(&w, &b);
    jw_object(&w, NULL);
    jw_string(&w, "bench", r->what);
    jw_string(&w, "server", r->url);
    jw_bool(&w, "own_server", r->plan->server == NULL);
    jw_string(&w, "queue", r->queue);
    if (r->plan->kind == BENCH_START) {
        jw_string(&w, "submitted_at", r->submitted_at);
        jw_string(&w, "leased_at", r->leased_at);
    } else {
        write_load(&w, r);
    }
    jw_object(&w, "latency");
    for (unsigned i = 0; i < r->n_steps; i++)
        write_latency(&w, r->steps[i].name, &r->steps[i].latency);
    jw_object_end(&w);
    jw_object(&w, "bare");
    jw_string(&w, "disk", r->disk);
    write_bare(&w, r, "synced_writes", &r->sync);
    jw_array(&w, "sqlite");
    for (unsigned i = 0; i < r->n_sqlite; i++)
        write_bare(&w, r, NULL, &r->sqlite[i]);
    jw_array_end(&w);
    jw_object_end(&w);
    jw_object_end(&w);
    bool failed = b.failed;
    if (!failed)
        fprintf(f, "%s\n", buf_str(&b));
    buf_release(&b);
    return failed ? err_set(err, ERR_NO_MEMORY, 0, "the report") : ERR_OK;
}
