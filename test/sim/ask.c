/* Questions become ops, polls and watches of the engine; what it decides is the answer. */
#include "sim.h"

struct call { /* a question on its way through the engine */
    struct sim *sim;
    struct rpc *rpc;
    unsigned life;
    struct arena *arena;
    struct op op;
    struct lease_poll poll;
    struct watch watch;
    const char *names[OUTPUTS_EACH];
    struct checkpoint_file file;
    char ref[5 + UUID_STR_MAX];
};

static void call_end(struct call *c, const struct answer *a)
{
    struct sim *s = c->sim;

    if (a && c->life == s->server.life && !server_dead(&s->server))
        rpc_answer(s, c->rpc, a, s->server.skip_us);
    arena_free(c->arena);
    free(c);
}

static void op_done(struct op *op)
{
    struct call *c = op->owner;
    struct answer a = {.code = op->err.code};

    if (a.code == ERR_OK)
        switch (op->kind) {
        case OP_SUBMIT:
            a.job_id = op->u.submit.job.job_id;
            break;
        case OP_HEARTBEAT:
            a.cancel = op->u.heartbeat.cancel;
            a.lease_us = c->sim->policy.lease_us;
            break;
        case OP_COMPLETE:
            a.status = op->u.complete.status;
            break;
        case OP_UPLOAD_ADD:
            a.blob_id = op->u.upload.row.upload_id;
            break;
        case OP_BLOB_ADD:
            a.blob_id = op->u.blob_add.row.blob_id;
            blob_find(&c->sim->server, &a.blob_id)->there = true;
            break;
        case OP_FAIL:
            a.status = op->u.fail.status;
            break;
        case OP_CANCEL:
        case OP_RETRY:
            a.status = op->u.job.job.status;
            break;
        default:
            break;
        }
    call_end(c, &a);
}

static void poll_done(struct lease_poll *p, struct claimed *claimed, size_t n, const struct err *err)
{
    struct answer a = {.code = err ? err->code : ERR_OK, .n = MIN(n, (size_t)ANSWER_JOBS)};

    for (size_t i = 0; i < a.n; i++) {
        a.claimed[i].id = claimed[i].job.job_id;
        a.claimed[i].token = claimed[i].job.token;
    }
    call_end(p->owner, &a);
}

static void watch_answer(struct call *c)
{
    struct answer a = {.code = ERR_UNAVAILABLE, .job_id = c->rpc->job_id};
    struct job job;

    if (c->life == c->sim->server.life && !server_dead(&c->sim->server))
        a.code = job_read(c->sim, &c->rpc->job_id, &job);
    if (a.code == ERR_OK) {
        a.status = job.status;
        a.version = job.version;
        a.more = job.status == JOB_PENDING || job.status == JOB_RUNNING;
    }
    call_end(c, &a);
}

static void watch_fired(struct watch *w)
{
    watch_answer(w->owner);
}

static void ask_watch(struct call *c)
{
    struct job job;

    if (job_read(c->sim, &c->rpc->job_id, &job) != ERR_OK || job.version > c->rpc->after_version) {
        watch_answer(c);
        return;
    }
    c->watch = (struct watch){.job_id = c->rpc->job_id, .wait_us = c->rpc->wait_us, .fire = watch_fired, .owner = c};
    engine_watch(c->sim->server.engine, &c->watch);
}

static void ask_poll(struct call *c)
{
    static const char *const types[] = {"encode"};
    struct lease_poll *p = &c->poll;

    p->worker_id.b[15] = (uint8_t)(c->rpc->host + 1);
    memcpy(p->poll_id, c->rpc->poll_id, sizeof c->rpc->poll_id);
    p->worker_name = p->worker_host = c->sim->hosts[c->rpc->host].name;
    p->worker_version = "1";
    p->isolation = "none";
    p->handlers = "{\"encode\":\"1\"}";
    p->want = (struct want){.task_types = types, .n_task_types = 1, .slots = c->rpc->slots};
    p->slots_total = SLOTS_MAX;
    p->wait_us = c->rpc->wait_us;
    p->arena = c->arena;
    p->done = poll_done;
    p->owner = c;
    engine_poll(c->sim->server.engine, p);
}

