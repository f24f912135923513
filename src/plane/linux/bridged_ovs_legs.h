/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of one machine to an Open vSwitch bridge:
 *
 *     the network's own namespace              the host's
 *
 *     tap3 ── (guard) ── br-tap3 ── up-tap3 ════ veth ════ vm1a2b3c-3 ── Open vSwitch
 *
 * A bridge with two ports does no more than hand on frames, by the hooks at which the guard is. Functions return 0 or -errno.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_OVS_LEGS_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_OVS_LEGS_H

#include <stdbool.h>

#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/plane.h"

struct ovs_legs {
    const struct place *place;
    struct netlink *host, *inside; /* sockets in the two namespaces */
    int host_ns_fd;
    unsigned mtu;
    /*
     * ovs-vswitchd moves the frames itself. It reads and writes by packet sockets: frames must be whole there,
     * with no checksum and no cut left for hardware, and go on to the host's stack, from which they are kept.
     */
    bool userspace;
};

/* What is the port of Open vSwitch for the port @interface. */
void ovs_legs_name(const struct place *place, const char *interface, char ret_name[IFNAMSIZ]);
/* Whether all of it is there. */
bool ovs_legs_there(const struct ovs_legs *legs, const char *interface);
/* Makes all but the port itself, where it is not there. */
int ovs_legs_make(const struct ovs_legs *legs, const char *interface, const struct mac_addr *mac);
/* The index of the bridge that the port itself joins. */
int ovs_legs_bridge(const char *interface);
void ovs_legs_remove(const struct ovs_legs *legs, const char *interface);
/*
 * Removes the links of all other machines, also those of an earlier network of the name whose machines still hold its
 * namespace. Their number.
 */
int ovs_legs_keep(const struct ovs_legs *legs, const struct plane_port *ports, size_t len);

#endif
