/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/coexist.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/guard.h"
#include "plane/linux/port.h"
#include "plane/linux/ruleset_watch.h"
#include "plane/linux/setup.h"
#include "plane/linux/system_rules.h"
#include "plane/linux/uplinks.h"

/* After the first of several changes of the host's network: they come in bursts. */
#define SETTLE_MS 100
/* Rules that another program removes are made anew at once, but not more often than this. */
#define MEND_PAUSE_MS 1000
/* All rules of a host may be many, and a firewall that starts loads them in many steps. */
#define OTHERS_MS 500

struct system {
    const struct place *place;
    struct netlink *netlink;
    struct nft_ctx *nft;
    struct mnl_socket *elements;
    unsigned dns_port;
    struct plane_forward *forwards;
    size_t forwards_len;
    struct loop *loop; /* NULL until system_run() */
    struct loop_source monitor_source;
    struct netlink monitor; /* of routes and of what is forwarded */
    struct ruleset_watch *watch;
    struct loop_timer look_timer, mend_timer, others_timer;
    struct err warning; /* of other programs' rules, or "" */
    void (*on_warning)(void *context);
    void *context;
    uint64_t mended_ms;
};

static int system_new(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                      struct mnl_socket *elements, struct system **ret_system, struct err *err)
{
    struct system *system = calloc(1, sizeof(*system));

    if (!system)
        return err_set(err, -ENOMEM, "out of memory");
    *system = (struct system){.place = place, .netlink = netlink, .nft = nft, .elements = elements};
    *ret_system = system;
    return 0;
}

void system_free(struct system *system)
{
    if (!system)
        return;
    if (system->loop) {
        loop_remove(system->loop, &system->monitor_source);
        loop_timer_clear(system->loop, &system->look_timer);
        loop_timer_clear(system->loop, &system->mend_timer);
        loop_timer_clear(system->loop, &system->others_timer);
    }
    ruleset_watch_free(system->watch);
    netlink_close(&system->monitor);
    free(system->forwards);
    free(system);
}

unsigned system_dns_port(const struct system *system)
{
    return system->dns_port;
}

/* ---- what is there */

/*
 * The network's bridge by its name and its MAC, which follows from machine and name. *ret_ifindex 0: there is none.
 * -EEXIST where the name is another's.
 */
static int find_bridge(struct system *system, int *ret_ifindex, struct err *err)
{
    const struct place *place = system->place;
    struct mac_addr mac;
    int result = netlink_get_link(system->netlink, place->bridge, ret_ifindex, &mac);

    if (result == -ENODEV) {
        *ret_ifindex = 0;
        return 0;
    }
    if (result < 0)
        return err_set(err, result, "cannot look for the interface %s: %s", place->bridge,
                       strerror(-result));
    if (memcmp(&mac, &place->config->mac, sizeof(mac)) != 0)
        return err_set(err, -EEXIST,
                       "network '%s' needs the interface name %s, which another program's "
                       "interface has; remove that (ip link delete %s) or give the network another "
                       "name",
                       place->config->name, place->bridge, place->bridge);
    return 0;
}

/* Removes what a network of that name has made, now or in an earlier life, but for its ports. */
static int system_sweep(struct system *system, struct err *err)
{
    struct ruleset ruleset;
    int ifindex, result = find_bridge(system, &ifindex, err);

    if (result < 0)
        return result;
    if (ifindex) {
        result = netlink_delete_link(system->netlink, ifindex);
        if (result < 0 && result != -ENODEV)
            return err_set(err, result, "cannot remove %s: %s", system->place->bridge,
                           strerror(-result));
    }
    if (ruleset_begin(&ruleset))
        system_rules_remove(ruleset.file, system->place);
    return ruleset_end(&ruleset, system->nft, err);
}

struct overlap {
    const struct net_config *config;
    char text[IP_TEXT_MAX + 48];
};

/* A prefix of the network's and one of a route: whether they have addresses in common. */
static bool overlaps(const struct ip_addr *a, unsigned a_bits, const struct ip_addr *b,
                     unsigned b_bits)
{
    unsigned bits = a_bits < b_bits ? a_bits : b_bits, whole = bits / 8;

    if (memcmp(a->bytes, b->bytes, whole) != 0)
        return false;
    return bits % 8 == 0 || ((a->bytes[whole] ^ b->bytes[whole]) >> (8 - bits % 8)) == 0;
}

