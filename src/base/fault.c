#include "base/fault.h"

#ifdef HAUL_FAULTS
#include <pthread.h>

static struct point {
    char name[64];
    unsigned long at, passed;
    bool onwards;
} points[16];
static size_t n_points;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* "a.b:3,c.d:1+"; what does not parse is left out. */
static void load(void)
{
    const char *s = getenv("HAUL_FAULTS_AT");
    while (s && *s && n_points < sizeof(points) / sizeof(points[0])) {
        size_t n = strcspn(s, ",");
        const char *colon = memchr(s, ':', n);
        struct point *p = &points[n_points];
        if (colon && colon > s && (size_t)(colon - s) < sizeof(p->name)) {
            char *end;
            memcpy(p->name, s, (size_t)(colon - s));
            p->at = strtoul(colon + 1, &end, 10);
            p->onwards = *end == '+';
            n_points += p->at > 0;
        }
        s += n;
        s += *s == ',';
    }
}

bool fault_hit(const char *name)
{
    bool hit = false;
    pthread_once(&once, load);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_points; i++) {
        struct point *p = &points[i];
        if (strcmp(p->name, name) != 0)
            continue;
        p->passed++;
        hit |= p->onwards ? p->passed >= p->at : p->passed == p->at;
    }
    pthread_mutex_unlock(&lock);
    return hit;
}
#endif
