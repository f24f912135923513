/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_PLANE_LINUX_ADVERTISE_H
#define OPENVMNET_PLANE_LINUX_ADVERTISE_H

/*
 * Tells all guests at once for how long the network's router is one for IPv6 (0: it is none), and nothing
 * else, by a router advertisement (RFC 4861 4.2). dnsmasq, when started, waits up to 5 s with its first. 0 or -errno.
 */
int advertise_router(const char *bridge, unsigned lifetime_s);

#endif
