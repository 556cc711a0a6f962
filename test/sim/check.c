#include "check.h"
#include "base/auto.h"
#include <inttypes.h>
#include <stdarg.h>
#include <uthash.h>

#define MOVES_US (10 * USEC_PER_SEC) /* I6: beyond a lease */
#define SLACK_US USEC_PER_SEC        /* between what happened and when it was seen */

struct attempt_seen {
    int64_t number, outcome; /* as its row says at the end */
    char token[TOKEN_STR_MAX], who[16];
    bool told, row, refused;        /* a claim was answered with it; it has a row; a report of it was called stale */
    bool runs, frozen;              /* its process */
    usec told_at, lease_until;      /* as a worker counts it: from before it asked */
    usec reported_at, answered_at;  /* the first time; 0 never */
    int64_t answer, report_outcome; /* status + 1; what a fail said */
    struct event_output outputs[EVENT_OUTPUTS_MAX];
    size_t n_outputs;
};

struct version_seen {
    int64_t version, status;
};

struct checkpoint_seen {
    char sha256[17];
    int64_t attempt;
    usec asked_at, ok_at; /* ok_at: 0 not, or nobody was told */
    bool refused, unsure; /* unsure: one of several questions for it was not answered, and may be late */
};

struct job_seen {
    struct uuid id;
    bool gone;        /* its retention was over */
    usec released_at; /* it was success or cancelled, and its checkpoint nobody's any more */
    struct checkpoint_seen *checkpoints;
    size_t n_checkpoints;
    bool acked, seen, final, told_end; /* told_end: of its last version */
    char key[24];
    struct event state; /* the latest, or the final one */
    int64_t base;       /* attempts up to here were before the latest retry */
    bool retry_asked;   /* a network may repeat it, and have one retry twice */
    usec moved_at;
    struct attempt_seen *attempts;
    size_t n_attempts;
    struct version_seen *versions;
    size_t n_versions;
    UT_hash_handle hh;
};

struct key_seen {
    char key[24];
    struct uuid job;
    UT_hash_handle hh;
};

struct op_seen {
    int64_t op;
    usec at;
    UT_hash_handle hh;
};

struct worker_seen {
    char who[16];
    usec resumed_at;
    UT_hash_handle hh;
};

struct check {
    struct job_seen *jobs;
    struct key_seen *keys;
    struct op_seen *ops;
    struct worker_seen *workers;
    usec retention_us;
    usec lease_us, began_at, healed_at; /* began_at: the server's latest start, or end of a pause */
    bool news;                          /* somebody follows jobs */
    struct violation *found;
    size_t n;
};

__attribute__((format(printf, 4, 5))) static void broken(struct check *c, const char *invariant, const struct uuid *job,
                                                         const char *fmt, ...)
{
    va_list ap;

    if (c->n < FINDINGS_MAX) {
        struct violation *f = &c->found[c->n];
        *f = (struct violation){.job = job ? *job : (struct uuid){{0}}};
        snprintf(f->invariant, sizeof f->invariant, "%s", invariant);
        va_start(ap, fmt);
        vsnprintf(f->text, sizeof f->text, fmt, ap);
        va_end(ap);
    }
    c->n++;
}

static void *grown(void *old, size_t n, size_t size)
{
    void *more = (n & (n - 1)) ? old : realloc(old, (n ? 2 * n : 1) * size); /* room doubles at powers of two */

    if (!more)
        abort();
    return more;
}

static struct job_seen *job_of(struct check *c, const struct uuid *id)
{
    struct job_seen *j;

    HASH_FIND(hh, c->jobs, id, sizeof *id, j);
    if (j)
        return j;
    j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->id = *id;
    HASH_ADD(hh, c->jobs, id, sizeof j->id, j);
    return j;
}

static struct attempt_seen *attempt_of(struct job_seen *j, int64_t number)
{
    for (size_t i = 0; i < j->n_attempts; i++)
        if (j->attempts[i].number == number)
            return &j->attempts[i];
    j->attempts = grown(j->attempts, j->n_attempts, sizeof *j->attempts);
    j->attempts[j->n_attempts] = (struct attempt_seen){.number = number};
    return &j->attempts[j->n_attempts++];
}

