/* Preloaded into a server: makes the Nth allocation, write, sync, open or change of a name fail, as the test says while it runs.
 * Calls on regular files and folders only: sockets and pipes are other tests' business. */
#include "shim.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* glibc's own names: to look `malloc` up by dlsym would allocate. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static struct shim *shim;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("HAUL_SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof(struct shim), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (at != MAP_FAILED)
        shim = at;
}

static bool fails(enum shim_kind kind)
{
    if (!shim)
        return false;
    struct shim_point *p = &shim->points[kind];
    p->calls++;
    bool again = p->onwards && p->countdown < 0;
    if (!again && (p->countdown <= 0 || --p->countdown != 0))
        return false;
    if (p->onwards)
        p->countdown = -1;
    p->failed++;
    errno = (int)p->error;
    return true;
}

static bool on_disk(int fd)
{
    struct stat st;
    int saved = errno;
    bool yes = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
    errno = saved;
    return yes;
}

/* --- memory --- */

static void *counted(void *p)
{
    if (p && shim)
        shim->live++;
    return p;
}

void *malloc(size_t n)
{
    return fails(SHIM_ALLOC) ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return fails(SHIM_ALLOC) ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (fails(SHIM_ALLOC))
        return NULL;
    void *q = __libc_realloc(p, n);
    return p ? q : counted(q);
}

void free(void *p)
{
    if (p && shim)
        shim->live--;
    __libc_free(p);
}

/* --- files --- */

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (!real)                                                                                                         \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(write);
    return on_disk(fd) && fails(SHIM_WRITE) ? -1 : real(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(pwrite);
    return on_disk(fd) && fails(SHIM_WRITE) ? -1 : real(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    REAL(pwrite64);
    return on_disk(fd) && fails(SHIM_WRITE) ? -1 : real(fd, p, n, at);
}

int fsync(int fd)
{
    REAL(fsync);
    return fails(SHIM_SYNC) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return fails(SHIM_SYNC) ? -1 : real(fd);
}

static mode_t mode_of(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode_t mode = mode_of(flags, ap);                                                                              \
        va_end(ap);                                                                                                    \
        return fails(SHIM_OPEN) ? -1 : real(path, flags, mode);                                                        \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int dir, const char *path, int flags, ...)                                                                \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list ap;                                                                                                    \
        va_start(ap, flags);                                                                                           \
        mode_t mode = mode_of(flags, ap);                                                                              \
        va_end(ap);                                                                                                    \
        return fails(SHIM_OPEN) ? -1 : real(dir, path, flags, mode);                                                   \
    }
OPENAT(openat)
OPENAT(openat64)

int rename(const char *from, const char *to)
{
    REAL(rename);
    return fails(SHIM_NAME) ? -1 : real(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    REAL(renameat);
    return fails(SHIM_NAME) ? -1 : real(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(renameat2);
    return fails(SHIM_NAME) ? -1 : real(from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    REAL(linkat);
    return fails(SHIM_NAME) ? -1 : real(from_dir, from, to_dir, to, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    REAL(mkdirat);
    return fails(SHIM_NAME) ? -1 : real(dir, path, mode);
}
