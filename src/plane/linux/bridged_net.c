/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_net.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged.h"
#include "plane/linux/bridged_bridge.h"
#include "plane/linux/bridged_ovs.h"
#include "plane/linux/bridged_ovs_legs.h"
#include "plane/linux/bridged_way.h"
#include "plane/linux/guard.h"
#include "plane/linux/port.h"
#include "plane/linux/setup.h"
#include "plane/linux/system.h"

struct bridged_net {
    struct bridged_interface interface;
    const struct place *place;
    struct netlink *netlink;
    struct nft_ctx *nft;
    struct bridged *wired;         /* or NULL */
    struct bridged_ovs *ovs;       /* or NULL */
    struct bridged_bridge *bridge; /* of a Linux bridge, while it runs, or NULL */
    void (*on_change)(void *context);
    void *context;
};

static int choose_mac_nat(const struct net_config *config, const struct bridged_net *net,
                          bool *ret_mac_nat, struct err *err)
{
    enum bridging_way way = net->interface.way;
    bool asked = config->file && config->file->mac_nat;

    *ret_mac_nat = way == BRIDGING_MAC_NAT || (asked && way == BRIDGING_WIRED);
    return asked && !*ret_mac_nat
               ? err_set(err, -EINVAL,
                         "mac-nat=on is for interfaces that are wired or wireless, and %s is not "
                         "(%s: %s): leave it out",
                         net->interface.link.name, bridging_name(way), net->interface.reason)
               : 0;
}

int bridged_net_find(const struct net_config *config, struct place *ret_place,
                     struct bridged_net **ret_net, struct err *err)
{
    struct bridged_net *net = calloc(1, sizeof(*net));
    int result;

    if (!net)
        return err_set(err, -ENOMEM, "out of memory");
    place_init(ret_place, config);
    if (bridged_clean() > 0)
        log_info("removed filters that an earlier network has left at an interface");
    result = bridged_look(config->ifname, &net->interface, err);
    if (result == 0)
        result = choose_mac_nat(config, net, &ret_place->ip_only, err);
    if (result == 0 && net->interface.way == BRIDGING_BRIDGE)
        place_on_bridge(ret_place, config, net->interface.link.name);
    else if (result == 0 && (net->interface.way == BRIDGING_WIRED || ret_place->ip_only))
        result =
            bridged_open(&net->interface.link, config->name, ret_place->leg, ret_place->ip_only,
                         config->mtu_asked ? config->mtu : 0, &net->wired, err);
    else if (result == 0)
        result = bridged_ovs_open(&net->interface.link, config->name, &net->ovs, err);
    if (result < 0) {
        bridged_net_free(net);
        return result;
    }
    ret_place->apart = net->ovs;
    *ret_net = net;
    return 0;
}

/* ---- in a namespace of its own */

/* It has nothing of IP's: no address, so nobody to speak to. */
static int set_up_namespace(struct err *err)
{
    int result = setup_sysctl("ipv6/conf/default/disable_ipv6", "1", err);

    /* Frames that pass do not meet rules for routed packets. */
    if (result == 0)
        result = setup_sysctl("bridge/bridge-nf-call-iptables", "0", err);
    if (result == 0)
        result = setup_sysctl("bridge/bridge-nf-call-ip6tables", "0", err);
    if (result == 0)
        result = setup_sysctl("bridge/bridge-nf-call-arptables", "0", err);
    return result;
}

/* What machines on a wired interface have in common. */
static int make_switch(struct bridged_net *net, struct err *err)
{
    const struct place *place = net->place;
    int result = netlink_add_bridge(net->netlink, place->bridge, &place->config->mac);
    int bridge = (int)if_nametoindex(place->bridge);

    if (result == 0)
        result = netlink_set_up(net->netlink, bridge, bridged_net_mtu(net), 0, NULL);
    if (result == 0)
        result = netlink_set_up(net->netlink, (int)if_nametoindex("lo"), 0, 0, NULL);
    return result < 0 ? err_set(err, result,
                                "cannot make the bridge of the network: %s; the kernel needs the "
                                "module bridge (modprobe bridge)",
                                strerror(-result))
                      : 0;
}

