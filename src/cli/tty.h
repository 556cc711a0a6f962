#pragma once
/* A terminal of which a program has the whole screen, and which it gives back as it was however it ends. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum tty_event {
    TTY_INPUT = 1, /* bytes */
    TTY_RESIZED = 2,
    TTY_BACK = 4,  /* after a stop (Ctrl-Z): draw all anew */
    TTY_OTHER = 8, /* `fd` is readable */
    TTY_END = 16   /* a signal asked for the end, or the terminal is gone */
};

/** Takes stdin and stdout, which are one terminal. From here to tty_leave signals that end or stop a program come as events, and such
 * as tell of a crash give the terminal back first. Once a process. */
int tty_enter(struct err *err);
/** Gives it back; and ends the program with the signal that had asked for it, if one had. */
void tty_leave(void);
/** The same without the latter. Safe to call twice. */
void tty_restore(void);
/** Columns and rows; 80 and 24 where they are not known. */
void tty_size(unsigned *ret_width, unsigned *ret_height);
/** Waits for anything. @param fd  looked at besides; -1 none. @return enum tty_event, added; 0: the time is over */
unsigned tty_wait(int fd, int timeout_ms);
/** What was typed. @return bytes; 0: nothing, or the terminal is gone */
size_t tty_read(char *p, size_t n);
/** All of it. false: the terminal is gone */
bool tty_write(const char *p, size_t n);
