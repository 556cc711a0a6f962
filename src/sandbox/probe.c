/* What the host allows, found by doing it. */
#include "base/auto.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

static long number_in(const char *path)
{
    AUTO_FILE FILE *f = fopen(path, "re");
    long v = -1;
    return f && fscanf(f, "%ld", &v) == 1 ? v : -1;
}

static const char *remedy(void)
{
    if (number_in("/proc/sys/user/max_user_namespaces") == 0)
        return "user namespaces are switched off: sysctl -w user.max_user_namespaces=10000";
    if (number_in("/proc/sys/kernel/unprivileged_userns_clone") == 0 && geteuid())
        return "user namespaces are for root only here: sysctl -w kernel.unprivileged_userns_clone=1";
    if (number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 && geteuid())
        return "AppArmor restricts user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a "
               "profile for bwrap";
    if (!access("/.dockerenv", F_OK) || !access("/run/.containerenv", F_OK))
        return "inside a container: run it with --security-opt seccomp=unconfined --security-opt "
               "systempaths=unconfined";
    return "user, mount, PID and network namespaces must be allowed for this user";
}

static int probe_run(const char *work_dir, int null_fd, struct err *err)
{
    static const char *const argv[] = {"/proc/self/exe", "probe", NULL};
    static const char *const none[] = {NULL};
    const struct sandbox_spec spec = {.level = SANDBOX_NAMESPACES,
                                      .argv = argv,
                                      .env = none,
                                      .work_dir = work_dir,
                                      .read_only = none,
                                      .log_fd = null_fd,
                                      .report_fd = null_fd};
    struct sandbox *s = NULL;
    int rc = sandbox_start(&spec, &s, err);
    if (rc)
        return rc;
    struct pollfd p = {.fd = sandbox_event_fd(s), .events = POLLIN};
    while (poll(&p, 1, 10000) < 0 && errno == EINTR) {
    }
    int status = -1;
    usec cpu_us;
    int64_t peak;
    rc = sandbox_result(s, &status, &cpu_us, &peak, err);
    if (!rc && status)
        rc = err_set(err, ERR_UNSUPPORTED, 0, "a program in the sandbox ended with status %d", status);
    sandbox_free(s);
    return rc;
}

enum sandbox_level sandbox_probe(const char *folder, char why[512])
{
    why[0] = 0;
    char dir[PATH_MAX];
    const int n = snprintf(dir, sizeof dir, "%s/" SANDBOX_PROBE_PREFIX "XXXXXX", folder);
    AUTO_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || n >= (int)sizeof dir || !mkdtemp(dir)) {
        snprintf(why, 512, "no temporary folder for the probe: %s", strerror(errno));
        return SANDBOX_NONE;
    }
    struct err err;
    err_clear(&err);
    const int rc = probe_run(dir, null_fd, &err);
    rmdir(dir);
    if (!rc)
        return SANDBOX_NAMESPACES;
    if (rc == ERR_NOT_FOUND)
        snprintf(why, 512, "%s", err.msg);
    else
        snprintf(why, 512, "%.250s. %s", err.msg, remedy());
    return SANDBOX_NONE;
}