static void set_mtu(void *context)
{
    struct bridged_net *net = context;
    struct err err;
    unsigned mtu = bridged_net_mtu(net);

    if (port_list_set_mtu(net->netlink, net->place, mtu, &err) < 0)
        log_warn("%s", err.text);
    netlink_set_mtu(net->netlink, (int)if_nametoindex(net->place->bridge), mtu);
    net->on_change(net->context);
}

/* ---- all */

/* The guard's table, with the ports that there are, in one batch. */
static int load_guard(struct bridged_net *net, const struct port_list *list, struct err *err)
{
    struct ruleset ruleset;
    int result;

    if (ruleset_begin(&ruleset)) {
        fprintf(ruleset.file, "table bridge %s\ndelete table bridge %s\n", net->place->table,
                net->place->table);
        guard_write(ruleset.file, net->place);
        guard_write_ports(ruleset.file, net->place, list->ports, list->len);
    }
    result = ruleset_end(&ruleset, net->nft, err);
    return result < 0 ? err_prefix(err, result,
                                   "cannot load the network's rules; the kernel needs nf_tables "
                                   "for bridges (CONFIG_NF_TABLES_BRIDGE)")
                      : 0;
}

/* Ports of before: their holders have outlived the processes. */
static int adopt_ports(struct bridged_net *net, const struct port_list *list, struct err *err)
{
    int result = 0;

    for (size_t i = 0; net->wired && i < list->len && result == 0; i++)
        if (!mac_is_zero(&list->ports[i].mac))
            result = bridged_add(net->wired, &list->ports[i].mac, 0, err);
    return result;
}

int bridged_net_start(struct bridged_net *net, const struct place *place, struct netlink *netlink,
                      struct nft_ctx *nft, bool fresh, struct err *err)
{
    struct port_list list = {0};
    int result;

    net->place = place;
    net->netlink = netlink;
    net->nft = nft;
    result = port_list_read(netlink, place, &list, err);
    if (result == 0 && fresh)
        result = load_guard(net, &list, err);
    if (result == 0 && fresh && !place->host)
        result = set_up_namespace(err);
    if (result == 0 && fresh && net->wired)
        result = make_switch(net, err);
    if (result == 0)
        result = adopt_ports(net, &list, err);
    if (result == 0 && net->wired)
        result = bridged_join(net->wired, netlink, place->bridge, fresh, err);
    for (size_t i = 0; net->wired && i < list.len && result == 0; i++)
        if (!mac_is_zero(&list.ports[i].mac))
            bridged_shorten(net->wired, &list.ports[i].mac, (int)list.ports[i].ifindex);
    if (result == 0 && net->ovs)
        result = bridged_ovs_join(net->ovs, place, netlink, fresh, err);
    free(list.ports);
    if (result < 0 && fresh)
        bridged_net_destroy(net);
    return result;
}

static void on_bridge_mtu(void *context)
{
    struct bridged_net *net = context;

    net->on_change(net->context);
}

static int mend(void *context, struct err *err)
{
    struct bridged_net *net = context;
    struct port_list list;
    int result = port_list_read(net->netlink, net->place, &list, err);

    if (result == 0)
        result = load_guard(net, &list, err);
    free(list.ports);
    return result;
}

static void look_at_bridge(struct bridged_net *net)
{
    struct bridged_link bridge;

    if (bridged_link_read(net->netlink, net->place->bridge, 0, &bridge) == 0)
        bridged_be_looked_at(net->wired, bridge.looked_at);
}

int bridged_net_run(struct bridged_net *net, struct loop *loop, void (*on_change)(void *context),
                    void *context)
{
    const struct bridged_bridge_events events = {mend, on_bridge_mtu, net};
    struct err err;
    int result;

    net->on_change = on_change;
    net->context = context;
    if (net->wired) {
        look_at_bridge(net);
        return bridged_watch(net->wired, loop, set_mtu, net);
    }
    if (net->ovs)
        return bridged_ovs_watch(net->ovs, loop, on_change, context);
    result = bridged_bridge_watch(net->place, net->netlink, loop, net->interface.link.mtu, &events,
                                  &net->bridge);
    /* What happened while nobody has watched. */
    if (result == 0 && !ruleset_has_table(net->nft, "bridge", net->place->table) &&
        mend(net, &err) < 0)
        log_error("network '%s': %s", net->place->config->name, err.text);
    return result;
}

