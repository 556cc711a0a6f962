#include "worker/status.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/timefmt.h"
#include "base/uuid.h"
#include "worker/completion.h"
#include "worker/presence.h"
#include "worker/settings.h"
#include "worker/state.h"
#include <getopt.h>

struct asked {
    const char *state, *config;
    bool json, help;
    usec max_age_us; /* 0: whatever */
};

static void help(void)
{
    puts(
        "Usage: haul worker status [OPTION]...\n\n"
        "Lists the jobs that run on this machine for a state folder, and the worker that serves it. Asks the "
        "processes\n"
        "themselves: no server is needed, nor a worker.\n\n"
        "  --state DIR      the worker's state folder (default: as 'haul worker' takes it)\n"
        "  --max-age D      a health check: exit status 16 when no worker runs, or its last successful poll is older;\n"
        "                   not below a minute, since a poll of an idle worker is held for half a minute\n"
        "  --config FILE    YAML, section 'worker:'\n"
        "  --json           print JSON\n"
        "  --help           this text\n\n"
        "A job is fetching, running, verifying, frozen (its lease cannot be renewed), checkpointing (it ended, and "
        "what "
        "the next\n"
        "attempt goes on from is stored), reporting, unreported (it ended and waits for a worker to tell the server), "
        "dead (a worker\n"
        "will remove what is left of it) or silent (its process does not answer).");
}

