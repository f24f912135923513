/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged_private.h"

/* Changes come in groups: a link that goes takes its qdisc and each filter with it. */
#define SETTLE_MS 20
/* Where something takes our filters away again and again. */
#define REPAIR_PAUSE_MS 1000
/* What could not be mended. */
#define AGAIN_MS 10000

/* All that is at the interface, as at the beginning. */
static int put_back(struct bridged *bridged)
{
    struct wire *wire = &bridged->wire;
    struct err err;
    int result = wire_prepare(wire, &err);

    if (result == 0)
        result = bridged_link_set_mac(&bridged->host, wire->leg, &wire->nic.mac);
    if (result == 0)
        result = wire_set_filters(wire);
    return result;
}

static void set_mtu(struct bridged *bridged, unsigned mtu)
{
    log_info("interface %s: its MTU is %u now; machines are told when they start", bridged->ifname,
             mtu);
    netlink_set_up(&bridged->host, bridged->wire.leg, mtu, 0, NULL);
    netlink_set_up(bridged->inside, bridged->wire.inside, mtu, 0, NULL);
    if (bridged->on_mtu)
        bridged->on_mtu(bridged->context);
}

static void tell_changes(const struct bridged *bridged, const struct bridged_link *old,
                         const struct bridged_link *now)
{
    const char *ifname = bridged->ifname;

    if (old->ifindex && !now->ifindex)
        log_warn("interface %s is gone: machines have no way outside until it is back", ifname);
    if (now->ifindex && old->ifindex != now->ifindex)
        log_info("interface %s is there again", ifname);
    if (now->ifindex && old->ifindex && old->up != now->up)
        log_info("interface %s is %s", ifname,
                 now->up ? "up again" : "down: machines have no way outside while it is");
    if (now->ifindex && now->master && old->master != now->master)
        log_warn("interface %s is part of another interface now: name that one (ifname=), for "
                 "what the host has on it machines may not reach",
                 ifname);
}

/* Looks how things are, and makes them as they have to be. */
static void refresh(struct bridged *bridged)
{
    struct wire *wire = &bridged->wire;
    struct bridged_link old = wire->nic, now = {0}, leg;
    int result = -ENODEV;

    /* A name that was changed is followed while the interface lives. */
    if (old.ifindex)
        result = bridged_link_read(&bridged->host, NULL, old.ifindex, &now);
    if (result == -ENODEV)
        result = bridged_link_read(&bridged->host, bridged->ifname, 0, &now);
    if (result < 0)
        now = (struct bridged_link){.mtu = old.mtu}; /* machines keep theirs */
    tell_changes(bridged, &old, &now);
    wire->nic = now;
    if (!now.ifindex)
        return;
    if (bridged_link_read(&bridged->host, bridged->wire.leg_name, 0, &leg) < 0) {
        log_warn("interface %s was removed by somebody; making it again", bridged->wire.leg_name);
        wire->leg = 0;
        result = bridged_join_wire(bridged);
    } else if (old.ifindex != now.ifindex || strcmp(old.name, now.name) != 0 ||
               bridged->filters_lost || memcmp(&old.mac, &now.mac, sizeof(now.mac)) != 0 ||
               old.mtu != now.mtu) {
        result = put_back(bridged);
    }
    if (old.ifindex != now.ifindex)
        bridged_listen_to_all(wire);
    if (old.mtu != now.mtu)
        set_mtu(bridged, now.mtu);
    bridged->filters_lost = result < 0;
    if (result == 0)
        return;
    log_warn("machines have no way to interface %s: %s", bridged->ifname, strerror(-result));
    loop_timer_set(bridged->loop, &bridged->timer, AGAIN_MS);
}

static void on_timer(struct loop_timer *timer)
{
    struct bridged *bridged = CONTAINER_OF(timer, struct bridged, timer);

    bridged->repaired_ms = loop_now_ms(bridged->loop);
    refresh(bridged);
}

/* Whether a message is about what we have to do with; our own changes are not news. */
static bool concerns_us(struct bridged *bridged, const struct nlmsghdr *header)
{
    const struct wire *wire = &bridged->wire;
    bool own = header->nlmsg_pid == mnl_socket_get_portid(bridged->host.socket);

    if (header->nlmsg_type == RTM_NEWLINK || header->nlmsg_type == RTM_DELLINK) {
        const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);

        /* Any new link may be ours under its name again. */
        return !wire->nic.ifindex || link->ifi_index == wire->nic.ifindex ||
               (link->ifi_index == wire->leg && header->nlmsg_type == RTM_DELLINK);
    }
    if (header->nlmsg_type == RTM_DELTFILTER || header->nlmsg_type == RTM_DELQDISC) {
        const struct tcmsg *message = mnl_nlmsg_get_payload(header);

        if (own || (message->tcm_ifindex != wire->nic.ifindex && message->tcm_ifindex != wire->leg))
            return false;
        bridged->filters_lost = true;
        return true;
    }
    return false;
}

static void repair_soon(struct bridged *bridged)
{
    uint64_t since = loop_now_ms(bridged->loop) - bridged->repaired_ms;

    if (!bridged->timer.due_ms)
        loop_timer_set(bridged->loop, &bridged->timer,
                       since > REPAIR_PAUSE_MS ? SETTLE_MS : REPAIR_PAUSE_MS - since + SETTLE_MS);
}

static int on_message(const struct nlmsghdr *header, void *context)
{
    struct bridged *bridged = context;

    if (concerns_us(bridged, header))
        repair_soon(bridged);
    return MNL_CB_OK;
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct bridged *bridged = CONTAINER_OF(source, struct bridged, source);
    char buf[NETLINK_MESSAGE_BYTES];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len < 0 && errno == ENOBUFS) {
            /* Something was lost: that may have been anything. */
            bridged->filters_lost = true;
            loop_timer_set(bridged->loop, &bridged->timer, SETTLE_MS);
            continue;
        }
        if (len < 0)
            break;
        mnl_cb_run(buf, (size_t)len, 0, 0, on_message, bridged);
    }
}

static void on_rules_changed(void *context, bool lost, const char *program)
{
    struct bridged *bridged = context;

    if (!lost)
        return;
    bridged->filters_lost = true;
    repair_soon(bridged);
}

int bridged_watch(struct bridged *bridged, struct loop *loop, void (*on_mtu)(void *context),
                  void *context)
{
    static const int groups[] = {RTNLGRP_LINK, RTNLGRP_TC};
    int result = netlink_join(&bridged->monitor, groups, sizeof(groups) / sizeof(groups[0]));

    bridged->loop = loop;
    bridged->on_mtu = on_mtu;
    bridged->context = context;
    bridged->source.on_event = on_monitor;
    bridged->timer.on_timer = on_timer;
    if (result == 0)
        result =
            loop_add(loop, &bridged->source, mnl_socket_get_fd(bridged->monitor.socket), LOOP_IN);
    if (result == 0 && bridged->wire.by_hooks)
        result = ruleset_watch_run(bridged->rules, loop, on_rules_changed, bridged);
    if (result == 0)
        loop_timer_set(loop, &bridged->timer, SETTLE_MS);
    /* Only now, for the rights of the beginning are given up: a shortcut that cannot be told of machines is none. */
    if (result == 0 && bridged->wire.shortcut) {
        int opened = shortcut_open(bridged->wire.shortcut, !bridged->looked_at);

        if (opened < 0)
            bridged_drop_shortcut(bridged, opened);
    }
    return result;
}
