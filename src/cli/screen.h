#pragma once
/* A picture of a terminal's screen: cells that text is put into, and the bytes that turn the picture shown into the next one. Pure. Text
 * from outside cannot leave its cells: what would act on a terminal becomes \xNN. */
#include "base/buf.h"
#include "cli/term.h"

#define SCREEN_SIDE_MAX 1000 /* rows, columns */

enum { STYLE_REVERSE = 0x10, STYLE_BOLD = 0x20 }; /* added to an enum colour */

struct screen;

/** What the terminal can: `utf8` false shows '?' for what is not ASCII; without `colour` only bold and reverse are used. */
struct screen_kind {
    bool utf8, colour;
};

/** Blank. @param width, height  1..SCREEN_SIDE_MAX; brought into these bounds. NULL: no memory. */
struct screen *screen_new(unsigned width, unsigned height, struct screen_kind kind);
void screen_free(struct screen *s); /* NULL accepted */
unsigned screen_width(const struct screen *s);
unsigned screen_height(const struct screen *s);
bool screen_utf8(const struct screen *s);
void screen_clear(struct screen *s);

/** What a text takes, escapes counted. */
unsigned screen_columns(const struct screen *s, const char *text);
/** Puts a line of text at row y, column x, into at most `width` columns; what is longer ends in an ellipsis. Outside the screen nothing
 * happens. @return the columns taken */
unsigned screen_put(struct screen *s, unsigned x, unsigned y, unsigned width, unsigned style, const char *text);
/** The same at the right end of those columns; what is longer loses its end. */
void screen_put_right(struct screen *s, unsigned x, unsigned y, unsigned width, unsigned style, const char *text);
/** Gives all cells of a row the style. */
void screen_style_row(struct screen *s, unsigned y, unsigned style);

/** Appends what makes a terminal that shows `shown` (NULL, or of another size: anything) show `next`. */
void screen_draw(const struct screen *shown, const struct screen *next, struct buf *out);
/** Appends the rows as plain lines, blanks at their ends left out. */
void screen_text(const struct screen *s, struct buf *out);