static bool over(int64_t status)
{
    return status - 1 == JOB_SUCCESS || status - 1 == JOB_FAILED || status - 1 == JOB_CANCELLED;
}

static const char *name_of(int64_t status)
{
    return status ? job_status_name((enum job_status)(status - 1)) : "unknown";
}

static bool is_error(int64_t outcome)
{
    return outcome == OUTCOME_ERROR || outcome == OUTCOME_TIMEOUT || outcome == OUTCOME_STALLED ||
           outcome == OUTCOME_OOM || outcome == OUTCOME_SIGNAL;
}

/* --- ops --- */

static void op_invoked(struct check *c, const struct event *e)
{
    struct op_seen *op = calloc(1, sizeof *op);

    if (!op)
        abort();
    op->op = e->op;
    op->at = e->t;
    HASH_ADD(hh, c->ops, op, sizeof op->op, op);
}

static usec invoked_at(struct check *c, const struct event *e)
{
    struct op_seen *op;

    HASH_FIND(hh, c->ops, &e->op, sizeof e->op, op);
    return op ? op->at : e->t;
}

/* I6: what is not over must have moved a lease and ten seconds after the faults, or after it was due. */
static void moved(struct check *c, struct job_seen *j, usec t)
{
    usec from = MAX(MAX(j->moved_at, c->healed_at), j->state.status - 1 == JOB_PENDING ? j->state.due_us : 0);

    if (c->healed_at && j->seen && !over(j->state.status) && t - from > c->lease_us + MOVES_US)
        broken(c, "I6", &j->id, "%s, and did not move for %.1f s", name_of(j->state.status), (double)(t - from) / 1e6);
    j->moved_at = t;
}

static void submit(struct check *c, const struct event *e)
{
    struct key_seen *k;

    if (e->phase != PHASE_OK)
        return;
    job_of(c, &e->job)->acked = true;
    if (!e->key[0])
        return;
    HASH_FIND_STR(c->keys, e->key, k);
    if (k && job_of(c, &k->job)->gone) /* and its key with it */
        k->job = e->job;
    if (k && !uuid_equal(&k->job, &e->job))
        broken(c, "I2", &e->job, "the key '%s' gave another job before", e->key);
    if (k)
        return;
    k = calloc(1, sizeof *k);
    if (!k)
        abort();
    memcpy(k->key, e->key, sizeof k->key);
    k->job = e->job;
    HASH_ADD_STR(c->keys, key, k);
}

static void claim(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);
    struct attempt_seen *a = attempt_of(j, e->attempt);

    if (a->told && strcmp(a->token, e->token) != 0)
        broken(c, "I4", &e->job, "attempt %" PRId64 " was given out twice, with two tokens", e->attempt);
    else if (a->told && strcmp(a->who, e->who) != 0)
        broken(c, "I3", &e->job, "attempt %" PRId64 " was given to %s and to %s", e->attempt, a->who, e->who);
    if (a->told)
        return;
    a->told = true;
    a->told_at = e->t;
    memcpy(a->token, e->token, sizeof a->token);
    memcpy(a->who, e->who, sizeof a->who);
}

/* I3: who asks after a later attempt was given out must be refused. */
static void accepted(struct check *c, struct job_seen *j, const struct attempt_seen *a, usec asked_at, const char *what)
{
    for (size_t i = 0; i < j->n_attempts; i++) {
        const struct attempt_seen *later = &j->attempts[i];
        if (later->number > a->number && later->told && later->told_at < asked_at) {
            broken(c, "I3", &j->id, "%s of attempt %" PRId64 " was accepted after attempt %" PRId64 " was given out",
                   what, a->number, later->number);
            return;
        }
    }
}

