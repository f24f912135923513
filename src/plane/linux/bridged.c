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

#include "base/bridging.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/table.h"
#include "plane/linux/bridged_hooks.h"
#include "plane/linux/bridged_macnat.h"
#include "plane/linux/bridged_private.h"
#include "plane/linux/elements.h"

#define INTERFACES_MAX 1024 /* that can have filters */

static const uint64_t network_key[2] = {0x6f70656e766d6e65, 0x7420627269646765};

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
    bridged->wire.nft = ruleset_open();
    if (!bridged->wire.nft)
        return -ENOMEM;
    result = elements_open(&bridged->wire.rules);
    if (result == 0)
        result = ruleset_watch_new(bridged->wire.leg_name, &bridged->rules);
    return result < 0 ? result : netlink_open(&bridged->monitor);
}

int bridged_open(const struct bridged_link *nic, const char *network, const char *leg, bool mac_nat,
                 unsigned mtu_max, struct bridged **ret_bridged, struct err *err)
{
    struct bridged *bridged = calloc(1, sizeof(*bridged));
    int result;

    if (!bridged)
        return err_set(err, -ENOMEM, "out of memory");
    bridged->host_ns_fd = bridged->wire.packet_fd = bridged->source.fd = -1;
    bridged->test_fd = bridged->inside_fd = -1;
    bridged->wire.host = &bridged->host;
    bridged->wire.nic = *nic;
    bridged->wire.mtu_max = mtu_max;
    bridged->wire.owner.network = (uint32_t)hash_bytes(network_key, network, strlen(network));
    snprintf(bridged->ifname, sizeof(bridged->ifname), "%s", nic->name);
    snprintf(bridged->network, sizeof(bridged->network), "%s", network);
    snprintf(bridged->wire.leg_name, sizeof(bridged->wire.leg_name), "%s", leg);
    if (mac_nat) {
        bridged->wire.by_hooks = bridged->wire.mac_nat = true;
        snprintf(bridged->warning, sizeof(bridged->warning),
                 "IP only: machines have the MAC of interface %s (MAC-NAT)", bridged->ifname);
    }
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

const char *bridged_warning(const struct bridged *bridged)
{
    return bridged->warning;
}

/* ---- the link to the host */

static int alias_write(const struct bridged *bridged, char buf[128])
{
    return snprintf(buf, 128, BRIDGED_ALIAS "%s on %s%s", bridged->network, bridged->ifname,
                    bridged->wire.mac_nat    ? BRIDGED_ALIAS_BY "mac-nat"
                    : bridged->wire.by_hooks ? BRIDGED_ALIAS_BY "nftables"
                                             : "");
}

/* A link of that name from a network whose processes are gone, but whose machines still hold it. */
static int remove_old_leg(struct bridged *bridged, struct err *err)
{
    struct bridged_link old;
    int result = bridged_link_read(&bridged->host, bridged->wire.leg_name, 0, &old);

    if (result == -ENODEV)
        return 0;
    if (result == 0 && strcmp(old.kind, "veth") != 0)
        return err_set(err, -EEXIST,
                       "interface %s is there and is none of a network's: rename or remove it",
                       bridged->wire.leg_name);
    log_warn("machines of an earlier process of this network are cut off from %s: start them anew",
             bridged->ifname);
    return netlink_delete_link(&bridged->host, old.ifindex);
}

static int make_leg(struct bridged *bridged)
{
    struct wire *wire = &bridged->wire;
    struct bridged_link leg;
    int result = netlink_add_veth(bridged->inside, BRIDGED_LEG, bridged->wire.leg_name,
                                  bridged->host_ns_fd, &wire->nic.mac, wire->nic.mtu);

    if (result == 0)
        result = bridged_link_read(&bridged->host, bridged->wire.leg_name, 0, &leg);
    if (result == 0)
        result = bridged_link_silence(&bridged->host, leg.ifindex);
    if (result == 0)
        wire->leg = leg.ifindex;
    return result;
}

/* Up only now: what comes in before there are filters would be for the host's own stack. */
static int raise_leg(struct bridged *bridged)
{
    int inside = bridged->wire.inside, result;
    char alias[128];

    alias_write(bridged, alias);
    result = netlink_set_up(&bridged->host, bridged->wire.leg, 0, 0, alias);
    if (result == 0)
        result =
            netlink_set_up(bridged->inside, inside, 0, (int)if_nametoindex(bridged->bridge), NULL);
    return result < 0 ? result : bridged_link_set_port(bridged->inside, inside, true);
}

void bridged_listen_to_all(const struct wire *wire)
{
    int result = wire_listen(wire, NULL, true);

    for (size_t i = 0; i < wire->macs_len && result == 0; i++)
        result = wire_listen(wire, &wire->macs[i], true);
    if (result < 0)
        log_warn("interface %s does not take frames for machines: %s", wire->nic.name,
                 strerror(-result));
}

int bridged_join_wire(struct bridged *bridged)
{
    struct bridged_link leg;
    int result = bridged_link_read(&bridged->host, bridged->wire.leg_name, 0, &leg);

    if (result == 0)
        bridged->wire.leg = leg.ifindex;
    else if (result == -ENODEV)
        result = make_leg(bridged);
    bridged->wire.inside = (int)if_nametoindex(BRIDGED_LEG);
    if (result == 0)
        result = wire_set_filters(&bridged->wire);
    if (result == 0)
        result = raise_leg(bridged);
    if (result == 0)
        bridged_listen_to_all(&bridged->wire);
    return result;
}

static int join_and_test(struct bridged *bridged, bool fresh, struct err *err)
{
    struct wire *wire = &bridged->wire;
    int result = bridged_join_wire(bridged);

    if (result == 0 && fresh) {
        result = wire_test(wire, bridged->test_fd, bridged->inside_fd, err);
        if (result < 0)
            return result;
        result = wire_set_filters(wire);
    }
    return result < 0
               ? err_set(err, result,
                         "cannot bridge to interface %s: %s; the kernel needs veth, sch_ingress, "
                         "cls_bpf and act_mirred (as root: modprobe -a veth sch_ingress cls_bpf "
                         "act_mirred)%s",
                         bridged->ifname, strerror(-result),
                         wire->by_hooks ? ", and for nftables Linux 5.16 with nft_fwd_netdev, "
                                          "nft_dup_netdev and nft_fib_netdev; the log has its words"
                                        : "")
               : 0;
}

static void use_hooks(struct bridged *bridged)
{
    bridged->wire.by_hooks = true;
    snprintf(bridged->warning, sizeof(bridged->warning),
             "filters (tc) did not do at interface %s, the log says why; nftables hands on frames "
             "(table netdev %s)",
             bridged->ifname, bridged->wire.leg_name);
}

static int join_by_hooks(struct bridged *bridged, struct err *err)
{
    struct err why = *err;
    int result;

    wire_clear(&bridged->wire);
    use_hooks(bridged);
    result = join_and_test(bridged, true, err);
    if (result < 0) {
        struct err also = *err;

        return err_set(err, result, "%.400s; with nftables: %.400s", why.text, also.text);
    }
    log_warn("%.400s; nftables hands on frames there instead (table netdev %s)", why.text,
             bridged->wire.leg_name);
    return 0;
}

static const char *why_no_shortcut(int result)
{
    switch (result) {
    case -EPROTO: return "a test frame did not arrive by it";
    case -ELIBACC: return "libbpf is not installed";
    case -EOPNOTSUPP: return "vmnetd was built without it";
    default: return strerror(-result);
    }
}

/* Frames go the long way then, which is no fault. */
void bridged_drop_shortcut(struct bridged *bridged, int why)
{
    log_info("network '%s': machines' frames go over its bridge all the way, there is no shortcut "
             "(bpf(2)): %s",
             bridged->network, why_no_shortcut(why));
    shortcut_free(bridged->wire.shortcut);
    bridged->wire.shortcut = NULL;
    wire_set_filters(&bridged->wire);
}

/* Closed until bridged_watch(). What an earlier process has left knows only machines of then. */
static void make_shortcut(struct bridged *bridged, bool fresh)
{
    struct wire *wire = &bridged->wire;
    int result = shortcut_new(bridged->inside, &wire->owner, &wire->shortcut);

    if (result == 0)
        result = wire_set_filters(wire);
    if (result == 0 && fresh) {
        result = wire_test_shortcut(wire, bridged->inside_fd);
        if (result == 0)
            result = wire_set_filters(wire);
    }
    if (result == 0)
        return;
    tc_delete_clsact(bridged->inside, wire->inside);
    bridged_drop_shortcut(bridged, result);
}

/* One socket for all tests of a kind: to close one that has been bound takes the kernel milliseconds. */
static void close_tests(struct bridged *bridged)
{
    if (bridged->test_fd >= 0)
        close(bridged->test_fd);
    if (bridged->inside_fd >= 0)
        close(bridged->inside_fd);
    bridged->test_fd = bridged->inside_fd = -1;
}

int bridged_join(struct bridged *bridged, struct netlink *inside, const char *bridge, bool fresh,
                 struct err *err)
{
    int result = fresh ? remove_old_leg(bridged, err) : 0;

    if (result < 0)
        return result;
    bridged->inside_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (bridged->inside_fd < 0)
        return err_set(err, -errno, "cannot open a socket for tests: %s", strerror(errno));
    bridged->inside = inside;
    snprintf(bridged->bridge, sizeof(bridged->bridge), "%s", bridge);
    if (fresh)
        hooks_clear(&bridged->wire);
    else if (!bridged->wire.mac_nat && hooks_found(&bridged->wire))
        use_hooks(bridged);
    result = join_and_test(bridged, fresh, err);
    if (result < 0 && fresh && !bridged->wire.by_hooks)
        result = join_by_hooks(bridged, err);
    if (result == 0 && !bridged->wire.by_hooks)
        make_shortcut(bridged, fresh);
    close_tests(bridged);
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
        if (result < 0) {
            wire->macs_len--;
            wire_set_macs(wire);
        }
    }
    if (result == -ENOSPC)
        return err_set(err, result, "interface %s has its %zu machines, and no room for more",
                       bridged->ifname, wire->macs_len);
    if (result == 0)
        result = bridged_link_set_port(bridged->inside, port_ifindex, false);
    if (result == 0)
        result = bridged_link_set_fdb(bridged->inside, port_ifindex, mac);
    if (result == 0 && wire->shortcut)
        result = shortcut_add(wire->shortcut, mac, port_ifindex);
    return result < 0 ? err_set(err, result, "cannot let the machine onto interface %s: %s",
                                bridged->ifname, strerror(-result))
                      : 0;
}

