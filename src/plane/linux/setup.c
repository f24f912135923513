/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plane/linux/dnsmasq.h"
#include "plane/linux/guard.h"
#include "plane/linux/policy.h"
#include "plane/linux/tap.h"

#define RULE_PRIORITY_LOCAL_MARK 10
#define RULE_PRIORITY_UPLINK_MARK 11
#define RULE_PRIORITY_LOCAL 100

/* Connections that wait for accept(); the kernel caps it at the namespace's somaxconn (4096). */
#define LISTEN_BACKLOG 4096
/*
 * The default of 500 is two bursts of a fast guest, and gone while others have the processor for two
 * milliseconds. A guest can fill it with 64 KiB each.
 */
#define UPLINK_QUEUE_PACKETS 2048
#define DNS_BACKLOG 64
#define DNS_PORT_TRIES 16

int setup_sysctl(const char *name, const char *value, struct err *err)
{
    char path[128];
    int fd, error = 0;

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        error = err_set(err, -errno, "%s: %s%s", path, strerror(errno),
                        errno == EROFS ? "; /proc/sys is mounted read-only, as container engines "
                                         "do: start the container with it writable"
                                       : "");
    if (fd >= 0)
        close(fd);
    return error;
}

static int setup_sysctls(struct err *err)
{
    static const struct {
        const char *name, *value;
    } settings[] = {
        {"ipv4/ip_forward", "1"},
        {"ipv6/conf/all/forwarding", "1"},
        /* Guests' addresses come in over upN too, when the engine returns a SYN. */
        {"ipv4/conf/all/rp_filter", "0"},
        {"ipv4/conf/default/rp_filter", "0"},
        /* The engine answers in the gateway's name, which is an address of this namespace. */
        {"ipv4/conf/all/accept_local", "1"},
        {"ipv4/conf/default/accept_local", "1"},
        /* The engine speaks to guests from any port of a client's, in the client's name. */
        {"ipv4/ip_unprivileged_port_start", "0"},
        {"ipv4/conf/all/send_redirects", "0"},
        {"ipv4/conf/default/send_redirects", "0"},
        /*
         * Early demux would tie a guest's SYN to a socket in TIME_WAIT with the same addresses before
         * any rule has seen it, and such a packet is not forwarded, so it would never reach upN.
         */
        {"ipv4/tcp_early_demux", "0"},
        /* The router's addresses are its own by construction; nobody advertises to it. */
        {"ipv6/conf/all/accept_dad", "0"},
        {"ipv6/conf/default/accept_dad", "0"},
        {"ipv6/conf/all/accept_ra", "0"},
        {"ipv6/conf/default/accept_ra", "0"},
        /* The bridge's link-local address follows from its MAC: guests may not use it (guard.c). */
        {"ipv6/conf/default/addr_gen_mode", "0"},
        /*
         * The way to a guest is local and short. What the host's administrator has chosen for the
         * Internet, such as bbr with its pacing, would slow it down.
         */
        {"ipv4/tcp_congestion_control", "reno"},
        /* Connections of forwards are from the gateway's own address where the client is the host: many
         * to few destinations, which the ports of those that have just ended must not run out for. */
        {"ipv4/tcp_tw_reuse", "1"},
        /* One guest's incomplete fragments must not hold the namespace's memory for them for long. */
        {"ipv4/ipfrag_time", "5"},
        {"ipv6/ip6frag_time", "5"},
        {"netfilter/nf_conntrack_frag6_timeout", "5"},
        /* Frames between guests do not pass the rules for routed packets. */
        {"bridge/bridge-nf-call-iptables", "0"},
        {"bridge/bridge-nf-call-ip6tables", "0"},
        {"bridge/bridge-nf-call-arptables", "0"},
    };
    int result = 0;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && result == 0; i++)
        result = setup_sysctl(settings[i].name, settings[i].value, err);
    return result;
}

