/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_bridge.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/port.h"
#include "plane/linux/ruleset_watch.h"

/* Rules that another program removes are made anew at once, but not more often than this. */
#define MEND_PAUSE_MS 1000

struct bridged_bridge {
    const struct place *place;
    struct netlink *netlink;
    struct loop *loop;
    struct netlink monitor;
    struct loop_source source;
    int ifindex;            /* of the bridge; 0: gone */
    unsigned mtu, port_mtu; /* its own, and its ports' that are ours */
    struct ruleset_watch *rules;
    struct loop_timer timer;
    uint64_t mended_ms;
    struct bridged_bridge_events events;
};

/* ---- rules */

static void mend(struct bridged_bridge *bridge)
{
    struct err err;

    bridge->mended_ms = loop_now_ms(bridge->loop);
    if (bridge->events.mend(bridge->events.context, &err) == 0)
        return;
    log_error("network '%s': %s", bridge->place->config->name, err.text);
    loop_timer_set(bridge->loop, &bridge->timer, MEND_PAUSE_MS);
}

static void on_timer(struct loop_timer *timer)
{
    mend(CONTAINER_OF(timer, struct bridged_bridge, timer));
}

static void on_rules_changed(void *context, bool lost, const char *program)
{
    struct bridged_bridge *bridge = context;
    uint64_t since_ms = loop_now_ms(bridge->loop) - bridge->mended_ms;

    if (!lost || bridge->timer.due_ms)
        return;
    log_warn("the rules of network '%s' were removed by %s%s%s, and are made anew",
             bridge->place->config->name, *program ? "the program '" : "another program", program,
             *program ? "'" : "");
    if (!bridge->mended_ms || since_ms >= MEND_PAUSE_MS)
        mend(bridge);
    else
        loop_timer_set(bridge->loop, &bridge->timer, MEND_PAUSE_MS - since_ms);
}

/* ---- the bridge */

struct others {
    int bridge;
    unsigned least_mtu; /* 0: there are none */
};

static int on_link(const struct nlmsghdr *header, void *context)
{
    struct others *others = context;
    struct bridged_link link;

    bridged_link_parse(header, &link);
    if (link.master == others->bridge && !place_is_ours(link.name) &&
        (!others->least_mtu || link.mtu < others->least_mtu))
        others->least_mtu = link.mtu;
    return MNL_CB_OK;
}

static void forget(void *context)
{
    ((struct others *)context)->least_mtu = 0;
}

static unsigned choose_port_mtu(struct bridged_bridge *bridge, const struct bridged_link *now)
{
    struct others others = {.bridge = now->ifindex};
    unsigned mtu;
    int result = netlink_dump(bridge->netlink, RTM_GETLINK, AF_UNSPEC, on_link, forget, &others);

    if (result < 0)
        log_warn("the ports of bridge %s cannot be listed: %s", now->name, strerror(-result));
    mtu = result == 0 && others.least_mtu > now->mtu ? others.least_mtu : now->mtu;
    return mtu < NET_MTU_MAX ? mtu : NET_MTU_MAX;
}

static void set_port_mtu(struct bridged_bridge *bridge)
{
    struct err err;

    if (port_list_set_mtu(bridge->netlink, bridge->place, bridge->port_mtu, &err) < 0)
        log_warn("%s", err.text);
}

/* Remembers both; whether one is another than before. */
static bool take_mtu(struct bridged_bridge *bridge, const struct bridged_link *now)
{
    unsigned old = bridge->mtu, old_port = bridge->port_mtu;

    bridge->mtu = now->mtu;
    bridge->port_mtu = choose_port_mtu(bridge, now);
    if (bridge->mtu != old) {
        log_info("bridge %s: its MTU is %u now; machines are told when they start",
                 bridge->place->bridge, now->mtu);
        bridge->events.on_mtu(bridge->events.context);
    }
    return bridge->mtu != old || bridge->port_mtu != old_port;
}

/* The number of ports that are at the bridge now, or down where there is none. */
static size_t place_ports(struct bridged_bridge *bridge)
{
    struct port_list list;
    size_t placed = 0;
    struct err err;

    if (port_list_read(bridge->netlink, bridge->place, &list, &err) < 0)
        log_warn("%s", err.text);
    for (size_t i = 0; i < list.len; i++) {
        const char *name = list.ports[i].interface;
        int ifindex = (int)if_nametoindex(name);
        int result = bridge->ifindex ? netlink_set_up(bridge->netlink, ifindex, bridge->port_mtu,
                                                      bridge->ifindex, NULL)
                                     : bridged_link_set_down(bridge->netlink, ifindex);

        if (result < 0)
            log_warn("port %s cannot be %s bridge %s: %s", name,
                     bridge->ifindex ? "put back onto" : "taken down without",
                     bridge->place->bridge, strerror(-result));
        else
            placed++;
    }
    free(list.ports);
    return placed;
}

