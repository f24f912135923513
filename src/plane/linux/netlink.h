/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink requests, over libmnl: the few that a network is made of. All work on the namespace in which
 * the socket was opened. Functions return 0 or -errno as the kernel gave it.
 */
#ifndef OPENVMNET_PLANE_LINUX_NETLINK_H
#define OPENVMNET_PLANE_LINUX_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* Large enough for any request and for one part of a dump (the kernel's default is 32 KiB). */
#define NETLINK_MESSAGE_BYTES 32768

struct netlink {
    struct mnl_socket *socket;
    uint32_t sequence;
};

int netlink_open(struct netlink *netlink);
void netlink_close(struct netlink *netlink);
/* Has the socket receive what the kernel tells to these groups (RTNLGRP_…). */
int netlink_join(struct netlink *netlink, const int *groups, size_t len);

/* For requests that are written elsewhere (tc.c): begins one, to be acknowledged, in @buf of NETLINK_MESSAGE_BYTES. */
struct nlmsghdr *netlink_begin(char *buf, uint16_t type, uint16_t flags);
/*
 * Sends a request and handles all of its answer, up to the acknowledgement or the end of a dump. What is left
 * of the answer to a request before it, which was given up, is passed over.
 */
int netlink_talk(struct netlink *netlink, struct nlmsghdr *header, mnl_cb_t each, void *context);

/* A bridge without delay, spanning tree or multicast snooping, with a fixed MAC. */
int netlink_add_bridge(struct netlink *netlink, const char *name, const struct mac_addr *mac);
/*
 * A pair of links: @name here, its @peer with that MAC in the network namespace @peer_fd. Neither is up.
 * -EEXIST where one of the names is taken.
 */
int netlink_add_veth(struct netlink *netlink, const char *name, const char *peer, int peer_fd,
                     const struct mac_addr *peer_mac, unsigned mtu);
/* Sets MTU (0: leave), master (0: leave), alias (NULL: leave) and brings the link up, in one request. */
int netlink_set_up(struct netlink *netlink, int ifindex, unsigned mtu, int master,
                   const char *alias);
/* The reverse: down, without a master, and with another alias. */
int netlink_cut_off(struct netlink *netlink, int ifindex, const char *alias);
/* Up or down, as the link is. */
int netlink_set_mtu(struct netlink *netlink, int ifindex, unsigned mtu);
/* How many packets wait for who reads a device. (SIOCSIFTXQLEN asks for rights over the whole machine.) */
int netlink_set_queue(struct netlink *netlink, int ifindex, uint32_t packets);
/* What is sent by the link goes to its driver at once, by no queueing discipline (noqueue). */
int netlink_set_noqueue(struct netlink *netlink, int ifindex);
/* -ENODEV where there is none of that name. */
int netlink_get_link(struct netlink *netlink, const char *name, int *ret_ifindex,
                     struct mac_addr *ret_mac);
int netlink_delete_link(struct netlink *netlink, int ifindex);
int netlink_add_address(struct netlink *netlink, int ifindex, const struct ip_addr *addr,
                        unsigned prefix_len);
/* A default route over a device, in @table; or with @local the route that makes every address ours. */
int netlink_add_default_route(struct netlink *netlink, int family, uint32_t table, int ifindex,
                              bool local);
/* A rule: packets with @mark (0: all) look up @table. @add false: deletes it. */
int netlink_rule(struct netlink *netlink, int family, bool add, uint32_t priority, uint32_t mark,
                 uint32_t table);
/*
 * Asks for all of a kind; @each gets every message. Where the list changes while it is read it is read anew,
 * after a call of @again (NULL: it does not matter that @each gets some twice).
 */
int netlink_dump(struct netlink *netlink, uint16_t type, int family, mnl_cb_t each,
                 void (*again)(void *context), void *context);

struct rtmsg;
/* One that stands for the whole world, also as one of its halves, by which VPNs go before the default route itself. */
bool netlink_is_default_route(const struct rtmsg *route);

#endif
