/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A guest's packet that is not for the network itself leaves over a TUN device to the engine. Each of the
 * engine's workers has one, `up0`, `up1`, …, which the packet's mark chooses by its routing table: 2 is worker
 * 0's, 3 worker 1's. TCP and UDP are spread by the guest's address and port (base/spread.h); all else has no mark
 * and leaves by the default route, which is worker 0's. What a worker writes comes in from its own device.
 *
 * TCP is different only in its first segment:
 *
 *   1. The guest's SYN goes over upN to its worker, which connects to the destination outside.
 *   2. When that worked, the worker writes the same SYN back to upN. It now comes *in* from upN, and
 *      `tproxy` gives it to the transparent listener of that worker: mark 1, whose routing table says that
 *      every address is local.
 *   3. All later segments of the guest match that connection's socket: `socket transparent`, mark 1. So do
 *      those that come from upN: one that was not matched the first time is written back (tcp_return()).
 *
 * A SYN is never matched against sockets in step 3: it may start anew what is in TIME_WAIT, which only
 * tproxy handles (kernel: nf_tproxy_handle_time_wait4).
 *
 * The gateway's own addresses are local to this namespace, but stand for the host: what is not DHCP, DNS or
 * echo is spread as all else, and the marks' routing tables lead to upN for local addresses too. For that the
 * rule for the local table stands below those for the marks. So nothing may be marked that is for this
 * namespace: of IPv4 that is only what the gateway serves (broadcasts are known before the rules are asked), of
 * IPv6 also what goes to link-local and multicast addresses.
 *
 * Ports are there to be read although a guest sends fragments: tproxy and socket have the kernel put
 * them together before it asks these rules.
 *
 * Of a family without NAT, which is both in a host network, only what is for the gateway gets a mark and nothing
 * without one may go to upN. So its guests reach the host.
 *
 * From one guest to another there is the bridge and no other way: what a guest sends to the router's MAC for
 * another guest's address is dropped before it is routed, so that the router neither forwards nor redirects it.
 *
 * No rule here tracks connections: nothing to fill up, nothing to time out.
 */
#include "plane/linux/policy.h"

#include <stdio.h>
#include <string.h>

#include "base/spread.h"

/* What is different in the rules of the two families. */
struct family {
    const char *protocol, *nfproto; /* in nft's words */
    const char *gateway, *subnet;   /* @subnet with its prefix length */
    const char *dhcp_port;
    bool has_nat;
};

/*
 * What guests send to the router itself by ICMP and is no echo. Errors are the engine's to count and to leave at
 * that: this kernel would believe them, also what they say about other guests (a path's MTU).
 */
static void add_icmp_rules(FILE *file, const struct family *family)
{
    static const char errors6[] =
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";

    if (strcmp(family->protocol, "ip") == 0)
        fprintf(
            file,
            "    ip daddr %s icmp type != { echo-request, echo-reply } meta mark set %d accept\n",
            family->gateway, POLICY_MARK_UPLINK);
    else
        fprintf(file,
                "    ip6 daddr %s %s meta mark set %d accept\n"
                "    ip6 daddr fe80::/10 %s drop\n",
                family->gateway, errors6, POLICY_MARK_UPLINK, errors6);
}

/* What guests send. */
static void add_guest_rules(FILE *file, const struct net_config *config,
                            const struct family *family)
{
    const char *ip = family->protocol, *gateway = family->gateway;

    fprintf(file,
            "  chain guest_%s {\n"
            "    tcp flags & (fin|syn|rst|ack) != syn socket transparent 1 meta mark set %d"
            " accept\n"
            "    %s daddr %s udp dport { 53, %s } accept\n"
            "    %s daddr %s tcp dport 53 accept\n"
            "    %s daddr %s %s daddr != %s drop\n",
            ip, POLICY_MARK_LOCAL, ip, gateway, family->dhcp_port, ip, gateway, ip, family->subnet,
            ip, gateway);
    add_icmp_rules(file, family);
    if (!family->has_nat)
        fprintf(file, "    %s daddr != %s accept\n", ip, gateway);
    else if (strcmp(ip, "ip6") == 0)
        fprintf(file, "    ip6 daddr { fe80::/10, ff00::/8 } accept\n");
    fprintf(file,
            "    meta l4proto { tcp, udp } meta mark set jhash %s saddr . th sport"
            " mod %u seed 0x%x offset %d\n"
            "  }\n",
            ip, config->workers, SPREAD_SEED, POLICY_MARK_UPLINK);
}

