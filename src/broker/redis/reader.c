/* The reader: takes announcements of what workers wait for here, and hands them on, those of one lane together. */
#include "broker/redis/driver.h"
#include "base/auto.h"

#define STREAMS_US   USEC_PER_SEC        /* how old the list of streams may be, for who takes any queue */
#define HOUSEKEEP_US (60 * USEC_PER_SEC) /* consumers of servers that are gone */
#define GONE_MS      3600000
#define PRIORITIES   10

struct told {
    struct broker_told pub;
    char *stream, *queue, *task_type;
    char (*ids)[ID_MAX];
    struct buf again; /* the commands that announce them once more */
};

struct reader {
    struct broker *b;
    struct link link;
    struct names known;
    usec known_at, reclaimed_at, kept_house_at;
};

/* --- both readers --- */

const redisReply *message_fields(const redisReply *message)
{
    if (message->type != REDIS_REPLY_ARRAY || message->elements < 2 ||
        message->element[0]->type != REDIS_REPLY_STRING || message->element[0]->len >= ID_MAX ||
        message->element[1]->type != REDIS_REPLY_ARRAY)
        return NULL;
    const redisReply *fields = message->element[1];
    for (size_t i = 0; i < fields->elements; i++)
        if (fields->element[i]->type != REDIS_REPLY_STRING)
            return NULL;
    return fields;
}

const redisReply *field_of(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (fields->element[i]->type == REDIS_REPLY_STRING && strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1];
    return NULL;
}

void ask_read(struct buf *out, const struct broker *b, const char *const *streams, size_t n, unsigned count, bool block)
{
    resp_command(out, (block ? 9u : 7u) + 2 * n);
    resp_text(out, "XREADGROUP");
    resp_text(out, "GROUP");
    resp_text(out, b->prefix);
    resp_text(out, b->consumer);
    resp_text(out, "COUNT");
    resp_int(out, count);
    if (block) {
        resp_text(out, "BLOCK");
        resp_int(out, BLOCK_US / USEC_PER_MSEC);
    }
    resp_text(out, "STREAMS");
    for (size_t i = 0; i < n; i++)
        resp_text(out, streams[i]);
    for (size_t i = 0; i < n; i++)
        resp_text(out, ">");
}

int ask_reclaim(struct link *l, const struct broker *b, const char *stream, unsigned count, redisReply **reply,
                redisReply **ret, struct err *err)
{
    char idle[24], most[24];
    *ret = NULL;
    snprintf(idle, sizeof(idle), "%lld", (long long)(b->url.reclaim_us / USEC_PER_MSEC));
    snprintf(most, sizeof(most), "%u", count);
    int rc = link_ask(l, link_now() + LINK_WAIT_US, reply, err, "XAUTOCLAIM", stream, b->prefix, b->consumer, idle,
                      "0-0", "COUNT", most, NULL);
    if (!rc && (*reply)->type == REDIS_REPLY_ARRAY && (*reply)->elements >= 2 &&
        (*reply)->element[1]->type == REDIS_REPLY_ARRAY)
        *ret = (*reply)->element[1];
    return rc;
}

int make_group(struct link *l, const struct broker *b, const char *stream, bool forget, struct err *err)
{
    redisReply *reply = NULL;
    char keep[24];
    int rc = link_ask(l, link_now() + LINK_WAIT_US, &reply, err, "XGROUP", "CREATE", stream, b->prefix, "0", "MKSTREAM",
                      NULL);
    if (rc)
        return rc;
    if (reply_is_error(reply, NULL) && !reply_is_error(reply, "BUSYGROUP"))
        rc = redis_err(reply, err);
    freeReplyObject(reply);
    if (rc || !forget)
        return rc;
    snprintf(keep, sizeof(keep), "%d", STREAM_KEEP_S);
    rc = link_ask(l, link_now() + LINK_WAIT_US, &reply, err, "EXPIRE", stream, keep, NULL);
    if (!rc)
        freeReplyObject(reply);
    return rc;
}

/* --- announcements that were read --- */

static void told_free(struct told *t)
{
    free(t->stream);
    free(t->queue);
    free(t->task_type);
    free(t->ids);
    buf_release(&t->again);
    free(t);
}

