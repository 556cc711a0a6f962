#include "app/doctor.h"
#include "app/drivers.h"
#include "base/auto.h"
#include "base/fs.h"
#include "client/haul.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <unistd.h>

#define BLOBS_FOLDER "blobs"
#define ROOM_FAIL    ((int64_t)64 << 20)
#define ROOM_WARN    ((int64_t)1 << 30)
#define FILES_FAIL   256u
#define FILES_WARN   4096u
#define PROBE_BYTES  65536
#define ASK_MS       5000
#define CIFS_KIND    0xFF534D42L
#define SMB2_KIND    0xFE534D42L
#define FUSE_KIND    0x65735546L

/* --- the data folder --- */

static enum finding_level filesystem_kind(long kind, bool database, const char **ret_name)
{
    static const struct {
        long kind;
        const char *name;
        enum finding_level blobs, database;
    } known[] = {
        {NFS_SUPER_MAGIC, "NFS", FINDING_OK, FINDING_FAIL}, {CIFS_KIND, "CIFS", FINDING_WARN, FINDING_FAIL},
        {SMB2_KIND, "SMB", FINDING_WARN, FINDING_FAIL},     {SMB_SUPER_MAGIC, "SMB", FINDING_WARN, FINDING_FAIL},
        {FUSE_KIND, "FUSE", FINDING_WARN, FINDING_WARN},    {TMPFS_MAGIC, "tmpfs", FINDING_WARN, FINDING_WARN},
        {RAMFS_MAGIC, "ramfs", FINDING_WARN, FINDING_WARN},
    };

    *ret_name = "a local disk";
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if ((kind & 0xFFFFFFFFL) == known[i].kind) {
            *ret_name = known[i].name;
            return database ? known[i].database : known[i].blobs;
        }
    return FINDING_OK;
}

static void check_filesystem(const struct doctor *d, const struct statfs *fs)
{
    const char *name;
    enum finding_level level = filesystem_kind((long)fs->f_type, !d->options->store, &name);
    bool memory = strcmp(name, "tmpfs") == 0 || strcmp(name, "ramfs") == 0;

    finding_add(d->findings, level, "file system",
                level == FINDING_OK ? NULL
                : memory            ? "put the data folder on a disk: this is gone when the machine restarts"
                                    : "put the database on a local disk, or into PostgreSQL (docs/migrate.md)",
                "the data folder lies on %s%s", name,
                level == FINDING_OK ? ""
                : memory            ? ""
                                    : ", where locks and syncs may not hold what they promise");
}

static void check_room(const struct doctor *d, const struct statfs *fs)
{
    int64_t room = (int64_t)fs->f_bavail * (int64_t)fs->f_bsize;
    enum finding_level level = room < ROOM_FAIL ? FINDING_FAIL : room < ROOM_WARN ? FINDING_WARN : FINDING_OK;

    finding_add(d->findings, level, "free space",
                level == FINDING_OK ? NULL : "make room: uploads and commits fail without",
                "%lld MiB where the data folder lies", (long long)(room >> 20));
}

/** The folder, or where it would be made: the nearest that is there. */
static void nearest(const char *path, char ret[PATH_MAX])
{
    struct stat st;

    snprintf(ret, PATH_MAX, "%s", path);
    while (stat(ret, &st) < 0 && errno == ENOENT) {
        char *slash = strrchr(ret, '/');
        if (!slash || slash == ret) {
            snprintf(ret, PATH_MAX, "%s", slash ? "/" : ".");
            return;
        }
        *slash = '\0';
    }
}