static void fill_submit(struct call *c)
{
    const struct submission *sub = c->rpc->submission;
    struct op_submit *o = &c->op.u.submit;

    o->job = (struct job){.job_id = uuid_v7(server_wall_us(c->sim), c->sim->server.cfg.rng),
                          .project = "default",
                          .queue = "encode",
                          .task_type = "encode",
                          .priority = sub->priority,
                          .payload = "{}",
                          .labels = "{}",
                          .dedup_key = sub->key,
                          .max_attempts = sub->max_attempts};
    if (sub->input) {
        memcpy(c->ref, "blob:", 5);
        uuid_format(&c->rpc->blob_id, c->ref + 5);
        o->job.payload_ref = c->ref;
    }
    o->delay_us = sub->delay_us;
    o->start_within_us = sub->start_within_us;
    o->dedup_us = c->sim->policy.dedup_us;
    memcpy(o->request_hash, sub->key, sizeof sub->key);
}

static void fill_complete(struct call *c)
{
    static const char *const names[OUTPUTS_EACH] = {"a.mp4", "b.jpg"};
    struct op_complete *o = &c->op.u.complete;

    memcpy(c->names, names, sizeof names);
    o->job_id = c->rpc->job_id;
    o->token = c->rpc->token;
    o->outputs = c->names;
    o->n_outputs = c->rpc->n_outputs;
}

/* The bytes come first. NULL: they could not be kept. @param room  of outputs, which must come through, is kept free */
static struct blob *blob_keep(struct call *c, const struct produced *bytes, size_t room)
{
    struct server *v = &c->sim->server;

    if (v->blobs_fail || v->n_blobs + room >= ARRAY_LEN(v->blobs))
        return NULL;
    v->blobs[v->n_blobs] = (struct blob){uuid_v7(server_wall_us(c->sim), v->cfg.rng), *bytes, true};
    return &v->blobs[v->n_blobs++];
}

/* Of an upload: the blob has its id, and its bytes are where the sweeper would find them until the row is there. */
static const struct blob *upload_keep(struct call *c, const struct produced *bytes, size_t room)
{
    const struct uuid *id = &c->rpc->blob_id;
    struct blob *b = blob_find(&c->sim->server, id);

    if (b || !(b = blob_keep(c, bytes, room)))
        return b;
    b->id = *id;
    b->there = false;
    return b;
}

static bool fill_output(struct call *c)
{
    static const char *const names[OUTPUTS_EACH] = {"a.mp4", "b.jpg"};
    const struct produced *bytes = &c->rpc->outputs[c->rpc->which];
    const struct blob *b = blob_keep(c, bytes, 0);
    struct op_output *o = &c->op.u.output;

    if (!b)
        return false;
    *o = (struct op_output){.job_id = c->rpc->job_id,
                            .token = c->rpc->token,
                            .name = names[c->rpc->which],
                            .blob_id = b->id,
                            .size = bytes->size};
    produced_hash(bytes, o->sha256);
    return true;
}

static bool fill_blob(struct call *c)
{
    const struct produced *bytes = &c->rpc->outputs[0];
    const size_t room = ARRAY_LEN(c->sim->server.blobs) / 2;
    const bool uploaded = !uuid_is_nil(&c->rpc->blob_id);
    const struct blob *b = uploaded ? upload_keep(c, bytes, room) : blob_keep(c, bytes, room);
    struct blob_row *row = &c->op.u.blob_add.row;

    if (!b)
        return false;
    c->op.u.blob_add.uploaded = uploaded;
    *row = (struct blob_row){.blob_id = b->id, .project = "default", .size = bytes->size};
    produced_hash(bytes, row->sha256);
    return true;
}

static void fill_checkpoint(struct call *c)
{
    memcpy(c->ref, "blob:", 5);
    uuid_format(&c->rpc->blob_id, c->ref + 5);
    c->file = (struct checkpoint_file){.name = "state", .ref = c->ref};
    c->op.u.checkpoint = (struct op_checkpoint){.job_id = c->rpc->job_id,
                                                .token = c->rpc->token,
                                                .files = &c->file,
                                                .n_files = 1,
                                                .percent = -1,
                                                .sequence = c->rpc->sequence};
}

static bool input_there(struct call *c)
{
    struct job job;
    struct uuid id;
    const struct blob *b;

    if (job_read(c->sim, &c->rpc->job_id, &job) != ERR_OK || !job.payload_ref || !uuid_parse(job.payload_ref + 5, &id))
        return true;
    b = blob_find(&c->sim->server, &id);
    return b && b->there;
}

/* The row, and then the bytes: as they are, or not. */
static enum err_code restore_read(struct call *c, struct produced *ret)
{
    struct server *v = &c->sim->server;
    struct checkpoint cp;
    uint8_t sha[32];

