#include "sandbox/process.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool sandbox_process_read(const char *pid, struct process *ret)
{
    char path[64], text[512];
    if (pid[0] < '1' || pid[0] > '9')
        return false;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *after = strrchr(text, ')'); /* the name before it may hold anything */
    int parent = 0;
    unsigned long long user = 0, system = 0;
    long long user_children = 0, system_children = 0;
    if (!after ||
        sscanf(after + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld %*d %*d %*d %*d %*u %*u %lld",
               &ret->state, &parent, &user, &system, &user_children, &system_children, &ret->pages) != 7)
        return false;
    ret->own_ticks = user + system;
    ret->children_ticks = (unsigned long long)(user_children + system_children);
    ret->pid = (pid_t)strtol(pid, NULL, 10);
    ret->parent = (pid_t)parent;
    return true;
}