/** Can this user make a file there? It is gone at once. */
static bool may_write(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        return access(dir, W_OK | X_OK) == 0;
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/** @return whether it is there, and can be used */
static bool check_data(const struct doctor *d)
{
    const char *data = d->options->data;
    char at[PATH_MAX];
    struct stat st;
    struct statfs fs;

    nearest(data, at);
    bool there = strcmp(at, data) == 0;
    if (stat(at, &st) < 0 || !S_ISDIR(st.st_mode) || !may_write(at)) {
        finding_add(d->findings, FINDING_FAIL, "data folder",
                    "chown it to the server's user, or run this as that user ('sudo -u haul haul doctor')",
                    "'%.200s' %s", at, S_ISDIR(st.st_mode) ? "cannot be written by this user" : "is not a folder");
        return false;
    }
    if (there && (st.st_mode & 077))
        finding_add(d->findings, FINDING_WARN, "data folder", "chmod 700 it: payloads and outputs lie in it",
                    "'%.200s' is open to other users of this machine", data);
    else
        finding_add(d->findings, FINDING_OK, "data folder", NULL, there ? "'%.200s'" : "'%.200s' will be made", data);
    if (statfs(at, &fs) == 0) {
        check_filesystem(d, &fs);
        check_room(d, &fs);
    }
    return there;
}

/** Holds the folder's lock while it is looked at. @return a descriptor; -1: a server has it */
static int take_lock(const struct doctor *d)
{
    char path[PATH_MAX];
    struct err err = {0};
    int fd = -1;

    if (fs_join(path, sizeof(path), d->options->data, "lock", &err) == ERR_OK && fs_lock(path, &fd, &err) == ERR_OK)
        return fd;
    finding_add(d->findings, FINDING_OK, "in use", NULL,
                "a server uses the data folder: what lies in it is left alone");
    return -1;
}

/* --- blobs --- */

static int probe_blob(const struct blob_driver *d, struct blobs *b, struct err *err)
{
    struct clock clock = clock_real();
    struct uuid id = uuid_v7(clock.wall_us(clock.self), rng_real());
    struct blob_upload *up = NULL;
    struct blob_reader *r = NULL;
    char wrote[PROBE_BYTES], got[PROBE_BYTES];
    uint8_t hash[32];
    int64_t size = 0;

    memset(wrote, 'h', sizeof(wrote));
    int rc = d->begin(b, &id, &up, err);
    if (rc == ERR_OK && (rc = d->write(up, wrote, sizeof(wrote), err)) != ERR_OK)
        d->abort(up);
    else if (rc == ERR_OK)
        rc = d->commit(up, &size, hash, err);
    if (rc != ERR_OK)
        return err_wrap(err, rc, "write a blob");
    rc = d->open_read(b, &id, &r, err);
    if (rc == ERR_OK && (r->read(r, 0, got, sizeof(got), err) != sizeof(got) || memcmp(wrote, got, sizeof(got)) != 0))
        rc = err->code ? (int)err->code : err_set(err, ERR_CORRUPT, 0, "what was written is not what is read");
    blob_reader_close(r);
    int removed = d->remove(b, &id, rc == ERR_OK ? err : NULL);
    return rc != ERR_OK        ? err_wrap(err, rc, "read a blob")
           : removed != ERR_OK ? err_wrap(err, removed, "remove a blob")
                               : ERR_OK;
}

static void check_blobs(const struct doctor *d, const char *known)
{
    char path[PATH_MAX], id[UUID_STR_MAX];
    struct err err = {0};
    struct blobs *b = NULL;
    const char *url = d->options->blob;
    const struct blob_driver *driver = NULL;
    int rc = app_blob_driver(url, &driver, &err);

    if (rc == ERR_OK)
        rc = fs_join(path, sizeof(path), d->options->data, BLOBS_FOLDER, &err);
    if (rc == ERR_OK && !url && !fs_exists(path)) {
        finding_add(d->findings, known[0] ? FINDING_FAIL : FINDING_OK, "blobs",
                    known[0] ? "mount or copy the blob folder that belongs to the database" : NULL,
                    known[0] ? "the database belongs to the blob folder %s, and there is none"
                             : "no folder yet: the first start makes it",
                    known);
        return;
    }
    if (rc == ERR_OK)
        rc = driver->open(url ? url : path, &b, id, &err);
    if (rc == ERR_OK)
        rc = probe_blob(driver, b, &err);
    if (rc == ERR_OK && driver->examine)
        driver->examine(b, d->findings);
    if (b)
        driver->close(b);
    if (rc != ERR_OK)
        finding_add(d->findings, FINDING_FAIL, "blobs",
                    url ? "docs/s3.md says what each message asks for"
                        : "give the server's user all rights on the blob folder and what is in it",
                    "%s", err.msg);
    else if (known[0] && strcmp(known, id) != 0)
        finding_add(d->findings, FINDING_FAIL, "blobs",
                    url ? "name the bucket and prefix that belong to the database"
                        : "mount or copy the blob folder that belongs to the database",
                    "the blobs are %s, but the database belongs to %s", id, known);
    else
        finding_add(d->findings, FINDING_OK, "blobs", NULL, "a blob was written, read and removed");
}

/* --- the store --- */

static void check_store(const struct doctor *d, bool data_there)
{
    const struct store_config config = {
        .dir = d->options->data, .url = d->options->store, .read_url = d->options->store_read, .clock = clock_real()};
    const struct store_driver *driver = NULL;
    struct err err = {0};
    char known[UUID_STR_MAX] = "";
    AUTO_FD int lock = data_there ? take_lock(d) : -1;

    if (app_store_driver(config.url, &driver, &err) != ERR_OK)
        finding_add(d->findings, FINDING_FAIL, "store", "correct `store` in the configuration", "%s", err.msg);
    else if (driver->examine && (config.url || lock >= 0 || !data_there))
        driver->examine(&config, d->findings, known);
    if (lock >= 0 || d->options->blob)
        check_blobs(d, known);
}

/* --- the broker --- */

static void check_broker(const struct doctor *d)
{
    const struct broker_config config = {
        .url = d->options->broker, .deployment = "doctor", .intake = d->options->broker_intake, .rng = rng_real()};
    const struct broker_driver *driver = NULL;
    struct broker *b = NULL;
    struct broker_state state = {.reached = false};
    struct err err = {0};

    if (!config.url)
        return;
    int rc = app_broker_driver(config.url, d->options->store, &driver, &err);
    if (rc == ERR_OK)
        rc = driver->open(&config, &b, &err);
    if (rc == ERR_OK)
        driver->state(b, &state);
    if (rc != ERR_OK || !state.reached)
        finding_add(d->findings, FINDING_FAIL, "broker",
                    rc != ERR_OK ? "docs/redis.md says what each message asks for"
                                 : "is it running? Until it is, servers claim from the store directly",
                    "%s", rc != ERR_OK ? err.msg : state.why);
    else if (state.warning[0])
        finding_add(d->findings, FINDING_WARN, "broker", "CONFIG SET maxmemory-policy noeviction, and in its file",
                    "%s: %s", state.about, state.warning);
    else
        finding_add(d->findings, FINDING_OK, "broker", NULL, "%s", state.about);
    if (b && state.reached && driver->examine)
        driver->examine(b, d->findings);
    if (b)
        driver->close(b);
}

/* --- this machine --- */

static void check_files(const struct doctor *d)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    enum finding_level level = limit.rlim_max < FILES_FAIL   ? FINDING_FAIL
                               : limit.rlim_max < FILES_WARN ? FINDING_WARN
                                                             : FINDING_OK;
    finding_add(d->findings, level, "open files",
                level == FINDING_OK ? NULL
                                    : "raise the limit (LimitNOFILE= in the unit, ulimit -Hn): each client is one",
                "at most %llu", (unsigned long long)limit.rlim_max);
}

