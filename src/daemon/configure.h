/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_DAEMON_CONFIGURE_H
#define OPENVMNET_DAEMON_CONFIGURE_H

#include "base/netconfig.h"

/*
 * merge.c. Puts what the network's file says (@file, with no path where there is none) under what was asked for, and checks the
 * sum. Reservations that are options become @file's. -EINVAL where they differ, with both; -EOPNOTSUPP for what this plane cannot do.
 */
int configure_merge(struct net_spec *spec, struct net_file *file, struct err *err);

/*
 * Makes all choices that @spec (complete) leaves open. A subnet is the one that this network had before,
 * else the first /24 that neither a route of the host nor another network of this user has, and is
 * remembered. The IPv6 prefix follows from
 * machine, user and network's name (RFC 4193 3.2.2 asks for a value that is unlikely to be the same
 * anywhere else; a hash of the machine's id is). @config->run_dir is set by the caller. 0, or -errno
 * with the reason. @warning gets what the user should know although the network works, or "".
 */
int configure(const struct net_spec *spec, struct net_config *config, struct err *warning,
              struct err *err);

/*
 * How the host's routes are now: whether one leads out for IPv6, and in @ret_warning what the user should
 * know of one that covers the network's own subnet, or "". 0 or -errno.
 */
int configure_look_at_routes(const struct net_config *config, bool *ret_has_ipv6,
                             struct err *ret_warning);

#endif
