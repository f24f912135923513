/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the objects of a network are, and what they are called there. In a namespace of its own a network has the
 * short names to itself. In the host's it shares them with all that is there, so its names have its own in them.
 */
#ifndef OPENVMNET_PLANE_LINUX_PLACE_H
#define OPENVMNET_PLANE_LINUX_PLACE_H

#include <net/if.h>
#include <stdbool.h>

#include "base/netconfig.h"

#define PLACE_PREFIX "vmnet-" /* of names of links and tables */
#define PLACE_TABLE_MAX (sizeof(PLACE_PREFIX) + NET_NAME_MAX)

struct place {
    const struct net_config *config;
    bool host;                   /* the host's own namespace: the system plane */
    bool ip_only;                /* bridged: nothing else passes between machines and outside */
    const char *network;         /* as in the aliases of its links; "" in one of its own */
    char bridge[IFNAMSIZ];       /* "vmnet-NAME" in the host's, or a part of it and a hash */
    char leg[IFNAMSIZ];          /* bridged: the host's end of a link to the network's namespace */
    char table[PLACE_TABLE_MAX]; /* of nftables, in each family; "vmnet-NAME" in the host's */
    char tap[IFNAMSIZ], veth[IFNAMSIZ]; /* what the names of ports begin with; digits follow */
    char outside
        [IFNAMSIZ]; /* and those of links of theirs that are in the host's namespace in any case */
    bool apart;     /* ports have no bridge in common: the host's switch is what is between them */
};

void place_init(struct place *place, const struct net_config *config);
/* Of a network whose ports are those of a bridge of the host's. */
void place_on_bridge(struct place *place, const struct net_config *config, const char *bridge);
/* Whether an interface of that name could be a port. */
bool place_is_port(const struct place *place, const char *name);
/* Whether an interface of the host's of that name could be a network's or a port's, of whatever network. */
bool place_is_ours(const char *name);

#endif
