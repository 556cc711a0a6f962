#pragma once
/* Within haul top: what it knows, what is chosen in it, and what a key makes of that. Pure: the fetcher (top_fetch.h) brings snapshots and
 * takes wants and orders; top.c has the terminal. */
#include "base/arena.h"
#include "cli/command.h"
#include "cli/keys.h"
#include "cli/screen.h"
#include "cli/term.h"

#define TOP_COLUMNS_MAX 11
#define TOP_JOBS_MAX    200 /* rows of jobs that are asked for */
#define TOP_ID_MAX      160
#define TOP_LOG_MAX     ((size_t)16 << 10) /* of a job's log, its end */

/** What the server said, at one time. A missing part is NULL. */
struct top_snapshot {
    json_t *slis, *alerts, *queues, *workers, *jobs; /* whole answers */
    json_t *job, *why;                               /* of the job that is looked at; `why` where it waits */
    char *log;                                       /* the end of its log */
    char status[16];                                 /* which jobs these are: "running" */
    char queue[TOP_ID_MAX];                          /* of which queue; "": of all */
    char server[256];
    char trouble[256]; /* "": it answered. Else what is known is of an earlier time */
    usec wall_us;      /* when, by this machine's clock */
};
void top_snapshot_release(struct top_snapshot *s);

/** What a snapshot shall hold. Compared as bytes: kept zeroed beyond the strings. */
struct top_want {
    char status[16], queue[TOP_ID_MAX];
    char job_id[40]; /* looked at; "": none */
    bool held;       /* ask for nothing */
};

/** What somebody decided. */
struct top_order {
    char path[TOP_ID_MAX * 3 + 40]; /* POST; "": nothing */
    char *body;                     /* owned; NULL none */
    char done[TOP_ID_MAX + 40];     /* to say when it is done */
};

struct top_row {
    const char *id;
    const char *cells[TOP_COLUMNS_MAX];
    double order[TOP_COLUMNS_MAX]; /* columns of numbers */
    double part;                   /* 0..1; below 0: no bar */
    enum colour colour;
};

enum top_pane_kind { TOP_QUEUES, TOP_JOBS, TOP_WORKERS, TOP_PANES };

struct top_pane {
    struct top_row *rows; /* in the arena */
    size_t n, of;         /* shown, and how many there are before the filter */
    size_t at, first;     /* chosen; the first one on the screen */
    char id[TOP_ID_MAX];  /* of the chosen one */
    int sort;             /* column; -1: as the server has them */
    char filter[64];
};

/** How fast a running job goes. */
struct top_pace {
    char id[40];
    int64_t attempt;
    struct eta eta;
    bool seen;
};

enum top_page { TOP_LISTS, TOP_JOB, TOP_HELP };

struct top {
    struct top_snapshot now;
    struct top_want want;
    struct top_order order; /* to be taken, with its body */
    struct top_pane panes[TOP_PANES];
    enum top_pane_kind active;
    enum top_page page;
    bool typing;             /* the filter of the active pane */
    bool quit, redraw;       /* to be taken */
    char asked[200];         /* a question that y answers; "": none */
    struct top_order if_yes; /* what then */
    char said[300];          /* the latest order's outcome */
    struct top_pace paces[TOP_JOBS_MAX];
    size_t n_paces;
    struct arena *arena;   /* of the rows */
    usec wall_us, mono_us; /* when they were made */
};

/** @return false: no memory */
bool top_init(struct top *t);
void top_release(struct top *t);
/** Takes what `s` holds. @param mono_us  monotonic, for rates */
void top_take(struct top *t, struct top_snapshot *s, usec mono_us);
void top_key(struct top *t, const struct key *k);

/* top_rows.c */
enum top_column_kind {
    COLUMN_TEXT,
    COLUMN_NUMBER, /* to the right; sorted downwards */
    COLUMN_BAR     /* a bar before the text, where the row has one; sorted by it, downwards */
};
struct top_column {
    const char *title;
    unsigned min, max; /* columns of the screen */
    enum top_column_kind kind;
    bool last_resort; /* left out first where it is narrow */
};
extern const struct top_column *const top_columns[TOP_PANES];
extern const size_t top_n_columns[TOP_PANES];
/** The rows of every pane, filtered and sorted, the chosen one found again. */
void top_rows_make(struct top *t, usec wall_us, usec mono_us);
/** What is left of a running job's time; false: not known. */
bool top_left(const struct top *t, const json_t *job, usec *ret_us);

/* top_view.c */
void top_draw(struct top *t, struct screen *s);
/** Everything there is, one pane below the other. NULL: no memory. */
struct screen *top_picture(struct top *t, unsigned width, struct screen_kind kind);
