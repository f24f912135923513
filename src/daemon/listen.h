/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets that clients connect to: made here, or by a service manager that has started us. */
#ifndef OPENVMNET_DAEMON_LISTEN_H
#define OPENVMNET_DAEMON_LISTEN_H

#include "daemon/parent.h"

/* Makes them in config->run_dir. 0 or -errno with the reason; what was opened is the caller's in any case. */
int listen_open(const struct net_config *config, struct parent_sockets *ret_sockets,
                struct err *err);

/*
 * Those that were passed on (sd_listen_fds(3)), known by their paths. 1, and they are the caller's; 0: none were;
 * -EINVAL with the reason, for others than these two.
 */
int listen_passed(const char *network, struct parent_sockets *ret_sockets, struct err *err);

/* Whether somebody listens for a network: one that runs, or a service manager, who may start it for being asked. */
bool listen_is_done(enum net_scope scope, const char *network);

/*
 * Tells whoever waits at sockets that were passed on why the network does not start. Without an answer the service
 * manager would start it for them again and again. @code is -errno.
 */
void listen_refuse(const struct parent_sockets *sockets, int code, const char *reason);

#endif
