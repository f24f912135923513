/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <libproc.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <pthread.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

void process_set_name(const char *name)
{
    /* The process's own is the file's; its first thread shows this one. */
    pthread_setname_np(name);
}

int process_leave_parent(char **argv)
{
    char path[NET_PATH_MAX];
    posix_spawnattr_t attributes;
    pid_t pid;
    int error;

    if (getsid(0) == getpid()) /* begun anew */
        return 0;
    process_path(path);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    error = -posix_spawn(&pid, path, NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    if (error < 0)
        return error;
    _exit(0);
}

void process_close_from(int lowest)
{
    int size = proc_pidinfo(getpid(), PROC_PIDLISTFDS, 0, NULL, 0);
    struct proc_fdinfo *open_fds = size > 0 ? malloc((size_t)size) : NULL;

    if (open_fds) {
        size = proc_pidinfo(getpid(), PROC_PIDLISTFDS, 0, open_fds, size);
        for (int i = 0; i < size / (int)sizeof(*open_fds); i++)
            if (open_fds[i].proc_fd >= lowest)
                close(open_fds[i].proc_fd);
        free(open_fds);
        return;
    }
    for (int fd = lowest; fd < getdtablesize(); fd++)
        close(fd);
}

void process_map_large(bool on)
{
    /* The system's allocator gives large allocations pages of their own by itself. */
    (void)on;
}

unsigned process_cpus(void)
{
    long len = sysconf(_SC_NPROCESSORS_ONLN);

    return len > 0 ? (unsigned)len : 1;
}

void process_path(char ret_path[NET_PATH_MAX])
{
    char path[PATH_MAX], real[PATH_MAX];
    uint32_t size = sizeof(path);

    ret_path[0] = '\0';
    /* As it was called, perhaps by a link: vmnetd lies beside the file itself. */
    if (_NSGetExecutablePath(path, &size) == 0 && realpath(path, real) &&
        strlen(real) < NET_PATH_MAX)
        memcpy(ret_path, real, strlen(real) + 1);
}
