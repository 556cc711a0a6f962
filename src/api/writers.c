#include "api/writers.h"
#include "base/auto.h"
#include "http/http.h"
#include <assert.h>

void writers_init(struct writers *w, struct api *api)
{
    *w = (struct writers){.api = api};
    pthread_mutex_init(&w->lock, NULL);
}

void writers_release(struct writers *w)
{
    pthread_mutex_destroy(&w->lock);
}

/* The last byte of a version 7 id is a random one. */
static struct open_upload **find(struct writers *w, const struct uuid *id)
{
    struct open_upload **link = &w->buckets[id->b[15] % WRITERS_BUCKETS];
    while (*link && !uuid_equal(&(*link)->id, id))
        link = &(*link)->next;
    return link;
}

static struct open_upload *make(struct writers *w, const struct uuid *id)
{
    struct open_upload *u = calloc(1, sizeof(*u));
    if (u) {
        u->api = w->api;
        u->id = *id;
        u->offset = -1;
        pthread_mutex_init(&u->io, NULL);
    }
    return u;
}

static int may_enter(const struct open_upload *u, usec now_us, struct err *err)
{
    if (u->finishing)
        return err_set(err, ERR_BUSY, 0, "the upload's last byte is there and is being stored: ask again");
    if (u->writer && now_us - u->moved_at < WRITER_SILENT_US && http_alive(u->writer))
        return err_set(err, ERR_LOCKED, 0, "another request is sending this upload's bytes: one can at a time");
    return ERR_OK;
}

int writers_enter(struct writers *w, const struct uuid *id, struct http_request *req, usec now_us,
                  struct open_upload **ret, struct err *err)
{
    int rc = ERR_OK;
    pthread_mutex_lock(&w->lock);
    struct open_upload **link = find(w, id), *u = *link;
    if (u)
        rc = may_enter(u, now_us, err);
    else if ((u = make(w, id)))
        *link = u;
    else
        rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory for an upload");
    if (rc == ERR_OK && u) {
        u->refs++;
        u->writer = req;
        u->moved_at = now_us;
        *ret = u;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

bool writers_has(struct writers *w, const struct open_upload *u, const struct http_request *req)
{
    pthread_mutex_lock(&w->lock);
    bool has = u->writer == req;
    pthread_mutex_unlock(&w->lock);
    return has;
}

bool writers_none(struct writers *w, const struct open_upload *u)
{
    return writers_has(w, u, NULL);
}

void writers_moved(struct writers *w, struct open_upload *u, int64_t offset, usec now_us)
{
    pthread_mutex_lock(&w->lock);
    u->offset = offset;
    u->moved_at = now_us;
    pthread_mutex_unlock(&w->lock);
}

bool writers_finish(struct writers *w, struct open_upload *u, const struct http_request *req)
{
    pthread_mutex_lock(&w->lock);
    bool has = u->finishing = u->writer == req;
    pthread_mutex_unlock(&w->lock);
    return has;
}

void writers_leave(struct writers *w, struct open_upload *u, const struct http_request *req)
{
    pthread_mutex_lock(&w->lock);
    if (u->writer == req) {
        u->writer = NULL;
        u->finishing = false;
    }
    pthread_mutex_unlock(&w->lock);
}

void writers_evict(struct writers *w, const struct uuid *id)
{
    pthread_mutex_lock(&w->lock);
    struct open_upload *u = *find(w, id);
    if (u && !u->finishing)
        u->writer = NULL;
    pthread_mutex_unlock(&w->lock);
}

bool writers_offset(struct writers *w, const struct uuid *id, int64_t *ret_offset)
{
    pthread_mutex_lock(&w->lock);
    const struct open_upload *u = *find(w, id);
    bool known = u && (u->finishing || u->offset >= 0);
    if (known)
        *ret_offset = u->finishing ? -1 : u->offset;
    pthread_mutex_unlock(&w->lock);
    return known;
}

bool writers_finishing(struct writers *w, const struct uuid *id, int64_t *ret_offset)
{
    pthread_mutex_lock(&w->lock);
    const struct open_upload *u = *find(w, id);
    bool finishing = u && u->finishing;
    if (finishing)
        *ret_offset = u->offset;
    pthread_mutex_unlock(&w->lock);
    return finishing;
}

void writers_put(struct writers *w, struct open_upload *u)
{
    pthread_mutex_lock(&w->lock);
    bool last = --u->refs == 0;
    if (last)
        *find(w, &u->id) = u->next;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    assert(!u->blob);
    pthread_mutex_destroy(&u->io);
    free(u);
}
