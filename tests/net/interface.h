/* SPDX-License-Identifier: Apache-2.0 */
/* A tap device that stands for a guest's network card: what tapguest.c, pumpclient.c and impair.c share. */
#ifndef OPENVMNET_TESTS_NET_INTERFACE_H
#define OPENVMNET_TESTS_NET_INTERFACE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Ends the program with what errno says. */
static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(1);
}

/* A new device of this name and MAC address; @flags are those of tuntap.rst beside IFF_TAP and IFF_NO_PI. */
static inline int open_interface(const char *name, const char *mac, int flags)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
    unsigned char *bytes = (unsigned char *)request.ifr_hwaddr.sa_data;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        fail("/dev/net/tun");
    memset(&request.ifr_hwaddr, 0, sizeof(request.ifr_hwaddr));
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
               &bytes[4], &bytes[5]) != 6)
        errno = EINVAL, fail(mac);
    if (ioctl(fd, SIOCSIFHWADDR, &request) < 0)
        fail("the interface's address");
    return fd;
}

#endif
