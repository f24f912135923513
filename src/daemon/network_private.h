/* SPDX-License-Identifier: Apache-2.0 */
/* Between network.c, which keeps ports and leases, and allot.c, which chooses what a port gets. */
#ifndef OPENVMNET_DAEMON_NETWORK_PRIVATE_H
#define OPENVMNET_DAEMON_NETWORK_PRIVATE_H

#include "daemon/network.h"

/* Also one that is being attached; or NULL. */
struct network_port *network_by_name(struct network *network, const char *name);
struct network_port *network_by_mac(struct network *network, const struct mac_addr *mac);
struct network_port *network_by_ipv4(struct network *network, uint32_t ipv4);

/* A copy of @port, not yet attached; NULL without memory. */
struct network_port *network_append(struct network *network, const struct plane_port *port);

#endif