static int on_route(const struct nlmsghdr *header, void *context)
{
    struct overlap *overlap = context;
    const struct net_config *config = overlap->config;
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    struct ip_addr own =
        route->rtm_family == AF_INET ? ip_from_u32(net_config_subnet(config)) : config->prefix6;
    struct ip_addr to = {.family = route->rtm_family};
    char address[IP_TEXT_MAX], interface[IFNAMSIZ] = "";
    const struct nlattr *attr;

    /* Anything is more special than a default route. */
    if (overlap->text[0] || !route->rtm_dst_len || route->rtm_family != own.family ||
        route->rtm_type == RTN_MULTICAST || route->rtm_type == RTN_BROADCAST)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_DST &&
            mnl_attr_get_payload_len(attr) == ip_len_bytes(&to))
            memcpy(to.bytes, mnl_attr_get_payload(attr), ip_len_bytes(&to));
        else if (mnl_attr_get_type(attr) == RTA_OIF)
            if_indextoname(mnl_attr_get_u32(attr), interface);
    }
    if (overlaps(&own, own.family == AF_INET ? config->prefix_len : 64, &to, route->rtm_dst_len))
        snprintf(overlap->text, sizeof(overlap->text), "%s/%u%s%s", ip_format(&to, address),
                 route->rtm_dst_len, interface[0] ? " dev " : "", interface);
    return MNL_CB_OK;
}

/* The network's addresses become the host's: they must not be anybody else's there. */
static int check_routes(struct system *system, struct err *err)
{
    const struct net_config *config = system->place->config;
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    struct overlap overlap = {.config = config};
    char address[IP_TEXT_MAX];
    int result = netlink_dump(system->netlink, RTM_GETROUTE, AF_INET, on_route, NULL, &overlap);

    if (result == 0 && overlap.text[0])
        return err_set(err, -EADDRINUSE,
                       "network '%s': its subnet %s/%u has addresses in common with the host's "
                       "route to %s; give it others in its file (start-address, end-address, "
                       "subnet-mask)",
                       config->name, ip_format(&subnet, address), config->prefix_len, overlap.text);
    if (result == 0 && config->prefix6.family)
        result = netlink_dump(system->netlink, RTM_GETROUTE, AF_INET6, on_route, NULL, &overlap);
    if (result == 0 && overlap.text[0])
        return err_set(err, -EADDRINUSE,
                       "network '%s': its prefix %s/64 has addresses in common with the host's "
                       "route to %s; give it another in its file (nat66-prefix)",
                       config->name, ip_format(&config->prefix6, address), overlap.text);
    return result < 0 ? err_set(err, result, "cannot read the host's routes: %s", strerror(-result))
                      : 0;
}

/* ---- making it */

static int bridge_sysctl(const struct place *place, const char *family, const char *setting,
                         const char *value, struct err *err)
{
    char name[96];

    snprintf(name, sizeof(name), "%s/conf/%s/%s", family, place->bridge, setting);
    return setup_sysctl(name, value, err);
}

/* Of the network's own bridge, and gone with it. */
static int set_bridge_sysctls(const struct place *place, struct err *err)
{
    static const struct {
        const char *family, *setting, *value;
        int nat; /* only where the host routes for it, by this IP version; 0: in any case */
    } settings[] = {
        {"ipv4", "forwarding", "1", AF_INET},
        {"ipv4", "send_redirects", "0", 0},
        /* Guests forget a router whose neighbour advertisements do not say that it is one (RFC 4861 7.2.5). */
        {"ipv6", "forwarding", "1", AF_INET6},
        {"ipv6", "force_forwarding", "1", AF_INET6},
        /* Nobody advertises to it, and its link-local address follows from its MAC: guests may not use that. */
        {"ipv6", "accept_ra", "0", 0},
        {"ipv6", "accept_dad", "0", 0},
        {"ipv6", "addr_gen_mode", "0", 0},
    };
    int result = 0;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && result == 0; i++)
        if (!settings[i].nat || net_config_has_nat(place->config, settings[i].nat))
            result = bridge_sysctl(place, settings[i].family, settings[i].setting,
                                   settings[i].value, err);
    return result;
}

