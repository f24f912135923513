/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that is new at its place is announced to a network that is more than its own bridge: switches, bridges of
 * other hosts and their neighbour caches may believe it elsewhere, and a machine may be silent for long.
 *
 * The frame enters at the machine's port, as if it had sent it: the bridge learns its place (and, with BGP EVPN, the
 * routing daemon from the bridge), the guard judges it, and it goes where a broadcast of the machine's goes.
 */
#ifndef OPENVMNET_PLANE_LINUX_ANNOUNCE_H
#define OPENVMNET_PLANE_LINUX_ANNOUNCE_H

#include <stddef.h>

#include "base/addr.h"

/*
 * @tap_fd is the descriptor of a tap (tap_open()) that is up and a port of its bridge, and which no machine has yet. A
 * RARP request says where @mac is; it passes where a bridge answers for others and keeps address announcements back
 * (neigh_suppress). Neighbours are told of each of the machine's @addrs that are known. 0 or -errno.
 */
int announce_port(int tap_fd, const struct mac_addr *mac, const struct ip_addr *addrs,
                  size_t addrs_len);

#endif
