/* The sender: what was queued goes out in pipelines, in order. What a lost connection leaves unanswered is not sent again: an announcement
 * costs time only, and what was not acknowledged comes again. */
#include "broker/redis/driver.h"
#include "base/auto.h"

#define PIPELINE_MAX 512
#define BEAT_US      USEC_PER_SEC /* an idle connection is tried so often, so that a loss is known */
#define TOUCH_US     (60 * USEC_PER_SEC)
#define TOUCHED_MAX  10000

/* Streams whose time to live was put off lately. */
struct touched {
    char *stream;
    usec at; /* boot clock */
    UT_hash_handle hh;
};

struct sender {
    struct broker *b;
    struct link link;
    struct touched *touched;
    bool full; /* Redis refused an announcement for want of memory */
};

struct item *item_new(size_t max_bytes)
{
    struct item *item = calloc(1, sizeof(*item));
    if (item)
        buf_init(&item->commands, max_bytes);
    return item;
}

static void item_free(struct item *item)
{
    buf_release(&item->commands);
    free(item->announces);
    free(item);
}

static void add_ids(struct buf *out, const struct broker *b, const char *stream, const char (*ids)[ID_MAX], size_t n,
                    bool acknowledge)
{
    resp_command(out, n + (acknowledge ? 3 : 2));
    resp_text(out, acknowledge ? "XACK" : "XDEL");
    resp_text(out, stream);
    if (acknowledge)
        resp_text(out, b->prefix);
    for (size_t i = 0; i < n; i++)
        resp_text(out, ids[i]);
}

/* One transaction: acknowledged and not deleted would stand in the stream for ever, deleted and not acknowledged in the pending list. */
struct item *item_acknowledge(const struct broker *b, const char *stream, const char (*ids)[ID_MAX], size_t n,
                              const struct buf *before, unsigned n_before)
{
    struct item *item = item_new(WIRE_SEND_MAX);
    if (!item)
        return NULL;
    struct buf *out = &item->commands;
    resp_command(out, 1);
    resp_text(out, "MULTI");
    if (before)
        buf_add(out, before->data, before->len);
    add_ids(out, b, stream, ids, n, true);
    add_ids(out, b, stream, ids, n, false);
    resp_command(out, 1);
    resp_text(out, "EXEC");
    item->replies = 4 + n_before;
    return item;
}

void sender_put(struct broker *b, struct item *item)
{
    if (!item)
        return;
    pthread_mutex_lock(&b->lock);
    const bool late = b->stopped || item->commands.failed;
    if (!late) {
        *b->last = item;
        b->last = &item->next;
        b->n_announces += item->announces != NULL;
        pthread_cond_signal(&b->sends);
    }
    pthread_mutex_unlock(&b->lock);
    if (late)
        item_free(item);
}

static void touched_forget(struct sender *s)
{
    struct touched *t, *tmp;
    HASH_ITER (hh, s->touched, t, tmp) {
        HASH_DELETE(hh, s->touched, t);
        free(t->stream);
        free(t);
    }
}

static struct touched *touched_add(struct sender *s, const char *stream)
{
    if (HASH_COUNT(s->touched) >= TOUCHED_MAX)
        touched_forget(s);
    struct touched *t = calloc(1, sizeof(*t));
    if (t && (t->stream = strdup(stream)))
        HASH_ADD_KEYPTR(hh, s->touched, t->stream, strlen(t->stream), t);
    if (t && !t->hh.tbl) {
        free(t->stream);
        free(t);
        return NULL;
    }
    return t;
}

/* Was it long enough ago? Then it counts as done now. */
static bool touch_due(struct sender *s, const char *stream)
{
    struct touched *t;
    HASH_FIND_STR(s->touched, stream, t);
    if (t && t->at + TOUCH_US > link_now())
        return false;
    if (!t)
        t = touched_add(s, stream);
    if (t)
        t->at = link_now();
    return true;
}

/* Known to those who take any queue, and gone a day after its last announcement. @return replies */
static unsigned add_touch(struct sender *s, const char *stream)
{
    const struct clock clock = clock_real();
    struct buf *out = rwire_out(s->link.wire);
    char key[NAME_MAX_];
    if (!touch_due(s, stream))
        return 0;
    snprintf(key, sizeof(key), "%s:streams", s->b->prefix);
    resp_command(out, 4);
    resp_text(out, "ZADD");
    resp_text(out, key);
    resp_int(out, clock.wall_us(clock.self) / USEC_PER_SEC);
    resp_text(out, stream + strlen(s->b->prefix) + strlen(":jobs:"));
    for (int i = 0; i < 2; i++) {
        resp_command(out, 3);
        resp_text(out, "EXPIRE");
        resp_text(out, i ? key : stream);
        resp_int(out, STREAM_KEEP_S);
    }
    return 3;
}

