#pragma once
/* What sandbox.c and the init inside the sandbox say to each other. Both come from one build, so no versions. */
#include <stdint.h>

/* Descriptors that init finds. 0 and 1 are /dev/null; 2 takes bwrap's and init's own complaints. */
enum init_fd {
    INIT_FD_ERRORS = 2,
    INIT_FD_REPORT = 3,  /* the handler's descriptor 3 */
    INIT_FD_CONTROL = 4, /* SOCK_SEQPACKET: orders in, init_message out */
    INIT_FD_STATUS = 5,  /* pipe: one init_status when the tree is gone */
    INIT_FD_EXE = 6,     /* init itself, a sealed memfd */
    INIT_FD_SPEC = 7,    /* init_spec and its strings */
    INIT_FD_LOG = 8,     /* the handler's stdout and stderr */
    INIT_FD_ARGS = 9     /* bwrap's arguments; bwrap closes it */
};

/* Followed by n_argv + n_env NUL-terminated strings. */
struct init_spec {
    uint32_t n_argv, n_env;
    uint32_t alone; /* 1: PID 1 of a namespace of its own; 0: on the bare host, as a subreaper */
    uint32_t unused;
    uint64_t file_size_max; /* 0 = no limit */
};

enum init_order { INIT_TERM = 'T', INIT_KILL = 'K', INIT_STOP = 'S', INIT_CONT = 'C', INIT_UNTIL = 'U' };
struct init_order_message {
    int32_t order; /* each is answered by INIT_ACK but INIT_UNTIL: nobody waits for that */
    int32_t unused;
    int64_t until_us; /* INIT_UNTIL: CLOCK_BOOTTIME, from which on the tree is held still */
};

enum init_kind { INIT_STARTED = 1, INIT_ACK = 2 };
struct init_message {
    int32_t kind;
    int32_t value; /* errno, 0 = it worked */
};

struct init_status {
    int32_t wait_status; /* raw, of the handler itself */
    int32_t unused;
    int64_t cpu_us;     /* of the whole tree */
    int64_t peak_bytes; /* of its largest process */
};
