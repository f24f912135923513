/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/process.h"

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

/* The child of enter_new_network(). Sends 0 with the descriptor, or -errno. */
static void make_network(int socket)
{
    int error = process_new_user(0, 0), fd = -1;

    if (error == 0 &&
        (unshare(CLONE_NEWNET) < 0 || (fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0))
        error = -errno;
    descriptor_send(socket, &error, sizeof(error), &fd, error ? 0 : 1, MSG_NOSIGNAL);
    _exit(0);
}

/*
 * What the kernel has of a network namespace in sysfs belongs to the user 0 of the user namespace that it was
 * made in. Ours has none, for its processes shall be who they are. So a child makes one more below it, which has,
 * and in that the network: who owns a user namespace has all rights in it from the one above
 * (user_namespaces(7)). Where that is not allowed the network does without those files.
 */
static int enter_new_network(void)
{
    int pair[2], fd = -1, error = 0, child_error;
    unsigned fds_len = 0;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        make_network(pair[1]);
    close(pair[1]);
    if (pid > 0) {
        descriptor_receive(pair[0], &child_error, sizeof(child_error), &fd, 1, &fds_len);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(pair[0]);
    if (!fds_len)
        return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
    if (setns(fd, CLONE_NEWNET) < 0)
        error = -errno;
    close(fd);
    return error;
}

int namespace_create(int *ret_user_fd, int *ret_net_fd, struct err *err)
{
    bool root = geteuid() == 0;
    int error;

    *ret_user_fd = *ret_net_fd = -1;
    if (!root) {
        error = process_new_user(geteuid(), getegid());
        if (error < 0)
            return namespace_explain(error, "", err);
    }
    if (root)
        error = unshare(CLONE_NEWNET) < 0 ? -errno : 0;
    else
        error = enter_new_network();
    if (error < 0) {
        if (!root && error == -EPERM)
            return namespace_explain(error, "", err);
        return err_set(err, error, "cannot make a network namespace: %s; %s", strerror(-error),
                       error == -ENOSPC ? "user.max_net_namespaces is used up"
                                        : "root needs CAP_SYS_ADMIN for it, which containers often "
                                          "lack: run vmnet as an ordinary user there");
    }
    *ret_net_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (*ret_net_fd >= 0 && !root)
        *ret_user_fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (*ret_net_fd < 0 || (!root && *ret_user_fd < 0))
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
