/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged_wire.h"

/* Changes come in groups: a link that goes takes its qdisc and each filter with it. */
#define SETTLE_MS 20
/* Where something takes our filters away again and again. */
#define REPAIR_PAUSE_MS 1000

#define INTERFACES_MAX 1024 /* that can have filters */

static const uint64_t network_key[2] = {0x6f70656e766d6e65, 0x7420627269646765};

struct bridged {
    char ifname[16], leg_name[16], network[64];
    struct netlink host;
    struct wire wire;
    int host_ns_fd, test_fd;
    struct netlink *inside;
    char bridge[16];
    struct loop *loop;
    struct netlink monitor;
    struct loop_source source;
    struct loop_timer timer;
    bool filters_lost;
    uint64_t repaired_ms;
    void (*on_mtu)(void *context);
    void *context;
};

static int open_sockets(struct bridged *bridged)
{
    int result = netlink_open(&bridged->host);

    if (result < 0)
        return result;
    bridged->host_ns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    bridged->wire.packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    bridged->test_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (bridged->host_ns_fd < 0 || bridged->wire.packet_fd < 0 || bridged->test_fd < 0)
        return -errno;
    return netlink_open(&bridged->monitor);
}

int bridged_open(const struct bridged_link *nic, const char *network, const char *leg,
                 struct bridged **ret_bridged, struct err *err)
{
    struct bridged *bridged = calloc(1, sizeof(*bridged));
    int result;

    if (!bridged)
        return err_set(err, -ENOMEM, "out of memory");
    bridged->host_ns_fd = bridged->test_fd = bridged->wire.packet_fd = bridged->source.fd = -1;
    bridged->wire.host = &bridged->host;
    bridged->wire.nic = *nic;
    bridged->wire.owner.network = (uint32_t)hash_bytes(network_key, network, strlen(network));
    snprintf(bridged->ifname, sizeof(bridged->ifname), "%s", nic->name);
    snprintf(bridged->network, sizeof(bridged->network), "%s", network);
    snprintf(bridged->leg_name, sizeof(bridged->leg_name), "%s", leg);
    result = open_sockets(bridged);
    if (result < 0)
        err_set(err, result, "cannot open sockets for bridging: %s", strerror(-result));
    else
        result = wire_prepare(&bridged->wire, err);
    if (result < 0) {
        bridged_free(bridged);
        return result;
    }
    *ret_bridged = bridged;
    return 0;
}

unsigned bridged_mtu(const struct bridged *bridged)
{
    return bridged->wire.nic.mtu;
}

/* ---- the link to the host */

static int alias_write(const struct bridged *bridged, char buf[128])
{
    return snprintf(buf, 128, "openvmnet: network %s on %s", bridged->network, bridged->ifname);
}

/* A link of that name from a network whose processes are gone, but whose machines still hold it. */
static int remove_old_leg(struct bridged *bridged, struct err *err)
{
    struct bridged_link old;
    int result = bridged_link_read(&bridged->host, bridged->leg_name, 0, &old);

    if (result == -ENODEV)
        return 0;
    if (result == 0 && strcmp(old.kind, "veth") != 0)
        return err_set(err, -EEXIST,
                       "interface %s is there and is none of a network's: rename or remove it",
                       bridged->leg_name);
    log_warn("machines of an earlier process of this network are cut off from %s: start them anew",
             bridged->ifname);
    return netlink_delete_link(&bridged->host, old.ifindex);
}

static int make_leg(struct bridged *bridged)
{
    struct wire *wire = &bridged->wire;
    struct bridged_link leg;
    int result = netlink_add_veth(bridged->inside, BRIDGED_LEG, bridged->leg_name,
                                  bridged->host_ns_fd, &wire->nic.mac, wire->nic.mtu);

    if (result == 0)
        result = bridged_link_read(&bridged->host, bridged->leg_name, 0, &leg);
    if (result == 0)
        result = bridged_link_silence(&bridged->host, leg.ifindex);
    if (result == 0)
        wire->leg = leg.ifindex;
    return result;
}

/* Up only now: what comes in before there are filters would be for the host's own stack. */
static int raise_leg(struct bridged *bridged)
{
    int inside = (int)if_nametoindex(BRIDGED_LEG), result;
    char alias[128];

    alias_write(bridged, alias);
    result = netlink_set_up(&bridged->host, bridged->wire.leg, 0, 0, alias);
    if (result == 0)
        result =
            netlink_set_up(bridged->inside, inside, 0, (int)if_nametoindex(bridged->bridge), NULL);
    return result < 0 ? result : bridged_link_set_port(bridged->inside, inside, true);
}

