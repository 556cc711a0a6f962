#pragma once
/* The terminal: colour, width, a progress line, and text from outside made harmless. */
#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum colour { COLOUR_NONE, COLOUR_RED, COLOUR_GREEN, COLOUR_YELLOW, COLOUR_BLUE, COLOUR_DIM, COLOUR_BOLD };

bool term_is(FILE *f);                            /* a terminal? */
bool term_colour(FILE *f);                        /* a terminal that wants colour: NO_COLOR unset, TERM not "dumb" */
unsigned term_width(FILE *f);                     /* columns; 80 when not known */
const char *colour_begin(FILE *f, enum colour c); /* "" without colour */
const char *colour_end(FILE *f, enum colour c);
enum colour status_colour(const char *status);

/** Columns that `s` takes. Needs LC_CTYPE UTF-8. */
size_t text_columns(const char *s);
/** Bytes of `s` that fit into `columns`. */
size_t text_fit(const char *s, size_t columns);
/** The first character of `s`, not empty. @return its bytes. ret_columns: 0..2 as shown; -1: it must not be shown as it is (a control
 * character, one that reorders what is read, a byte that is not UTF-8) */
size_t text_step(const char *s, int *ret_columns);
/** One line: control characters, bad UTF-8 and direction overrides become \xNN. free(); NULL out of memory. */
char *text_safe(const char *s);

/** A stream of text from outside, cut anywhere. Terminal: control characters but newline and tab escaped, CR becomes a newline.
 * Not a terminal: bytes as they are. */
struct safe_stream {
    FILE *f;
    bool raw, after_cr;
    char held[4]; /* a character cut by the end of a piece */
    size_t n_held;
};
void safe_stream_init(struct safe_stream *s, FILE *f);
/** @return nonzero when writing failed (the pipe is closed). */
int safe_stream_write(struct safe_stream *s, const char *p, size_t n);
void safe_stream_end(struct safe_stream *s);
/** As safe_stream_write, always escaping; for tests and for `error_log`. */
void safe_stream_init_escaping(struct safe_stream *s, FILE *f);

/** "12.3 MiB" */
void bytes_format(int64_t n, char ret[32]);
/** "1m20s", "2h05m", "3d04h": for people, two units. */
void left_format(usec d_us, char ret[32]);
/** "3m ago" for an RFC 3339 instant; "" when it is not one. */
void ago_format(const char *rfc3339, usec now_us, char ret[32]);

/** How long is left, from what was seen so far. Zeroed at start; falls back to nothing when the percentage falls. */
struct eta {
    bool begun;
    usec t0, t1;
    double p0, p1;
};
void eta_see(struct eta *e, usec now_us, double done);         /* done: 0..1 */
bool eta_left(const struct eta *e, usec now_us, usec *ret_us); /* false: not known yet */
/** How fast: "3.1 %/min"; per second or per hour where the number reads better. "" when not known yet. */
void eta_rate_format(const struct eta *e, char ret[32]);

/** A progress line on stderr. On a terminal it is redrawn in place; elsewhere nothing. */
struct bar {
    const char *label; /* borrowed, safe */
    struct eta eta;
    usec drawn_us;
    bool shown;
};
void bar_bytes(struct bar *b, int64_t done, int64_t total);  /* at most ten times a second, and the last one */
void bar_line(struct bar *b, double done, const char *text); /* done < 0: no bar, text only. Drawn at once */
void bar_clear(struct bar *b);

/** A progress callback (haul_progress) that draws struct bar; stops when interrupted. */
int bar_progress(void *arg, int64_t done, int64_t total);

/** Between these, SIGINT and SIGTERM only set a flag, so that a temporary file can be removed; the second one ends the program. */
void interrupt_catch(void);
void interrupt_release(void); /* the default action again, and the signal once more if it came */
bool interrupted(void);
/** Waits for `fd` to be readable (-1: just waits). A signal that came before or comes meanwhile ends it: none falls between a look at
 * the flag and the waiting. @param timeout_ms  -1: for ever @return 1 readable, 0 the time is over, -1 interrupted */
int interrupt_poll(int fd, int timeout_ms);
usec now_mono(void);
usec now_wall(void);
