/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As whom a network of the system runs, and with which rights.
 *
 * Started by a service manager it is that user already; started by root it becomes user RIGHTS_USER, who owns the
 * network's directories. All its processes have the capabilities of rights_take() to be had and no others. The router has
 * them in effect; the parent, which must be able to start a router anew, not; the engine gives them up. What a router
 * needs only to make or join a namespace, and to load programs for the links there, it gives up then (plane_run()).
 */
#ifndef OPENVMNET_DAEMON_RIGHTS_H
#define OPENVMNET_DAEMON_RIGHTS_H

#include "base/netconfig.h"

#define RIGHTS_USER "openvmnet"

/*
 * Where root runs this and there is such a user; where there is none it says so and goes on as root. 0, or -errno
 * with the reason. Nothing is open to the process afterwards that only root may: sockets are made before.
 */
int rights_take(const struct net_config *config, struct err *err);

#endif
