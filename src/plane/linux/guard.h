/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of the ports: which frames may enter the network, and which may pass from port to port. Its
 * rules are a table of the bridge family (guard.c); a port is a row in that table's sets.
 */
#ifndef OPENVMNET_PLANE_LINUX_GUARD_H
#define OPENVMNET_PLANE_LINUX_GUARD_H

#include <jansson.h>
#include <libmnl/libmnl.h>
#include <stddef.h>

#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"
#include "plane/plane.h"

/*
 * Broadcast and multicast frames that a port may send. ARP, DHCP, neighbour discovery and mDNS of a busy
 * guest are some tens a second.
 */
#define GUARD_STORM_FRAMES_S 2000
#define GUARD_STORM_BURST_FRAMES 4000

/*
 * Writes the table, without ports, in nftables' words, for a namespace that has none: no frame passes from a port
 * that is not added.
 */
void guard_write(FILE *text, const struct place *place);
/* The ports, to follow it in the same batch: a table that was lost comes back without a gap in between. */
void guard_write_ports(FILE *text, const struct place *place, const struct plane_port *ports,
                       size_t len);
/*
 * Over a socket of elements_open(). 0, or -errno with the reason. Each of these is one batch. With @forget a port
 * begins with nothing counted although there was one of its name.
 */
int guard_add(struct mnl_socket *socket, const struct place *place, const struct plane_port *port,
              bool forget, struct err *err);
/* A port that was added without a MAC has one now: @port. What was counted stays. */
int guard_settle(struct mnl_socket *socket, const struct place *place,
                 const struct plane_port *port, struct err *err);
int guard_remove(struct mnl_socket *socket, const struct place *place,
                 const struct plane_port *port, struct err *err);
/* Makes @ports all the ports there are; what was counted stays. */
int guard_replace(struct mnl_socket *socket, const struct place *place,
                  const struct plane_port *ports, size_t len, struct err *err);

/* What was dropped at all ports; NULL where it cannot be read. json_decref() ends it. */
json_t *guard_read_drops(struct nft_ctx *nft, const struct place *place);
/* The part of one port; zeros where @drops is NULL. */
void guard_port_drops(const json_t *drops, const char *interface,
                      uint64_t ret_drops[PLANE_DROPS_LEN]);

#endif
