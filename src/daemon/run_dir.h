/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime directory of a network, config->run_dir: whose it is, and what is in it at the end. */
#ifndef OPENVMNET_DAEMON_RUN_DIR_H
#define OPENVMNET_DAEMON_RUN_DIR_H

#include "base/netconfig.h"

#define RUN_DIR_LASTING "lasting"        /* there: the network stays without ports */
#define RUN_DIR_FORWARDS "forwards.json" /* those that are not of the network's file */

/*
 * Makes the directory, which sets config->run_dir, locks it and empties it: who has the lock is the network. The
 * lock ends with the last process that has the descriptor. -EBUSY where another has it; -errno with the reason.
 * Where a service manager has started us its sockets stay, and the two files above, for that may be anew: after a network
 * that was killed, whose machines go on.
 */
int run_dir_lock(struct net_config *config, int *ret_fd, struct err *err);
/* The same lock, for who starts nothing: all that was left in the directory stays. */
int run_dir_lock_left(struct net_config *config, int *ret_fd, struct err *err);

/*
 * Removes the directory, under the lock, and the one above where that was the last. Where a service
 * manager listens there for the network's next start, its sockets stay, and so the directory.
 */
void run_dir_remove(const struct net_config *config);

/* The same for a network whose parent was killed: what run_dir_lock() will leave stays. */
void run_dir_abandon(const struct net_config *config);

#endif
