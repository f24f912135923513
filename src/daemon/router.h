/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router process: lives inside the network, makes ports when the engine asks, sees them go, keeps the
 * DHCP and DNS server running. It holds no state of its own: what is, is in the kernel and in run_dir.
 */
#ifndef OPENVMNET_DAEMON_ROUTER_H
#define OPENVMNET_DAEMON_ROUTER_H

#include "base/netconfig.h"
#include "plane/plane.h"

struct router_args {
    const struct net_config *config;
    const struct plane_handles *handles; /* of the network that exists; NULL: make it */
    int parent_pid;
    int parent_fd, engine_fd;        /* channels */
    int sockets_fd[NET_WORKERS_MAX]; /* of struct uplink_socket_request; of each worker */
};

/* Runs until SIGTERM; the process's exit code. Tells the parent MESSAGE_READY or MESSAGE_FAILED. */
int router_main(const struct router_args *args);

#endif
