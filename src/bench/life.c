#include "bench/life.h"
#include "base/auto.h"
#include "base/rng.h"
#include "base/uuid.h"

enum what { SUBMIT, LEASE, COMPLETE };

struct life_conn {
    enum what what;
    unsigned worker, slots;
    uint64_t poll;
    struct claim claim;
};

int life_init(struct life *l, const struct names *names, unsigned servers, unsigned connections, unsigned batch,
              unsigned workers, uint64_t most, struct err *err)
{
    *l = (struct life){.names = names, .workers = workers};
    /* Enough waits that polls come back full and connections have work, and no more: a job's life is no longer than it must be. */
    l->chunk = MIN(connections, LIFE_SLOTS);
    l->backlog = MAX(MAX(4 * LIFE_SLOTS, 4 * connections), 4 * batch);
    buf_init(&l->request, 65536);
    l->conns = calloc(connections, sizeof(*l->conns));
    l->claims = calloc(LIFE_CLAIMS, sizeof(*l->claims));
    if (!l->conns || !l->claims)
        return err_set(err, ERR_NO_MEMORY, 0, "%u connections", connections);
    for (unsigned i = 0; i < workers; i++) {
        struct uuid id = uuid_v7(clock_real().wall_us(NULL), rng_real());
        uuid_format(&id, l->worker[i].id);
    }
    return submit_init(&l->submit, names, servers, connections, batch, most, err);
}

void life_release(struct life *l)
{
    submit_release(&l->submit);
    buf_release(&l->request);
    free(l->conns);
    free(l->claims);
}

/* ---- what next ---- */

static bool next_complete(struct life *l, struct life_conn *c)
{
    if (l->n_claims == 0)
        return false;
    c->what = COMPLETE;
    c->claim = l->claims[l->claims_at];
    l->claims_at = (l->claims_at + 1) % LIFE_CLAIMS;
    l->n_claims--;
    return true;
}

static bool next_lease(struct life *l, struct life_conn *c, uint64_t least)
{
    uint64_t open = l->waiting > l->asked ? l->waiting - l->asked : 0;
    unsigned w = 0;
    if (open < least || open == 0 || l->n_claims + l->asked + LIFE_SLOTS > LIFE_CLAIMS)
        return false;
    while (w < l->workers && l->worker[w].busy)
        w++;
    if (w == l->workers)
        return false;
    l->worker[w].busy = true;
    *c = (struct life_conn){.what = LEASE, .worker = w, .slots = (unsigned)MIN(open, LIFE_SLOTS)};
    c->poll = ++l->worker[w].polls;
    l->asked += c->slots;
    return true;
}

static bool next_submit(struct life *l, unsigned i)
{
    if (l->living + l->submit.batch > l->backlog || !submit_next(&l->submit, i, mono_ns()))
        return false;
    l->conns[i].what = SUBMIT;
    l->living += l->submit.batch;
    return true;
}

/* At the end what was begun is brought to its end; not where another's jobs stand before ours. */
static bool next(void *self, unsigned i, bool ending)
{
    struct life *l = self;
    if (next_complete(l, &l->conns[i]) || (!ending && next_lease(l, &l->conns[i], l->chunk)) ||
        (!ending && next_submit(l, i)))
        return true;
    return !(ending && l->foreign) && next_lease(l, &l->conns[i], 1);
}

static int build(void *self, unsigned i, const char **ret, size_t *ret_n, struct err *err)
{
    struct life *l = self;
    const struct life_conn *c = &l->conns[i];
    const struct names *names = &l->names[i % l->submit.servers];
    if (c->what == SUBMIT) {
        submit_build(&l->submit, i, ret, ret_n);
        return ERR_OK;
    }
    if (c->what == LEASE)
        lease_write(&l->request, names, l->worker[c->worker].id, c->poll, c->slots, "1s");
    else
        complete_write(&l->request, names, &c->claim);
    if (l->request.failed)
        return err_set(err, ERR_NO_MEMORY, 0, "a request");
    *ret = l->request.data;
    *ret_n = l->request.len;
    return ERR_OK;
}

/* ---- what came ---- */

static enum taken take_submit(struct life *l, unsigned i, const struct answer *a, int64_t ns, struct err *err)
{
    uint64_t before = l->submit.acknowledged;
    enum taken t = submit_take(&l->submit, i, a, ns, err);
    l->waiting += l->submit.acknowledged - before;
    return t;
}

static enum taken take_lease(struct life *l, const struct life_conn *c, const struct answer *a, int64_t ns,
                             struct err *err)
{
    size_t pos = 0;
    unsigned got = 0;
    int more;
    if (a->status != 200)
        return refused(a, err);
    struct claim claim;
    while ((more = claim_next(a->body, a->n, l->names, &pos, &claim)) == 1 && got < c->slots) {
        l->claims[(l->claims_at + l->n_claims++) % LIFE_CLAIMS] = claim;
        l->foreign = l->foreign || !claim.stamp_ns;
        got++;
    }
    if (more != 0) {
        err_set(err, ERR_CORRUPT, 0, "the server's answer to a lease is no list of at most %u claims", c->slots);
        return TAKEN_WRONG;
    }
    l->worker[c->worker].busy = false;
    l->asked -= c->slots;
    l->waiting -= MIN(got, l->waiting);
    if (got == 0) { /* another worker had them: they are not ours to wait for */
        l->lost += l->waiting;
        l->living -= MIN(l->living, l->waiting);
        l->waiting = 0;
    }
    latency_add(&l->lease, ns);
    return TAKEN;
}

static enum taken take_complete(struct life *l, const struct life_conn *c, const struct answer *a, int64_t ns,
                                struct err *err)
{
    if (a->status != 200)
        return refused(a, err);
    latency_add(&l->complete, ns);
    if (c->claim.stamp_ns)
        latency_add(&l->whole, mono_ns() - (int64_t)c->claim.stamp_ns);
    l->completed++;
    l->living -= MIN(l->living, 1);
    return TAKEN;
}

static enum taken take(void *self, unsigned i, const struct answer *a, int64_t ns, struct err *err)
{
    struct life *l = self;
    const struct life_conn *c = &l->conns[i];
    switch (c->what) {
    case SUBMIT:
        return take_submit(l, i, a, ns, err);
    case LEASE:
        return take_lease(l, c, a, ns, err);
    case COMPLETE:
        return take_complete(l, c, a, ns, err);
    }
    return TAKEN_WRONG;
}

struct workload life_workload(struct life *l)
{
    return (struct workload){.next = next, .build = build, .take = take, .self = l};
}
