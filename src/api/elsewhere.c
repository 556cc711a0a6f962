#include "api/elsewhere.h"
#include "api/api.h"

void elsewhere_init(struct elsewhere *e)
{
    *e = (struct elsewhere){0};
    pthread_mutex_init(&e->lock, NULL);
}

void elsewhere_release(struct elsewhere *e)
{
    pthread_mutex_destroy(&e->lock);
}

int64_t elsewhere_mark(struct api *api, usec now)
{
    struct elsewhere *e = &api->elsewhere;
    pthread_mutex_lock(&e->lock);
    const bool due = api->store_driver->elsewhere && now >= e->look_at;
    if (due)
        e->look_at = now + ELSEWHERE_US;
    int64_t mark = e->mark;
    pthread_mutex_unlock(&e->lock);
    if (!due || api->store_driver->elsewhere(api->store, &mark, NULL) != ERR_OK)
        return mark;
    pthread_mutex_lock(&e->lock);
    e->mark = mark;
    pthread_mutex_unlock(&e->lock);
    return mark;
}