static void look(struct bridged_bridge *bridge)
{
    const char *name = bridge->place->bridge;
    struct bridged_link now;
    size_t placed;
    bool there;
    int result;

    /* Under another name it is still the one that ports are at. */
    if (bridge->ifindex && bridged_link_read(bridge->netlink, NULL, bridge->ifindex, &now) == 0) {
        if (take_mtu(bridge, &now))
            set_port_mtu(bridge);
        return;
    }
    result = bridged_link_read(bridge->netlink, name, 0, &now);
    there = result == 0 && strcmp(now.kind, "bridge") == 0;
    if (!bridge->ifindex && !there)
        return;
    bridge->ifindex = there ? now.ifindex : 0;
    if (there)
        take_mtu(bridge, &now);
    placed = place_ports(bridge);
    if (there)
        log_info("bridge %s is there again, with %zu machines of network '%s' as its ports", name,
                 placed, bridge->place->config->name);
    else
        log_warn("bridge %s is gone%s: machines of network '%s' reach nobody until there is one of "
                 "that name again",
                 name, result == 0 ? " (its name is another interface's)" : "",
                 bridge->place->config->name);
}

static int on_message(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *message = mnl_nlmsg_get_payload(header);
    const struct bridged_bridge *bridge = context;
    bool general = message->ifi_family == AF_UNSPEC, news;
    struct bridged_link link;

    bridged_link_parse(header, &link);
    if (!bridge->ifindex) /* any new link may be it */
        news = general && header->nlmsg_type == RTM_NEWLINK;
    else /* it, or a port of others: one that has gone is so in the bridge's own family alone */
        news = (general && link.ifindex == bridge->ifindex) ||
               (link.master == bridge->ifindex && !place_is_port(bridge->place, link.name));
    return news ? MNL_CB_STOP : MNL_CB_OK;
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct bridged_bridge *bridge = CONTAINER_OF(source, struct bridged_bridge, source);
    char buf[NETLINK_MESSAGE_BYTES];
    bool changed = false;
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len < 0 && errno != ENOBUFS)
            break;
        if (len < 0 || mnl_cb_run(buf, (size_t)len, 0, 0, on_message, bridge) == MNL_CB_STOP)
            changed = true;
    }
    if (changed)
        look(bridge);
}

int bridged_bridge_watch(const struct place *place, struct netlink *netlink, struct loop *loop,
                         unsigned mtu, const struct bridged_bridge_events *events,
                         struct bridged_bridge **ret_bridge)
{
    struct bridged_bridge *bridge = calloc(1, sizeof(*bridge));
    int group = RTNLGRP_LINK, result;

    if (!bridge)
        return -ENOMEM;
    *bridge = (struct bridged_bridge){
        .place = place,
        .netlink = netlink,
        .loop = loop,
        .source = {.on_event = on_monitor, .fd = -1},
        .timer.on_timer = on_timer,
        .ifindex = (int)if_nametoindex(place->bridge),
        .mtu = mtu,
        .port_mtu = mtu,
        .events = *events,
    };
    result = netlink_open(&bridge->monitor);
    if (result == 0)
        result = netlink_join(&bridge->monitor, &group, 1);
    if (result == 0)
        result =
            loop_add(loop, &bridge->source, mnl_socket_get_fd(bridge->monitor.socket), LOOP_IN);
    if (result == 0)
        result = ruleset_watch_new(place->table, &bridge->rules);
    if (result == 0)
        result = ruleset_watch_run(bridge->rules, loop, on_rules_changed, bridge);
    if (result < 0) {
        bridged_bridge_free(bridge);
        return result;
    }
    *ret_bridge = bridge;
    /* What happened while nobody has watched. */
    look(bridge);
    if (bridge->ifindex)
        set_port_mtu(bridge);
    return 0;
}

void bridged_bridge_catch_up(struct bridged_bridge *bridge)
{
    on_monitor(&bridge->source, LOOP_IN);
}

unsigned bridged_bridge_mtu(const struct bridged_bridge *bridge)
{
    return bridge->mtu;
}

unsigned bridged_bridge_port_mtu(const struct bridged_bridge *bridge)
{
    return bridge->port_mtu;
}

void bridged_bridge_free(struct bridged_bridge *bridge)
{
    if (!bridge)
        return;
    loop_remove(bridge->loop, &bridge->source);
    loop_timer_clear(bridge->loop, &bridge->timer);
    ruleset_watch_free(bridge->rules);
    netlink_close(&bridge->monitor);
    free(bridge);
}