/* An interface that is new has forgotten what it had to take. */
static void listen_to_all(const struct wire *wire)
{
    int result = wire_listen(wire, NULL, true);

    for (size_t i = 0; i < wire->macs_len && result == 0; i++)
        result = wire_listen(wire, &wire->macs[i], true);
    if (result < 0)
        log_warn("interface %s does not take frames for machines: %s", wire->nic.name,
                 strerror(-result));
}

static int join_wire(struct bridged *bridged)
{
    struct bridged_link leg;
    int result = bridged_link_read(&bridged->host, bridged->leg_name, 0, &leg);

    if (result == 0)
        bridged->wire.leg = leg.ifindex;
    else if (result == -ENODEV)
        result = make_leg(bridged);
    if (result == 0)
        result = wire_set_filters(&bridged->wire);
    if (result == 0)
        result = raise_leg(bridged);
    if (result == 0)
        listen_to_all(&bridged->wire);
    return result;
}

int bridged_join(struct bridged *bridged, struct netlink *inside, const char *bridge, bool fresh,
                 struct err *err)
{
    int result = fresh ? remove_old_leg(bridged, err) : 0;

    if (result < 0)
        return result;
    bridged->inside = inside;
    snprintf(bridged->bridge, sizeof(bridged->bridge), "%s", bridge);
    result = join_wire(bridged);
    if (result < 0)
        err_set(err, result,
                "cannot bridge to interface %s: %s; the kernel needs veth, sch_ingress, cls_bpf "
                "and act_mirred (as root: modprobe -a veth sch_ingress cls_bpf act_mirred)",
                bridged->ifname, strerror(-result));
    else if (fresh)
        result = wire_test(&bridged->wire, bridged->test_fd, (int)if_nametoindex(BRIDGED_LEG), err);
    close(bridged->test_fd);
    bridged->test_fd = -1;
    if (result == 0 && fresh)
        result = wire_set_filters(&bridged->wire);
    if (result < 0)
        bridged_leave(bridged);
    return result;
}

/* ---- machines */

static size_t find_mac(const struct wire *wire, const struct mac_addr *mac)
{
    size_t i = 0;

    while (i < wire->macs_len && memcmp(&wire->macs[i], mac, sizeof(*mac)) != 0)
        i++;
    return i;
}

int bridged_add(struct bridged *bridged, const struct mac_addr *mac, int port_ifindex,
                struct err *err)
{
    struct wire *wire = &bridged->wire;
    int result = 0;

    /* A machine of before; what it needs is there. */
    if (!bridged->inside && wire->macs_len < FRAMES_MACS_MAX) {
        wire->macs[wire->macs_len++] = *mac;
        return 0;
    }
    if (memcmp(mac, &wire->nic.mac, sizeof(*mac)) == 0 || find_mac(wire, mac) < wire->macs_len)
        return err_set(err, -EEXIST,
                       "the MAC is that of interface %s or of another machine on it: give the "
                       "machine another one (mac=)",
                       bridged->ifname);
    if (wire->macs_len == FRAMES_MACS_MAX)
        result = -ENOSPC;
    else
        wire->macs[wire->macs_len++] = *mac;
    if (result == 0 && wire->nic.ifindex) {
        result = wire_set_macs(wire);
        if (result == 0)
            result = wire_listen(wire, mac, true);
        if (result < 0)
            wire->macs_len--;
    }
    if (result == -ENOSPC)
        return err_set(err, result, "interface %s has its %zu machines, and no room for more",
                       bridged->ifname, wire->macs_len);
    if (result == 0)
        result = bridged_link_set_port(bridged->inside, port_ifindex, false);
    if (result == 0)
        result = bridged_link_set_fdb(bridged->inside, port_ifindex, mac);
    return result < 0 ? err_set(err, result, "cannot let the machine onto interface %s: %s",
                                bridged->ifname, strerror(-result))
                      : 0;
}

