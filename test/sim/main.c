/* haul-sim: runs seeds, judges what happened, and shows the history of the job concerned. */
#include "check.h"
#include "planted.h"
#include "sim.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/wait.h>

#define JOBS_LIMIT 64
#define SHOWN_MAX  3 /* findings of a seed */

static const char usage[] =
    "usage: haul-sim [--seeds N] [--first S] [--jobs J] [--history FILE] [--hash] [--bug NAME | --bugs]\n"
    "       haul-sim check FILE...\n"
    "\n"
    "Runs N simulated installations (default 100), seeds S (default 1) and on, on J processes (default 1), and judges "
    "each by I1 to I13.\n"
    "  --history FILE  write the history of the first seed, as JSON lines\n"
    "  --hash          print a hash of each seed's history\n"
    "  --bug NAME      plant that bug, and run seeds until it is caught (haul-sim-planted only)\n"
    "  --bugs          one after the other, every bug there is\n";

struct options {
    uint64_t seeds, first;
    unsigned jobs;
    const char *history, *bug;
    bool hash, bugs;
};

struct result {
    uint64_t seed, hash;
    usec took_us;
    size_t broken, events;
};

struct total {
    uint64_t seeds, failed;
    usec took_us;
};

static void complain(const char *where, const struct history *h, const struct violation *found, size_t n)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    if (!to)
        abort();
    fprintf(to, "%s: %zu broken\n", where, n);
    for (size_t i = 0; i < MIN(n, (size_t)SHOWN_MAX); i++) {
        char id[UUID_STR_MAX];
        uuid_format(&found[i].job, id);
        fprintf(to, "  %s, job %s: %s\n", found[i].invariant, id, found[i].text);
    }
    fprintf(to, "history of that job:\n");
    history_write(h, uuid_is_nil(&found[0].job) ? NULL : &found[0].job, to);
    fclose(to);
    fwrite(text, 1, size, stdout); /* in one piece: others write, too */
    fflush(stdout);
    free(text);
}

static struct result seed_run(const struct options *o, uint64_t seed, bool quiet, struct violation found[FINDINGS_MAX])
{
    struct history h;
    struct result r = {.seed = seed, .took_us = sim_run(seed, &h)};
    char where[64];

    r.events = h.n;
    r.broken = history_check(&h, found);
    if (o->hash)
        r.hash = history_hash(&h);
    snprintf(where, sizeof where, "seed %" PRIu64, seed);
    if (r.broken && !quiet)
        complain(where, &h, found, r.broken);
    if (o->history && seed == o->first) {
        FILE *to = fopen(o->history, "w");
        if (!to) {
            fprintf(stderr, "haul-sim: open '%s': %s\n", o->history, strerror(errno));
            exit(1);
        }
        history_write(&h, NULL, to);
        fclose(to);
    }
    history_free(&h);
    return r;
}

static void result_add(const struct options *o, struct total *t, const struct result *r)
{
    t->seeds++;
    t->failed += r->broken > 0;
    t->took_us += r->took_us;
    if (o->hash)
        printf("seed %" PRIu64 ": %016" PRIx64 ", %zu events\n", r->seed, r->hash, r->events);
    if (isatty(STDERR_FILENO) && t->seeds % 50 == 0)
        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed ", t->seeds, o->seeds, t->failed);
}

/* Every J-th seed, told to the parent. */
static void child(const struct options *o, unsigned which, int to)
{
    struct violation found[FINDINGS_MAX];

    for (uint64_t i = which; i < o->seeds; i += o->jobs) {
        struct result r = seed_run(o, o->first + i, false, found);
        if (write(to, &r, sizeof r) != (ssize_t)sizeof r)
            _exit(1);
    }
    disk_end();
    _exit(0);
}

static int seeds_run(const struct options *o, struct total *t)
{
    pid_t pids[JOBS_LIMIT];
    int ends[2], status, bad = 0;
    struct result r;

    if (pipe(ends))
        return 1;
    fflush(NULL);
    for (unsigned i = 0; i < o->jobs; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            child(o, i, ends[1]);
    }
    close(ends[1]);
    while (read(ends[0], &r, sizeof r) == (ssize_t)sizeof r)
        result_add(o, t, &r);
    close(ends[0]);
    for (unsigned i = 0; i < o->jobs; i++)
        bad |= pids[i] < 0 || waitpid(pids[i], &status, 0) < 0 || status != 0;
    if (bad)
        fprintf(stderr, "haul-sim: a process ended before its seeds were run\n");
    return bad || t->seeds != o->seeds;
}

