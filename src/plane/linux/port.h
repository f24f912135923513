/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a port, and is read back from the kernel by whoever asks for its link.
 *
 * It is text in the alias of the interface: "MAC IPv4 NAME ID KIND FLAGS PID:UID". FLAGS has a letter for each thing
 * that is on: i(solated), a(nti-spoof); "-" for none. IPv4 is 0.0.0.0 where the port has none.
 */
#ifndef OPENVMNET_PLANE_LINUX_PORT_H
#define OPENVMNET_PLANE_LINUX_PORT_H

#include <linux/netlink.h>
#include <stdbool.h>

#include "plane/plane.h"

#define PORT_TAP_PREFIX "tap"
#define PORT_VETH_PREFIX "veth"
#define PORT_ALIAS_MAX 255 /* IFALIASZ - 1 */

/* 0, or -EINVAL where @port is not what port_read_alias() would take. */
int port_write_alias(const struct plane_port *port, char ret_alias[PORT_ALIAS_MAX + 1]);
/* False for anything that port_write_alias() has not written. ret_port->interface stays empty. */
bool port_read_alias(const char *alias, struct plane_port *ret_port);

/* Whether an interface of that name could be a port. */
bool port_is_name(const char *name);
/*
 * The port that a link message (RTM_NEWLINK, RTM_DELLINK) is of, and what the link has counted; no drops.
 * False where it is another link. @ret_stats may be NULL.
 */
bool port_read_link(const struct nlmsghdr *header, struct plane_port *ret_port,
                    struct plane_port_stats *ret_stats);

#endif
