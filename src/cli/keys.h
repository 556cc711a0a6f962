#pragma once
/* What a terminal sends, as keys. Pure. */
#include <stdbool.h>
#include <stddef.h>

enum key_kind {
    KEY_NONE, /* a sequence nobody here knows */
    KEY_TEXT, /* one character, in `text` */
    KEY_UP,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_TAB,
    KEY_BACK_TAB,
    KEY_ENTER,
    KEY_ESCAPE,
    KEY_BACKSPACE,
    KEY_REDRAW /* Ctrl-L */
};

struct key {
    enum key_kind kind;
    char text[5];
};

/** The first key of what came. @param n      at least 1
 * @param whole  nothing more comes at once: an ESC that stands alone is the key
 * @return bytes it took; 0: its end has not come */
size_t key_next(const char *p, size_t n, bool whole, struct key *ret);