static int flags_take(int argc, char **argv, struct asked *ret, struct err *err)
{
    static const struct option options[] = {{"state", 1, NULL, 'd'},   {"config", 1, NULL, 'c'}, {"json", 0, NULL, 'j'},
                                            {"max-age", 1, NULL, 'a'}, {"help", 0, NULL, 'h'},   {0}};
    opterr = 0;
    optind = 0;
    for (int c; (c = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
        if (c == 'd')
            ret->state = optarg;
        else if (c == 'c')
            ret->config = optarg;
        else if (c == 'j')
            ret->json = true;
        else if (c == 'h')
            ret->help = true;
        else if (c == 'a' && duration_parse(optarg, "max-age", &ret->max_age_us, err))
            return (int)(err->code = ERR_USAGE);
        else if (c == '?' || c == ':')
            return flag_refused("haul worker status", c, argv, err);
    }
    return flags_end("haul worker status", argc, argv, err);
}

/* One that says nothing for itself: what its folder says. */
static json_t *attempt_seen(const char *dir, const char *name)
{
    char id[UUID_STR_MAX];
    snprintf(id, sizeof id, "%s", name);
    const char *state = state_attempt_runs(dir) ? "silent" : completion_exists(dir) ? "unreported" : "dead";
    return json_pack("{ss si sn sn ss sn sn sn}", "job_id", id, "attempt", (int)strtol(name + UUID_STR_MAX, NULL, 10),
                     "task_type", "pid", "state", state, "percent", "started", "version");
}

static void attempt_ask(void *arg, const char *dir, const char *name)
{
    json_t *who = NULL;
    struct err err;
    if (presence_ask(dir, &who, NULL, &err))
        who = attempt_seen(dir, name);
    json_array_append_new(arg, who);
}

static void worker_print(const json_t *w, const char *folder)
{
    if (json_is_null(w)) {
        printf("worker   none runs with the state folder %s\n", folder);
        return;
    }
    const json_t *age = json_object_get(w, "last_poll_age_s");
    char ago[64] = "never";
    if (json_is_number(age))
        snprintf(ago, sizeof ago, "%.0f s ago", json_number_value(age));
    printf("worker   %s, %s, process %lld, haul %s\n", json_string_value(json_object_get(w, "name")),
           json_string_value(json_object_get(w, "state")), (long long)json_integer_value(json_object_get(w, "pid")),
           json_string_value(json_object_get(w, "version")));
    printf("server   %s, last successful poll %s\n", json_string_value(json_object_get(w, "server")), ago);
    const char *servers = json_string_value(json_object_get(w, "servers"));
    if (servers && strchr(servers, ','))
        printf("servers  %s\n", servers);
    printf("slots    %lld of %lld busy\n", (long long)json_integer_value(json_object_get(w, "slots_busy")),
           (long long)json_integer_value(json_object_get(w, "slots_total")));
    printf("disk     %.1f GiB free, jobs are claimed from %.1f GiB on\n",
           (double)json_integer_value(json_object_get(w, "free_bytes")) / (1 << 30),
           (double)json_integer_value(json_object_get(w, "min_free_bytes")) / (1 << 30));
}

static void jobs_print(const json_t *jobs)
{
    size_t i;
    json_t *j;
    if (!json_array_size(jobs)) {
        puts("jobs     none");
        return;
    }
    printf("\n%-36s %7s  %-10s %5s %8s  %-20.20s  %s\n", "JOB", "ATTEMPT", "STATE", "%", "PROCESS", "STARTED",
           "TASK TYPE");
    json_array_foreach (jobs, i, j) {
        const char *started = json_string_value(json_object_get(j, "started"));
        const char *type = json_string_value(json_object_get(j, "task_type"));
        const json_t *percent = json_object_get(j, "percent");
        char pc[16] = "-", pid[24] = "-";
        if (json_is_number(percent))
            snprintf(pc, sizeof pc, "%.1f", json_number_value(percent));
        if (json_is_integer(json_object_get(j, "pid")))
            snprintf(pid, sizeof pid, "%lld", (long long)json_integer_value(json_object_get(j, "pid")));
        printf("%-36s %7lld  %-10s %5s %8s  %-20.19s  %s\n", json_string_value(json_object_get(j, "job_id")),
               (long long)json_integer_value(json_object_get(j, "attempt")),
               json_string_value(json_object_get(j, "state")), pc, pid, started ? started : "-", type ? type : "-");
    }
}

/* P16: health is the age of the last successful poll. */
static int health(const json_t *worker, usec max_age_us, struct err *err)
{
    const json_t *age = json_object_get(worker, "last_poll_age_s"), *up = json_object_get(worker, "uptime_s");
    const double max_s = (double)max_age_us / USEC_PER_SEC;
    if (!max_age_us)
        return ERR_OK;
    if (json_is_null(worker))
        return err_set(err, ERR_UNAVAILABLE, 0, "no worker runs here");
    if (!json_is_number(age)) /* its first poll may be held for as long as any other */
        return json_is_number(up) && json_number_value(up) <= max_s
                   ? ERR_OK
                   : err_set(err, ERR_UNAVAILABLE, 0, "no poll of this worker was answered since it began, %.0f s ago",
                             json_number_value(up));
    if (json_number_value(age) > max_s)
        return err_set(err, ERR_UNAVAILABLE, 0, "the last successful poll is %.0f s old", json_number_value(age));
    return ERR_OK;
}

static int status(const struct asked *asked, struct err *err)
{
    AUTO_FREE char *folder = NULL;
    struct state s;
    json_t *worker = NULL, *jobs = json_array();
    int rc = settings_state(asked->state, asked->config, &folder, err);
    if (!rc)
        rc = state_find(folder, &s, err);
    if (rc) {
        json_decref(jobs);
        return rc;
    }
    if (presence_ask(s.path, &worker, NULL, err))
        worker = json_null();
    err_clear(err);
    state_attempts(&s, attempt_ask, jobs);
    json_t *all = json_pack("{ss so so}", "state_folder", s.path, "worker", worker, "jobs", jobs);
    if (!all)
        return err_set(err, ERR_NO_MEMORY, 0, "status");
    if (asked->json) {
        json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
        putchar('\n');
    } else {
        worker_print(worker, s.path);
        jobs_print(jobs);
    }
    rc = health(worker, asked->max_age_us, err);
    json_decref(all);
    return rc;
}

int status_main(int argc, char **argv)
{
    struct asked asked = {NULL, NULL, false, false, 0};
    struct err err;
    err_clear(&err);
    int rc = flags_take(argc, argv, &asked, &err);
    if (!rc && asked.help)
        help();
    else if (!rc)
        rc = status(&asked, &err);
    if (!rc)
        return 0;
    fprintf(stderr, "haul worker status: %s\n", err.msg);
    return err_exit((enum err_code)rc);
}
