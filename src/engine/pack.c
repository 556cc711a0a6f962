/* Packing: a closed log that is large becomes one compressed blob. A sweep names what waits; reading, compressing and writing run off the
 * engine's thread, one log at a time; the row of the blob, its reference and the end of the chunks are one op.
 *
 * The blob's id follows from the attempt's. So a crash between the bytes and the op leaves nothing behind that anybody would have to
 * find: the attempt still waits, and is packed again over what is there. Only what no row speaks of is ever overwritten, because an
 * attempt whose row names its blob waits no longer. */
#include "engine/internal.h"
#include "base/auto.h"
#include "base/sha256.h"
#include "engine/packed.h"
#include <endian.h>

#define PACK_RETRY_US (10 * USEC_PER_SEC) /* a full disk, a busy store: the chunks are safe where they are */

struct pack {
    struct engine *engine;
    struct op op;
    char project[JOB_NAME_MAX + 1];
    struct err err; /* of the work */
    struct pack *next;
};

static struct uuid blob_id_of(const struct uuid *job_id, uint32_t attempt)
{
    struct {
        char what[8];
        struct uuid job_id;
        uint32_t attempt;
    } key = {.what = "haul.log", .job_id = *job_id, .attempt = htole32(attempt)};
    uint8_t hash[32];
    struct uuid id;

    sha256_once(&key, sizeof key, hash);
    memcpy(id.b, hash, sizeof id.b);
    id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x80); /* version 8: of one's own making */
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return id;
}

/* --- off the engine's thread --- */

struct blob_sink {
    const struct blob_driver *driver;
    struct blob_upload *upload;
};

static int sink_write(void *arg, const void *p, size_t n, struct err *err)
{
    struct blob_sink *s = arg;

    return s->driver->write(s->upload, p, n, err);
}

static int log_copy(struct pack *p, struct packed_writer *w, char *piece, size_t room, struct err *err)
{
    const struct engine_config *cfg = &p->engine->cfg;
    const struct op_log_packed *op = &p->op.u.log_packed;

    for (int64_t at = 0;;) {
        struct log_part part = {0};
        int rc = cfg->store_driver->log_read(cfg->store, &op->job_id, op->attempt, at, piece, room, &part, err);
        if (rc)
            return rc;
        if (part.n == 0)
            return packed_end(w, err);
        rc = packed_add(w, part.at, piece, part.n, err);
        if (rc)
            return rc;
        at = part.at + (int64_t)part.n;
    }
}

static int blob_write(struct pack *p, struct blob_sink *sink, struct err *err)
{
    struct packed_writer *w = NULL;
    AUTO_FREE char *piece = malloc(PACKED_FRAME_MAX);
    int rc = piece ? packed_writer_new(sink_write, sink, &w, err) : err_set(err, ERR_NO_MEMORY, 0, "pack a log");

    if (!rc)
        rc = log_copy(p, w, piece, PACKED_FRAME_MAX, err);
    packed_writer_free(w);
    return rc;
}

static void pack_work(void *arg)
{
    struct pack *p = arg;
    struct op_log_packed *op = &p->op.u.log_packed;
    struct blobs *blobs = p->engine->cfg.blobs;
    struct blob_sink sink = {.driver = p->engine->cfg.blob_driver};
    int rc = sink.driver->remove(blobs, &op->blob_id, &p->err); /* what a crash left */

    if (!rc)
        rc = sink.driver->begin(blobs, &op->blob_id, &sink.upload, &p->err);
    if (!rc)
        rc = blob_write(p, &sink, &p->err);
    if (!rc)
        sink.driver->commit(TAKE_PTR(sink.upload), &op->size, op->sha256, &p->err);
    sink.driver->abort(sink.upload);
}

/* --- on it --- */

static void pack_next(struct engine *e);

static void pack_end(struct engine *e)
{
    struct pack *p = e->packs;

    e->packs = p->next;
    arena_free(p->op.arena);
    free(p);
}

/* The rest stays where it is, and is found again. */
static void pack_later(struct engine *e, usec in_us)
{
    while (e->packs)
        pack_end(e);
    e->sweepers[SWEEP_LOGS].next_at = engine_store_now(e) + in_us;
}

static void pack_decided(struct op *op)
{
    struct pack *p = op->owner;
    struct engine *e = p->engine;
    bool gone = op->err.code == ERR_NOT_FOUND; /* the job was discarded meanwhile */

    if (gone && e->cfg.blob_driver)
        e->cfg.blob_driver->remove(e->cfg.blobs, &op->u.log_packed.blob_id, NULL);
    if (op->err.code == ERR_OK || gone || op->err.code == ERR_CONFLICT) {
        pack_end(e);
        pack_next(e);
    } else {
        pack_later(e, PACK_RETRY_US);
    }
}

static void pack_worked(struct engine *e, void *arg)
{
    struct pack *p = arg;

    if (p->err.code == ERR_NOT_FOUND) {
        pack_end(e);
        pack_next(e);
        return;
    }
    if (p->err.code == ERR_CORRUPT) /* never better: it stays in its rows, and no longer in the way */
        p->op.u.log_packed.blob_id = (struct uuid){{0}};
    else if (p->err.code != ERR_OK) {
        pack_later(e, PACK_RETRY_US);
        return;
    }
    engine_offer(e, &p->op);
}

static void pack_next(struct engine *e)
{
    if (e->packs && (e->draining || !e->cfg.offload(e->cfg.offload_self, pack_work, pack_worked, e->packs)))
        pack_later(e, PACK_RETRY_US);
}

static struct pack *pack_new(struct engine *e, const struct log_name *log)
{
    struct pack *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->engine = e;
    snprintf(p->project, sizeof p->project, "%s", log->project);
    p->op = (struct op){.kind = OP_LOG_PACKED, .project = p->project, .owner = p, .done = pack_decided};
    p->op.u.log_packed = (struct op_log_packed){
        .job_id = log->job_id, .attempt = log->attempt, .blob_id = blob_id_of(&log->job_id, log->attempt)};
    p->op.arena = arena_new(65536);
    if (!p->op.arena) {
        free(p);
        return NULL;
    }
    return p;
}

void pack_take(struct engine *e, const struct op_sweep *found)
{
    for (size_t i = found->n_logs; i > 0; i--) { /* what there is no memory for is found again */
        struct pack *p = pack_new(e, &found->logs[i - 1]);
        if (!p)
            continue;
        p->next = e->packs;
        e->packs = p;
    }
    pack_next(e);
}

bool pack_can(const struct engine *e)
{
    return !e->packs && !e->draining && e->cfg.offload && e->cfg.blob_driver;
}

void pack_release(struct engine *e)
{
    while (e->packs)
        pack_end(e);
}
