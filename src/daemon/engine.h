/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine process: outside the network's namespaces, without capabilities. The way out for guests,
 * the control socket, the network's state. It may end at any moment and be started anew: what it needs
 * to know is with the router, in the state directory, or in args.
 */
#ifndef OPENVMNET_DAEMON_ENGINE_H
#define OPENVMNET_DAEMON_ENGINE_H

#include "base/netconfig.h"
#include "plane/plane.h"

/* The network is over: its last port is gone, or it was asked to stop. Any other exit is a failure. */
#define ENGINE_EXIT_ENDED 0

struct engine_args {
    const struct net_config *config;
    int parent_pid;
    int router_pid;                  /* 0: it is being started anew */
    int parent_fd, router_fd;        /* channels; over the first come the plane's handles */
    int control_fd, stream_fd;       /* listening */
    int sockets_fd[NET_WORKERS_MAX]; /* see struct worker_config */
    int raw4_fd, raw6_fd;            /* raw ICMP sockets, or -1 */
};

int engine_main(const struct engine_args *args);

#endif
