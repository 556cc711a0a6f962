#pragma once
/* What servers tell one another. One line each, the first names who speaks; what is not understood is passed over. */
#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

#define MESSAGE_BYTES_MAX 7900 /* the database takes less than 8000 */
#define SPEAKER_MAX       33   /* 32 hexadecimal digits */

enum line_kind {
    LINE_HELLO, /* the speaker has just come: who waits says so again */
    LINE_WAITS, /* workers wait at the speaker */
    LINE_READY  /* jobs became ready there */
};

struct line {
    enum line_kind kind;
    char *queue, *task_type; /* LINE_READY; point into the text */
    int priority;            /* 0..9 */
    unsigned jobs;           /* 1..1000000 */
};

void message_begin(struct buf *out, const char *speaker);
void message_hello(struct buf *out);
void message_waits(struct buf *out);
/** @return false: no room, nothing was written */
bool message_ready(struct buf *out, const char *queue, const char *task_type, int priority, unsigned jobs);

/** Whose it is, points into `text`; *ret_rest is what message_next takes. Takes the text apart. NULL: none of ours */
const char *message_speaker(char *text, char **ret_rest);
/** The next line that is understood. False: no more */
bool message_next(char **rest, struct line *ret);