int setup_open_transparent(int family, int type)
{
    int one = 1, fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 &&
        (setsockopt(fd, family == AF_INET ? SOL_IP : SOL_IPV6,
                    family == AF_INET ? IP_TRANSPARENT : IPV6_TRANSPARENT, &one, sizeof(one)) < 0 ||
         (family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0))) {
        int error = errno;

        close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

/* A socket inside the namespace that takes connections for any address, or -1 with errno. */
static int open_listener(int family, unsigned *ret_port)
{
    struct ip_endpoint any = {.addr.family = (uint8_t)family};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&any, &address);
    int fd = setup_open_transparent(family, SOCK_STREAM);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0 ||
        endpoint_from_sockaddr(&address, &any) < 0) {
        close(fd);
        return -1;
    }
    *ret_port = any.port;
    return fd;
}

static int open_dns(int type, unsigned *port)
{
    struct ip_endpoint local = {.addr = ip_from_u32(INADDR_LOOPBACK), .port = (uint16_t)*port};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&local, &address);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
        (type != SOCK_STREAM || listen(fd, DNS_BACKLOG) == 0) &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
        endpoint_from_sockaddr(&address, &local) == 0) {
        *port = local.port;
        return fd;
    }
    error = -errno;
    if (fd >= 0)
        close(fd);
    return error;
}

int setup_dns_sockets(unsigned *port, int *ret_udp_fd, int *ret_tcp_fd)
{
    bool any = *port == 0;
    int tcp = -1;

    *ret_udp_fd = -1;
    /* A port that is free for the one need not be for the other. */
    for (int tries = 0; tries < (any ? DNS_PORT_TRIES : 1); tries++) {
        if (*ret_udp_fd >= 0)
            close(*ret_udp_fd);
        if (any)
            *port = 0;
        *ret_udp_fd = open_dns(SOCK_DGRAM, port);
        if (*ret_udp_fd < 0)
            return *ret_udp_fd;
        tcp = open_dns(SOCK_STREAM, port);
        if (tcp != -EADDRINUSE)
            break;
    }
    *ret_tcp_fd = tcp;
    return tcp < 0 ? tcp : 0;
}

/* The uplink of one worker, whose packets have its mark. */
static int setup_uplink_routes(struct netlink *netlink, int family, unsigned worker, int uplink)
{
    uint32_t mark = POLICY_MARK_UPLINK + worker;
    int result = netlink_add_default_route(netlink, family, mark, uplink, false);

    if (result == 0)
        result = netlink_rule(netlink, family, true, RULE_PRIORITY_UPLINK_MARK, mark, mark);
    return result;
}

static int setup_routes(struct netlink *netlink, int family, int lo, const int *uplinks,
                        unsigned workers)
{
    int result = netlink_add_default_route(netlink, family, POLICY_MARK_LOCAL, lo, true);

    if (result == 0)
        result = netlink_rule(netlink, family, true, RULE_PRIORITY_LOCAL_MARK, POLICY_MARK_LOCAL,
                              POLICY_MARK_LOCAL);
    for (unsigned i = 0; i < workers && result == 0; i++)
        result = setup_uplink_routes(netlink, family, i, uplinks[i]);
    if (result == 0)
        result = netlink_add_default_route(netlink, family, RT_TABLE_MAIN, uplinks[0], false);
    if (result == 0)
        result = netlink_rule(netlink, family, true, RULE_PRIORITY_LOCAL, 0, RT_TABLE_LOCAL);
    if (result == 0)
        result = netlink_rule(netlink, family, false, 0, 0, RT_TABLE_LOCAL);
    return result;
}

/* The packet device of each worker. */
static int setup_uplinks(const struct net_config *config, struct netlink *netlink, int *fds,
                         int *ret_uplinks, struct err *err)
{
    int result = 0;

    for (unsigned i = 0; i < config->workers && result == 0; i++) {
        char name[16];

        snprintf(name, sizeof(name), SETUP_UPLINK "%u", i);
        result = tap_open(name, true, name, &fds[PLANE_TUN + i], err);
        if (result < 0)
            return result;
        ret_uplinks[i] = (int)if_nametoindex(name);
        /* First, for that of a link that is up has to wait until no packet is on its way (synchronize_net()). */
        result = netlink_set_queue(netlink, ret_uplinks[i], UPLINK_QUEUE_PACKETS);
        /* Datagrams of any size pass it whole, or as the guest's own fragments. */
        if (result == 0)
            result = netlink_set_up(netlink, ret_uplinks[i], 65535, 0, NULL);
        if (result < 0)
            err_set(err, result, "cannot set up %s: %s", name, strerror(-result));
    }
    return result;
}