static void beat(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);
    struct attempt_seen *a = attempt_of(j, e->attempt);
    usec asked_at = invoked_at(c, e);

    if (e->phase != PHASE_OK)
        return;
    accepted(c, j, a, asked_at,
             e->kind == EV_BEAT         ? "a heartbeat"
             : e->kind == EV_CHECKPOINT ? "a checkpoint"
                                        : "an output");
    if (a->answered_at && a->answered_at < asked_at)
        broken(c, "I3", &j->id, "attempt %" PRId64 " was decided, and then its token was accepted", a->number);
    if (e->kind == EV_BEAT)
        a->lease_until = MAX(a->lease_until, asked_at + c->lease_us);
    moved(c, j, e->t);
}

/* --- checkpoints --- */

static struct checkpoint_seen *checkpoint_of(const struct job_seen *j, const char *sha256)
{
    for (size_t i = 0; i < j->n_checkpoints; i++)
        if (strcmp(j->checkpoints[i].sha256, sha256) == 0)
            return &j->checkpoints[i];
    return NULL;
}

static void checkpoint(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);
    struct checkpoint_seen *k = checkpoint_of(j, e->outputs[0].sha256);

    if (!k) {
        j->checkpoints = grown(j->checkpoints, j->n_checkpoints, sizeof *j->checkpoints);
        k = &j->checkpoints[j->n_checkpoints++];
        *k = (struct checkpoint_seen){.attempt = e->attempt, .asked_at = invoked_at(c, e)};
        memcpy(k->sha256, e->outputs[0].sha256, sizeof k->sha256);
    }
    if (e->phase == PHASE_OK)
        k->ok_at = e->t;
    k->refused = k->refused || e->phase == PHASE_REFUSED;
    k->unsure = k->unsure || e->phase == PHASE_UNKNOWN;
    beat(c, e);
}

/* The one that was surely there when it was asked for at `t`: no later one may be overlooked. NULL: none was. */
static const struct checkpoint_seen *checkpoint_before(const struct job_seen *j, usec t)
{
    const struct checkpoint_seen *last = NULL;

    for (size_t i = 0; i < j->n_checkpoints; i++) {
        const struct checkpoint_seen *k = &j->checkpoints[i];
        if (k->ok_at && k->ok_at < t && k->asked_at > j->released_at && (!last || k->asked_at > last->asked_at))
            last = k;
    }
    return last;
}

/* I11: what was answered "unknown" may come about whenever it likes, until the attempt that asked for it is overtaken. */
static void restored(struct check *c, const struct job_seen *j, const struct event *e, usec asked_at)
{
    const struct checkpoint_seen *last = checkpoint_before(j, asked_at);
    const struct checkpoint_seen *k = e->n_outputs ? checkpoint_of(j, e->outputs[0].sha256) : NULL;

    if (!e->n_outputs && last)
        broken(c, "I11", &j->id, "attempt %" PRId64 " found no checkpoint, and attempt %" PRId64 "'s was accepted",
               e->attempt, last->attempt);
    else if (e->n_outputs && !k)
        broken(c, "I11", &j->id, "attempt %" PRId64 " found a checkpoint that nobody took", e->attempt);
    else if (k && k->refused && !k->unsure)
        broken(c, "I11", &j->id, "attempt %" PRId64 " found a checkpoint of attempt %" PRId64 " that was refused",
               e->attempt, k->attempt);
    else if (k && k->ok_at && !k->unsure && last && k->ok_at < last->asked_at)
        broken(c, "I11", &j->id, "attempt %" PRId64 " found an older checkpoint than the last one, of attempt %" PRId64,
               e->attempt, last->attempt);
}

static void restore(struct check *c, const struct event *e)
{
    const struct job_seen *j = job_of(c, &e->job);

    for (size_t i = 0; i < j->n_attempts; i++)
        if (j->attempts[i].number > e->attempt && j->attempts[i].told) /* whatever it finds, it will not count */
            return;
    if (j->gone || (j->seen && over(j->state.status)) || j->state.attempt > e->attempt)
        return;
    if (e->phase == PHASE_OK)
        restored(c, j, e, invoked_at(c, e));
    else if (strcmp(e->code, "corrupt") == 0)
        broken(c, "I12", &j->id, "attempt %" PRId64 " found that bytes it needs are gone", e->attempt);
}

