#pragma once
/* Within the room: the id of an event: where a stream goes on that is opened anew. Pure. */
#include <stdbool.h>
#include <stdint.h>

#define EVENT_ID_MAX 80

struct event_id {
    uint64_t epoch; /* of the server's start: places of another one mean nothing */
    uint64_t place; /* in the engine's feed */
    uint32_t attempt;
    int64_t offset; /* of the followed log; attempt 0: none is followed, or none has begun */
};
/** "epoch-place-attempt-offset", hexadecimal and decimal. */
void event_id_format(const struct event_id *id, char ret[EVENT_ID_MAX]);
/** false: not one of ours. */
bool event_id_parse(const char *s, struct event_id *ret);
