/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going into a network's namespaces, and being a machine there.
 *
 * A network that an ordinary user made stands in a user namespace that this user owns. Whoever owns a
 * user namespace may join it and has every right inside (user_namespaces(7)), so nothing here needs a
 * privilege of the host's. For root's networks the descriptor of the user namespace is -1 everywhere.
 */
#ifndef OPENVMNET_CLI_JOIN_LINUX_H
#define OPENVMNET_CLI_JOIN_LINUX_H

#include "base/err.h"
#include "client/client.h"

/* Moves this process, which must have one thread, into namespaces. There is no way back. 0 or -errno. */
int join_enter(int user_fd, int net_fd, struct err *err);

/*
 * A new network namespace that belongs to user namespace @user_fd, so that the network's router may put
 * an interface into it. This process stays where it is. *ret_net_fd is the caller's. 0 or -errno.
 */
int join_new_namespace(int user_fd, int *ret_net_fd, struct err *err);

/*
 * Gives "eth0" of the namespace that this process is in the addresses and routes of @port, and brings it
 * and "lo" up. When it returns frames pass. 0, perhaps with a warning in @err, or -errno.
 */
int join_configure(const struct client_port *port, struct err *err);

#endif
