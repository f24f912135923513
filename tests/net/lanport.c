/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanport BRIDGE MTU MAC ADDRESS FD: a tap that is a port of a Linux bridge, and its machine announced there
 * (src/plane/linux/announce.h).
 *
 * ADDRESS is the machine's, "none" where it is not known, or "silent": then nothing is announced. The tap's descriptor
 * goes out on FD, a unix socket, beside the name of the tap; the tap lives as long as somebody has it.
 */
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/descriptor.h"
#include "plane/linux/announce.h"
#include "plane/linux/netlink.h"
#include "plane/linux/tap.h"

static int attach(char **argv, int tap_fd, const char *name)
{
    bool silent = strcmp(argv[4], "silent") == 0;
    bool known = !silent && strcmp(argv[4], "none") != 0;
    struct ip_addr addr = {0};
    struct netlink netlink;
    struct mac_addr mac;
    int result;

    if (mac_parse(argv[3], &mac) < 0 || (known && ip_parse(argv[4], &addr) < 0))
        return -EINVAL;
    result = netlink_open(&netlink);
    if (result < 0)
        return result;
    result = netlink_set_up(&netlink, (int)if_nametoindex(name), (unsigned)atoi(argv[2]),
                            (int)if_nametoindex(argv[1]), NULL);
    netlink_close(&netlink);
    return result < 0 || silent ? result : announce_port(tap_fd, &mac, &addr, known);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    char name[16];
    int tap_fd, result;

    if (argc != 6) {
        fprintf(stderr, "usage: lanport BRIDGE MTU MAC ADDRESS FD\n");
        return 2;
    }
    if (tap_open("tap%d", false, name, &tap_fd, &err) < 0) {
        fprintf(stderr, "lanport: %s\n", err.text);
        return 1;
    }
    result = attach(argv, tap_fd, name);
    if (result == 0)
        result = (int)descriptor_send(atoi(argv[5]), name, strlen(name), &tap_fd, 1, 0);
    if (result < 0)
        fprintf(stderr, "lanport: %s\n", strerror(-result));
    return result < 0;
}
