#pragma once
/* A real server on a free port, and a client that sends what it is told, byte for byte. */
#include "http/http.h"
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FILE_BYTES      1000000
#define FILE_MODIFIED_S 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define STREAM_CHUNKS   200
#define LARGE_BYTES     (16 << 20) /* a file that passes libmicrohttpd by; more than two sockets hold */
#define BIG_BYTES       300000     /* of POST /big */
#define MUCH_BYTES      (4 << 20)  /* of the answer of POST /much: more than a new socket holds */
#define BODIES_BYTES    400000     /* of all of them at once */

struct fixture {
    struct http_server *server;
    struct pool *pool;
    int file_fd, large_fd;
    unsigned char *file;
    /* what GET /hold keeps until the test lets it go */
    struct http_request *_Atomic held;
    sem_t held_sem;      /* posted when a request is held */
    sem_t freed_sem;     /* posted when data of a request was freed */
    sem_t first_sem;     /* posted at the first piece of an upload */
    sem_t piece_sem;     /* posted at each piece of an upload */
    size_t _Atomic seen; /* bytes of the latest upload that its owner has */
};

int fixture_setup(void **state);
int fixture_setup_impatient(void **state); /* slow clients are cut after 0.1 s, not 10 */
int fixture_teardown(void **state);

/* A response as read from the socket. */
struct answer {
    int status;
    char head[8192];
    char *body; /* free() */
    size_t n;
};

int client_open(const struct fixture *f);
void client_send(int fd, const void *p, size_t n);
void client_puts(int fd, const char *s);
/* Reads one response. `no_body`: to HEAD. status 0: the connection was closed without one. */
struct answer client_read(int fd, bool no_body);
bool client_closed(int fd); /* waits for the end of the connection; false when more bytes come */
/* Opens, sends, reads one answer, closes. */
struct answer ask(const struct fixture *f, const char *request);
const char *answer_header(const struct answer *a, const char *name, char *ret, size_t size);
void expect_problem(struct answer *a, int status, const char *code); /* checks, and frees the body */

#define HOST "Host: 127.0.0.1\r\n"