static int setup_links(const struct place *place, struct netlink *netlink,
                       struct plane_handles *handles, struct err *err)
{
    const struct net_config *config = place->config;
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    int lo = (int)if_nametoindex("lo"), uplinks[NET_WORKERS_MAX] = {0};
    int bridge, result;

    result = netlink_set_up(netlink, lo, 0, 0, NULL);
    if (result == 0)
        result = netlink_add_bridge(netlink, place->bridge, &config->mac);
    if (result < 0)
        return err_set(err, result,
                       "cannot make the bridge of the network: %s; the kernel needs the module "
                       "bridge (as root: modprobe bridge)",
                       strerror(-result));
    /*
     * No other link has an address: over upN nobody is to be spoken to but the engine, and a port would only
     * say to its guest who it is.
     */
    result = setup_sysctl("ipv6/conf/default/addr_gen_mode", "1", err);
    if (result == 0)
        result = setup_uplinks(config, netlink, handles->fd, uplinks, err);
    if (result < 0)
        return result;
    bridge = (int)if_nametoindex(place->bridge);
    result = netlink_set_up(netlink, bridge, config->mtu, 0, NULL);
    if (result == 0)
        result = netlink_add_address(netlink, bridge, &gateway4, config->prefix_len);
    if (result == 0 && config->gateway6.family)
        result = netlink_add_address(netlink, bridge, &config->gateway6, 64);
    if (result == 0)
        result = setup_routes(netlink, AF_INET, lo, uplinks, config->workers);
    if (result == 0 && config->gateway6.family)
        result = setup_routes(netlink, AF_INET6, lo, uplinks, config->workers);
    return result < 0 ? err_set(err, result, "cannot set up the network's links and routes: %s",
                                strerror(-result))
                      : 0;
}

static int setup_listeners(const struct net_config *config, int *fds,
                           struct policy_ports *ret_ports)
{
    unsigned dns_port = DNSMASQ_UPSTREAM_PORT;

    for (unsigned i = 0; i < config->workers; i++) {
        int *fd4 = &fds[PLANE_LISTEN_TCP4 + i], *fd6 = &fds[PLANE_LISTEN_TCP6 + i];

        *fd4 = open_listener(AF_INET, &ret_ports[i].port4);
        if (*fd4 < 0)
            return -errno;
        if (!config->gateway6.family)
            continue;
        *fd6 = open_listener(AF_INET6, &ret_ports[i].port6);
        if (*fd6 < 0)
            return -errno;
    }
    return setup_dns_sockets(&dns_port, &fds[PLANE_DNS_UDP], &fds[PLANE_DNS_TCP]);
}

int setup_namespace(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                    struct plane_handles *handles, struct err *err)
{
    const struct net_config *config = place->config;
    struct policy_ports ports[NET_WORKERS_MAX] = {0};
    struct ruleset ruleset;
    int result = setup_sysctls(err);

    if (result == 0)
        result = setup_links(place, netlink, handles, err);
    if (result < 0)
        return result;
    result = setup_listeners(config, handles->fd, ports);
    if (result < 0)
        return err_set(err, result, "cannot open the network's listeners: %s", strerror(-result));
    /* In one batch: each that libnftables runs begins with reading what there is. */
    if (ruleset_begin(&ruleset)) {
        policy_write(ruleset.file, config, place->bridge, SETUP_UPLINK, ports);
        guard_write(ruleset.file, place);
    }
    result = ruleset_end(&ruleset, nft, err);
    return result < 0 ? err_prefix(err, result,
                                   "cannot load the network's rules; the kernel needs nf_tables "
                                   "with hash, tproxy and socket, and for bridges (modules "
                                   "nft_hash, nft_tproxy, nft_socket; CONFIG_NF_TABLES_BRIDGE)")
                      : 0;
}
