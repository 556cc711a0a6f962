/* Uploads that go on after a cut, a restart and a power cut:
 *     DIR/uploads/<uuid>        the bytes
 *     DIR/uploads/<uuid>.mark   how many of them are surely on the disk, and their hash so far
 *
 * A file's length is no proof of its bytes: after a power cut a file may be as long as it was and end in zeros, where the length came to
 * the disk and the data did not. So only a mark is believed, which is written when the bytes before it were synced; what is behind it is
 * cut off and sent again. The hash on its way is in the mark, so that going on reads nothing again, whatever there is already.
 *
 * A mark is overwritten in place, one of two slots by turns, each with a check of its own: a power cut in the middle of a write
 * costs that mark, and the one before it counts.
 *
 * A commit gives the bytes their final name and leaves the mark; the row comes next. If it never does (a crash just there), resume() finds
 * the bytes by that name, and reads them once for their hash: what is left to do is the row. They keep the name: another server may be about to
 * write that row. */
#include "base/auto.h"
#include "base/fault.h"
#include "base/fs.h"
#include "blob/folder/internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define MAGIC       "haulmrk1"
#define SLOT_STRIDE 4096 /* a sector each, so that one write cannot spoil both */
#define SLOT_BYTES  256
#define WHOLE_PIECE ((size_t)1 << 20)
#define AT_NUMBER   8
#define AT_SIZE     16
#define AT_STATE    24
#define AT_CHECK    (SLOT_BYTES - 32)

struct names {
    char id[UUID_STR_MAX], path[3 + UUID_STR_MAX];
    char bytes[sizeof(UPLOADS_DIR) + UUID_STR_MAX];
    char mark[sizeof(UPLOADS_DIR) + UUID_STR_MAX + 5];
};

static struct names names_of(const struct uuid *id)
{
    struct names n;

    blob_path(id, n.id, n.path);
    snprintf(n.bytes, sizeof(n.bytes), UPLOADS_DIR "/%s", n.id);
    snprintf(n.mark, sizeof(n.mark), UPLOADS_DIR "/%s.mark", n.id);
    return n;
}

static void put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static bool slot_read(int fd, unsigned slot, uint8_t ret[SLOT_BYTES])
{
    uint8_t check[32];

    if (pread(fd, ret, SLOT_BYTES, (off_t)slot * SLOT_STRIDE) != SLOT_BYTES || memcmp(ret, MAGIC, AT_NUMBER) != 0)
        return false;
    sha256_once(ret, AT_CHECK, check);
    return memcmp(ret + AT_CHECK, check, sizeof(check)) == 0 && get_u64(ret + AT_SIZE) <= INT64_MAX;
}

/** The latest mark; false: none, or none that can be believed. */
static bool mark_read(int fd, uint8_t ret[SLOT_BYTES])
{
    uint8_t other[SLOT_BYTES];
    bool one = slot_read(fd, 0, ret), two = slot_read(fd, 1, other);

    if (two && (!one || get_u64(other + AT_NUMBER) > get_u64(ret + AT_NUMBER)))
        memcpy(ret, other, SLOT_BYTES);
    return one || two;
}

static int mark_write(struct blob_upload *u, struct err *err)
{
    uint8_t slot[SLOT_BYTES] = MAGIC;
    off_t at = (off_t)(u->marks % 2) * SLOT_STRIDE;

    put_u64(slot + AT_NUMBER, u->marks + 1);
    put_u64(slot + AT_SIZE, (uint64_t)u->size);
    upload_settle(u);
    sha256_save(u->hash, slot + AT_STATE);
    sha256_once(slot, AT_CHECK, slot + AT_CHECK);
    errno = 0;
    if (FAULT("folder.mark"))
        errno = EIO;
    else if (pwrite(u->mark_fd, slot, SLOT_BYTES, at) == SLOT_BYTES && fdatasync(u->mark_fd) == 0) {
        u->marks++;
        return ERR_OK;
    }
    return err_set(err, ERR_IO, errno ? errno : ENOSPC, "mark upload %s", u->id);
}

/** Opens the bytes: as they are, or those that a commit named, or new ones. */
static int bytes_open(struct blobs *b, const struct names *n, bool *ret_whole)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(b->dir_fd, n->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    *ret_whole = fd >= 0;
    if (fd >= 0 || errno != ENOENT)
        return fd;
    fd = openat(b->dir_fd, n->bytes, flags | O_CREAT, 0600);
    /* A commit makes it read-only before it gives it its name, and may have come no further. Root is not told. */
    if (fd < 0 && errno == EACCES && fchmodat(b->dir_fd, n->bytes, 0600, 0) == 0)
        fd = openat(b->dir_fd, n->bytes, flags);
    return fd;
}

