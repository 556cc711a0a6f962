#pragma once
/* Within the room: who makes which board. */
#include "api/board.h"

#define BOARD_TEXT_MAX ((size_t)1 << 20) /* one that would be larger is not shown */
#define BOARD_ROWS_MAX 1000              /* of a list; `more` says that there are others */

void board_counts_make(struct board *board);  /* stats.c */
void board_workers_make(struct board *board); /* workers.c */
void board_slis_make(struct board *board);    /* slis.c */
void board_alerts_make(struct board *board);  /* alerts.c */