static int bug_hunt(const struct options *o, const char *name)
{
    struct violation found[FINDINGS_MAX];
    usec took_us = 0;

    if (!bug_plant(name)) {
        fprintf(stderr, "haul-sim: no bug '%s' in this build\n", name);
        return 2;
    }
    for (uint64_t i = 0; i < o->seeds; i++) {
        struct result r = seed_run(o, o->first + i, true, found);
        took_us += r.took_us;
        if (!r.broken)
            continue;
        printf("%-24s caught by %s after %" PRIu64 " seeds, %.1f simulated hours: %s\n", name, found[0].invariant,
               i + 1, (double)took_us / 3600e6, found[0].text);
        fflush(stdout);
        return 0;
    }
    printf("%-24s NOT caught in %" PRIu64 " seeds\n", name, o->seeds);
    return 1;
}

static int check_files(int n, char **paths)
{
    int bad = 0;

    for (int i = 0; i < n; i++) {
        struct history h = {0};
        struct violation found[FINDINGS_MAX];
        struct err err = {0};
        if (history_read(paths[i], &h, &err) != ERR_OK) {
            fprintf(stderr, "haul-sim: %s\n", err.msg);
            history_free(&h);
            return 2;
        }
        history_sort(&h);
        size_t broken = history_check(&h, found);
        if (broken)
            complain(paths[i], &h, found, broken);
        else
            printf("%s: %zu events, nothing broken\n", paths[i], h.n);
        bad |= broken > 0;
        history_free(&h);
    }
    return bad;
}

static uint64_t number(const char *name, const char *text)
{
    char *end = NULL;
    uint64_t v;

    errno = 0;
    v = text ? strtoull(text, &end, 10) : 0;
    if (!text || errno || end == text || *end) {
        fprintf(stderr, "haul-sim: %s needs a number\n", name);
        exit(2);
    }
    return v;
}

static bool option(struct options *o, const char *name, const char *value)
{
    if (!strcmp(name, "--seeds"))
        o->seeds = number(name, value);
    else if (!strcmp(name, "--first"))
        o->first = number(name, value);
    else if (!strcmp(name, "--jobs"))
        o->jobs = (unsigned)MAX(1, MIN(number(name, value), (uint64_t)JOBS_LIMIT));
    else if (!strcmp(name, "--history") && value)
        o->history = value;
    else if (!strcmp(name, "--bug") && value)
        o->bug = value;
    else
        return false;
    return true;
}

static void options_read(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--hash"))
            o->hash = true;
        else if (!strcmp(argv[i], "--bugs"))
            o->bugs = true;
        else if (!strcmp(argv[i], "--help")) {
            fputs(usage, stdout);
            exit(0);
        } else if (option(o, argv[i], argv[i + 1]))
            i++;
        else {
            fputs(usage, stderr);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {.seeds = 100, .first = 1, .jobs = 1};
    struct total t = {0};
    struct timespec began, ended;
    int bad = 0;

    if (argc > 1 && !strcmp(argv[1], "check"))
        return check_files(argc - 2, argv + 2);
    options_read(&o, argc, argv);
    server_prepare(o.first);
    if (o.bugs)
        for (size_t i = 0; i < n_bugs; i++)
            bad |= bug_hunt(&o, bugs[i].name);
    else if (o.bug)
        bad = bug_hunt(&o, o.bug);
    if (o.bugs || o.bug) {
        disk_end();
        return bad;
    }
    clock_gettime(CLOCK_MONOTONIC, &began);
    bad = seeds_run(&o, &t);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    disk_end();
    printf("haul-sim: %" PRIu64 " seeds from %" PRIu64 ", %.1f simulated hours in %.1f s; %" PRIu64 " failed\n",
           t.seeds, o.first, (double)t.took_us / 3600e6,
           (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9, t.failed);
    return bad || t.failed;
}
