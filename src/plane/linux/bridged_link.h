/* SPDX-License-Identifier: Apache-2.0 */
/* What bridging needs to know of links of the host, and does to them. Functions return 0 or -errno. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_LINK_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_LINK_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/bridging.h"
#include "plane/linux/netlink.h"

struct bridged_link {
    int ifindex;
    char name[16];
    char kind[24];                  /* "" for hardware */
    char network[NET_NAME_MAX + 1]; /* of ours, whose link it is; "" */
    struct mac_addr mac;
    unsigned mtu;
    int master;     /* ifindex, or 0 */
    bool looked_at; /* somebody has it in promiscuous mode, as tcpdump does */
    bool ethernet, loopback, up, carrier;
};

/* What a message of rtnetlink's (RTM_NEWLINK, RTM_DELLINK) says. */
void bridged_link_parse(const struct nlmsghdr *header, struct bridged_link *ret_link);
/* By name, or where that is NULL by @ifindex. -ENODEV: there is none. */
int bridged_link_read(struct netlink *netlink, const char *name, int ifindex,
                      struct bridged_link *ret_link);
/* The name of the interface of the default route, of IPv4 or else IPv6, with the best metric. -ENOENT: no such route. */
int bridged_link_default(struct netlink *netlink, char ret_name[16]);
/* A link that no protocol of this namespace may use: the kernel gives it no IPv6 address by itself. */
int bridged_link_silence(struct netlink *netlink, int ifindex);
int bridged_link_set_mac(struct netlink *netlink, int ifindex, const struct mac_addr *mac);
int bridged_link_set_down(struct netlink *netlink, int ifindex);
/*
 * What a machine's port of a switch of the host's has as its MAC. A bridge or Open vSwitch that was given none has the least of
 * its ports', and so another with each machine that comes, unless theirs are greater. 0xfe is what hypervisors take for
 * that; the rest is the machine's own, which is behind the port, or random while that is not known (all zero). 0 or -errno.
 */
int bridged_link_port_mac(const struct mac_addr *machine, struct mac_addr *ret_mac);
/* Of a port of a bridge: no learning; @flood says whether it gets frames to MACs that the bridge does not know. */
int bridged_link_set_port(struct netlink *netlink, int ifindex, bool flood);
/* A bridge's knowledge that @mac is behind its port. */
int bridged_link_set_fdb(struct netlink *netlink, int ifindex, const struct mac_addr *mac);

#endif