/* @param stream  CLASS:QUEUE/TASK_TYPE */
static struct told *told_new(const struct broker *b, const char *stream, int priority, size_t most)
{
    struct told *t = calloc(1, sizeof(*t));
    const char *colon = strchr(stream, ':'), *slash = strrchr(stream, '/');
    if (!t)
        return NULL;
    buf_init(&t->again, WIRE_SEND_MAX);
    t->ids = calloc(most, sizeof(*t->ids));
    if (colon && slash && asprintf(&t->stream, "%s:jobs:%s", b->prefix, stream) > 0) {
        t->queue = strndup(colon + 1, (size_t)(slash - colon - 1));
        t->task_type = strdup(slash + 1);
    }
    if (!t->ids || !t->queue || !t->task_type) {
        told_free(t);
        return NULL;
    }
    t->pub = (struct broker_told){.queue = t->queue, .task_type = t->task_type, .priority = priority};
    return t;
}

static int priority_of(const redisReply *fields)
{
    const redisReply *field = field_of(fields, "priority");
    return field && field->len == 1 && field->str[0] >= '0' && field->str[0] <= '9' ? field->str[0] - '0' : -1;
}

static void told_add(struct told *t, const struct broker *b, const redisReply *message, const redisReply *fields)
{
    struct broker_job job = {.queue = t->queue, .task_type = t->task_type, .priority = t->pub.priority};
    const redisReply *id = field_of(fields, "job_id"), *ref = field_of(fields, "payload_ref"),
                     *retries = field_of(fields, "retries");
    snprintf(t->ids[t->pub.jobs++], ID_MAX, "%s", message->element[0]->str);
    if (id)
        uuid_parse(id->str, &job.job_id);
    job.payload_ref = ref ? ref->str : NULL;
    job.retries = retries ? (uint32_t)strtoul(retries->str, NULL, 10) : 0;
    add_job(&t->again, b, t->stream, &job);
}

static void count(struct broker *b, uint64_t *which, uint64_t n)
{
    pthread_mutex_lock(&b->lock);
    *which += n;
    pthread_mutex_unlock(&b->lock);
}

/* Not ours: nobody can do anything with it. */
static void drop_message(struct broker *b, const char *stream, const redisReply *message)
{
    char key[NAME_MAX_], id[1][ID_MAX];
    snprintf(key, sizeof(key), "%s:jobs:%s", b->prefix, stream);
    snprintf(id[0], ID_MAX, "%s", message->element[0]->str);
    sender_put(b, item_acknowledge(b, key, (const char(*)[ID_MAX])id, 1, NULL, 0));
    count(b, &b->state.dropped, 1);
}

static void hand_out(struct broker *b, struct told *t)
{
    pthread_mutex_lock(&b->lock);
    b->unsettled += t->pub.jobs;
    b->state.received += t->pub.jobs;
    pthread_mutex_unlock(&b->lock);
    b->calls.told(b->calls.self, &t->pub);
}

/* What there is no memory for stays unacknowledged, and comes again. */
static void take_messages(struct broker *b, const char *stream, const redisReply *messages)
{
    struct told *lanes[PRIORITIES] = {NULL};
    for (size_t i = 0; messages->type == REDIS_REPLY_ARRAY && i < messages->elements; i++) {
        const redisReply *message = messages->element[i], *fields = message_fields(message);
        const int priority = fields ? priority_of(fields) : -1;
        if (!fields)
            continue;
        if (priority < 0) {
            drop_message(b, stream, message);
            continue;
        }
        if (!lanes[priority])
            lanes[priority] = told_new(b, stream, priority, messages->elements);
        if (lanes[priority])
            told_add(lanes[priority], b, message, fields);
    }
    for (size_t i = PRIORITIES; i-- > 0;)
        if (lanes[i])
            hand_out(b, lanes[i]);
}