static int make_bridge(struct system *system, struct err *err)
{
    const struct place *place = system->place;
    const struct net_config *config = place->config;
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    char alias[64];
    int bridge, result;

    result = netlink_add_bridge(system->netlink, place->bridge, &config->mac);
    if (result < 0)
        return err_set(err, result,
                       "cannot make the bridge %s: %s; the kernel needs the module bridge "
                       "(modprobe bridge)",
                       place->bridge, strerror(-result));
    bridge = (int)if_nametoindex(place->bridge);
    result = set_bridge_sysctls(place, err);
    if (result < 0)
        return result;
    snprintf(alias, sizeof(alias), "openvmnet: network %s", config->name);
    result = netlink_set_up(system->netlink, bridge, config->mtu, 0, alias);
    if (result == 0)
        result = netlink_add_address(system->netlink, bridge, &gateway4, config->prefix_len);
    if (result == 0 && config->gateway6.family)
        result = netlink_add_address(system->netlink, bridge, &config->gateway6, 64);
    return result < 0
               ? err_set(err, result, "cannot set up %s: %s", place->bridge, strerror(-result))
               : 0;
}

/* Settings and rules for the host's interfaces as they are now. @text NULL: only the settings. */
static int open_uplinks(struct system *system, FILE *text, struct err *err)
{
    struct uplinks uplinks = {.len = 0};
    int result = 0;

    if (net_config_has_way_out(system->place->config))
        result = uplinks_read(system->netlink, &uplinks);
    if (result < 0)
        return err_set(err, result, "cannot read the host's routes: %s", strerror(-result));
    return uplinks_open(system->place, &uplinks, text, err);
}

/* dnsmasq would end and be started again for ever. */
static int check_dns_port(const struct net_config *config, struct err *err)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    struct ip_endpoint gateway = {.addr = ip_from_u32(config->gateway), .port = 53};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&gateway, &address);
    char text[IP_TEXT_MAX];
    int one = 1, result = 0;

    for (int i = 0; i < 2 && result == 0 && config->on[NET_DNS]; i++) {
        int fd = socket(AF_INET, types[i] | SOCK_CLOEXEC, 0);

        if (fd < 0)
            return 0;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if ((bind(fd, (struct sockaddr *)&address, len) < 0 ||
             (types[i] == SOCK_STREAM && listen(fd, 1) < 0)) &&
            errno == EADDRINUSE)
            result = -EADDRINUSE;
        close(fd);
    }
    return result < 0
               ? err_set(err, result,
                         "network '%s' needs port 53 of its gateway %s for DNS, and another "
                         "program has that port of all addresses ('ss -lntup sport = :53' names "
                         "it); have it listen at its own addresses (dnsmasq: bind-dynamic and "
                         "except-interface=vmnet-*; named: listen-on), or write dns = off in the "
                         "network's file",
                         config->name, ip_format(&gateway.addr, text))
               : 0;
}

/* All rules in one batch, and then the ports that there are. */
static int load_rules(struct system *system, const struct port_list *list, struct err *err)
{
    struct ruleset ruleset;
    struct err settings_err;
    int result, opened = 0;

    if (ruleset_begin(&ruleset)) {
        system_rules_write(ruleset.file, system->place);
        fprintf(ruleset.file, "table bridge %1$s\ndelete table bridge %1$s\n",
                system->place->table);
        guard_write(ruleset.file, system->place);
        system_rules_write_forwards(ruleset.file, system->place, system->forwards,
                                    system->forwards_len);
        opened = open_uplinks(system, ruleset.file, &settings_err);
    }
    result = ruleset_end(&ruleset, system->nft, err);
    if (result == 0)
        result = guard_replace(system->elements, system->place, list->ports, list->len, err);
    if (result == 0 && opened < 0) {
        *err = settings_err;
        return opened;
    }
    return result < 0 ? err_prefix(err, result,
                                   "cannot load the rules of network '%s'; the kernel needs "
                                   "nf_tables with nat, masq, ct, fib and reject, and for bridges "
                                   "(CONFIG_NF_TABLES_BRIDGE)",
                                   system->place->config->name)
                      : 0;
}

