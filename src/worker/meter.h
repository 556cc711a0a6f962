#pragma once
/* Measures what an attempt's program uses while it runs, and keeps what the server does not know yet. Measured by the supervisor's loop,
 * told by the heartbeat's thread and, what is left, with the ending. */
#include "base/json.h"
#include "sandbox/sandbox.h"

#define METER_MAX 60 /* samples that wait to be told; of more the oldest are left out. The server takes 100 a call */

struct meter;
/** @param every_us  between two samples, above 0; the first one comes after a second at the latest. Times count from this call.
 * NULL: memory is short. */
struct meter *meter_new(usec every_us);
void meter_free(struct meter *m); /* NULL accepted */
/** A program begins: its CPU counts from 0. */
void meter_begin(struct meter *m);
/** When the next look is due, CLOCK_BOOTTIME. */
usec meter_next_us(const struct meter *m);
/** Takes a sample if one is due. `still`: the program is held and uses nothing, so there is none to take. */
void meter_look(struct meter *m, const struct sandbox *box, bool still);
/** Any thread. The member "samples" of an object, or nothing. @return a mark for meter_told, 0: nothing was written */
uint64_t meter_write(struct meter *m, struct json_writer *w);
/** Any thread. Those up to the mark are known to the server. */
void meter_told(struct meter *m, uint64_t mark);
