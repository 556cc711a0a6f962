#pragma once
/* Within the room: a GET that reads the store on the pool and answers with JSON. */
#include "api/request.h"

struct read_call {
    struct api *api;
    struct http_request *req;
    struct uuid job_id; /* when the path has one */
    struct job job;     /* likewise */
    int (*render)(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err);
};

/** Refuses any query, reads {job_id}'s job first when `of_job`, runs `render` with an arena of its own, answers 200. */
void read_start(struct http_request *req, bool of_job,
                int (*render)(struct read_call *r, struct arena *arena, struct json_writer *w, struct err *err));

/** For the pool: runs `render` with an arena of its own of at most `arena_max` bytes, answers 200 with what it wrote, or its error. */
void read_answer(struct http_request *req, size_t arena_max,
                 int (*render)(void *arg, struct arena *arena, struct json_writer *w, struct err *err), void *arg);
