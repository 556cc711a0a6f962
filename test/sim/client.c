/* Clients: they submit with a key until they are answered, follow what they submitted, sometimes cancel it, and retry dead letters. */
#include "sim.h"

static void submit(struct sim *s, void *arg, unsigned cookie);
static void follow(struct sim *s, void *arg, unsigned cookie);
static void retry(struct sim *s, void *arg, unsigned cookie);

static void again(struct sim *s, struct submission *sub, void (*fn)(struct sim *s, void *arg, unsigned cookie))
{
    after(s, dice_us(s, 200000, 4 * SEC), (int)sub->host, fn, sub, 0);
}

static void cancelled(struct sim *s, struct rpc *r, const struct answer *a)
{
    /* Unknown or refused: whoever follows it sees how it ends. */
}

static void cancel(struct sim *s, void *arg, unsigned cookie)
{
    struct submission *sub = arg;
    struct rpc *r = rpc_new(s, RPC_CANCEL, sub->host, cancelled, sub);

    r->job_id = sub->job_id;
    rpc_send(s, r, 10 * SEC);
}

static void submitted(struct sim *s, struct rpc *r, const struct answer *a)
{
    struct submission *sub = r->owner;

    if (a && a->code == ERR_INVALID) /* what nobody refers to is kept for a while only: once more */
        sub->upload = sub->blob = (struct uuid){{0}};
    if (!a || a->code != ERR_OK) {
        again(s, sub, submit);
        return;
    }
    sub->acked = true;
    sub->job_id = a->job_id;
    again(s, sub, follow);
    if (sub->cancels)
        after(s, dice_us(s, 0, 120 * SEC), (int)sub->host, cancel, sub, 0);
}

static void input_sent(struct sim *s, struct rpc *r, const struct answer *a)
{
    struct submission *sub = r->owner;

    if (a && a->code == ERR_OK)
        *(r->kind == RPC_UPLOAD ? &sub->upload : &sub->blob) = a->blob_id;
    else if (a && a->code == ERR_NOT_FOUND) /* the upload expired, or it was finished, and nobody heard of it */
        sub->upload = (struct uuid){{0}};
    if (r->kind == RPC_UPLOAD && chance(s, 20))
        after(s, dice_us(s, 0, 60 * SEC), (int)sub->host, submit, sub, 0); /* it takes its time, and perhaps too long */
    else
        again(s, sub, submit);
}

/* @return false: there is one, or none is needed */
static bool input_send(struct sim *s, struct submission *sub)
{
    if (!sub->input || !uuid_is_nil(&sub->blob))
        return false;
    const bool begin = sub->uploads && uuid_is_nil(&sub->upload);
    struct rpc *r = rpc_new(s, begin ? RPC_UPLOAD : RPC_BLOB, sub->host, input_sent, sub);
    r->outputs[0] = (struct produced){dice(s, UINT64_MAX), 9};
    if (!begin)
        r->blob_id = sub->upload;
    rpc_send(s, r, 10 * SEC);
    return true;
}

static void submit(struct sim *s, void *arg, unsigned cookie)
{
    struct submission *sub = arg;

    if (input_send(s, sub))
        return;
    struct rpc *r = rpc_new(s, RPC_SUBMIT, sub->host, submitted, sub);
    r->submission = sub;
    r->blob_id = sub->blob;
    rpc_send(s, r, 10 * SEC);
}

static void retried(struct sim *s, struct rpc *r, const struct answer *a)
{
    struct submission *sub = r->owner;

    if (!a || (a->code != ERR_OK && a->code != ERR_ILLEGAL_STATE && a->code != ERR_NOT_FOUND))
        again(s, sub, retry);
    else
        again(s, sub, follow);
}

static void retry(struct sim *s, void *arg, unsigned cookie)
{
    struct submission *sub = arg;
    struct rpc *r = rpc_new(s, RPC_RETRY, sub->host, retried, sub);

    r->job_id = sub->job_id;
    rpc_send(s, r, 10 * SEC);
}

static void followed(struct sim *s, struct rpc *r, const struct answer *a)
{
    struct submission *sub = r->owner;
    bool over = a && a->code == ERR_OK && !a->more;

    if (a && a->code == ERR_OK)
        sub->version = a->version;
    bool gone = a && a->code == ERR_NOT_FOUND; /* its retention was over before anybody heard of its end */
    sub->settled = gone || (over && (a->status == JOB_SUCCESS || !sub->retries_left));
    if (over && !sub->settled) {
        sub->retries_left--;
        again(s, sub, retry);
    } else
        again(s, sub, follow);
}

static void follow(struct sim *s, void *arg, unsigned cookie)
{
    struct submission *sub = arg;
    struct rpc *r = rpc_new(s, RPC_WATCH, sub->host, followed, sub);

    r->job_id = sub->job_id;
    r->after_version = sub->version;
    r->wait_us = 20 * SEC;
    rpc_send(s, r, 30 * SEC);
}

void client_start(struct sim *s, struct submission *sub, usec in_us)
{
    after(s, in_us, (int)sub->host, submit, sub, 0);
}

bool clients_settled(const struct sim *s)
{
    for (unsigned i = 0; i < s->n_submissions; i++)
        if (!s->submissions[i].settled)
            return false;
    return true;
}