void bridged_shorten(struct bridged *bridged, const struct mac_addr *mac, int port_ifindex)
{
    int result = -ENODEV;

    if (bridged->wire.shortcut) {
        result = shortcut_add(bridged->wire.shortcut, mac, port_ifindex);
        if (result < 0)
            bridged_drop_shortcut(bridged, result);
    }
    /* What an earlier process has left there. */
    if (result < 0)
        tc_delete_clsact(bridged->inside, port_ifindex);
}

void bridged_be_looked_at(struct bridged *bridged, bool looked_at)
{
    bridged->looked_at = looked_at;
    if (bridged->wire.shortcut && bridged->loop)
        shortcut_open(bridged->wire.shortcut, !looked_at);
}

void bridged_remove(struct bridged *bridged, const struct mac_addr *mac)
{
    struct wire *wire = &bridged->wire;
    size_t i = find_mac(wire, mac);

    if (i == wire->macs_len)
        return;
    wire->macs[i] = wire->macs[--wire->macs_len];
    if (wire->shortcut)
        shortcut_remove(wire->shortcut, mac);
    if (!wire->nic.ifindex)
        return;
    wire_set_macs(wire);
    wire_listen(wire, mac, false);
    if (wire->mac_nat)
        macnat_forget(wire, mac);
}

