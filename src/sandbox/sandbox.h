#pragma once
/* How a handler is confined. Knows no queue.
 * bubblewrap in full set (ISOLATION.md) around a tiny static init of ours (embedded in the binary, passed in by memfd) that is PID 1 in the
 * sandbox, starts the handler, reaps, takes one-byte orders on a control pipe and reports the raw wait status on another. */
#include "base/clock.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where the scratch directory stands inside: a place that no host path a handler needs lies below. */
#define SANDBOX_WORK_DIR "/run/haul/work"

enum sandbox_level { SANDBOX_NONE, SANDBOX_NAMESPACES };
const char *sandbox_level_name(enum sandbox_level l); /* "none", "namespaces" */

/** Tries real operations (a bwrap with the full set running our init) and says what the host allows.
 * @param folder  where a temporary folder may be made; what a crash leaves there begins with SANDBOX_PROBE_PREFIX
 * @param why  when NONE: what is missing and how to get it, for people; 512 bytes */
enum sandbox_level sandbox_probe(const char *folder, char why[512]);
#define SANDBOX_PROBE_PREFIX ".haul-probe-"

struct sandbox_spec {
    enum sandbox_level level;
    const char *const *argv; /* NULL-terminated; argv[0] absolute path */
    const char *const *env;  /* NULL-terminated "K=V": all the handler sees */
    const char
        *work_dir; /* host path of the attempt's scratch; mounted writable at SANDBOX_WORK_DIR, the working directory */
    const char *const
        *read_only;         /* NULL-terminated host paths bound read-only at the same place; missing ones are refused */
    uint64_t file_size_max; /* RLIMIT_FSIZE bytes; 0 = no limit */
    int log_fd;             /* the handler's stdout and stderr */
    int report_fd;          /* becomes descriptor 3 */
};

struct sandbox; /* a running handler tree */

int sandbox_start(const struct sandbox_spec *spec, struct sandbox **ret, struct err *err);
/** Readable when the handler ended (or init died). Borrowed. */
int sandbox_event_fd(const struct sandbox *s);
/** Signals the whole tree: SIGTERM, SIGKILL, SIGSTOP (until all are stopped), SIGCONT. */
int sandbox_signal(struct sandbox *s, int sig, struct err *err);
/** From `boot_us` (CLOCK_BOOTTIME, above 0) on the whole tree is held still, also when nobody is left who could signal it in time: whoever
 * holds `s` may be stopped itself. A later time lets the tree go on that an earlier one held, unless SIGSTOP did, too. Never waits; of no
 * effect when the tree is gone. */
void sandbox_until(struct sandbox *s, usec boot_us);
/** The raw wait status of the handler; ERR_BUSY when it has not ended. ret_cpu_us and ret_peak_bytes of the tree (rusage). */
int sandbox_result(struct sandbox *s, int *ret_wait_status, usec *ret_cpu_us, int64_t *ret_peak_bytes, struct err *err);
struct sandbox_usage {
    usec cpu_us; /* of the tree so far; what a process used whose parent did not wait for it goes when it goes */
    int64_t memory_bytes; /* resident now, summed: pages that processes share count once for each */
};
/** What the tree uses while it runs, from /proc out here: neither init nor the tree notice. Costs some system calls a thread.
 * @return false: it cannot be told (the tree is gone, /proc hides it, or the kernel has no CONFIG_PROC_CHILDREN) */
bool sandbox_usage(const struct sandbox *s, struct sandbox_usage *ret);
/** Kills what is left of the tree, waits until nothing remains, frees. NULL accepted. */
void sandbox_free(struct sandbox *s);