unsigned bridged_net_mtu(const struct bridged_net *net)
{
    const struct net_config *config = net->place->config;
    unsigned now = net->wired    ? bridged_mtu(net->wired)
                   : net->bridge ? bridged_bridge_mtu(net->bridge)
                                 : net->interface.link.mtu;

    return config->mtu_asked && config->mtu < now ? config->mtu : now;
}

unsigned bridged_net_port_mtu(const struct bridged_net *net)
{
    return net->bridge ? bridged_bridge_port_mtu(net->bridge) : bridged_net_mtu(net);
}

const char *bridged_net_warning(const struct bridged_net *net)
{
    return net->wired ? bridged_warning(net->wired) : net->ovs ? bridged_ovs_warning(net->ovs) : "";
}

int bridged_net_prepare_port(struct bridged_net *net, const struct plane_port *port,
                             struct err *err)
{
    struct bridged_link bridge;
    struct mac_addr mac;
    int result;

    if (net->wired)
        return 0;
    if (net->ovs)
        return bridged_ovs_prepare(net->ovs, port, err);
    if (net->bridge)
        bridged_bridge_catch_up(net->bridge);
    if (bridged_link_read(net->netlink, net->place->bridge, 0, &bridge) < 0)
        return err_set(err, -ENODEV,
                       "bridge %s is gone: make it again (ip link add %s type bridge), or have the "
                       "network join another one (ifname=)",
                       net->place->bridge, net->place->bridge);
    /* A bridge that has lost its last port has none either. */
    if (!mac_is_zero(&port->mac) && memcmp(&bridge.mac, &port->mac, sizeof(bridge.mac)) == 0)
        return err_set(err, -EEXIST,
                       "the MAC is that of bridge %s: give the machine another one (mac=)",
                       net->place->bridge);
    result = bridged_link_port_mac(&port->mac, &mac);
    if (result == 0)
        result = bridged_link_set_mac(net->netlink, (int)if_nametoindex(port->interface), &mac);
    return result < 0 ? err_set(err, result, "cannot set the MAC of %s: %s", port->interface,
                                strerror(-result))
                      : 0;
}

int bridged_net_bridge(const struct bridged_net *net, const struct plane_port *port)
{
    return net->ovs ? ovs_legs_bridge(port->interface) : (int)if_nametoindex(net->place->bridge);
}

int bridged_net_add_port(struct bridged_net *net, const struct plane_port *port, struct err *err)
{
    if (net->wired)
        return bridged_add(net->wired, &port->mac, (int)if_nametoindex(port->interface), err);
    return net->ovs ? bridged_ovs_add(net->ovs, port, err) : 0;
}

void bridged_net_remove_port(struct bridged_net *net, const struct plane_port *port)
{
    if (net->wired && !mac_is_zero(&port->mac))
        bridged_remove(net->wired, &port->mac);
    if (net->ovs)
        bridged_ovs_remove(net->ovs, port);
}

/* Open vSwitch's are compared with what there is whenever a link goes; a Linux bridge holds nothing. */
void bridged_net_keep_ports(struct bridged_net *net, const struct plane_port *ports, size_t len)
{
    if (!net->wired)
        return;
    bridged_keep(net->wired, ports, len);
    look_at_bridge(net);
}

void bridged_net_on_link(struct bridged_net *net, const struct nlmsghdr *header)
{
    struct bridged_link link;

    if (!net->wired)
        return;
    bridged_link_parse(header, &link);
    if (strcmp(link.name, net->place->bridge) == 0)
        bridged_be_looked_at(net->wired, link.looked_at);
}

void bridged_net_destroy(struct bridged_net *net)
{
    struct ruleset ruleset;
    struct err err;

    if (net->wired)
        bridged_leave(net->wired);
    if (net->ovs)
        bridged_ovs_leave(net->ovs);
    if (!net->place->host)
        return;
    if (ruleset_begin(&ruleset))
        fprintf(ruleset.file, "table bridge %s\ndelete table bridge %s\n", net->place->table,
                net->place->table);
    if (ruleset_end(&ruleset, net->nft, &err) < 0)
        log_error("%s", err.text);
}

void bridged_net_free(struct bridged_net *net)
{
    if (!net)
        return;
    bridged_bridge_free(net->bridge);
    bridged_free(net->wired);
    bridged_ovs_free(net->ovs);
    free(net);
}
