/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries what the network's DNS server does not know to the host's resolvers, over UDP and TCP, and the
 * answers back. Messages are not looked into: the DNS server checks its own answers. Which resolvers
 * these are stands in resolv.conf(5); a change there counts from the next query on.
 */
#ifndef OPENVMNET_UPLINK_DNS_H
#define OPENVMNET_UPLINK_DNS_H

#include "base/loop.h"
#include "uplink/uplink.h"

#define DNS_RESOLVERS_MAX 3 /* as resolv.conf(5) has it */

struct dns;

/*
 * @udp_fd and @tcp_fd are sockets inside the network (borrowed): queries arrive there. @resolv_conf is
 * a path, "/etc/resolv.conf" but for tests. 0 or -errno.
 */
int dns_new(struct loop *loop, int udp_fd, int tcp_fd, const char *resolv_conf,
            struct uplink_counters *counters, struct dns **ret_dns);
void dns_free(struct dns *dns);

/*
 * Reads the nameserver lines of a resolv.conf; with none, the local host's (resolv.conf(5)). Returns
 * how many were written to @ret_addresses. Exposed for its unit test.
 */
struct sockaddr_storage;
unsigned dns_read_resolvers(const char *path,
                            struct sockaddr_storage ret_addresses[DNS_RESOLVERS_MAX]);

#endif
