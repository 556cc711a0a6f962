#pragma once
#include "store/postgres/postgres.h"

/** The URL of HAUL_TEST_POSTGRES, whose database is emptied. */
const char *fresh_postgres(void);
/** Attempts lie where their jobs do: no other place is looked into when those are deleted. */
void check_postgres(void);
