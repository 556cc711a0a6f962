#pragma once
/* HTTP/1.1 as a load generator needs it: a socket, one request on its way at a time, and a strict reader of its answer. What is not a status
 * line, a Content-Length and so many bytes is an error. Cheap before all: it shares the processor with the server that it measures. */
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/** Where a server is. */
struct address {
    struct sockaddr_storage at;
    socklen_t len;
    char host[300]; /* for the Host header: "127.0.0.1:8420" */
};

/** "http://HOST[:PORT][/]"; https is refused. ERR_USAGE, or ERR_NETWORK when the name is not known. */
int address_parse(const char *url, struct address *ret, struct err *err);

struct answer {
    int status;
    bool close; /* the server closes the connection behind it */
    const char *body;
    size_t n; /* borrowed from the connection, until it is used again */
};

struct wire {
    int fd;           /* -1: closed */
    const char *host; /* of the address that it was opened to, borrowed */
    char *in;         /* what has come of an answer */
    size_t have, cap;
    char *rest; /* what the socket did not take at once */
    size_t rest_n, rest_at, rest_cap;
};

void wire_init(struct wire *w);
void wire_release(struct wire *w);
/** Connects, at most 5 s. ERR_NETWORK names the address. */
int wire_open(struct wire *w, const struct address *to, struct err *err);
void wire_close(struct wire *w); /* keeps the memory */
/** One request, whole. What the socket does not take is kept: wire_flush when it is writable. */
int wire_send(struct wire *w, const char *p, size_t n, struct err *err);
int wire_flush(struct wire *w, struct err *err);
bool wire_has_rest(const struct wire *w);
/** Reads what has come. ERR_OK with ret_whole false: more is to come. ERR_NETWORK: the connection broke. ERR_CORRUPT: no HTTP that we
 * take. */
int wire_receive(struct wire *w, struct answer *ret, bool *ret_whole, struct err *err);
/** Sends and waits for the answer. Connects when it is closed. ERR_TIMEOUT after `timeout_ms`. */
int wire_exchange(struct wire *w, const struct address *to, const char *p, size_t n, int timeout_ms, struct answer *ret,
                  struct err *err);
/** Waits for the answer to what was sent. */
int wire_await(struct wire *w, int timeout_ms, struct answer *ret, struct err *err);

/** What a server says of a refusal: sets `err` from a problem document, or from the status alone. @return its code */
int answer_refusal(const struct answer *a, struct err *err);