static void note_outcome(struct broker *b, unsigned jobs, enum broker_outcome outcome)
{
    pthread_mutex_lock(&b->lock);
    b->unsettled -= jobs;
    if (outcome == BROKER_NOTHING)
        b->state.dropped += jobs;
    if (outcome == BROKER_NOBODY)
        b->state.returned += jobs;
    b->drain = outcome == BROKER_NOTHING ? MIN(b->drain * 2, 256u) : 1;
    pthread_cond_broadcast(&b->settled);
    pthread_mutex_unlock(&b->lock);
}

void told_settle(struct broker *b, struct broker_told *pub, enum broker_outcome outcome)
{
    struct told *t = (struct told *)(void *)pub;
    const unsigned n = t->pub.jobs;
    if (outcome == BROKER_NOBODY && !t->again.failed)
        sender_put(b, item_acknowledge(b, t->stream, (const char(*)[ID_MAX])t->ids, n, &t->again, n));
    else if (outcome != BROKER_LATER)
        sender_put(b, item_acknowledge(b, t->stream, (const char(*)[ID_MAX])t->ids, n, NULL, 0));
    note_outcome(b, n, outcome);
    told_free(t);
}

/* --- the thread --- */

static const char *key_of(const struct broker *b, const char *stream, char ret[NAME_MAX_])
{
    snprintf(ret, NAME_MAX_, "%s:jobs:%s", b->prefix, stream);
    return ret;
}

static int read_known(struct reader *r, struct err *err)
{
    const struct clock clock = clock_real();
    char key[NAME_MAX_], since[24];
    redisReply *reply = NULL;
    if (r->known_at && r->known_at + STREAMS_US > link_now())
        return ERR_OK;
    snprintf(key, sizeof(key), "%s:streams", r->b->prefix);
    snprintf(since, sizeof(since), "%lld", (long long)(clock.wall_us(clock.self) / USEC_PER_SEC - STREAM_KEEP_S));
    int rc = link_ask(&r->link, link_now() + LINK_WAIT_US, &reply, err, "ZRANGEBYSCORE", key, since, "+inf", "LIMIT",
                      "0", "10000", NULL);
    if (rc)
        return rc;
    names_free(&r->known);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            names_add(&r->known, reply->element[i]->str);
    freeReplyObject(reply);
    r->known_at = link_now();
    return ERR_OK;
}

static int reclaim(struct reader *r, const struct names *streams, unsigned most, struct err *err)
{
    char key[NAME_MAX_];
    int rc = ERR_OK;
    if (r->reclaimed_at + r->b->url.reclaim_us / 2 > link_now())
        return ERR_OK;
    for (size_t i = 0; i < streams->n && !rc; i++) {
        redisReply *reply = NULL, *messages = NULL;
        rc = ask_reclaim(&r->link, r->b, key_of(r->b, streams->items[i], key), most, &reply, &messages, err);
        if (messages)
            take_messages(r->b, streams->items[i], messages);
        freeReplyObject(reply);
    }
    r->reclaimed_at = link_now();
    return rc;
}

static int64_t consumer_number(const redisReply *consumer, const char *name)
{
    const redisReply *value = field_of(consumer, name);
    return value && value->type == REDIS_REPLY_INTEGER ? value->integer : -1;
}

/* A consumer without pending messages that was not heard of for an hour: its server is gone. */
static int forget_consumers(struct reader *r, const char *key, struct err *err)
{
    redisReply *reply = NULL, *answer = NULL;
    int rc = link_ask(&r->link, link_now() + LINK_WAIT_US, &reply, err, "XINFO", "CONSUMERS", key, r->b->prefix, NULL);
    for (size_t i = 0; !rc && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *consumer = reply->element[i], *name = field_of(consumer, "name");
        if (!name || consumer_number(consumer, "pending") != 0 || consumer_number(consumer, "idle") < GONE_MS ||
            strcmp(name->str, r->b->consumer) == 0)
            continue;
        rc = link_ask(&r->link, link_now() + LINK_WAIT_US, &answer, err, "XGROUP", "DELCONSUMER", key, r->b->prefix,
                      name->str, NULL);
        if (!rc)
            freeReplyObject(answer);
    }
    freeReplyObject(reply);
    return rc;
}

