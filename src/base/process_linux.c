/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

void process_set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}

void process_close_from(int lowest)
{
    closefrom(lowest);
}

/* mallopt(3). By itself glibc takes first what its heap has left, and zeroes it, and moves the limit up. */
void process_map_large(bool on)
{
#ifdef __GLIBC__
    mallopt(M_TOP_PAD, on ? 0 : 128 * 1024);
    mallopt(M_MMAP_THRESHOLD, on ? 64 * 1024 : 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 2 * 1024 * 1024);
    malloc_trim(0);
#else
    (void)on;
#endif
}

unsigned process_cpus(void)
{
    cpu_set_t cpus;

    /* Fails where the kernel knows more CPUs than the set has room for: there are plenty then. */
    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return CPU_SETSIZE;
    return (unsigned)CPU_COUNT(&cpus);
}

void process_path(char ret_path[NET_PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", ret_path, NET_PATH_MAX - 1);

    ret_path[len > 0 ? len : 0] = '\0';
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        error = -errno;
    close(fd);
    return error;
}

int process_new_user(unsigned uid, unsigned gid)
{
    unsigned own_uid = geteuid(), own_gid = getegid();
    char map[64];
    int error;

    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    /*
     * The files below belong to root while the process is not dumpable, which it is not where a parent
     * changed its user id and ran no program since (proc(5)).
     */
    prctl(PR_SET_DUMPABLE, 1);
    /* Without this an unprivileged process may not write gid_map. */
    error = write_file("/proc/self/setgroups", "deny");
    if (error < 0 && error != -ENOENT)
        return error;
    snprintf(map, sizeof(map), "%u %u 1", uid, own_uid);
    error = write_file("/proc/self/uid_map", map);
    if (error < 0)
        return error;
    snprintf(map, sizeof(map), "%u %u 1", gid, own_gid);
    return write_file("/proc/self/gid_map", map);
}
