#pragma once
/* Up to a thousand lines on their way: gathered, sent until every one is decided, and told line by line. */
#include "base/buf.h"
#include "cli/lines.h"
#include "cli/patient.h"

#define PARCEL_LINES 1000

struct parcel_line {
    int64_t number;
    size_t at, n; /* in `raw`: the line with its end, as it was */
    int index;    /* among the items that are sent; -1: refused here */
    bool own_key;
    char *why; /* the refusal, safe to print; NULL: accepted */
    char job_id[40];
    bool duplicate;
};

struct parcel {
    struct parcel_line lines[PARCEL_LINES];
    size_t n;
    int n_sent;
    struct buf raw, body;
    int64_t end_offset, end_line; /* behind the last of them */
};

void parcel_init(struct parcel *p);
void parcel_release(struct parcel *p);
/** Empties it and fills it again. @return LINE_TEXT: it is full; LINE_IDLE: nothing more for now; LINE_END, LINE_FAILED: no more will
 * come. In any case what was gathered before is whole and can be sent. */
enum line_kind parcel_gather(struct parcel *p, struct lines *lines, const json_t *defaults, struct err *err);
/** Sends it, again and again while anything is undecided. EXIT_OK: every line has an id or a reason. Otherwise the status of an error
 * that was printed (interrupted: said by nobody), and nothing is known about the lines. */
int parcel_send(struct parcel *p, struct cli *cli, const char *key, struct bar *bar);
