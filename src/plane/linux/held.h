/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS queries that come before there is a DNS server: held in a socket at its address, as many as fit the socket's
 * buffer. A server that opens one there later gets what comes from then on, for the newest of such sockets does.
 *
 * IPv4 and UDP alone: that is the resolver that programs are given, and how they ask first.
 */
#ifndef OPENVMNET_PLANE_LINUX_HELD_H
#define OPENVMNET_PLANE_LINUX_HELD_H

#include "base/netconfig.h"

/* In the network's namespace. The descriptor, the caller's, or -errno. */
int held_open(const struct net_config *config);
/* Sends what is held to the server that is there now, as if it came from who sent it first. */
void held_pass_on(int fd, const struct net_config *config);

#endif
