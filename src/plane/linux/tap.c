/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* <linux/if_tun.h> has them since Linux 6.2. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TUN_PATH "/dev/net/tun"

static int tap_open_device(struct err *err)
{
    int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    switch (errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        return err_set(err, -errno,
                       TUN_PATH ": %s; load the module (as root: modprobe tun), or in a container "
                                "pass the device in (--device " TUN_PATH ")",
                       strerror(errno));
    case EACCES:
    case EPERM:
        return err_set(err, -errno,
                       TUN_PATH
                       ": closed to uid %u (%s); distributions ship it open to all users "
                       "because it gives no rights by itself: as root, chmod 0666 " TUN_PATH,
                       geteuid(), strerror(errno));
    default: return err_set(err, -errno, TUN_PATH ": %s", strerror(errno));
    }
}

/*
 * For the uplink checksums, and datagrams that are to be cut (before Linux 6.2 the kernel cuts them first). TCP
 * is never large there: only a connection's first segment comes. A VM monitor sets a port's offloads.
 */
static int set_uplink_offloads(int fd)
{
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0)
        return 0;
    return ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM);
}

int tap_check(struct err *err)
{
    int fd = tap_open_device(err);

    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int tap_open(const char *name, bool tun, char ret_name[16], int *ret_fd, struct err *err)
{
    struct ifreq request = {0};
    int fd = tap_open_device(err), error;

    if (fd < 0)
        return fd;
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    request.ifr_flags = (short)((tun ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        error = err_set(err, -errno, "cannot make the device %s: %s", name, strerror(errno));
        goto out;
    }
    if (tun && (set_uplink_offloads(fd) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
        error = err_set(err, -errno, "cannot set up the device %s: %s", name, strerror(errno));
        goto out;
    }
    memcpy(ret_name, request.ifr_name, 16);
    *ret_fd = fd;
    return 0;
out:
    close(fd);
    return error;
}
