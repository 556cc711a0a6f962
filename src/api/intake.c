#include "api/intake.h"
#include "api/submission.h"
#include "base/auto.h"
#include "base/timefmt.h"

#define ARENA_BYTES (4u * 1024 * 1024)

struct intake {
    struct op op;
    struct loop_letter letter;
    struct api *api;
    struct broker_submission *submission;
};

static void settle(struct api *api, struct broker_submission *s, enum broker_admission admission, const char *reason)
{
    api->broker_driver->settle_submission(api->broker, s, admission, reason);
}

/* What may be otherwise a little later is tried again; what will not is refused. */
static void settle_err(struct api *api, struct broker_submission *s, const struct err *err)
{
    char reason[ERR_FIELD_MAX + ERR_MSG_MAX + 8];

    snprintf(reason, sizeof(reason), "%s%s%s", err->field, err->field[0] ? ": " : "", err->msg);
    settle(api, s, err_repeatable(err->code) ? BROKER_DEFERRED : BROKER_REFUSED, reason);
}

static void decided(struct op *op)
{
    struct intake *in = op->owner;

    if (op->err.code == ERR_OK)
        settle(in->api, in->submission, BROKER_ADMITTED, NULL);
    else
        settle_err(in->api, in->submission, &op->err);
    arena_free(op->arena);
    free(in);
}

/* Beyond what keys are remembered, nobody can tell whether it was admitted before. */
static int check_age(const struct api *api, const struct broker_submission *s, struct err *err)
{
    char memory[48];

    if (api->clock.wall_us(api->clock.self) - s->at < api->policy.dedup_us)
        return ERR_OK;
    duration_format(api->policy.dedup_us, memory);
    return err_set(
        err, ERR_CONFLICT, 0,
        "it is older than keys are remembered (dedup_window, %s), and may have been admitted before; publish it "
        "again if it was not",
        memory);
}

static int prepare(struct intake *in, struct err *err)
{
    const struct broker_submission *s = in->submission;
    struct op *op = &in->op;

    if (!s->json)
        return err_set(err, ERR_MALFORMED, 0, "%s", s->reason);
    int rc = check_age(in->api, s, err);
    if (!rc)
        rc = submission_parse_message(s->json, s->json_bytes, s->message_id, &in->api->policy, op->arena, &op->u.submit,
                                      err);
    if (!rc) {
        op->u.submit.job.job_id = uuid_v7(in->api->clock.wall_us(in->api->clock.self), in->api->rng);
        op->u.submit.id_only = true;
        rc = submit_hash(op->project, &op->u.submit.job, &op->u.submit.hashes, err);
    }
    return rc;
}

void intake_submit(struct api *api, struct broker_submission *s)
{
    struct intake *in = calloc(1, sizeof(*in));
    struct err err;

    err_clear(&err);
    if (!in || !(in->op.arena = arena_new(ARENA_BYTES))) {
        free(in);
        settle(api, s, BROKER_DEFERRED, NULL);
        return;
    }
    in->api = api;
    in->submission = s;
    in->op.kind = OP_SUBMIT;
    in->op.project = API_PROJECT;
    in->op.done = decided;
    in->op.owner = in;
    if (prepare(in, &err)) {
        arena_free(in->op.arena);
        free(in);
        settle_err(api, s, &err);
        return;
    }
    loop_offer(api->loop, &in->letter, &in->op);
}
