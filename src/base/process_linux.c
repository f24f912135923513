/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

void process_set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}

int process_leave_parent(char **argv)
{
    pid_t pid = fork();

    (void)argv;
    if (pid < 0)
        return -errno;
    if (pid > 0)
        _exit(0);
    setsid();
    return 0;
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