static void report(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);
    struct attempt_seen *a = attempt_of(j, e->attempt);

    if (e->phase == PHASE_INVOKE && !a->reported_at) {
        a->reported_at = e->t;
        a->report_outcome = e->kind == EV_COMPLETE ? OUTCOME_SUCCESS : e->outcome;
        memcpy(a->outputs, e->outputs, sizeof a->outputs);
        a->n_outputs = e->n_outputs;
    }
    a->refused = a->refused || (e->phase == PHASE_REFUSED && strcmp(e->code, "stale_token") == 0);
    if (e->phase != PHASE_OK)
        return;
    accepted(c, j, a, a->reported_at, "a report");
    if (a->answer && a->answer != e->status)
        broken(c, "I3", &j->id, "attempt %" PRId64 "'s report was answered %s, and then %s", a->number,
               name_of(a->answer), name_of(e->status));
    if (!a->answered_at)
        a->answered_at = e->t;
    a->answer = e->status;
    moved(c, j, e->t);
}

static void resumed(struct check *c, const struct event *e)
{
    struct worker_seen *w;

    HASH_FIND_STR(c->workers, e->who, w);
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w)
            abort();
        memcpy(w->who, e->who, sizeof w->who);
        HASH_ADD_STR(c->workers, who, w);
    }
    w->resumed_at = e->t;
}

/* A whole machine that was held still: what wakes on it, or was just about to be started, runs until those wake who hold it. */
static bool wakes(const struct check *c, const struct event *e)
{
    const struct worker_seen *w;

    HASH_FIND_STR(c->workers, e->who, w);
    return w && e->t >= w->resumed_at && e->t - w->resumed_at <= SLACK_US;
}

/* I10: of a process that moves, or begins to. */
static void within_lease(struct check *c, const struct job_seen *j, const struct attempt_seen *a, usec t)
{
    if (t > a->lease_until + SLACK_US)
        broken(c, "I10", &j->id, "a process of attempt %" PRId64 " ran %.1f s past its lease", a->number,
               (double)(t - a->lease_until) / 1e6);
}

static void process(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);
    struct attempt_seen *a = attempt_of(j, e->attempt);
    bool starts = strcmp(e->what, "start") == 0, ends = strcmp(e->what, "end") == 0;
    bool begins = starts || strcmp(e->what, "thaw") == 0 || (a->frozen && strcmp(e->what, "alive") == 0);

    if (wakes(c, e)) {
        a->frozen = a->frozen || starts || strcmp(e->what, "freeze") == 0;
        a->runs = (a->runs || starts) && !ends;
        return;
    }
    if (begins || (a->runs && !a->frozen))
        within_lease(c, j, a, e->t);
    a->runs = !ends;
    a->frozen = strcmp(e->what, "freeze") == 0;
    for (size_t i = 0; begins && i < j->n_attempts; i++)
        if (j->attempts[i].number != a->number && j->attempts[i].runs && !j->attempts[i].frozen)
            broken(c, "I10", &j->id, "attempts %" PRId64 " and %" PRId64 " run at once", j->attempts[i].number,
                   a->number);
}

/* --- what the store holds --- */

/* I8: a version is told apart by its number. */
static void version(struct check *c, struct job_seen *j, const struct event *e)
{
    for (size_t i = 0; i < j->n_versions; i++)
        if (j->versions[i].version == e->version) {
            if (j->versions[i].status != e->status)
                broken(c, "I8", &j->id, "version %" PRId64 " was told as %s, and as %s", e->version,
                       name_of(j->versions[i].status), name_of(e->status));
            return;
        }
    j->versions = grown(j->versions, j->n_versions, sizeof *j->versions);
    j->versions[j->n_versions++] = (struct version_seen){e->version, e->status};
}

/* I5. */
static void transition(struct check *c, struct job_seen *j, const struct event *e)
{
    const struct event *was = &j->state;

    if (was->status == e->status && was->attempt == e->attempt)
        return;
    if (was->status - 1 == JOB_SUCCESS)
        broken(c, "I5", &j->id, "a success became %s", name_of(e->status));
    else if (over(was->status) && !j->retry_asked)
        broken(c, "I5", &j->id, "%s became %s without a retry", name_of(was->status), name_of(e->status));
    else if (was->cancel && !over(was->status) && e->status - 1 != JOB_CANCELLED &&
             !(j->retry_asked && e->outcome == OUTCOME_CANCELLED)) /* it was cancelled, and retried at once */
        broken(c, "I5", &j->id, "a cancel was accepted, and the job became %s", name_of(e->status));
    if (over(was->status))
        j->base = was->attempt;
}

