/* One small file an upload: its name is made of the server and what tells one content of a file from another. Files of uploads that
 * nobody went on with are dropped after a week, when the next one is made. */
#include "cli/upload_state.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/sha256.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define FOLDER   "haul/uploads"
#define KEEP_S   (7 * 24 * 3600)
#define NAME_LEN (SHA256_HEX_MAX - 1)

static bool folder_of(char ret[PATH_MAX])
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct err none;
    if (xdg && *xdg)
        return fs_join(ret, PATH_MAX, xdg, FOLDER, &none) == ERR_OK;
    return home && *home && fs_join(ret, PATH_MAX, home, ".local/state/" FOLDER, &none) == ERR_OK;
}

static bool path_of(const char *server, int fd, char ret[PATH_MAX])
{
    char folder[PATH_MAX], text[2048], name[SHA256_HEX_MAX];
    uint8_t digest[32];
    struct stat st;
    struct err none;
    if (!folder_of(folder) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    int n = snprintf(text, sizeof(text), "%s %llu %llu %lld %lld.%09ld", server, (unsigned long long)st.st_dev,
                     (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
                     st.st_mtim.tv_nsec);
    if (n < 0 || (size_t)n >= sizeof(text))
        return false;
    sha256_once(text, (size_t)n, digest);
    hex_format(digest, sizeof(digest), name);
    return fs_join(ret, PATH_MAX, folder, name, &none) == ERR_OK;
}

void upload_state_load(struct upload_state *s, const char *server, int fd, char ret_upload[HAUL_UPLOAD_MAX])
{
    struct buf text;
    struct err none;
    ret_upload[0] = '\0';
    if (!path_of(server, fd, s->path)) {
        s->path[0] = '\0';
        return;
    }
    buf_init(&text, HAUL_UPLOAD_MAX);
    if (fs_read(s->path, &text, &none) == ERR_OK) {
        size_t n = strcspn(buf_str(&text), "\n");
        if (n < HAUL_UPLOAD_MAX) /* libhaul looks whether it is one */
            snprintf(ret_upload, HAUL_UPLOAD_MAX, "%.*s", (int)n, buf_str(&text));
    }
    buf_release(&text);
}

static void drop_old(const char *folder)
{
    DIR *dir = opendir(folder);
    const int64_t now_s = clock_real().wall_us(clock_real().self) / USEC_PER_SEC;
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        if (strlen(e->d_name) == NAME_LEN && fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            now_s - st.st_mtim.tv_sec > KEEP_S)
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

void upload_state_save(const struct upload_state *s, const char *upload)
{
    char folder[PATH_MAX], line[HAUL_UPLOAD_MAX + 1];
    struct err none;
    if (!s->path[0] || !folder_of(folder) || fs_mkdirs(folder, 0700, &none) != ERR_OK)
        return;
    drop_old(folder);
    int n = snprintf(line, sizeof(line), "%s\n", upload);
    fs_write_durable(s->path, line, (size_t)n, 0600, &none);
}

void upload_state_drop(const struct upload_state *s)
{
    if (s->path[0])
        unlink(s->path);
}
