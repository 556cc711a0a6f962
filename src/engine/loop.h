#pragma once
/* Drives the engine in real time: one thread, an inbox that any thread may post to. */
#include "base/pool.h"
#include "engine/engine.h"

struct loop;
/** Takes the engine over (freed by loop_free).
 * @param heavy  where the engine's heavy work runs; borrowed, to be freed after loop_drain and before loop_free. NULL: none is done
 * @param on_lost  called once, on the engine's thread, when engine_lost: the server must end and start again. May be NULL. */
int loop_start(struct engine *engine, struct pool *heavy, void (*on_lost)(void), struct loop **ret, struct err *err);
/** What waits in the inbox. Part of whatever is posted, so that posting needs no memory and cannot fail. */
struct loop_letter {
    void (*fn)(struct engine *e, void *arg);
    void *arg;
    struct loop_letter *next;
};
/** Any thread: run `fn(engine, arg)` on the engine's thread, soon and in order. `letter` is the loop's until `fn` is called. */
void loop_post(struct loop *l, struct loop_letter *letter, void (*fn)(struct engine *e, void *arg), void *arg);
/** Any thread. op->done is called on the engine's thread. */
void loop_offer(struct loop *l, struct loop_letter *letter, struct op *op);
/** Any thread: engine_news. */
uint64_t loop_news(const struct loop *l, const struct uuid *job_id);
/** Any thread: engine_feed. */
struct feed *loop_feed(const struct loop *l);
/** Any thread: drains polls and watches; returns once they are answered. */
void loop_drain(struct loop *l);
/** Commits what waits, stops the thread, frees the engine. NULL accepted. */
void loop_free(struct loop *l);
