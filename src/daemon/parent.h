/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent process of a network: starts the router and the engine, keeps the descriptors that must
 * outlive them, starts them anew when they end, and removes everything at the end. Does nothing else.
 */
#ifndef OPENVMNET_DAEMON_PARENT_H
#define OPENVMNET_DAEMON_PARENT_H

#include "base/netconfig.h"

struct parent;

/* Listening unix sockets, which outlive the engine that serves them. */
struct parent_sockets {
    int control_fd;
    int stream_fd; /* of VM monitors that speak the stream framing */
};

/*
 * Starts a network; -errno with the reason, and then nothing is left. @sockets are borrowed;
 * @private_fd (-1: none) is the caller's alone and is closed in the children.
 * From here on SIGCHLD, SIGTERM, SIGINT and SIGHUP are blocked in this process.
 */
int parent_start(const struct net_config *config, const struct parent_sockets *sockets,
                 int private_fd, struct parent **ret_parent, struct err *err);
/* Watches until the network ends or a signal says so; then ends all processes. The exit code. */
int parent_run(struct parent *parent);

#endif
