/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Reads a number from a file below @root; -1 where there is none. */
static long read_setting(const char *root, const char *path)
{
    char name[512];
    FILE *file;
    long value;

    snprintf(name, sizeof(name), "%s%s", root, path);
    file = fopen(name, "re");
    if (!file)
        return -1;
    if (fscanf(file, "%ld", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

/* True where a seccomp filter is on this process, as container engines install one. */
static bool is_filtered(const char *root)
{
    char name[512], line[256];
    bool filtered = false;
    FILE *file;
    int mode;

    snprintf(name, sizeof(name), "%s/proc/self/status", root);
    file = fopen(name, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "Seccomp: %d", &mode) == 1)
            filtered = mode == 2;
    fclose(file);
    return filtered;
}

int namespace_explain(int error, const char *root, struct err *err)
{
    static const char what[] =
        "cannot make a user namespace, on which a network without privileges "
        "stands";

    if (read_setting(root, "/proc/sys/user/max_user_namespaces") == 0)
        return err_set(err, error,
                       "%s: user.max_user_namespaces is 0; the administrator can set it: sysctl -w "
                       "user.max_user_namespaces=15000",
                       what);
    if (read_setting(root, "/proc/sys/kernel/unprivileged_userns_clone") == 0)
        return err_set(err, error,
                       "%s: kernel.unprivileged_userns_clone is 0; the administrator can set it: "
                       "sysctl -w kernel.unprivileged_userns_clone=1",
                       what);
    if (read_setting(root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        return err_set(
            err, error,
            "%s: AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is "
            "1); the administrator can allow vmnetd by a profile with 'userns,' in "
            "/etc/apparmor.d, or all programs: sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0",
            what);
    if (is_filtered(root))
        return err_set(err, error,
                       "%s: a seccomp filter refuses it (%s), as container engines install one; "
                       "start the container with --security-opt seccomp=unconfined, or with a "
                       "profile that allows unshare and clone",
                       what, strerror(-error));
    if (error == -ENOSPC)
        return err_set(err, error,
                       "%s: too many of them exist or they are nested too deep (user.max_user_"
                       "namespaces, user.max_net_namespaces)",
                       what);
    return err_set(err, error,
                   "%s: %s; is the kernel built with CONFIG_USER_NS, and does a security module or "
                   "a container forbid it?",
                   what, strerror(-error));
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

static int map_own_ids(uid_t uid, gid_t gid)
{
    char map[64];
    int error;

    /*
     * The files below belong to root while the process is not dumpable, which it is not where a parent
     * changed its user id and ran no program since (proc(5)).
     */
    prctl(PR_SET_DUMPABLE, 1);
    /* Without this an unprivileged process may not write gid_map (user_namespaces(7)). */
    error = write_file("/proc/self/setgroups", "deny");
    if (error < 0 && error != -ENOENT)
        return error;
    snprintf(map, sizeof(map), "%u %u 1", uid, uid);
    error = write_file("/proc/self/uid_map", map);
    if (error < 0)
        return error;
    snprintf(map, sizeof(map), "%u %u 1", gid, gid);
    return write_file("/proc/self/gid_map", map);
}

int namespace_create(bool user, int *ret_user_fd, int *ret_net_fd, struct err *err)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int error;

    *ret_user_fd = *ret_net_fd = -1;
    if (user) {
        if (unshare(CLONE_NEWUSER) < 0)
            return namespace_explain(-errno, "", err);
        error = map_own_ids(uid, gid);
        if (error < 0)
            return namespace_explain(error, "", err);
    }
    if (unshare(CLONE_NEWNET) < 0) {
        error = -errno;
        if (user && error == -EPERM)
            return namespace_explain(error, "", err);
        return err_set(err, error, "cannot make a network namespace: %s; %s", strerror(-error),
                       error == -ENOSPC ? "user.max_net_namespaces is used up"
                                        : "it takes CAP_SYS_ADMIN, which root often lacks in a "
                                          "container: run vmnet as an ordinary user there");
    }
    *ret_net_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (*ret_net_fd >= 0 && user)
        *ret_user_fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (*ret_net_fd < 0 || (user && *ret_user_fd < 0))
        return err_set(err, -errno, "/proc/self/ns: %s; is /proc mounted?", strerror(errno));
    return 0;
}

int namespace_join(int user_fd, int net_fd, struct err *err)
{
    if (user_fd >= 0 && setns(user_fd, CLONE_NEWUSER) < 0)
        return err_set(err, -errno, "cannot join the network's user namespace: %s",
                       strerror(errno));
    if (setns(net_fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "cannot join the network's namespace: %s", strerror(errno));
    return 0;
}