/* Ports whose holders have outlived the network before this one. */
static void adopt_ports(struct system *system, const struct port_list *list)
{
    int bridge = (int)if_nametoindex(system->place->bridge);

    for (size_t i = 0; i < list->len; i++) {
        const struct plane_port *port = &list->ports[i];
        int result = netlink_set_up(system->netlink, (int)if_nametoindex(port->interface),
                                    system->place->config->mtu, bridge, NULL);

        if (result < 0)
            log_warn("port %s, which is left of an earlier network '%s', does not join it: %s",
                     port->interface, system->place->config->name, strerror(-result));
    }
}

int system_prepare_port(const char *interface, struct err *err)
{
    char name[96];

    snprintf(name, sizeof(name), "ipv6/conf/%s/disable_ipv6", interface);
    return setup_sysctl(name, "1", err);
}

int system_create(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                  struct mnl_socket *elements, struct plane_handles *handles,
                  struct system **ret_system, struct err *err)
{
    struct port_list list = {0};
    struct system *system = NULL;
    int result = system_new(place, netlink, nft, elements, &system, err);

    if (result < 0)
        return result;
    result = system_sweep(system, err);
    if (result == 0)
        result = check_routes(system, err);
    if (result < 0) {
        system_free(system);
        return result;
    }
    result = setup_dns_sockets(&system->dns_port, &handles->fd[PLANE_DNS_UDP],
                               &handles->fd[PLANE_DNS_TCP]);
    if (result < 0)
        err_set(err, result, "cannot open the network's DNS sockets: %s", strerror(-result));
    handles->fd[PLANE_NAMESPACE] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (result == 0 && handles->fd[PLANE_NAMESPACE] < 0)
        result = err_set(err, -errno, "/proc/self/ns/net: %s", strerror(errno));
    if (result == 0)
        result = port_list_read(netlink, place, &list, err);
    if (result == 0)
        result = load_rules(system, &list, err);
    if (result == 0)
        result = make_bridge(system, err);
    if (result == 0)
        result = check_dns_port(place->config, err);
    if (result == 0)
        adopt_ports(system, &list);
    free(list.ports);
    if (result < 0) {
        system_destroy(system);
        system_free(system);
        return result;
    }
    *ret_system = system;
    return 0;
}

int system_join(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                struct mnl_socket *elements, const struct plane_handles *handles,
                struct system **ret_system, struct err *err)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint local;
    struct system *system = NULL;
    int result = system_new(place, netlink, nft, elements, &system, err);

    if (result < 0)
        return result;
    if (getsockname(handles->fd[PLANE_DNS_UDP], (struct sockaddr *)&address, &len) < 0 ||
        endpoint_from_sockaddr(&address, &local) < 0) {
        system_free(system);
        return err_set(err, -EIO, "the network's DNS socket is lost");
    }
    system->dns_port = local.port;
    *ret_system = system;
    return 0;
}

/* ---- while it runs */

/* Rules that are lost, by whomever, are all made anew. */
static void mend(struct system *system)
{
    struct port_list list;
    struct err err;
    int result = port_list_read(system->netlink, system->place, &list, &err);

    system->mended_ms = loop_now_ms(system->loop);
    if (result == 0)
        result = load_rules(system, &list, &err);
    free(list.ports);
    if (result < 0) {
        log_error("%s", err.text);
        loop_timer_set(system->loop, &system->mend_timer, MEND_PAUSE_MS);
    }
}

static void on_mend_timer(struct loop_timer *timer)
{
    mend(CONTAINER_OF(timer, struct system, mend_timer));
}

static void on_rules_changed(void *context, bool lost, const char *program)
{
    struct system *system = context;
    uint64_t since_ms = loop_now_ms(system->loop) - system->mended_ms;

    if (!system->others_timer.due_ms)
        loop_timer_set(system->loop, &system->others_timer, OTHERS_MS);
    if (!lost || system->mend_timer.due_ms)
        return;
    log_warn("the rules of network '%s' were removed by %s%s%s, and are made anew",
             system->place->config->name, *program ? "the program '" : "another program", program,
             *program ? "'" : "");
    if (!system->mended_ms || since_ms >= MEND_PAUSE_MS)
        mend(system);
    else
        loop_timer_set(system->loop, &system->mend_timer, MEND_PAUSE_MS - since_ms);
}