/* Whether the row may have become this at a moment that the checker would judge otherwise: it was seen once in a while only. */
static bool sampled(const struct job_seen *j, const struct event *e)
{
    return e->since_us && e->version != j->state.version + 1;
}

/* I9: each budget counts its own. */
static void budgets(struct check *c, struct job_seen *j, const struct event *e)
{
    const struct event *was = &j->state;
    const char *why = outcome_name((enum outcome)e->outcome);

    if (e->max_attempts && e->retries >= e->max_attempts)
        broken(c, "I9", &j->id, "%" PRId64 " retries, of at most %" PRId64 " attempts", e->retries, e->max_attempts);
    if (was->attempt != e->attempt || was->status == e->status || sampled(j, e) || e->outcome == OUTCOME_EXPIRED ||
        e->outcome == OUTCOME_CANCELLED) /* those may have come right after another */
        return;
    if (e->retries > was->retries && !is_error(e->outcome))
        broken(c, "I9", &j->id, "an attempt that ended as '%s' used up a retry", why);
    if (e->losses > was->losses && e->outcome != OUTCOME_LOST)
        broken(c, "I9", &j->id, "an attempt that ended as '%s' counts as a loss", why);
    if (e->interruptions > was->interruptions && e->outcome != OUTCOME_INTERRUPTED)
        broken(c, "I9", &j->id, "an attempt that ended as '%s' counts as an interruption", why);
    if (was->status - 1 == JOB_RUNNING && (e->outcome == OUTCOME_LOST || e->outcome == OUTCOME_UNCONFIRMED) &&
        c->began_at && (!e->since_us || e->since_us >= c->began_at) && e->t < c->began_at + c->lease_us - SLACK_US)
        broken(c, "I9", &j->id, "'%s' %.1f s after the server came back, which is within a lease", why,
               (double)(e->t - c->began_at) / 1e6);
}

static void state(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);

    if (e->key[0])
        memcpy(j->key, e->key, sizeof j->key);
    version(c, j, e);
    if (j->seen) {
        if (e->attempt < j->state.attempt)
            broken(c, "I4", &j->id, "attempt %" PRId64 " came after attempt %" PRId64, e->attempt, j->state.attempt);
        if (e->version < j->state.version)
            broken(c, "I8", &j->id, "version %" PRId64 " came after %" PRId64, e->version, j->state.version);
        budgets(c, j, e);
        moved(c, j, e->t);
        transition(c, j, e);
    }
    j->moved_at = e->t;
    j->seen = true;
    j->state = *e;
    if (e->status - 1 == JOB_SUCCESS || e->status - 1 == JOB_CANCELLED)
        j->released_at = e->t;
}

/* I13. */
static void gone(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);

    if (j->state.status - 1 != JOB_SUCCESS && j->state.status - 1 != JOB_CANCELLED)
        broken(c, "I1", &j->id, "%s, and there no more", name_of(j->state.status));
    else if (!c->retention_us || e->age_us < c->retention_us)
        broken(c, "I13", &j->id, "removed %.1f s after its end, and is to be kept for %.1f", (double)e->age_us / 1e6,
               (double)c->retention_us / 1e6);
    j->gone = true;
}

/* --- the end --- */

static bool has_output(const struct event_output *all, size_t n, const struct event_output *o)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(all[i].name, o->name) && all[i].size == o->size && !strcmp(all[i].sha256, o->sha256))
            return true;
    return false;
}

