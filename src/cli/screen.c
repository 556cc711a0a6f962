#include "cli/screen.h"
#include "base/auto.h"

struct cell {
    char text[4]; /* one character, not terminated */
    uint8_t n;    /* its bytes; 0: the right half of the one before */
    uint8_t style;
};

struct screen {
    unsigned width, height;
    struct screen_kind kind;
    struct cell cells[];
};

static const struct cell blank = {.text = " ", .n = 1};

static struct cell *row_at(const struct screen *s, unsigned y)
{
    return (struct cell *)(uintptr_t)s->cells + (size_t)y * s->width;
}

struct screen *screen_new(unsigned width, unsigned height, struct screen_kind kind)
{
    width = MIN(MAX(width, 1u), SCREEN_SIDE_MAX);
    height = MIN(MAX(height, 1u), SCREEN_SIDE_MAX);
    struct screen *s = malloc(sizeof(*s) + (size_t)width * height * sizeof(s->cells[0]));
    if (!s)
        return NULL;
    s->width = width;
    s->height = height;
    s->kind = kind;
    screen_clear(s);
    return s;
}

void screen_free(struct screen *s)
{
    free(s);
}

unsigned screen_width(const struct screen *s)
{
    return s->width;
}

unsigned screen_height(const struct screen *s)
{
    return s->height;
}

bool screen_utf8(const struct screen *s)
{
    return s->kind.utf8;
}

void screen_clear(struct screen *s)
{
    for (size_t i = 0; i < (size_t)s->width * s->height; i++)
        s->cells[i] = blank;
}

/* ---- putting ---- */

/* What stands for one character of the text: itself, an escape, or '?' for all columns it would take. */
struct glyph {
    char text[20];
    unsigned n, columns;
};

static struct glyph glyph_of(const struct screen *s, const char *p, size_t len, int columns)
{
    struct glyph g = {.n = 0};
    if (columns < 0) {
        for (size_t i = 0; i < len; i++)
            snprintf(g.text + 4 * i, sizeof(g.text) - 4 * i, "\\x%02x", (unsigned)(unsigned char)p[i]);
        g.n = g.columns = (unsigned)(4 * len);
    } else if (columns > 0 && len > 1 && !s->kind.utf8) {
        g.n = g.columns = (unsigned)columns;
        memset(g.text, '?', g.n);
    } else if (columns > 0) { /* what joins the character before it is left out */
        g.n = (unsigned)len;
        g.columns = (unsigned)columns;
        memcpy(g.text, p, len);
    }
    return g;
}

unsigned screen_columns(const struct screen *s, const char *text)
{
    unsigned columns = 0;
    while (*text) {
        int w;
        size_t len = text_step(text, &w);
        columns += glyph_of(s, text, len, w).columns;
        text += len;
    }
    return columns;
}

static void cell_set(struct cell *c, const char *p, unsigned n, unsigned style)
{
    *c = (struct cell){.n = (uint8_t)n, .style = (uint8_t)style};
    memcpy(c->text, p, n);
}

/* A glyph whose bytes are as many as its columns goes one to a cell; else it is one character, whose right half is empty. */
static void glyph_put(struct cell *at, const struct glyph *g, unsigned style)
{
    if (g->n == g->columns) {
        for (unsigned i = 0; i < g->n; i++)
            cell_set(&at[i], g->text + i, 1, style);
        return;
    }
    cell_set(&at[0], g->text, g->n, style);
    for (unsigned i = 1; i < g->columns; i++)
        at[i] = (struct cell){.style = (uint8_t)style};
}

unsigned screen_put(struct screen *s, unsigned x, unsigned y, unsigned width, unsigned style, const char *text)
{
    if (x >= s->width || y >= s->height)
        return 0;
    width = MIN(width, s->width - x);
    const bool cut = screen_columns(s, text) > width;
    const unsigned room = cut && width > 0 ? width - 1 : width;
    struct cell *at = row_at(s, y) + x;
    unsigned used = 0;
    while (*text) {
        int w;
        size_t len = text_step(text, &w);
        struct glyph g = glyph_of(s, text, len, w);
        if (used + g.columns > room)
            break;
        glyph_put(at + used, &g, style);
        used += g.columns;
        text += len;
    }
    if (cut && used < width) {
        const char *dots = s->kind.utf8 ? "…" : "~";
        cell_set(at + used++, dots, (unsigned)strlen(dots), style);
    }
    return used;
}

void screen_put_right(struct screen *s, unsigned x, unsigned y, unsigned width, unsigned style, const char *text)
{
    unsigned columns = screen_columns(s, text);
    screen_put(s, columns < width ? x + width - columns : x, y, MIN(columns, width), style, text);
}

void screen_style_row(struct screen *s, unsigned y, unsigned style)
{
    if (y < s->height)
        for (unsigned x = 0; x < s->width; x++)
            row_at(s, y)[x].style = (uint8_t)style;
}

/* ---- drawing ---- */

static void style_add(struct buf *out, unsigned style, bool colours)
{
    static const char *const codes[] = {
        [COLOUR_NONE] = "",    [COLOUR_RED] = ";31", [COLOUR_GREEN] = ";32", [COLOUR_YELLOW] = ";33",
        [COLOUR_BLUE] = ";34", [COLOUR_DIM] = ";2",  [COLOUR_BOLD] = ";1",
    };
    const unsigned colour = style & 0xFu;
    const bool bold = (style & STYLE_BOLD) || colour == COLOUR_BOLD || (!colours && colour == COLOUR_RED);
    buf_printf(out, "\033[0%s%s%s", bold && colour != COLOUR_BOLD ? ";1" : "", style & STYLE_REVERSE ? ";7" : "",
               (colours || colour == COLOUR_BOLD) && colour < ARRAY_LEN(codes) ? codes[colour] : "");
    buf_addc(out, 'm');
}

static void row_draw(const struct screen *s, unsigned y, struct buf *out)
{
    const struct cell *row = row_at(s, y);
    unsigned style = 0;
    buf_printf(out, "\033[%u;1H", y + 1);
    for (unsigned x = 0; x < s->width; x++) {
        if (row[x].style != style)
            style_add(out, style = row[x].style, s->kind.colour);
        buf_add(out, row[x].text, row[x].n);
    }
    if (style)
        buf_adds(out, "\033[0m");
}

void screen_draw(const struct screen *shown, const struct screen *next, struct buf *out)
{
    const bool all = !shown || shown->width != next->width || shown->height != next->height;
    if (all)
        buf_adds(out, "\033[0m\033[2J");
    for (unsigned y = 0; y < next->height; y++)
        if (all || memcmp(row_at(shown, y), row_at(next, y), next->width * sizeof(struct cell)) != 0)
            row_draw(next, y, out);
}

void screen_text(const struct screen *s, struct buf *out)
{
    for (unsigned y = 0; y < s->height; y++) {
        const struct cell *row = row_at(s, y);
        unsigned n = s->width;
        while (n > 0 && row[n - 1].n == 1 && row[n - 1].text[0] == ' ')
            n--;
        for (unsigned x = 0; x < n; x++)
            buf_add(out, row[x].text, row[x].n);
        buf_addc(out, '\n');
    }
}
