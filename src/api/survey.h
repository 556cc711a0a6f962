#pragma once
/* Within the room: what stands where, from the store and from the engine at once. For metrics.c, stats.c and slis.c. */
#include "api/board.h"
#include "api/request.h"
#include "engine/metrics.h"

struct survey {
    struct api *api;
    struct http_request *req; /* of survey_start; else NULL */
    struct board *board;      /* of survey_board; else NULL */
    struct arena *arena;      /* 64 MiB */
    struct stat_row *stats;
    size_t n_stats;
    struct pause *pauses; /* by queue */
    size_t n_pauses;
    struct engine_metrics engine;
    /* within survey.c */
    int (*render)(struct survey *s, struct err *err);
    void (*failed)(struct survey *s, const struct err *err);
    struct metrics_pair **by_name; /* the engine's pairs in order, to find them */
    struct loop_letter letter;
};

/** Refuses any query, gathers, and calls `render` on the reads pool: it replies, or returns an error, which is replied to. */
void survey_start(struct http_request *req, int (*render)(struct survey *s, struct err *err));
/** Makes a board's text: `render` ends in board_made and survey_free. */
void survey_board(struct board *board, int (*render)(struct survey *s, struct err *err));
void survey_free(void *survey); /* NULL accepted */
/** NULL: the queue is not paused. */
const struct pause *survey_pause(const struct survey *s, const char *queue);
/** Where a row of the store is counted by the engine: an index into engine.pairs, 0 ("other") for those beyond its bound. */
size_t survey_pair(const struct survey *s, const struct stat_row *row);
/** Adds a pair's rates, jobs a minute. */
void survey_rates_add(const struct survey *s, const struct metrics_pair *pair, double per_min[RATE_COUNT]);
/** "submitted_per_min" and its like. @param per_min  NULL: null */
void survey_render_rates(struct json_writer *w, const double *per_min);
