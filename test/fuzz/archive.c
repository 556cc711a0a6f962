/* An archive that somebody says is a backup, read to its end. */
#include "fuzz.h"
#include "backup/backup.h"
#include "base/auto.h"
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FD int fd = memfd_create("archive", MFD_CLOEXEC);
    struct backup_reader *r = NULL;
    struct err err = {0};
    const char *name = NULL;
    int64_t entry_bytes = 0;
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    int rc = backup_reader_new(fd, &r, &err);
    while (rc == ERR_OK && (rc = backup_reader_next(r, &name, &entry_bytes, &err)) == ERR_OK && name) {
        char buf[4096];
        int64_t total = 0;
        size_t n = 0;
        while ((rc = backup_reader_read(r, buf, sizeof(buf), &n, &err)) == ERR_OK && n > 0)
            total += (int64_t)n;
        MUST(rc != ERR_OK || total == entry_bytes); /* as many as it said, or an error */
    }
    must_explain(rc, &err);
    if (rc == ERR_OK)
        MUST(backup_reader_end(r)->bytes >= 0);
    backup_reader_free(r);
    return 0;
}
