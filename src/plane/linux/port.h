/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a port, and is read back from the kernel by whoever asks for its link.
 *
 * It is text in the alias of the interface: "MAC IPv4 NAME ID KIND FLAGS PID:UID". FLAGS has a letter for each thing
 * that is on: i(solated), a(nti-spoof); "-" for none. IPv4 is 0.0.0.0 where the port has none. In the host's namespace
 * " NETWORK" follows.
 */
#ifndef OPENVMNET_PLANE_LINUX_PORT_H
#define OPENVMNET_PLANE_LINUX_PORT_H

#include <linux/netlink.h>
#include <stdbool.h>

#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/plane.h"

#define PORT_ALIAS_MAX 255 /* IFALIASZ - 1 */

/* 0, or -EINVAL where @port is not what port_read_alias() would take. @network: "" in a namespace of its own. */
int port_write_alias(const struct plane_port *port, const char *network,
                     char ret_alias[PORT_ALIAS_MAX + 1]);
/* False for anything that port_write_alias() has not written for @network. ret_port->interface stays empty. */
bool port_read_alias(const char *alias, const char *network, struct plane_port *ret_port);

/*
 * The port that a link message (RTM_NEWLINK, RTM_DELLINK) is of, and what the link has counted; no drops.
 * False where it is another link. @ret_stats may be NULL.
 */
bool port_read_link(const struct nlmsghdr *header, const struct place *place,
                    struct plane_port *ret_port, struct plane_port_stats *ret_stats);

/* The ports that there are. free(list->ports) ends it. 0, or -errno with the reason and an empty list. */
struct port_list {
    struct plane_port *ports;
    size_t len;
};
int port_list_read(struct netlink *netlink, const struct place *place, struct port_list *ret_list,
                   struct err *err);

/* Of all ports that there are. 0, or -errno with the reason why they cannot be listed. */
int port_list_set_mtu(struct netlink *netlink, const struct place *place, unsigned mtu,
                      struct err *err);

/*
 * Takes the link of a port down, for good: whoever holds the tap goes on without a network, and no router takes it for a port of
 * the network any more. A veth goes, and with it its other end. 0, -ENODEV where it is gone, or -errno.
 */
int port_cut_off(struct netlink *netlink, const struct plane_port *port, const char *network);
/* The same for all of them. 0, or -errno with the reason of the first that stays. */
int port_list_cut_off(struct netlink *netlink, const struct port_list *list, const char *network,
                      struct err *err);
/* How many links there are that were cut off from @network and are held still, or -errno. */
int port_count_cut_off(struct netlink *netlink, const char *network);

#endif
