#include "api/event_id.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void event_id_format(const struct event_id *id, char ret[EVENT_ID_MAX])
{
    snprintf(ret, EVENT_ID_MAX, "%016" PRIx64 "-%" PRIu64 "-%" PRIu32 "-%" PRId64, id->epoch, id->place, id->attempt,
             id->offset);
}

bool event_id_parse(const char *s, struct event_id *ret)
{
    struct event_id id = {0};
    char again[EVENT_ID_MAX];
    if (strlen(s) >= EVENT_ID_MAX ||
        sscanf(s, "%16" SCNx64 "-%" SCNu64 "-%" SCNu32 "-%" SCNd64, &id.epoch, &id.place, &id.attempt, &id.offset) != 4)
        return false;
    event_id_format(&id, again); /* scanf takes more than one spelling */
    if (strcmp(again, s) != 0 || id.offset < 0)
        return false;
    *ret = id;
    return true;
}