static void check_time(const struct doctor *d)
{
    struct timex t = {0};
    int state = adjtimex(&t);

    if (state == TIME_ERROR || (t.status & STA_UNSYNC))
        finding_add(d->findings, FINDING_WARN, "time",
                    "synchronise it (chrony, systemd-timesyncd), or the host's if this is a container",
                    "the kernel's clock is not synchronised");
    else
        finding_add(d->findings, FINDING_OK, "time", NULL, "synchronised");
}

static void check_isolation(const struct doctor *d)
{
    const char *tmp = getenv("TMPDIR");
    char why[512];

    if (sandbox_probe(tmp && *tmp ? tmp : "/tmp", why) == SANDBOX_NONE)
        finding_add(d->findings, FINDING_WARN, "isolation",
                    "only a worker on this machine needs it; handlers with 'isolation: none' run without", "%s", why);
    else
        finding_add(d->findings, FINDING_OK, "isolation", NULL, "a worker here can sandbox its handlers");
}

static void check_server(const struct doctor *d)
{
    struct haul_error err = {0};
    struct haul_client *c = d->server ? haul_client_new(d->server, "haul/" HAUL_VERSION, &err) : NULL;

    if (!d->server)
        return;
    if (c)
        haul_client_timeout(c, ASK_MS);
    if (!c || haul_call(c, "GET", "/readyz", NULL, NULL, 0, NULL, &err) != HAUL_OK)
        finding_add(d->findings, FINDING_FAIL, "server", "start it, or name the right one (--server, HAUL_SERVER)",
                    "%s: %s", d->server, err.message);
    else
        finding_add(d->findings, FINDING_OK, "server", NULL, "%s is ready", d->server);
    haul_client_free(c);
}

void doctor_run(const struct doctor *d)
{
    bool there = check_data(d);

    check_store(d, there);
    check_broker(d);
    check_files(d);
    check_time(d);
    check_isolation(d);
    check_server(d);
}