static int keep_house(struct reader *r, const struct names *streams, struct err *err)
{
    char key[NAME_MAX_];
    int rc = ERR_OK;
    if (r->kept_house_at + HOUSEKEEP_US > link_now())
        return ERR_OK;
    for (size_t i = 0; i < streams->n && !rc; i++)
        rc = forget_consumers(r, key_of(r->b, streams->items[i], key), err);
    r->kept_house_at = link_now();
    return rc;
}

static void take_reply(struct reader *r, const redisReply *reply)
{
    const size_t before = strlen(r->b->prefix) + strlen(":jobs:");
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *pair = reply->element[i];
        if (pair->type == REDIS_REPLY_ARRAY && pair->elements == 2 && pair->element[0]->type == REDIS_REPLY_STRING &&
            pair->element[0]->len > before)
            take_messages(r->b, pair->element[0]->str + before, pair->element[1]);
    }
}

static void blocked(struct reader *r, int64_t id)
{
    struct want *w, *tmp;
    pthread_mutex_lock(&r->b->lock);
    r->b->blocked_id = id;
    if (!id)
        HASH_ITER (hh, r->b->wants, w, tmp)
            w->read = false;
    pthread_mutex_unlock(&r->b->lock);
}

static int read_once(struct reader *r, const struct names *streams, unsigned most, bool block, struct err *err)
{
    struct buf *out = rwire_out(r->link.wire);
    redisReply *reply = NULL;
    int rc = ERR_OK;
    const char **keys = calloc(streams->n, sizeof(*keys));
    char(*texts)[NAME_MAX_] = calloc(streams->n, sizeof(*texts));
    if (!keys || !texts) {
        rc = err_set(err, ERR_NO_MEMORY, 0, "read streams");
    } else {
        for (size_t i = 0; i < streams->n; i++)
            keys[i] = key_of(r->b, streams->items[i], texts[i]);
        ask_read(out, r->b, keys, streams->n, most, block);
        rc = rwire_send(r->link.wire, link_now() + LINK_WAIT_US, err);
        if (!rc)
            rc = rwire_reply(r->link.wire, link_now() + BLOCK_US + LINK_WAIT_US, &reply, err);
    }
    if (!rc && reply_is_error(reply, "NOGROUP")) /* new streams, or all were lost */
        for (size_t i = 0; i < streams->n && !rc; i++)
            rc = make_group(&r->link, r->b, keys[i], true, err);
    else if (!rc && reply_is_error(reply, NULL) && !reply_is_error(reply, "UNBLOCKED"))
        rc = redis_err(reply, err);
    else if (!rc)
        take_reply(r, reply);
    freeReplyObject(reply);
    free(keys);
    free(texts);
    return rc;
}

/* Not more than the engine can be handed at once. */
static void wait_settled(struct broker *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->unsettled >= UNSETTLED_MAX && !b->stopping)
        wait_on(b, &b->settled, USEC_PER_SEC);
    pthread_mutex_unlock(&b->lock);
}

static int work(struct reader *r, struct err *err)
{
    struct names streams = {0};
    unsigned most = 0;
    wait_settled(r->b);
    int rc = read_known(r, err);
    if (rc)
        return rc;
    blocked(r, r->link.client_id);
    const bool waits = wants_streams(r->b, &r->known, &streams, &most);
    if (streams.n)
        rc = reclaim(r, &streams, most, err);
    if (!rc && streams.n)
        rc = keep_house(r, &streams, err);
    if (!rc && streams.n)
        rc = read_once(r, &streams, most, waits, err);
    blocked(r, 0);
    names_free(&streams);
    return rc;
}

void *reader_main(void *broker)
{
    struct broker *b = broker;
    struct reader r = {.b = b, .link = link_of(b, b->read_stop_fd)};
    struct err err;
    while (wants_wait(b, USEC_PER_SEC)) {
        err_clear(&err);
        int rc = link_ready(&r.link, link_now() + LINK_WAIT_US, &err);
        if (!rc)
            rc = work(&r, &err);
        if (rc == ERR_CANCELLED)
            break;
        part_is(b, PART_READER, rc ? &err : NULL);
        if (!rc)
            continue;
        link_drop(&r.link);
        link_pause(&r.link);
    }
    link_drop(&r.link);
    names_free(&r.known);
    return NULL;
}
