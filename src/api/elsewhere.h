#pragma once
/* Within the room: did jobs change by other servers' doing? What streams of events cannot learn from this server's own feed. */
#include "base/clock.h"
#include <pthread.h>
#include <stdint.h>

#define ELSEWHERE_US USEC_PER_SEC /* the store is asked this often at most, however many want to know */

struct api;
struct elsewhere {
    pthread_mutex_t lock;
    usec look_at; /* boot clock */
    int64_t mark;
};

void elsewhere_init(struct elsewhere *e);
void elsewhere_release(struct elsewhere *e);
/** Another number than before when some did, as it was a second ago at most. On the reads pool; always the same where nobody else writes. */
int64_t elsewhere_mark(struct api *api, usec now);
