/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <sched.h>
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
