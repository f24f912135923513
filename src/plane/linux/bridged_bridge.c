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
    int ifindex; /* of the bridge; 0: gone */
    struct ruleset_watch *rules;
    struct loop_timer timer;
    uint64_t mended_ms;
    int (*mend)(void *context, struct err *err);
    void *context;
};

/* ---- rules */

static void mend(struct bridged_bridge *bridge)
{
    struct err err;

    bridge->mended_ms = loop_now_ms(bridge->loop);
    if (bridge->mend(bridge->context, &err) == 0)
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

/* The number of ports that are at the bridge now, or down where there is none. */
static size_t place_ports(struct bridged_bridge *bridge, unsigned mtu)
{
    struct port_list list;
    size_t placed = 0;
    struct err err;

    if (port_list_read(bridge->netlink, bridge->place, &list, &err) < 0)
        log_warn("%s", err.text);
    for (size_t i = 0; i < list.len; i++) {
        const char *name = list.ports[i].interface;
        int ifindex = (int)if_nametoindex(name);
        int result = bridge->ifindex
                         ? netlink_set_up(bridge->netlink, ifindex, mtu, bridge->ifindex, NULL)
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
    if (bridge->ifindex && bridged_link_read(bridge->netlink, NULL, bridge->ifindex, &now) == 0)
        return;
    result = bridged_link_read(bridge->netlink, name, 0, &now);
    there = result == 0 && strcmp(now.kind, "bridge") == 0;
    if (!bridge->ifindex && !there)
        return;
    bridge->ifindex = there ? now.ifindex : 0;
    placed = place_ports(bridge, there ? now.mtu : 0);
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
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    const struct bridged_bridge *bridge = context;

    /* In the bridge's own family a link is a port that has come or gone. */
    if (link->ifi_family != AF_UNSPEC)
        return MNL_CB_OK;
    if (header->nlmsg_type == RTM_DELLINK && link->ifi_index == bridge->ifindex)
        return MNL_CB_STOP;
    return header->nlmsg_type == RTM_NEWLINK && link->ifi_index != bridge->ifindex ? MNL_CB_STOP
                                                                                   : MNL_CB_OK;
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
                         int (*mend_rules)(void *context, struct err *err), void *context,
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
        .mend = mend_rules,
        .context = context,
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
    return 0;
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