/* I3, I7: a success is what its attempt reported. */
static void end_success(struct check *c, struct job_seen *j)
{
    const struct attempt_seen *a = attempt_of(j, j->state.attempt);

    if (!a->reported_at || a->report_outcome != OUTCOME_SUCCESS) {
        broken(c, "I3", &j->id, "a success of attempt %" PRId64 ", which never reported one", a->number);
        return;
    }
    for (size_t i = 0; i < a->n_outputs; i++)
        if (!has_output(j->state.outputs, j->state.n_outputs, &a->outputs[i]))
            broken(c, "I7", &j->id, "output '%s' is not there as it was reported", a->outputs[i].name);
    if (j->state.n_outputs > a->n_outputs)
        broken(c, "I7", &j->id, "more outputs than its attempt reported");
}

static void end_attempt(struct check *c, struct job_seen *j, const struct attempt_seen *a)
{
    bool by_report = is_error(a->outcome) || a->outcome == OUTCOME_INTERRUPTED || a->outcome == OUTCOME_SUCCESS;

    if (a->answer - 1 == JOB_SUCCESS && (j->state.status - 1 != JOB_SUCCESS || j->state.attempt != a->number))
        broken(c, "I3", &j->id, "attempt %" PRId64 " was told success, and the job is %s by attempt %" PRId64,
               a->number, name_of(j->state.status), j->state.attempt);
    if (!a->row)
        return;
    if (a->refused && by_report)
        broken(c, "I3", &j->id, "attempt %" PRId64 "'s report was refused as stale, and counts", a->number);
    if (by_report && !a->reported_at)
        broken(c, "I3", &j->id, "attempt %" PRId64 " ended as '%s', which nobody reported", a->number,
               outcome_name((enum outcome)a->outcome));
    if (a->answer && a->outcome != a->report_outcome && a->outcome != OUTCOME_CANCELLED &&
        a->report_outcome != OUTCOME_CANCELLED)
        broken(c, "I9", &j->id, "attempt %" PRId64 "'s report '%s' was accepted, and stands as '%s'", a->number,
               outcome_name((enum outcome)a->report_outcome), outcome_name((enum outcome)a->outcome));
}

/* I9, once more: the budgets are what the attempts since the latest retry add up to. */
static void end_budgets(struct check *c, struct job_seen *j)
{
    int64_t errors = 0, lost = 0, interrupted = 0, rows = 0;

    for (size_t i = 0; i < j->n_attempts; i++) {
        const struct attempt_seen *a = &j->attempts[i];
        if (!a->row || a->number <= j->base)
            continue;
        rows++;
        errors += is_error(a->outcome);
        lost += a->outcome == OUTCOME_LOST;
        interrupted += a->outcome == OUTCOME_INTERRUPTED;
    }
    if (!rows)
        return;
    int64_t last = j->state.status - 1 == JOB_FAILED && is_error(j->state.outcome); /* it was no retry */
    if (j->state.retries != errors - last)
        broken(c, "I9", &j->id, "%" PRId64 " failed attempts, and %" PRId64 " retries counted", errors,
               j->state.retries);
    if (j->state.interruptions != interrupted)
        broken(c, "I9", &j->id, "%" PRId64 " interrupted attempts, and %" PRId64 " counted", interrupted,
               j->state.interruptions);
    if (j->state.losses > lost + (j->state.status - 1 == JOB_SUCCESS)) /* that one may have been taken for lost first */
        broken(c, "I9", &j->id, "%" PRId64 " lost attempts, and %" PRId64 " counted", lost, j->state.losses);
}

static void end_job(struct check *c, struct job_seen *j)
{
    const struct key_seen *k = NULL;

    if (j->gone)
        return;
    if (!j->final) {
        if (j->acked)
            broken(c, "I1", &j->id, "acknowledged, and not there at the end");
        return;
    }
    if (j->key[0])
        HASH_FIND_STR(c->keys, j->key, k);
    if (k && !uuid_equal(&k->job, &j->id) && !job_of(c, &k->job)->gone)
        broken(c, "I2", &j->id, "the key '%s' belongs to another job, too", j->key);
    if (!over(j->state.status))
        broken(c, "I6", &j->id, "%s at the end", name_of(j->state.status));
    if (j->state.status - 1 == JOB_SUCCESS)
        end_success(c, j);
    for (size_t i = 0; i < j->n_attempts; i++)
        end_attempt(c, j, &j->attempts[i]);
    end_budgets(c, j);
    if (c->news && j->acked && over(j->state.status) && !j->told_end)
        broken(c, "I8", &j->id, "nobody was told that it is %s", name_of(j->state.status));
}

