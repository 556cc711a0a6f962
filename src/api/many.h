#pragma once
/* Within the room: a request that became many ops, each with an outcome of its own. They are offered together, so that they share
 * the store's commits. */
#include "api/request.h"

#define MANY_MAX 1000 /* items a request */

struct many {
    struct api *api;
    struct http_request *req;
    struct arena *arena; /* the ops and what they hold: with the request's own memory it goes when the request goes */
    struct op *ops;      /* by index; an op whose err is set before many_offer is not offered: that is its outcome */
    size_t n;
    size_t waiting;
    struct loop_letter letter;
    /** Once every op is decided: must reply. On any thread. */
    void (*decided)(struct many *m);
    void *data; /* the handler's, in the arena */
};

/** Bound to the request. NULL: answered already. */
struct many *many_new(struct api *api, struct http_request *req, size_t arena_max, void (*decided)(struct many *m));
/** Makes `n` ops of `kind`; what they are about is the caller's to fill in. */
int many_ops(struct many *m, enum op_kind kind, size_t n, struct err *err);
/** From any thread; `m` is not the caller's any more. */
void many_offer(struct many *m);

/** The answer: {"results": [...], then the counts}. `result` writes what is an item's own when it went well. Replies. */
struct many_count {
    const char *name;
    size_t n;
};
void many_reply(struct many *m, void (*result)(struct json_writer *w, const struct many *m, size_t i),
                const struct many_count *counts, size_t n_counts);
