#pragma once
#include <sqlite3.h>
#include <stdint.h>

/* SQLite by hand, as another program would. What fails fails the test. */
void run_sql(sqlite3 *db, const char *sql);
/** The first value of the first row, of which there must be one. */
int64_t number_of(sqlite3 *db, const char *sql);
/** Its table t has so many rows, and the database is whole. */
void assert_sound(sqlite3 *db, int64_t rows);