/* A process whose end nobody told of runs still. */
static void end(struct check *c, usec t)
{
    struct job_seen *j, *tmp;

    HASH_ITER (hh, c->jobs, j, tmp) {
        for (size_t i = 0; i < j->n_attempts; i++)
            if (j->attempts[i].runs && !j->attempts[i].frozen)
                within_lease(c, j, &j->attempts[i], t);
        end_job(c, j);
    }
}

static void attempt_row(struct check *c, const struct event *e)
{
    struct attempt_seen *a = attempt_of(job_of(c, &e->job), e->attempt);

    a->row = true;
    a->outcome = e->outcome;
}

static void news(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);

    c->news = true;
    version(c, j, e);
    j->told_end = over(e->status) && (!j->seen || e->version >= j->state.version);
}

static void final(struct check *c, const struct event *e)
{
    struct job_seen *j = job_of(c, &e->job);

    if (j->seen && e->version != j->state.version)
        j->told_end = false;
    state(c, e);
    j->final = true;
}

static void look_at(struct check *c, const struct event *e)
{
    if (e->phase == PHASE_INVOKE)
        op_invoked(c, e);
    switch (e->kind) {
    case EV_RUN:
        c->lease_us = e->lease_us;
        c->retention_us = e->retention_us;
        break;
    case EV_SERVER:
        if (strcmp(e->what, "start") == 0 || strcmp(e->what, "resume") == 0)
            c->began_at = e->t;
        break;
    case EV_WORKER:
        if (strcmp(e->what, "resume") == 0)
            resumed(c, e);
        break;
    case EV_HEAL:
        c->healed_at = e->t;
        break;
    case EV_SUBMIT:
        submit(c, e);
        break;
    case EV_RETRY:
        if (e->phase == PHASE_INVOKE)
            job_of(c, &e->job)->retry_asked = true;
        break;
    case EV_CLAIM:
        claim(c, e);
        break;
    case EV_BEAT:
    case EV_OUTPUT:
        beat(c, e);
        break;
    case EV_CHECKPOINT:
        checkpoint(c, e);
        break;
    case EV_RESTORE:
        restore(c, e);
        break;
    case EV_GONE:
        gone(c, e);
        break;
    case EV_COMPLETE:
    case EV_FAIL:
        report(c, e);
        break;
    case EV_PROCESS:
        process(c, e);
        break;
    case EV_STATE:
        state(c, e);
        break;
    case EV_NEWS:
        news(c, e);
        break;
    case EV_FINAL:
        final(c, e);
        break;
    case EV_ATTEMPT:
        attempt_row(c, e);
        break;
    case EV_END:
        end(c, e->t);
        break;
    default:
        break;
    }
}

static void release(struct check *c)
{
    struct job_seen *j, *jt;
    struct key_seen *k, *kt;
    struct op_seen *o, *ot;
    struct worker_seen *w, *wt;

    HASH_ITER (hh, c->jobs, j, jt) {
        HASH_DEL(c->jobs, j);
        free(j->attempts);
        free(j->versions);
        free(j->checkpoints);
        free(j);
    }
    HASH_ITER (hh, c->keys, k, kt) {
        HASH_DEL(c->keys, k);
        free(k);
    }
    HASH_ITER (hh, c->ops, o, ot) {
        HASH_DEL(c->ops, o);
        free(o);
    }
    HASH_ITER (hh, c->workers, w, wt) {
        HASH_DEL(c->workers, w);
        free(w);
    }
}

size_t history_check(const struct history *h, struct violation ret[FINDINGS_MAX])
{
    struct check c = {.found = ret};

    if (h->n == 0 || h->events[0].kind != EV_RUN || h->events[h->n - 1].kind != EV_END)
        broken(&c, "I0", NULL, "no whole history: it begins with a run, and ends with an end");
    for (size_t i = 0; i < h->n; i++)
        look_at(&c, &h->events[i]);
    release(&c);
    return c.n;
}