    if (!input_there(c))
        return ERR_CORRUPT;
    arena_reset(v->scratch);
    if (v->cfg.store_driver->checkpoint(v->cfg.store, &c->rpc->job_id, v->scratch, &cp, NULL) != ERR_OK)
        return ERR_UNAVAILABLE;
    if (cp.attempt == 0)
        return ERR_OK;
    const struct blob *b = cp.n_files == 1 ? blob_find(v, &cp.files[0].blob_id) : NULL;
    if (!b || !b->there)
        return ERR_CORRUPT;
    produced_hash(&b->bytes, sha);
    if (b->bytes.size != cp.files[0].size || memcmp(sha, cp.files[0].sha256, sizeof sha) != 0)
        return ERR_CORRUPT;
    *ret = b->bytes;
    return ERR_OK;
}

static void ask_restore(struct call *c)
{
    struct answer a = {.code = ERR_UNAVAILABLE};

    if (!server_dead(&c->sim->server))
        a.code = restore_read(c, &a.restored);
    call_end(c, &a);
}

static void ask_op(struct call *c, enum op_kind kind)
{
    const struct rpc *r = c->rpc;

    c->op = (struct op){.kind = kind, .project = "default", .arena = c->arena, .done = op_done, .owner = c};
    switch (kind) {
    case OP_SUBMIT:
        fill_submit(c);
        break;
    case OP_HEARTBEAT:
        c->op.u.heartbeat = (struct op_heartbeat){.job_id = r->job_id, .token = r->token};
        break;
    case OP_COMPLETE:
        fill_complete(c);
        break;
    case OP_FAIL:
        c->op.u.fail = (struct op_fail){.job_id = r->job_id, .token = r->token, .failure = r->failure};
        c->op.u.fail.failure.dice = rng_u64(c->sim->server.cfg.rng);
        break;
    case OP_UPLOAD_ADD:
        c->op.u.upload.row = (struct upload_row){.upload_id = uuid_v7(server_wall_us(c->sim), c->sim->server.cfg.rng),
                                                 .size = r->outputs[0].size};
        break;
    case OP_CHECKPOINT:
        fill_checkpoint(c);
        break;
    case OP_BLOB_ADD:
    case OP_OUTPUT:
        if (kind == OP_OUTPUT ? !fill_output(c) : !fill_blob(c)) {
            call_end(c, &(struct answer){.code = ERR_IO});
            return;
        }
        break;
    default:
        c->op.u.job.job_id = r->job_id;
    }
    engine_offer(c->sim->server.engine, &c->op);
}

static void ask(struct sim *s, void *arg, unsigned life);

/* A paused or busy server's questions wait in its sockets. */
static bool later(struct sim *s, struct rpc *r)
{
    usec until_us = MAX(s->server.paused_until_us, s->server.busy_until_us);

    if (until_us <= s->now)
        return false;
    after(s, until_us - s->now, -1, ask, r, s->server.life);
    return true;
}

static void ask(struct sim *s, void *arg, unsigned life)
{
    static const enum op_kind kinds[] = {
        [RPC_SUBMIT] = OP_SUBMIT, [RPC_CANCEL] = OP_CANCEL,        [RPC_RETRY] = OP_RETRY, [RPC_BEAT] = OP_HEARTBEAT,
        [RPC_OUTPUT] = OP_OUTPUT, [RPC_COMPLETE] = OP_COMPLETE,    [RPC_FAIL] = OP_FAIL,   [RPC_UPLOAD] = OP_UPLOAD_ADD,
        [RPC_BLOB] = OP_BLOB_ADD, [RPC_CHECKPOINT] = OP_CHECKPOINT};
    struct rpc *r = arg;

    if (!s->server.engine || life != s->server.life || later(s, r))
        return;
    struct call *c = calloc(1, sizeof *c);
    if (!c || !(c->arena = arena_new(1u << 20)))
        abort();
    c->sim = s;
    c->rpc = r;
    c->life = life;
    if (r->kind == RPC_WATCH)
        ask_watch(c);
    else if (r->kind == RPC_POLL)
        ask_poll(c);
    else if (r->kind == RPC_RESTORE)
        ask_restore(c);
    else
        ask_op(c, kinds[r->kind]);
    server_step_at(s, s->now + dice_us(s, 20, 2000));
}

void server_receive(struct sim *s, struct rpc *r)
{
    if (s->server.blobs_slow_us && (r->kind == RPC_OUTPUT || r->kind == RPC_BLOB))
        after(s, s->server.blobs_slow_us, -1, ask, r, s->server.life);
    else
        ask(s, r, s->server.life);
}