void bridged_remove(struct bridged *bridged, const struct mac_addr *mac)
{
    struct wire *wire = &bridged->wire;
    size_t i = find_mac(wire, mac);

    if (i == wire->macs_len)
        return;
    wire->macs[i] = wire->macs[--wire->macs_len];
    if (!wire->nic.ifindex)
        return;
    wire_set_macs(wire);
    wire_listen(wire, mac, false);
}

/* ---- what happens on the host */

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
    int inside = (int)if_nametoindex(BRIDGED_LEG);

    log_info("interface %s: its MTU is %u now; machines are told when they start", bridged->ifname,
             mtu);
    netlink_set_up(&bridged->host, bridged->wire.leg, mtu, 0, NULL);
    netlink_set_up(bridged->inside, inside, mtu, 0, NULL);
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
        now = (struct bridged_link){0};
    tell_changes(bridged, &old, &now);
    wire->nic = now;
    if (!now.ifindex)
        return;
    if (bridged_link_read(&bridged->host, bridged->leg_name, 0, &leg) < 0) {
        log_warn("interface %s was removed by somebody; making it again", bridged->leg_name);
        wire->leg = 0;
        result = join_wire(bridged);
    } else if (old.ifindex != now.ifindex || bridged->filters_lost ||
               memcmp(&old.mac, &now.mac, sizeof(now.mac)) != 0) {
        result = put_back(bridged);
    }
    if (old.ifindex != now.ifindex)
        listen_to_all(wire);
    if (old.mtu != now.mtu)
        set_mtu(bridged, now.mtu);
    bridged->filters_lost = false;
    if (result < 0)
        log_warn("machines have no way to interface %s: %s", bridged->ifname, strerror(-result));
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

static int on_message(const struct nlmsghdr *header, void *context)
{
    struct bridged *bridged = context;

    if (concerns_us(bridged, header) && !bridged->timer.due_ms) {
        uint64_t since = loop_now_ms(bridged->loop) - bridged->repaired_ms;

        loop_timer_set(bridged->loop, &bridged->timer,
                       since > REPAIR_PAUSE_MS ? SETTLE_MS : REPAIR_PAUSE_MS - since + SETTLE_MS);
    }
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

int bridged_watch(struct bridged *bridged, struct loop *loop, void (*on_mtu)(void *context),
                  void *context)
{
    static const int groups[] = {RTNLGRP_LINK, RTNLGRP_TC};
    int result = 0;

    for (int i = 0; i < 2 && result == 0; i++)
        if (mnl_socket_setsockopt(bridged->monitor.socket, NETLINK_ADD_MEMBERSHIP,
                                  (void *)(uintptr_t)&groups[i], sizeof(groups[i])) < 0)
            result = -errno;
    bridged->loop = loop;
    bridged->on_mtu = on_mtu;
    bridged->context = context;
    bridged->source.on_event = on_monitor;
    bridged->timer.on_timer = on_timer;
    if (result == 0)
        result =
            loop_add(loop, &bridged->source, mnl_socket_get_fd(bridged->monitor.socket), LOOP_IN);
    if (result == 0)
        loop_timer_set(loop, &bridged->timer, SETTLE_MS);
    return result;
}

/* ---- the end */

void bridged_leave(struct bridged *bridged)
{
    wire_clear(&bridged->wire);
    if (bridged->wire.leg)
        netlink_delete_link(&bridged->host, bridged->wire.leg);
    bridged->wire.leg = 0;
}

void bridged_free(struct bridged *bridged)
{
    if (!bridged)
        return;
    if (bridged->loop) {
        loop_timer_clear(bridged->loop, &bridged->timer);
        loop_remove(bridged->loop, &bridged->source);
    }
    netlink_close(&bridged->monitor);
    netlink_close(&bridged->host);
    if (bridged->host_ns_fd >= 0)
        close(bridged->host_ns_fd);
    if (bridged->test_fd >= 0)
        close(bridged->test_fd);
    if (bridged->wire.packet_fd >= 0)
        close(bridged->wire.packet_fd);
    free(bridged);
}

int bridged_clean(void)
{
    struct netlink netlink;
    int ifindexes[INTERFACES_MAX], len, cleared = 0, result = netlink_open(&netlink);

    if (result < 0)
        return result;
    len = tc_list_clsact(&netlink, ifindexes, INTERFACES_MAX);
    for (int i = 0; i < len; i++)
        cleared += wire_clear_dead(&netlink, ifindexes[i]);
    netlink_close(&netlink);
    return len < 0 ? len : cleared;
}
