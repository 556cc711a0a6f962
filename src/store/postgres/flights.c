/* Batches in flight, each at a writer of its own: while one waits for its commit, the next is applied. To the database the writers are servers
 * (ADR 17), so two batches need agree on nothing but this: one with claims does not move a lane's mark past what another may yet commit. */
#include "store/postgres/driver.h"

usec writer_begin(struct pg_writer *w)
{
    struct pg_store *of = w->of;

    pthread_mutex_lock(&of->mu);
    const usec now = store_now(&of->s);
    if (!w->at_work)
        w->began = now;
    w->at_work = true;
    w->s.marks_below = w->began;
    for (size_t i = 0; i < PG_WRITERS; i++)
        if (of->writers[i].at_work)
            w->s.marks_below = MIN(w->s.marks_below, of->writers[i].began);
    pthread_mutex_unlock(&of->mu);
    return now;
}

/** With the lock held. */
static void fly(struct pg_writer *w)
{
    struct pg_store *of = w->of;

    pthread_mutex_unlock(&of->mu);
    writer_apply(w, w->flight.ops, w->flight.n);
    pthread_mutex_lock(&of->mu);
    w->at_work = false;
    w->flight.state = FLIGHT_DONE;
    pthread_cond_broadcast(&of->flown);
    if (of->wake)
        of->wake(of->wake_arg);
}

static void *writer_main(void *arg)
{
    struct pg_writer *w = arg;
    struct pg_store *of = w->of;

    pthread_mutex_lock(&of->mu);
    while (!of->landing)
        if (w->flight.state == FLIGHT_GIVEN)
            fly(w);
        else
            pthread_cond_wait(&of->flown, &of->mu);
    pthread_mutex_unlock(&of->mu);
    return NULL;
}

int pg_overlap(struct store *store, bool thread, struct err *err)
{
    struct pg_store *s = pg_of(store);

    if (!thread)
        return err_set(err, ERR_UNSUPPORTED, 0, "postgres: batches overlap by threads");
    for (size_t i = 0; i < PG_WRITERS; i++) {
        struct pg_writer *w = &s->writers[i];
        int sys = pthread_create(&w->thread, NULL, writer_main, w);
        if (sys != 0)
            return err_set(err, ERR_UNAVAILABLE, sys, "start a thread");
        w->threaded = true;
    }
    return ERR_OK;
}

void pg_wakes(struct store *store, void (*wake)(void *arg), void *arg)
{
    struct pg_store *s = pg_of(store);

    pthread_mutex_lock(&s->mu);
    s->wake = wake;
    s->wake_arg = arg;
    pthread_mutex_unlock(&s->mu);
}

void flights_end(struct pg_store *s)
{
    pthread_mutex_lock(&s->mu);
    s->landing = true;
    pthread_cond_broadcast(&s->flown);
    pthread_mutex_unlock(&s->mu);
    for (size_t i = 0; i < PG_WRITERS; i++)
        if (s->writers[i].threaded)
            pthread_join(s->writers[i].thread, NULL);
}

void pg_apply(struct store *store, struct op **ops, size_t n, void (*decided)(void *arg), void *arg)
{
    struct pg_store *s = pg_of(store);
    struct pg_writer *w = s->writers;

    if (!w->threaded) {
        writer_apply(w, ops, n);
        w->at_work = false;
        decided(arg);
        return;
    }
    pthread_mutex_lock(&s->mu);
    while (w->flight.state != FLIGHT_NONE) /* batches_max are not in flight */
        w++;
    w->flight = (struct flight){FLIGHT_GIVEN, ++s->flights, ops, n, decided, arg};
    pthread_cond_broadcast(&s->flown);
    pthread_mutex_unlock(&s->mu);
}

/** With the lock held: the one that was given first of those that are in this state, or NULL. */
static struct pg_writer *oldest(struct pg_store *s, enum flight_state state)
{
    struct pg_writer *found = NULL;

    for (struct pg_writer *w = s->writers; w < s->writers + PG_WRITERS; w++)
        if (w->flight.state == state && (!found || w->flight.number < found->flight.number))
            found = w;
    return found;
}

void pg_poll(struct store *store, bool wait)
{
    struct pg_store *s = pg_of(store);
    struct pg_writer *w;

    pthread_mutex_lock(&s->mu);
    while (wait && !oldest(s, FLIGHT_DONE) && oldest(s, FLIGHT_GIVEN))
        pthread_cond_wait(&s->flown, &s->mu);
    while ((w = oldest(s, FLIGHT_DONE)) != NULL) {
        const struct flight f = w->flight;
        w->flight.state = FLIGHT_NONE;
        pthread_mutex_unlock(&s->mu);
        f.decided(f.arg);
        pthread_mutex_lock(&s->mu);
    }
    pthread_mutex_unlock(&s->mu);
}