/* Whether Redis took what was to be kept. */
static void note(struct sender *s, const struct item *item, const redisReply *last)
{
    struct err err;
    err_clear(&err);
    const bool refused = reply_is_error(last, NULL);
    if (item->announces) {
        pthread_mutex_lock(&s->b->lock);
        s->b->state.announced += !refused;
        s->b->state.unannounced += refused;
        pthread_mutex_unlock(&s->b->lock);
    }
    if (refused && (reply_is_error(last, "OOM") || item->announces)) {
        redis_err(last, &err);
        s->full = true;
        part_is(s->b, PART_ROOM, &err);
    } else if (!refused && s->full && item->announces) {
        s->full = false;
        part_is(s->b, PART_ROOM, NULL);
    }
}

static int read_replies(struct sender *s, const struct item *item, unsigned more, usec until_us, struct err *err)
{
    for (unsigned i = 0; i < item->replies + more; i++) {
        redisReply *reply = NULL;
        int rc = rwire_reply(s->link.wire, until_us, &reply, err);
        if (rc)
            return rc;
        if (i + 1 == item->replies)
            note(s, item, reply);
        freeReplyObject(reply);
    }
    return ERR_OK;
}

/* An idle connection is asked whether it is there; one that was full, whether there is room again. */
static int beat(struct sender *s, struct err *err)
{
    char key[NAME_MAX_];
    redisReply *reply = NULL;
    snprintf(key, sizeof(key), "%s:room", s->b->prefix);
    int rc = s->full ? link_ask(&s->link, link_now() + LINK_WAIT_US, &reply, err, "SET", key, "1", "PX", "1000", NULL)
                     : link_ask(&s->link, link_now() + LINK_WAIT_US, &reply, err, "PING", NULL);
    if (rc)
        return rc;
    const bool refused = reply_is_error(reply, NULL);
    if (refused && !s->full)
        rc = redis_err(reply, err);
    freeReplyObject(reply);
    if (!refused && s->full) {
        s->full = false;
        part_is(s->b, PART_ROOM, NULL);
    }
    return rc;
}

static int send_items(struct sender *s, struct item *items, struct err *err)
{
    unsigned more[PIPELINE_MAX];
    struct buf *out = rwire_out(s->link.wire);
    usec until_us = link_now() + LINK_WAIT_US;
    size_t i = 0;
    for (struct item *item = items; item; item = item->next, i++) {
        buf_add(out, item->commands.data, item->commands.len);
        more[i] = item->announces ? add_touch(s, item->announces) : 0;
    }
    int rc = rwire_send(s->link.wire, until_us, err);
    i = 0;
    for (struct item *item = items; item && !rc; item = item->next, i++) {
        rc = read_replies(s, item, more[i], until_us, err);
        if (!rc)
            item->replies = 0; /* answered */
    }
    return rc;
}

/* With the lock. What fits into one pipeline. */
static struct item *take_items(struct broker *b)
{
    struct item *items = b->first, **last = &b->first;
    size_t n = 0, bytes = 0;
    while (*last && n < PIPELINE_MAX && (n == 0 || bytes + (*last)->commands.len < WIRE_SEND_MAX / 2)) {
        bytes += (*last)->commands.len;
        b->n_announces -= (*last)->announces != NULL;
        last = &(*last)->next;
        n++;
    }
    b->first = *last;
    if (!b->first)
        b->last = &b->first;
    *last = NULL;
    return n ? items : NULL;
}

static void end_items(struct broker *b, struct item *items)
{
    while (items) {
        struct item *item = items;
        items = item->next;
        if (item->replies && item->announces) {
            pthread_mutex_lock(&b->lock);
            b->state.unannounced++;
            pthread_mutex_unlock(&b->lock);
        }
        item_free(item);
    }
}

/* @return what to send; NULL: nothing for a second, or *ret_end */
static struct item *wait_items(struct broker *b, bool *ret_end)
{
    pthread_mutex_lock(&b->lock);
    if (!b->first && !b->sender_stopping)
        wait_on(b, &b->sends, BEAT_US);
    struct item *items = take_items(b);
    *ret_end = !items && b->sender_stopping;
    pthread_mutex_unlock(&b->lock);
    return items;
}

void *sender_main(void *broker)
{
    struct sender s = {.b = broker, .link = link_of(broker, ((struct broker *)broker)->send_stop_fd)};
    struct broker *b = broker;
    struct err err;
    for (bool end = false; !end;) {
        err_clear(&err);
        if (link_ready(&s.link, link_now() + LINK_WAIT_US, &err)) {
            part_is(b, PART_SENDER, &err);
            touched_forget(&s);
            pthread_mutex_lock(&b->lock);
            end = b->sender_stopping;
            pthread_mutex_unlock(&b->lock);
            if (!end)
                end = !link_pause(&s.link);
            continue;
        }
        part_is(b, PART_SENDER, NULL);
        struct item *items = wait_items(b, &end);
        int rc = items ? send_items(&s, items, &err) : end ? ERR_OK : beat(&s, &err);
        end_items(b, items);
        if (rc) {
            part_is(b, PART_SENDER, &err);
            link_drop(&s.link);
        }
    }
    link_drop(&s.link);
    touched_forget(&s);
    pthread_mutex_lock(&b->lock);
    b->sender_ended = true;
    pthread_cond_broadcast(&b->settled);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}
