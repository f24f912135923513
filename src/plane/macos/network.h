/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of vmnet.framework as an object of its own, which macOS has from 26 on: all ports are on that network and no
 * other, it is there from the daemon's start to its end, and more can be asked of it than of an interface, such as
 * reservations. Where there are no such objects, or one cannot be what is asked for, each port's interface brings
 * the network's description along, and the framework has those with the same one on the same network.
 */
#ifndef OPENVMNET_PLANE_MACOS_NETWORK_H
#define OPENVMNET_PLANE_MACOS_NETWORK_H

#include <stdbool.h>

#include "base/err.h"
#include "base/netconfig.h"

struct vmnet_net;

/* Why there is none for what is asked for, as it goes on after "which"; NULL: there is. */
const char *vmnet_net_missing(const struct net_spec *spec);

/* Whether @config, complete, is to have one. */
bool vmnet_net_serves(const struct net_config *config);

/* Makes it, which takes as long as the framework does. 0, or -errno with the reason. */
int vmnet_net_new(const struct net_config *config, struct vmnet_net **ret_net, struct err *err);

/* Its ports' interfaces have ended or are about to. NULL is fine. */
void vmnet_net_free(struct vmnet_net *net);

#endif
