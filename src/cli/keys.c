#include "cli/keys.h"
#include "base/auto.h"
#include "base/text.h"

static enum key_kind named(char last, int number)
{
    switch (last) {
    case 'A':
        return KEY_UP;
    case 'B':
        return KEY_DOWN;
    case 'C':
        return KEY_RIGHT;
    case 'D':
        return KEY_LEFT;
    case 'H':
        return KEY_HOME;
    case 'F':
        return KEY_END;
    case 'Z':
        return KEY_BACK_TAB;
    case '~':
        return number == 1 || number == 7   ? KEY_HOME
               : number == 4 || number == 8 ? KEY_END
               : number == 5                ? KEY_PAGE_UP
               : number == 6                ? KEY_PAGE_DOWN
                                            : KEY_NONE;
    default:
        return KEY_NONE;
    }
}

/* ESC [ parameters letter, and ESC O letter. */
static size_t sequence(const char *p, size_t n, bool whole, struct key *ret)
{
    int number = 0;
    for (size_t i = 2; i < n; i++) {
        const unsigned char c = (unsigned char)p[i];
        if (c >= '0' && c <= '9' && number < 1000 && !memchr(p, ';', i))
            number = number * 10 + (c - '0');
        if (c >= 0x40 && c <= 0x7E) {
            ret->kind = named((char)c, number);
            return i + 1;
        }
        if (c < 0x20 || c > 0x7E) /* that is none: what follows stands for itself */
            return i;
    }
    return whole ? n : 0;
}

static size_t escape(const char *p, size_t n, bool whole, struct key *ret)
{
    if (n == 1) {
        ret->kind = KEY_ESCAPE;
        return whole;
    }
    if (p[1] == '[' || p[1] == 'O')
        return sequence(p, n, whole, ret);
    ret->kind = p[1] == '\033' ? KEY_ESCAPE : KEY_NONE; /* a key with Alt */
    return p[1] == '\033' ? 1 : 2;
}

static size_t character(const char *p, size_t n, bool whole, struct key *ret)
{
    const unsigned char c = (unsigned char)p[0];
    const size_t len = c < 0x80 || c >= 0xF5 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 1;
    if (n < len && !whole)
        return 0;
    if (n < len || !utf8_valid(p, len))
        return 1;
    ret->kind = KEY_TEXT;
    memcpy(ret->text, p, len);
    return len;
}

size_t key_next(const char *p, size_t n, bool whole, struct key *ret)
{
    *ret = (struct key){.kind = KEY_NONE};
    switch (p[0]) {
    case '\033':
        return escape(p, n, whole, ret);
    case '\r':
    case '\n':
        ret->kind = KEY_ENTER;
        return 1;
    case '\t':
        ret->kind = KEY_TAB;
        return 1;
    case '\b':
    case 0x7F:
        ret->kind = KEY_BACKSPACE;
        return 1;
    case 'L' - '@':
        ret->kind = KEY_REDRAW;
        return 1;
    default:
        return (unsigned char)p[0] < 0x20 ? 1 : character(p, n, whole, ret);
    }
}
