/* Submission: once a key, with every reference taken in the same transaction. */
#include "base/bug.h"
#include "store/sql/keys.h"

/* What was asked, whatever it was called when uploaded: two uploads of the same bytes are the same request. And whatever the server's
 * configuration fills in: it may have changed between a request and its repetition. */

/** Checks every reference on the way. */
static int content_hash(struct tx *t, const struct op_submit *op, uint8_t ret[32])
{
    const struct job *j = &op->job;

    if (op->hashes.made) {
        memcpy(ret, op->hashes.content, sizeof(op->hashes.content));
        return ERR_OK;
    }
    struct sha256 *h = sha256_new();
    struct uuid id;
    uint8_t sha[32];
    int rc = ERR_OK;

    if (!h)
        return err_set(t->err, ERR_NO_MEMORY, 0, "hash");
    content_add(h, j);
    if (j->payload_ref) {
        rc = blob_check_ref(t, j->payload_ref, "payload_ref", &id, sha);
        content_bytes(h, sha, rc == ERR_OK ? sizeof(sha) : 0);
    }
    for (size_t i = 0; rc == ERR_OK && i < j->n_inputs; i++) {
        char field[ERR_FIELD_MAX];

        snprintf(field, sizeof(field), "inputs[%zu].ref", i);
        rc = blob_check_ref(t, j->inputs[i].ref, field, &id, sha);
        content_bytes(h, j->inputs[i].name, strlen(j->inputs[i].name));
        content_bytes(h, sha, rc == ERR_OK ? sizeof(sha) : 0);
    }
    sha256_end(h, ret);
    sha256_free(h);
    return rc;
}

static int refs_take(struct tx *t, const struct job *j)
{
    struct uuid id;
    int rc = ERR_OK;

    if (!BUG("input-unreferenced") && j->payload_ref && uuid_parse(j->payload_ref + strlen("blob:"), &id))
        rc = blob_ref(t, &id, 1);
    for (size_t i = 0; rc == ERR_OK && i < j->n_inputs; i++)
        if (uuid_parse(j->inputs[i].ref + strlen("blob:"), &id))
            rc = blob_ref(t, &id, 1);
    return rc;
}

/** To the byte: then whatever it refers to may be gone by now. None was made of one that refers to nothing. */
static bool same_request(const struct known_key *known, const struct op_submit *op)
{
    static const uint8_t none[sizeof(op->request_hash)];

    return memcmp(op->request_hash, none, sizeof(none)) != 0 &&
           memcmp(op->request_hash, known->request_hash, sizeof(none)) == 0;
}

/** The key is known: the first job, or a conflict. */
static int submit_again(struct tx *t, const struct known_key *known)
{
    struct op_submit *op = &t->op->u.submit;
    struct row row;

    if (!same_request(known, op)) {
        uint8_t content[32];
        int rc = content_hash(t, op, content);

        if (rc != ERR_OK && rc != ERR_INVALID)
            return rc;
        if (rc == ERR_INVALID || memcmp(known->content_hash, content, 32) != 0) {
            char text[UUID_STR_MAX];
            uuid_format(&known->job_id, text);
            err_clear(t->err);
            return err_set(t->err, ERR_CONFLICT, 0, "the key belongs to another request: job %s", text);
        }
    }
    op->duplicate = true;
    if (op->id_only) {
        op->job.job_id = known->job_id; /* a removed job takes its key along: there is one */
        return ERR_OK;
    }
    int rc = row_load(t->c, t->op->project, &known->job_id, LOAD_FULL, t->op->arena, &row, t->err);
    if (rc == ERR_OK)
        op->job = row.job;
    return rc;
}

static usec after(usec now, usec by)
{
    return by > USEC_NEVER - now ? USEC_NEVER : now + by;
}

/** As this job begins; what the caller set of its life is not looked at. */
static struct job fresh(const struct tx *t, const struct op_submit *op)
{
    const struct job *in = &op->job;

    return (struct job){
        .job_id = in->job_id,
        .project = t->op->project,
        .queue = in->queue ? in->queue : in->task_type,
        .task_type = in->task_type,
        .priority = in->priority,
        .payload = in->payload ? in->payload : "{}",
        .payload_ref = in->payload_ref,
        .inputs = in->inputs,
        .n_inputs = in->n_inputs,
        .labels = in->labels ? in->labels : "{}",
        .dedup_key = in->dedup_key,
        .max_attempts = in->max_attempts,
        .timeout_us = in->timeout_us,
        .no_progress_us = in->no_progress_us,
        .traceparent = in->traceparent,
        .tracestate = in->tracestate,
        .created_at = t->now,
        .start_deadline_at = op->start_within_us > 0 ? after(t->now, op->start_within_us) : in->start_deadline_at,
        .status = JOB_PENDING,
        .run_at = in->run_at ? MAX(in->run_at, t->now) : after(t->now, op->delay_us),
        .waiting_on = in->waiting_on,
        .progress = -1,
        .version = 1,
    };
}

int op_submit(struct tx *t)
{
    struct op_submit *op = &t->op->u.submit;
    struct row row = {0};
    struct known_key known = {0};
    int rc = ERR_OK;

    op->duplicate = false;
    if (op->asked) /* the batch is tried again */
        op->job = *op->asked;
    else if (!(op->asked = arena_memdup(t->op->arena, &op->job, sizeof(op->job))))
        return err_set(t->err, ERR_NO_MEMORY, 0, "submission");
    op->job = fresh(t, op);
    if (op->job.n_inputs > JOB_INPUTS_MAX + 1) /* + 1: the payload's own */
        return err_field(t->err, "inputs", "more than %d", JOB_INPUTS_MAX);
    if (op->job.dedup_key)
        rc = key_find(t, op->job.dedup_key, &known);
    if (BUG("drop-dedup"))
        known.found = false;
    if (rc != ERR_OK || known.found)
        return rc == ERR_OK ? submit_again(t, &known) : rc;

    known.job_id = op->job.job_id;
    memcpy(known.request_hash, op->request_hash, sizeof(known.request_hash));
    rc = content_hash(t, op, known.content_hash);
    if (rc == ERR_OK)
        rc = refs_take(t, &op->job);
    policy_fill(&t->s->policy, &op->job);
    row.job = op->job;
    if (rc == ERR_OK)
        rc = row_insert(t, &row);
    if (rc == ERR_OK && op->job.dedup_key)
        rc = key_add(t, op->job.dedup_key, &known,
                     after(t->now, op->dedup_us > 0 ? op->dedup_us : t->s->policy.dedup_us));
    return rc;
}
