/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dnsmasq, which serves DHCPv4, DNS and router advertisements to a network: its configuration, its host
 * files and its process. Its files are in <run_dir>/dnsmasq.
 */
#ifndef OPENVMNET_PLANE_LINUX_DNSMASQ_H
#define OPENVMNET_PLANE_LINUX_DNSMASQ_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/netconfig.h"
#include "plane/plane.h"

#define DNSMASQ_UPSTREAM_PORT                                                                      \
    5353 /* on 127.0.0.1 of a network's own namespace; the engine's resolver is there */

#define DNSMASQ_ROUTER6_LIFETIME_S 1800

/* Capabilities of the namespace that the process which starts dnsmasq must have kept. */
#define DNSMASQ_CAPABILITIES 4
extern const int dnsmasq_capabilities[DNSMASQ_CAPABILITIES];

/* 0, or -ENOENT with the packages that contain dnsmasq. */
int dnsmasq_check(struct err *err);

/*
 * Writes the configuration; keeps leases and host files that are there. What it does not know itself dnsmasq asks at
 * 127.0.0.1, @upstream_port. @router6: guests are told that this is their router for IPv6.
 */
int dnsmasq_configure(const struct net_config *config, const char *bridge, unsigned upstream_port,
                      bool router6, struct err *err);
/*
 * Guests get the network's domain and @search, the host's (as in struct resolv_conf), for names that they look up:
 * DHCP's option 119 and DNSSL (RFC 8106), unless the network's file has an option of its own. A dnsmasq that runs has
 * to be told by SIGHUP. 0 or -errno.
 */
int dnsmasq_set_search(const struct net_config *config, const char *search, struct err *err);
/* How an earlier dnsmasq_configure() was called; @config's own word where there was none. */
bool dnsmasq_was_router6(const struct net_config *config);

/* Whether dnsmasq takes that configuration: it has a list of its own of DHCP options. -EINVAL with the line. */
int dnsmasq_test(const struct net_config *config, struct err *err);

/*
 * Starts dnsmasq in the caller's namespaces, as a user without rights but with the capabilities that it
 * needs here; it ends with the calling process. *ret_pid is a child of the caller.
 */
int dnsmasq_start(const struct net_config *config, pid_t *ret_pid, struct err *err);
/* The file that it makes when its sockets are open. */
void dnsmasq_pid_path(const struct net_config *config, char ret_path[NET_PATH_MAX + 64]);

/* Makes name and address (if any) of a port known: dnsmasq reads new host files by itself. */
int dnsmasq_add_host(const struct net_config *config, const struct plane_port *port,
                     struct err *err);
/* Forgets them; @pid (0: none) is told to read its files anew. */
void dnsmasq_remove_host(const struct net_config *config, const char *interface, pid_t pid);

/* Forgets all but @ports, the same way. */
void dnsmasq_keep_hosts(const struct net_config *config, const struct plane_port *ports, size_t len,
                        pid_t pid);

#endif