static void add_detour(FILE *file, const struct net_config *config, const char *bridge,
                       const char *uplink, const struct policy_ports *ports,
                       const struct family *family)
{
    bool ipv4 = strcmp(family->protocol, "ip") == 0;

    add_guest_rules(file, config, family);
    fprintf(file,
            "  chain detour_%s {\n"
            "    type filter hook prerouting priority mangle; policy accept;\n"
            "    meta nfproto != %s accept\n"
            "    iifname \"%s\" goto guest_%s\n"
            "    meta l4proto != tcp accept\n"
            "    tcp flags & (fin|syn|rst|ack) != syn socket transparent 1 meta mark set %d"
            " accept\n"
            "    tcp flags & (fin|syn|rst|ack) != syn accept\n",
            family->protocol, family->nfproto, bridge, family->protocol, POLICY_MARK_LOCAL);
    for (unsigned i = 0; i < config->workers; i++)
        fprintf(file,
                "    iifname \"%s%u\" meta l4proto tcp tproxy %s to :%u meta mark set %d"
                " accept\n",
                uplink, i, family->protocol, ipv4 ? ports[i].port4 : ports[i].port6,
                POLICY_MARK_LOCAL);
    fprintf(file, "  }\n");
}

/* What ends here and what is passed on, of both families. */
static void add_filter(FILE *file, const struct net_config *config, const char *bridge,
                       const char *uplink)
{
    static const struct {
        enum net_switch which;
        const char *nfproto;
    } nats[] = {{NET_NAT44, "ipv4"}, {NET_NAT66, "ipv6"}};

    fprintf(file,
            "  chain input {\n"
            "    type filter hook input priority filter; policy drop;\n"
            "    iifname \"lo\" accept\n"
            "    meta mark %d accept\n"
            "    iifname != \"%s\" drop\n"
            "    udp dport { 53, 67 } accept\n"
            "    tcp dport 53 accept\n"
            "    meta l4proto { icmp, icmpv6 } accept\n"
            "    meta l4proto tcp reject with tcp reset\n"
            "  }\n"
            "  chain forward {\n"
            "    type filter hook forward priority filter; policy drop;\n",
            POLICY_MARK_LOCAL, bridge);
    for (size_t i = 0; i < 2; i++)
        if (!config->on[nats[i].which])
            fprintf(file,
                    "    iifname \"%s\" meta nfproto %s meta mark 0 reject with icmpx "
                    "admin-prohibited\n",
                    bridge, nats[i].nfproto);
    fprintf(file,
            "    iifname \"%s\" oifname \"%s*\" accept\n"
            "    iifname \"%s*\" oifname \"%s\" accept\n"
            "  }\n",
            bridge, uplink, uplink, bridge);
}

void policy_write(FILE *file, const struct net_config *config, const char *bridge,
                  const char *uplink, const struct policy_ports *ports)
{
    char gateway[IP_TEXT_MAX], address[IP_TEXT_MAX], subnet[IP_TEXT_MAX + 4];
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    struct ip_addr subnet4 = ip_from_u32(net_config_subnet(config));
    struct family family = {"ip", "ipv4", gateway, subnet, "67", config->on[NET_NAT44]};

    fprintf(file, "table inet openvmnet {\n");
    ip_format(&gateway4, gateway);
    snprintf(subnet, sizeof(subnet), "%s/%u", ip_format(&subnet4, address), config->prefix_len);
    add_detour(file, config, bridge, uplink, ports, &family);
    if (ports[0].port6) {
        family = (struct family){"ip6", "ipv6", gateway, subnet, "547", config->on[NET_NAT66]};
        ip_format(&config->gateway6, gateway);
        snprintf(subnet, sizeof(subnet), "%s/64", ip_format(&config->prefix6, address));
        add_detour(file, config, bridge, uplink, ports, &family);
    }
    add_filter(file, config, bridge, uplink);
    fprintf(file, "}\n");
}