static void on_others_timer(struct loop_timer *timer)
{
    struct system *system = CONTAINER_OF(timer, struct system, others_timer);
    struct err warning;

    coexist_look(system->nft, system->place, &warning);
    if (strcmp(warning.text, system->warning.text) == 0)
        return;
    if (warning.text[0])
        log_warn("network '%s': %s", system->place->config->name, warning.text);
    system->warning = warning;
    system->on_warning(system->context);
}

const char *system_warning(const struct system *system)
{
    return system->warning.text;
}

static void on_look_timer(struct loop_timer *timer)
{
    struct system *system = CONTAINER_OF(timer, struct system, look_timer);
    struct ruleset ruleset;
    struct err err = {""};
    int opened = 0;

    if (ruleset_begin(&ruleset))
        opened = open_uplinks(system, ruleset.file, &err);
    if (opened < 0)
        log_warn("network '%s' may have no way out: %s", system->place->config->name, err.text);
    if (ruleset_end(&ruleset, system->nft, &err) < 0)
        log_warn("network '%s': %s", system->place->config->name, err.text);
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct system *system = CONTAINER_OF(source, struct system, monitor_source);
    char buf[8192];

    /* The messages themselves do not matter, nor do those that were lost (ENOBUFS). */
    while (recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
        ;
    if (!system->look_timer.due_ms)
        loop_timer_set(system->loop, &system->look_timer, SETTLE_MS);
}

static int watch_routes(struct system *system)
{
    static const int groups[] = {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_NETCONF,
                                 RTNLGRP_IPV6_NETCONF};
    int result = netlink_open(&system->monitor);

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && result == 0; i++)
        if (mnl_socket_setsockopt(system->monitor.socket, NETLINK_ADD_MEMBERSHIP,
                                  (void *)&groups[i], sizeof(groups[i])) < 0)
            result = -errno;
    if (result == 0)
        result = loop_add(system->loop, &system->monitor_source,
                          mnl_socket_get_fd(system->monitor.socket), LOOP_IN);
    return result;
}

int system_run(struct system *system, struct loop *loop, void (*on_warning)(void *context),
               void *context, struct err *err)
{
    int result;

    system->loop = loop;
    system->on_warning = on_warning;
    system->context = context;
    system->others_timer.on_timer = on_others_timer;
    loop_timer_set(loop, &system->others_timer, 0);
    system->look_timer.on_timer = on_look_timer;
    system->mend_timer.on_timer = on_mend_timer;
    system->monitor_source = (struct loop_source){.on_event = on_monitor, .fd = -1};
    result =
        ruleset_watch_new(loop, system->place->table, on_rules_changed, system, &system->watch);
    if (result == 0 && net_config_has_way_out(system->place->config))
        result = watch_routes(system);
    if (result < 0)
        return err_set(err, result, "cannot watch the host's network: %s", strerror(-result));
    /* What has changed since it was made, or since another process has watched it. */
    if (!ruleset_has_table(system->nft, "inet", system->place->table) ||
        !ruleset_has_table(system->nft, "bridge", system->place->table))
        mend(system);
    else
        on_look_timer(&system->look_timer);
    return 0;
}

void system_set_forwards(struct system *system, const struct plane_forward *forwards, size_t len)
{
    struct plane_forward *copy = malloc(len * sizeof(*copy) + 1);
    struct ruleset ruleset;
    struct err err;

    if (!copy) {
        log_warn("network '%s': its forwards are served by sockets alone: out of memory",
                 system->place->config->name);
        return;
    }
    memcpy(copy, forwards, len * sizeof(*copy));
    free(system->forwards);
    system->forwards = copy;
    system->forwards_len = len;
    if (ruleset_begin(&ruleset))
        system_rules_write_forwards(ruleset.file, system->place, copy, len);
    if (ruleset_end(&ruleset, system->nft, &err) < 0)
        log_warn("network '%s': its forwards are served by sockets alone: %s",
                 system->place->config->name, err.text);
}

void system_destroy(struct system *system)
{
    const struct uplinks none = {.len = 0};
    struct err err;

    if (uplinks_open(system->place, &none, NULL, &err) < 0)
        log_warn("network '%s': %s", system->place->config->name, err.text);
    if (system_sweep(system, &err) < 0)
        log_error("network '%s' leaves something behind: %s", system->place->config->name,
                  err.text);
}