/** What was made must be found by its name after a power cut, or an acknowledged offset is not. */
static int names_sync(const struct blob_upload *u)
{
    const struct blobs *b = u->blobs;

    if (u->marks > 0)
        return 0;
    AUTO_FD int fd = openat(b->dir_fd, UPLOADS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    return fsync(fd) < 0 && errno != EINVAL ? -1 : 0; /* EINVAL: a file system that has no such thing */
}

/** All that a commit named. */
static int wind_to_end(struct blob_upload *u)
{
    AUTO_FREE char *piece = malloc(WHOLE_PIECE);
    ssize_t n = -1;

    u->hash = piece ? sha256_new() : NULL;
    if (!u->hash)
        errno = ENOMEM;
    while (u->hash && (n = read(u->fd, piece, WHOLE_PIECE)) > 0) {
        sha256_add(u->hash, piece, (size_t)n);
        u->size += n;
    }
    return (int)n;
}

/** Where the mark is, there is the end. */
static int wind_to_mark(struct blob_upload *u)
{
    uint8_t mark[SLOT_BYTES];
    struct stat st;

    if (fstat(u->fd, &st) < 0)
        return -1;
    if (mark_read(u->mark_fd, mark)) {
        u->marks = get_u64(mark + AT_NUMBER);
        u->size = (int64_t)get_u64(mark + AT_SIZE);
        u->hash = u->size <= st.st_size ? sha256_load(mark + AT_STATE) : NULL;
    }
    if (!u->hash) { /* nothing is known of the bytes, or somebody cut them off: from the beginning */
        u->size = 0;
        u->hash = sha256_new();
    }
    u->started = u->size;
    if (!u->hash) {
        errno = ENOMEM;
        return -1;
    }
    return ftruncate(u->fd, u->size) < 0 || lseek(u->fd, u->size, SEEK_SET) < 0 ? -1 : 0;
}

int partial_resume(struct blobs *b, const struct uuid *id, struct blob_upload **ret, int64_t *ret_offset,
                   struct err *err)
{
    const struct names n = names_of(id);
    struct blob_upload *u = calloc(1, sizeof(*u));

    if (!u)
        return err_set(err, ERR_NO_MEMORY, 0, "go on with an upload");
    u->blobs = b;
    snprintf(u->id, sizeof(u->id), "%s", n.id);
    snprintf(u->path, sizeof(u->path), "%s", n.path);
    snprintf(u->tmp, sizeof(u->tmp), "%s", n.bytes);
    u->mark_fd = -1;
    u->fd = bytes_open(b, &n, &u->whole);
    if (u->fd >= 0)
        u->mark_fd = openat(b->dir_fd, n.mark, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (FAULT("folder.resume")) {
        errno = EIO;
    } else if (u->mark_fd >= 0 && (u->whole ? wind_to_end(u) : wind_to_mark(u)) == 0 && names_sync(u) == 0) {
        if (upload_hashes(u)) {
            *ret_offset = u->size;
            *ret = u;
            return ERR_OK;
        }
        errno = ENOMEM;
    }

    int rc = err_set(err, ERR_IO, errno, "go on with upload %s", n.id);

    upload_free(u, false);
    return rc;
}

int partial_sync(struct blob_upload *u, struct err *err)
{
    int rc = (int)u->failed.code;

    if (u->whole)
        return rc;
    if (rc == ERR_OK && (FAULT("folder.sync") ? (errno = EIO, true) : fdatasync(u->fd) < 0))
        rc = err_set(&u->failed, ERR_IO, errno, "sync upload %s", u->id);
    if (rc == ERR_OK)
        rc = mark_write(u, &u->failed);
    if (rc != ERR_OK && err)
        *err = u->failed;
    return rc;
}

void partial_leave(struct blob_upload *u)
{
    if (!u)
        return;
    upload_trim(u);
    upload_free(u, false);
}

int partial_offset(struct blobs *b, const struct uuid *id, int64_t *ret, struct err *err)
{
    const struct names n = names_of(id);
    uint8_t mark[SLOT_BYTES];
    struct stat st;
    AUTO_FD int fd = openat(b->dir_fd, n.mark, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "upload %s", n.id);
    if (fstatat(b->dir_fd, n.bytes, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
        fstatat(b->dir_fd, n.path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        st.st_size = 0;
    *ret = mark_read(fd, mark) && (int64_t)get_u64(mark + AT_SIZE) <= st.st_size ? (int64_t)get_u64(mark + AT_SIZE) : 0;
    return ERR_OK;
}

int partial_discard(struct blobs *b, const struct uuid *id, struct err *err)
{
    const struct names n = names_of(id);

    if (FAULT("folder.remove"))
        return err_set(err, ERR_IO, EIO, "remove upload %s", n.id);
    /* The mark last: while there is one, unfinished() names the upload. */
    if ((unlinkat(b->dir_fd, n.bytes, 0) < 0 && errno != ENOENT) ||
        (unlinkat(b->dir_fd, n.mark, 0) < 0 && errno != ENOENT))
        return err_set(err, ERR_IO, errno, "remove upload %s", n.id);
    return ERR_OK;
}

/** Grows by doubling: the arena keeps the halves, which is no more again. */
static bool id_add(struct arena *arena, const struct uuid *id, struct uuid **ids, size_t *n, size_t *cap)
{
    if (*n == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        struct uuid *grown = arena_array(arena, more, sizeof(*grown));

        if (!grown)
            return false;
        if (*n)
            memcpy(grown, *ids, *n * sizeof(*grown));
        *ids = grown;
        *cap = more;
    }
    (*ids)[(*n)++] = *id;
    return true;
}

int partial_unfinished(struct blobs *b, struct arena *arena, struct uuid **ret, size_t *ret_n, struct err *err)
{
    AUTO_FD int fd = openat(b->dir_fd, UPLOADS_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    size_t cap = 0;
    int rc = ERR_OK;

    *ret = NULL;
    *ret_n = 0;
    if (!dir)
        return err_set(err, ERR_IO, errno, "list unfinished uploads");
    (void)TAKE_FD(fd); /* the list's now */
    for (struct dirent *e; rc == ERR_OK && (e = readdir(dir));) {
        char text[UUID_STR_MAX];
        struct uuid id;

        snprintf(text, sizeof(text), "%.*s", UUID_STR_MAX - 1, e->d_name);
        if (uuid_parse(text, &id) && !id_add(arena, &id, ret, ret_n, &cap))
            rc = err_set(err, ERR_NO_MEMORY, 0, "list unfinished uploads");
    }
    closedir(dir);
    return rc;
}
