/* SPDX-License-Identifier: Apache-2.0 */
/* By which way machines get onto an interface of the host, from what is known of it. Plain facts in, a choice out. */
#ifndef OPENVMNET_BASE_BRIDGING_H
#define OPENVMNET_BASE_BRIDGING_H

#include <stdbool.h>

#include "base/netspec.h"

enum bridging_way {
    BRIDGING_NONE,
    BRIDGING_WIRED,  /* frames for machines are picked out where the interface receives and sends */
    BRIDGING_HOOKS,  /* the same by nftables, where filters (tc) do not do */
    BRIDGING_BRIDGE, /* ports of a Linux bridge */
    BRIDGING_OVS,    /* ports of an Open vSwitch bridge */
    BRIDGING_MAC_NAT, /* the interface's own MAC for all, IP only */
    BRIDGING_WAYS
};

struct bridging_facts {
    const char
        *kind; /* what the system calls a device that it made ("bridge", "veth"); "" for hardware */
    const char *master; /* name of the bridge or bond that it is a part of; "" */
    bool ethernet, loopback, wireless;
    bool openvswitch; /* Open vSwitch says that it is a bridge of its own */
    const char *by;   /* what a network on it says of its way (BRIDGED_ALIAS); or NULL */
    const char *name;
    const char *network;    /* of ours, whose link it is; "" */
    const char *ovs_bridge; /* Open vSwitch says that it is a port of that bridge; "" */
    bool ovs_asked,
        ovs_closed; /* Open vSwitch has said; or it is there and says it to root alone */
};

/*
 * The alias of a network's link on the host, which all may read: this, its name, " on " and the interface's, and where
 * its way is not "wired" the last and the way.
 */
#define BRIDGED_ALIAS "openvmnet: network "
#define BRIDGED_ALIAS_BY " by "

/* The network whose link it is, by that alias or one without what follows the name; "": none's. */
void bridging_network(const char *alias, char ret_network[NET_NAME_MAX + 1]);

/* "none", "wired", "nftables", "bridge", "openvswitch", "mac-nat". */
const char *bridging_name(enum bridging_way way);
/* And in *ret_reason why that one, in a few words; the text lives as long as @buf. */
enum bridging_way bridging_choose(const struct bridging_facts *facts, char buf[96],
                                  const char **ret_reason);

#endif
