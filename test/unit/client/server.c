#include "server.h"
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (1 << 20)

struct scripted {
    int fd;
    char url[64];
    pthread_t thread;
    bool joined, hasty, lingers;
    struct step steps[STEPS_MAX];
    size_t n;
    char *requests[STEPS_MAX];
};

static size_t body_length(const char *head)
{
    const char *p = strcasestr(head, "\r\nContent-Length:");
    return p ? strtoul(p + 17, NULL, 10) : 0;
}

/** @param hasty  of the body only what has come with the head */
static char *request_read(int fd, bool hasty)
{
    char *text = calloc(1, REQUEST_MAX), rest[64 << 10];
    size_t n = 0, kept = 0, whole = SIZE_MAX; /* until its head is there */
    assert(text);
    while (n < whole) {
        const size_t room = REQUEST_MAX - 1 - kept;
        ssize_t got = room > 0 ? recv(fd, text + kept, room, 0) : recv(fd, rest, sizeof(rest), 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        kept += room > 0 ? (size_t)got : 0;
        const char *end = whole == SIZE_MAX ? strstr(text, "\r\n\r\n") : NULL;
        if (end)
            whole = (size_t)(end - text) + 4 + (hasty ? 0 : body_length(text));
    }
    return text;
}

static void *serve(void *arg)
{
    struct scripted *s = arg;
    for (size_t i = 0; i < s->n; i++) {
        int c = accept(s->fd, NULL, NULL);
        if (c < 0)
            break;
        s->requests[i] = request_read(c, s->hasty);
        const char *p = s->steps[i].answer;
        size_t n = !p ? 0 : s->steps[i].n ? s->steps[i].n : strlen(p);
        for (ssize_t put; n > 0 && (put = send(c, p, n, MSG_NOSIGNAL)) > 0; p += put)
            n -= (size_t)put;
        for (char rest[4096]; s->lingers && recv(c, rest, sizeof(rest), 0) > 0;)
            ;
        close(c);
    }
    return NULL;
}

static struct scripted *start(const struct step *steps, size_t n, bool hasty, bool lingers)
{
    struct scripted *s = calloc(1, sizeof(*s));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    assert(s && n <= STEPS_MAX);
    memcpy(s->steps, steps, n * sizeof(*steps));
    s->n = n;
    s->hasty = hasty;
    s->lingers = lingers;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, sizeof(a)) || listen(s->fd, 16) ||
             getsockname(s->fd, (struct sockaddr *)&a, &len) || pthread_create(&s->thread, NULL, serve, s);
    assert(rc == 0);
    (void)rc;
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
    return s;
}

struct scripted *scripted_start(const struct step *steps, size_t n)
{
    return start(steps, n, false, false);
}

struct scripted *scripted_start_hasty(const struct step *steps, size_t n, bool lingers)
{
    return start(steps, n, true, lingers);
}

const char *scripted_url(const struct scripted *s)
{
    return s->url;
}

void scripted_join(struct scripted *s)
{
    if (!s->joined)
        pthread_join(s->thread, NULL);
    s->joined = true;
}

const char *scripted_request(const struct scripted *s, size_t i)
{
    return s->requests[i] ? s->requests[i] : "";
}

void scripted_free(struct scripted *s)
{
    shutdown(s->fd, SHUT_RDWR); /* a thread still in accept() wakes up */
    scripted_join(s);
    close(s->fd);
    for (size_t i = 0; i < s->n; i++)
        free(s->requests[i]);
    free(s);
}
