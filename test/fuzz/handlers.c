/* handlers.yaml, as a worker reads it at its start. */
#include "fuzz.h"
#include "base/auto.h"
#include "worker/handlers.h"
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FD int fd = memfd_create("handlers.yaml", MFD_CLOEXEC);
    char path[64];
    struct handlers *h = NULL;
    struct err err = {0};
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = handlers_load(path, &h, &err);
    must_explain(rc, &err);
    if (rc == ERR_OK)
        for (size_t i = 0; i < h->n; i++) {
            MUST(h->items[i].command.n > 0 && h->items[i].command.items[0][0] == '/');
            MUST(h->items[i].task_type && h->items[i].version && h->items[i].timeout_us >= 0);
            MUST(handlers_find(h, h->items[i].task_type) == &h->items[i]);
        }
    handlers_free(h);
    return 0;
}
