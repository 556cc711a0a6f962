/* Columns of text. */
#include "cli/table.h"
#include "base/auto.h"
#include <stdarg.h>

#define COLUMNS_MAX 16

struct cell {
    char *text;
    size_t columns;
    enum colour colour;
};

struct table {
    struct cell titles[COLUMNS_MAX];
    bool right[COLUMNS_MAX], flexible[COLUMNS_MAX];
    size_t n_columns;
    struct cell *cells;
    size_t n, cap;
    bool failed;
};

static bool cell_set(struct cell *c, const char *text, enum colour colour)
{
    c->text = text_safe(text);
    c->colour = colour;
    c->columns = c->text ? text_columns(c->text) : 0;
    return c->text != NULL;
}

struct table *table_new(const char *titles)
{
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    while (t->n_columns < COLUMNS_MAX) {
        size_t i = t->n_columns++, n;
        for (; *titles == '>' || *titles == '*'; titles++)
            *(*titles == '>' ? &t->right[i] : &t->flexible[i]) = true;
        n = strcspn(titles, "|");
        AUTO_FREE char *title = strndup(titles, n);
        if (!title || !cell_set(&t->titles[i], title, COLOUR_DIM))
            t->failed = true;
        titles += n;
        if (!*titles++)
            break;
    }
    return t;
}

void table_cell_colour(struct table *t, const char *text, enum colour c)
{
    if (!t || t->failed)
        return;
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct cell *more = reallocarray(t->cells, cap, sizeof(*more));
        if (!more) {
            t->failed = true;
            return;
        }
        t->cells = more;
        t->cap = cap;
    }
    if (cell_set(&t->cells[t->n], text ? text : "", c))
        t->n++;
    else
        t->failed = true;
}

void table_cell(struct table *t, const char *text)
{
    table_cell_colour(t, text, COLOUR_NONE);
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    table_cell(t, text);
}

static void cell_print(const struct table *t, size_t column, const struct cell *c, size_t width, FILE *f)
{
    bool last = column + 1 == t->n_columns;
    size_t columns = c->columns;
    size_t n = strlen(c->text);
    bool cut = columns > width;
    if (cut) {
        n = text_fit(c->text, width - 1);
        while (n > 0 && c->text[n - 1] == ' ')
            n--;
        AUTO_FREE char *kept = strndup(c->text, n);
        columns = (kept ? text_columns(kept) : 0) + 1;
    }
    size_t pad = columns < width ? width - columns : 0;
    if (t->right[column])
        fprintf(f, "%*s", (int)pad, "");
    fprintf(f, "%s%.*s%s%s", colour_begin(f, c->colour), (int)n, c->text, cut ? "\u2026" : "",
            colour_end(f, c->colour));
    if (!last)
        fprintf(f, "%*s", (int)(t->right[column] ? 2 : pad + 2), "");
}

bool table_print(struct table *t, FILE *f, unsigned width)
{
    if (!t || t->failed || t->n_columns == 0)
        return false;
    const size_t n_columns = t->n_columns;
    size_t widths[COLUMNS_MAX], sum = 0;
    if (width == 0 && term_is(f))
        width = term_width(f);
    for (size_t i = 0; i < n_columns; i++) {
        widths[i] = t->titles[i].columns;
        for (size_t k = i; k < t->n; k += n_columns)
            widths[i] = MAX(widths[i], t->cells[k].columns);
        sum += widths[i] + (i + 1 < n_columns ? 2 : 0);
    }
    for (size_t i = 0; width > 0 && i < n_columns && sum > width; i++)
        if (t->flexible[i]) {
            size_t floor = MAX(t->titles[i].columns, (size_t)8),
                   give = widths[i] > floor ? MIN(widths[i] - floor, sum - width) : 0;
            widths[i] -= give;
            sum -= give;
        }
    for (size_t i = 0; i < n_columns; i++)
        cell_print(t, i, &t->titles[i], widths[i], f);
    fputc('\n', f);
    for (size_t k = 0; k < t->n; k++) {
        cell_print(t, k % n_columns, &t->cells[k], widths[k % n_columns], f);
        if (k % n_columns + 1 == n_columns)
            fputc('\n', f);
    }
    return true;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_columns; i++)
        free(t->titles[i].text);
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}
