/* The intake: hands submissions on, and puts those that are refused where people find them. */
#include "broker/redis/driver.h"
#include "base/auto.h"
#include "broker/fields.h"

#define READ_MAX        64
#define SUBMISSIONS_MAX 256 /* handed out at once */
#define REST_US         USEC_PER_SEC

struct submission {
    struct broker_submission pub;
    char id[1][ID_MAX];
    struct buf json, fields; /* fields: as they came, for the dead stream */
    size_t n_words;
    char reason[256];
};

struct intake {
    struct broker *b;
    struct link link;
    usec reclaimed_at;
};

static void submission_free(struct submission *s)
{
    buf_release(&s->json);
    buf_release(&s->fields);
    free(s);
}

static void read_fields(struct submission *s, const redisReply *fields)
{
    struct broker_field *all = calloc(fields->elements / 2 + 1, sizeof(*all));
    struct err err;
    size_t n = 0;
    err_clear(&err);
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i], *value = fields->element[i + 1];
        resp_word(&s->fields, name->str, name->len);
        resp_word(&s->fields, value->str, value->len);
        s->n_words += 2;
        if (all)
            all[n++] = (struct broker_field){name->str, value->str, name->len, value->len};
    }
    if (s->fields.failed) { /* too large to be kept twice */
        buf_reset(&s->fields);
        s->n_words = 0;
    }
    int rc = all ? broker_fields_json(all, n, &s->json, &err) : err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
    if (rc) {
        snprintf(s->reason, sizeof(s->reason), "%.250s", err.msg);
        s->pub.reason = s->reason;
    } else {
        s->pub.json = buf_str(&s->json);
        s->pub.json_bytes = s->json.len;
    }
    free(all);
}

static struct submission *submission_new(const redisReply *message, const redisReply *fields)
{
    struct submission *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL; /* it stays, and comes again */
    buf_init(&s->json, MESSAGE_MAX);
    buf_init(&s->fields, MESSAGE_MAX + 65536);
    snprintf(s->id[0], ID_MAX, "%s", message->element[0]->str);
    s->pub.message_id = s->id[0];
    s->pub.at = (usec)strtoull(s->id[0], NULL, 10) * USEC_PER_MSEC; /* an id begins with Redis' milliseconds */
    read_fields(s, fields);
    return s;
}

static void take(struct broker *b, const redisReply *messages)
{
    for (size_t i = 0; messages && messages->type == REDIS_REPLY_ARRAY && i < messages->elements; i++) {
        const redisReply *fields = message_fields(messages->element[i]);
        struct submission *s = fields ? submission_new(messages->element[i], fields) : NULL;
        if (!s)
            continue;
        pthread_mutex_lock(&b->lock);
        b->submissions++;
        pthread_mutex_unlock(&b->lock);
        b->calls.submitted(b->calls.self, &s->pub);
    }
}

/* The words behind those of the message say why, and which it was. */
static unsigned add_dead(struct buf *out, const struct broker *b, const struct submission *s, const char *reason)
{
    resp_command(out, 6 + s->n_words + 4);
    resp_text(out, "XADD");
    resp_text(out, b->dead);
    resp_text(out, "MAXLEN");
    resp_text(out, "~");
    resp_int(out, DEAD_MAX);
    resp_text(out, "*");
    buf_add(out, s->fields.data, s->fields.len);
    resp_text(out, "reason");
    resp_text(out, reason);
    resp_text(out, "message_id");
    resp_text(out, s->id[0]);
    return 1;
}

void submission_settle(struct broker *b, struct broker_submission *pub, enum broker_admission admission,
                       const char *reason)
{
    struct submission *s = (struct submission *)(void *)pub;
    struct buf dead;
    buf_init(&dead, 2 * MESSAGE_MAX);
    if (admission == BROKER_REFUSED)
        sender_put(b, item_acknowledge(b, b->intake, (const char(*)[ID_MAX])s->id, 1, &dead,
                                       add_dead(&dead, b, s, reason ? reason : "")));
    else if (admission == BROKER_ADMITTED)
        sender_put(b, item_acknowledge(b, b->intake, (const char(*)[ID_MAX])s->id, 1, NULL, 0));
    buf_release(&dead);
    submission_free(s);
    pthread_mutex_lock(&b->lock);
    b->submissions--;
    b->state.admitted += admission == BROKER_ADMITTED;
    b->state.refused += admission == BROKER_REFUSED;
    b->state.deferred += admission == BROKER_DEFERRED;
    if (admission == BROKER_DEFERRED)
        b->intake_rests_till = link_now() + REST_US;
    pthread_cond_broadcast(&b->settled);
    pthread_mutex_unlock(&b->lock);
}

/* Until there is room for more, and the store answers. @return how many may be read; 0: the driver stops */
static unsigned wait_room(struct broker *b)
{
    unsigned room = 0;
    pthread_mutex_lock(&b->lock);
    while (!b->stopping && (b->submissions >= SUBMISSIONS_MAX || b->intake_rests_till > link_now()))
        wait_on(b, &b->settled, USEC_PER_SEC / 4);
    if (!b->stopping)
        room = (unsigned)MIN(SUBMISSIONS_MAX - b->submissions, (size_t)READ_MAX);
    pthread_mutex_unlock(&b->lock);
    return room;
}

static int reclaim(struct intake *in, unsigned most, struct err *err)
{
    redisReply *reply = NULL, *messages = NULL;
    if (in->reclaimed_at + in->b->url.reclaim_us / 2 > link_now())
        return ERR_OK;
    int rc = ask_reclaim(&in->link, in->b, in->b->intake, most, &reply, &messages, err);
    if (!messages || messages->elements < most) /* else there is more */
        in->reclaimed_at = link_now();
    take(in->b, messages);
    freeReplyObject(reply);
    return rc;
}

static int read_once(struct intake *in, unsigned most, struct err *err)
{
    const char *stream = in->b->intake;
    redisReply *reply = NULL;
    ask_read(rwire_out(in->link.wire), in->b, &stream, 1, most, true);
    int rc = rwire_send(in->link.wire, link_now() + LINK_WAIT_US, err);
    if (!rc)
        rc = rwire_reply(in->link.wire, link_now() + BLOCK_US + LINK_WAIT_US, &reply, err);
    if (!rc && reply_is_error(reply, "NOGROUP"))
        rc = make_group(&in->link, in->b, stream, false, err);
    else if (!rc && reply_is_error(reply, NULL) && !reply_is_error(reply, "UNBLOCKED"))
        rc = redis_err(reply, err);
    else if (!rc && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && reply->element[0]->elements == 2)
        take(in->b, reply->element[0]->element[1]);
    freeReplyObject(reply);
    return rc;
}

void *intake_main(void *broker)
{
    struct broker *b = broker;
    struct intake in = {.b = b, .link = link_of(b, b->read_stop_fd)};
    struct err err;
    unsigned room;
    while ((room = wait_room(b))) {
        err_clear(&err);
        int rc = link_ready(&in.link, link_now() + LINK_WAIT_US, &err);
        if (!rc)
            rc = reclaim(&in, room, &err);
        if (!rc && (room = wait_room(b)))
            rc = read_once(&in, room, &err);
        if (rc == ERR_CANCELLED)
            break;
        part_is(b, PART_INTAKE, rc ? &err : NULL);
        if (!rc)
            continue;
        link_drop(&in.link);
        link_pause(&in.link);
    }
    link_drop(&in.link);
    return NULL;
}
