/* SPDX-License-Identifier: Apache-2.0 */
/* A network as it is: every choice made. Plain data, the same in all processes of the network. */
#ifndef OPENVMNET_BASE_NETCONFIG_H
#define OPENVMNET_BASE_NETCONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"
#include "base/netfile.h"
#include "base/netspec.h"

#define NET_MTU_DEFAULT 1500
#define NET_LEASE_TIME_DEFAULT_S 3600
#define NET_UDP_TIMEOUT_DEFAULT_S 300 /* RFC 4787 REQ-5 c recommends it */
/* A network's own domain lies below this one; .internal is reserved for private use (ICANN, 2024). */
#define NET_DOMAIN_ALL "vmnet.internal"
#define NET_PATH_MAX 512

struct net_config {
    char name[NET_NAME_MAX + 1];
    bool activated; /* a service manager listens for the network, also when it does not run */
    bool system; /* NET_OF_SYSTEM: defined by the administrator, for others too; the system plane */
    enum net_mode mode;
    uint32_t gateway; /* IPv4 addresses in host order; 0: the network has none that are known */
    uint32_t pool_start, pool_end;   /* addresses that guests can have */
    uint32_t range_start, range_end; /* those of them that are given out by themselves */
    unsigned prefix_len;
    struct ip_addr prefix6;  /* ULA /64 */
    struct ip_addr gateway6; /* in it; ::1 where nothing else was asked for */
    struct mac_addr mac;     /* of the bridge, so that guests' ARP caches stay right */
    unsigned mtu;            /* at the start: a bridged network's may follow its interface's */
    bool mtu_asked;
    unsigned workers;      /* of the uplink, 1 to NET_WORKERS_MAX */
    bool host_has_ipv6;    /* a way out for IPv6 at start: else guests get no IPv6 router */
    bool on[NET_SWITCHES]; /* without DHCP guests have addresses of their own choice */
    bool system_dhcp;      /* the system gives guests their addresses: known once it has */
    char net_uuid[NET_UUID_LEN + 1];
    bool host_asked, host6_asked;    /* with it, the host's address of either family */
    char ifname[NET_IFNAME_MAX + 1]; /* bridged: the host's interface; or "" */
    struct port_set host_ports;      /* of the host, that guests reach at the gateway's address */
    unsigned lease_time_s;
    char domain[NET_DOMAIN_MAX + 1];
    char run_dir[NET_PATH_MAX];   /* exists, this network's own; 0700, or 0711 of the system */
    char state_dir[NET_PATH_MAX]; /* empty where it cannot be written */
    const struct net_file *file;  /* what openvmnet.conf(5) says beyond the above; NULL: nothing */
};

static inline unsigned net_config_udp_timeout_s(const struct net_config *config)
{
    return config->file && config->file->udp_timeout_s ? config->file->udp_timeout_s
                                                       : NET_UDP_TIMEOUT_DEFAULT_S;
}

static inline uint32_t net_config_subnet(const struct net_config *config)
{
    return config->gateway & ip_mask_u32(config->prefix_len);
}

/* Whether guests get out of the network, beyond its host, by addresses of @family. */
static inline bool net_config_has_nat(const struct net_config *config, int family)
{
    return config->on[family == AF_INET ? NET_NAT44 : NET_NAT66];
}

/* A network without any way out has no names but its own. */
static inline bool net_config_has_way_out(const struct net_config *config)
{
    return config->on[NET_NAT44] || config->on[NET_NAT66];
}

static inline bool net_config_in_pool(const struct net_config *config, uint32_t ipv4)
{
    return ipv4 >= config->pool_start && ipv4 <= config->pool_end;
}

/* A guest's number within its network, for who counts by guest: the host part of its IPv4 address. */
static inline unsigned net_config_guest(const struct net_config *config, uint32_t ipv4)
{
    return ipv4 & ~ip_mask_u32(config->prefix_len);
}

/* Whether an address is one that a guest of the network can have: the gateway's is not. */
static inline bool net_config_contains(const struct net_config *config, const struct ip_addr *addr)
{
    if (addr->family == AF_INET) {
        uint32_t value = ntohl(addr->v4.s_addr), mask = ip_mask_u32(config->prefix_len);

        return (value & mask) == net_config_subnet(config) && value != config->gateway &&
               value != net_config_subnet(config) && value != (value | ~mask);
    }
    return addr->family == AF_INET6 && config->prefix6.family &&
           memcmp(addr->bytes, config->prefix6.bytes, 8) == 0 && !ip_equal(addr, &config->gateway6);
}

#endif
