#pragma once
/* Columns of text: aligned, coloured and cut to the width on a terminal; aligned and whole when piped. */
#include "cli/term.h"

struct table;

/** @param titles  "ID|STATUS|>SIZE": '>' puts a column to the right, '*' marks the one that is cut when a line is too wide. */
struct table *table_new(const char *titles);
/** Next cell, row by row; text is made safe. Missing memory shows up in table_print. */
void table_cell(struct table *t, const char *text);
void table_cell_colour(struct table *t, const char *text, enum colour c);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** @param width  0: as the terminal says, no cutting when it is none. @return false when memory was short. */
bool table_print(struct table *t, FILE *f, unsigned width);
void table_free(struct table *t);