void bridged_keep(struct bridged *bridged, const struct plane_port *ports, size_t len)
{
    struct wire *wire = &bridged->wire;

    for (size_t i = wire->macs_len; i-- > 0;) {
        const struct mac_addr mac = wire->macs[i];
        size_t k = 0;

        while (k < len && memcmp(&ports[k].mac, &mac, sizeof(mac)) != 0)
            k++;
        if (k == len)
            bridged_remove(bridged, &mac);
    }
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
    shortcut_free(bridged->wire.shortcut);
    ruleset_watch_free(bridged->rules);
    if (bridged->wire.nft)
        nft_ctx_free(bridged->wire.nft);
    if (bridged->wire.rules)
        mnl_socket_close(bridged->wire.rules);
    netlink_close(&bridged->monitor);
    netlink_close(&bridged->host);
    if (bridged->host_ns_fd >= 0)
        close(bridged->host_ns_fd);
    close_tests(bridged);
    if (bridged->wire.packet_fd >= 0)
        close(bridged->wire.packet_fd);
    free(bridged);
}

int bridged_clean(void)
{
    struct netlink netlink;
    struct nft_ctx *nft;
    int ifindexes[INTERFACES_MAX], len, tables, cleared = 0, result = netlink_open(&netlink);

    if (result < 0)
        return result;
    len = tc_list_clsact(&netlink, ifindexes, INTERFACES_MAX);
    for (int i = 0; i < len; i++)
        cleared += wire_clear_dead(&netlink, ifindexes[i]);
    nft = ruleset_open();
    tables = nft ? hooks_clear_dead(&netlink, nft) : -ENOMEM;
    if (tables > 0)
        cleared += tables;
    if (nft)
        nft_ctx_free(nft);
    netlink_close(&netlink);
    return len < 0 ? len : cleared;
}
