/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each datagram of a program costs a way through the bridge, the rules and the routes. The kernel can put those
 * of one flow together where they come out of a veth (GRO, rx-udp-gro-forwarding), so that 40 of them go that
 * way, and through the engine, as one. TCP is not touched: it comes in large segments already, and does not
 * take this way (veth_skb_is_eligible_for_gro() in the kernel).
 *
 * By itself a veth is polled at once for each packet, and there would never be two to put together. So a thread
 * of the kernel polls ("threaded"), and finds what has come since it last had a processor. What does not fit
 * the veth's ring meanwhile waits in the sender's queueing discipline, and then the sender itself waits, as it
 * would for a network card: since Linux 6.16; before that it would be lost.
 */
#include "cli/aggregate_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEATURES_MAX 1024 /* a kernel has some 60 */

/* The devices of this process's network namespace in sysfs, mounted nowhere. */
static int open_devices(void)
{
    int context_fd = (int)syscall(SYS_fsopen, "sysfs", FSOPEN_CLOEXEC), mount_fd = -1, fd = -1;

    if (context_fd < 0)
        return -errno;
    if (syscall(SYS_fsconfig, context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount_fd = (int)syscall(SYS_fsmount, context_fd, FSMOUNT_CLOEXEC,
                                MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (mount_fd >= 0)
        fd = openat(mount_fd, "class/net", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int write_setting(int devices_fd, const char *interface, const char *name, const char *value)
{
    char path[IFNAMSIZ + 64];
    int fd, error = 0;

    snprintf(path, sizeof(path), "%s/%s", interface, name);
    fd = openat(devices_fd, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, value, strlen(value)) < 0)
        error = -errno;
    close(fd);
    return error;
}

static int ethtool(int fd, const char *interface, void *command)
{
    struct ifreq request = {.ifr_data = command};

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
    return ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
}

/* Which bit a feature is differs from kernel to kernel; the names are the interface. */
static int read_names(int fd, const char *interface, struct ethtool_gstrings **ret_names)
{
    /* Room for the one number in its array. */
    union {
        struct ethtool_sset_info info;
        uint8_t bytes[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)];
    } sets = {.bytes = {0}};
    struct ethtool_gstrings *names;
    uint32_t len;
    int error;

    sets.info.cmd = ETHTOOL_GSSET_INFO;
    sets.info.sset_mask = 1 << ETH_SS_FEATURES;
    error = ethtool(fd, interface, &sets);
    len = sets.info.data[0];
    if (error || len > FEATURES_MAX)
        return error ? error : -E2BIG;
    names = calloc(1, sizeof(*names) + (size_t)len * ETH_GSTRING_LEN);
    if (!names)
        return -ENOMEM;
    *names = (struct ethtool_gstrings){
        .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = len};
    error = ethtool(fd, interface, names);
    if (error) {
        free(names);
        return error;
    }
    *ret_names = names;
    return 0;
}

static int set_features(int fd, const char *interface, const char *const *wanted, bool on)
{
    union {
        struct ethtool_sfeatures command;
        uint8_t bytes[sizeof(struct ethtool_sfeatures) +
                      FEATURES_MAX / 32 * sizeof(struct ethtool_set_features_block)];
    } features = {.bytes = {0}};
    struct ethtool_gstrings *names;
    int error = read_names(fd, interface, &names);

    if (error)
        return error;
    features.command.cmd = ETHTOOL_SFEATURES;
    features.command.size = (names->len + 31) / 32;
    for (; *wanted && !error; wanted++) {
        uint32_t bit = 0;

        while (bit < names->len &&
               strncmp((const char *)names->data + (size_t)bit * ETH_GSTRING_LEN, *wanted,
                       ETH_GSTRING_LEN) != 0)
            bit++;
        if (bit == names->len)
            error = -EOPNOTSUPP;
        else
            features.command.features[bit / 32].valid |= 1u << bit % 32;
        if (!error && on)
            features.command.features[bit / 32].requested |= 1u << bit % 32;
    }
    free(names);
    return error ? error : ethtool(fd, interface, &features);
}

static bool kernel_has_backpressure(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;

    return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 16));
}

static int enable(const char *interface)
{
    static const char *const features[] = {"rx-gro", "rx-udp-gro-forwarding", NULL};
    int devices_fd = open_devices(), fd, result;

    if (devices_fd < 0)
        return devices_fd;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* There is nothing to be polled before. */
    result = set_features(fd, interface, features, true);
    if (result < 0)
        return result;
    result = write_setting(devices_fd, interface, "threaded", "1");
    if (result < 0)
        set_features(fd, interface, features, false);
    return result;
}

/*
 * The child of aggregate_enable(). The network namespace may belong to a user namespace below the network's
 * (namespace.c), and only that one's mount namespaces let it be mounted. What is opened here ends with the child.
 */
static int enter_and_enable(int user_fd, int net_fd, const char *interface)
{
    int owner_fd = ioctl(net_fd, NS_GET_USERNS);

    if (owner_fd < 0 || (user_fd >= 0 && setns(user_fd, CLONE_NEWUSER) < 0) ||
        setns(net_fd, CLONE_NEWNET) < 0)
        return -errno;
    /* EINVAL: it is the one where this process is already. */
    if (setns(owner_fd, CLONE_NEWUSER) < 0 && errno != EINVAL)
        return -errno;
    return unshare(CLONE_NEWNS) < 0 ? -errno : enable(interface);
}

int aggregate_enable(int user_fd, int net_fd, const char *interface)
{
    int status;
    pid_t pid;

    if (!kernel_has_backpressure())
        return -EOPNOTSUPP;
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(-enter_and_enable(user_fd, net_fd, interface) & 0xff);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}
