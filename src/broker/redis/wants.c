/* What workers wait for here: only that is read. */
#include "broker/redis/driver.h"
#include "base/auto.h"

#define WANTS_MAX   10000
#define STREAMS_MAX 512 /* that one read looks at */
#define COUNT_MAX   256u

static struct want *want_add(struct broker *b, const char *name)
{
    struct want *w = HASH_COUNT(b->wants) < WANTS_MAX ? calloc(1, sizeof(*w)) : NULL;
    if (!w)
        return NULL;
    w->name = strdup(name);
    if (w->name)
        HASH_ADD_KEYPTR(hh, b->wants, w->name, strlen(w->name), w);
    if (!w->name || !w->hh.tbl) {
        free(w->name);
        free(w);
        return NULL;
    }
    return w;
}

static void want_remove(struct broker *b, struct want *w)
{
    HASH_DELETE(hh, b->wants, w);
    free(w->name);
    free(w);
}

/* The reader waits for messages, and not for these: it is to look again. */
static struct item *unblock(struct broker *b)
{
    char id[24];
    struct item *item = item_new(256);
    snprintf(id, sizeof(id), "%lld", (long long)b->blocked_id);
    b->blocked_id = 0;
    if (!item)
        return NULL;
    resp_command(&item->commands, 3);
    resp_text(&item->commands, "CLIENT");
    resp_text(&item->commands, "UNBLOCK");
    resp_text(&item->commands, id);
    item->replies = 1;
    return item;
}

void wants_change(struct broker *b, const char *queue, const char *task_type, int slots)
{
    char name[NAME_MAX_];
    struct want *w;
    struct item *item = NULL;
    int n = snprintf(name, sizeof(name), "%s/%s", queue ? queue : "", task_type);
    if (n < 0 || (size_t)n >= sizeof(name))
        return;
    pthread_mutex_lock(&b->lock);
    HASH_FIND_STR(b->wants, name, w);
    if (!w && slots > 0)
        w = want_add(b, name);
    if (w) {
        w->slots = MAX(w->slots + slots, 0);
        w->asked = MIN(w->asked + MAX(slots, 0), (int)COUNT_MAX);
        pthread_cond_signal(&b->wanted);
        if (slots > 0 && !w->read && b->blocked_id)
            item = unblock(b);
    }
    pthread_mutex_unlock(&b->lock);
    sender_put(b, item);
}

bool wants_wait(struct broker *b, usec most_us)
{
    pthread_mutex_lock(&b->lock);
    if (!b->wants && !b->stopping)
        wait_on(b, &b->wanted, most_us);
    const bool stops = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return !stops;
}

static void add_classes(struct names *ret, const char *name)
{
    static const char *const classes[] = {"high", "normal", "low"};
    char stream[NAME_MAX_];
    for (size_t i = 0; i < ARRAY_LEN(classes) && ret->n < STREAMS_MAX; i++) {
        int n = snprintf(stream, sizeof(stream), "%s:%s", classes[i], name);
        if (n > 0 && (size_t)n < sizeof(stream))
            names_add(ret, stream);
    }
}

/* Of any queue: that of its own name, and those of its type that are known. */
static void add_any(struct names *ret, const char *task_type, const struct names *known)
{
    char own[NAME_MAX_];
    int n = snprintf(own, sizeof(own), "%s/%s", task_type, task_type);
    if (n > 0 && (size_t)n < sizeof(own))
        add_classes(ret, own);
    for (size_t i = 0; i < known->n && ret->n < STREAMS_MAX; i++) {
        const char *slash = strrchr(known->items[i], '/');
        if (slash && strcmp(slash + 1, task_type) == 0)
            names_add(ret, known->items[i]);
    }
}

bool wants_streams(struct broker *b, const struct names *known, struct names *ret, unsigned *ret_count)
{
    struct want *w, *tmp;
    bool waits = false;
    *ret_count = 0;
    pthread_mutex_lock(&b->lock);
    HASH_ITER (hh, b->wants, w, tmp) {
        if (w->slots <= 0 && w->asked <= 0) {
            want_remove(b, w);
            continue;
        }
        if (ret->n >= STREAMS_MAX)
            break; /* their workers have what this server learns otherwise */
        if (w->name[0] == '/')
            add_any(ret, w->name + 1, known);
        else
            add_classes(ret, w->name);
        *ret_count = MAX(*ret_count, (unsigned)MAX(w->slots, w->asked));
        waits = waits || w->slots > 0;
        w->asked = 0;
        w->read = true;
    }
    if (*ret_count)
        *ret_count = MIN(MAX(*ret_count, b->drain), COUNT_MAX);
    pthread_mutex_unlock(&b->lock);
    return waits;
}

void wants_free(struct broker *b)
{
    struct want *w, *tmp;
    HASH_ITER (hh, b->wants, w, tmp)
        want_remove(b, w);
}
