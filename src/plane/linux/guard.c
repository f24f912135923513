/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The rules are the same for all ports and are loaded once; what differs from port to port are elements of
 * sets, with the interface's index or name as a part of their key. So a port is added by a handful of elements, and
 * a frame meets the same few rules however many ports there are.
 *
 * Prerouting, where a frame comes in from a port:
 *
 *   1. Nearly all frames are TCP or UDP of IPv4 with the port's MAC and an address that is the port's: they pass
 *      with one lookup. TCP can be nothing that the rules below look for, and UDP only DHCP. Each frame pays for
 *      each expression there, so they are few, and of kinds for which the kernel has quick ways (decision 0030).
 *   2. A group address costs a token of the port's bucket, whatever the port's other rights.
 *      IPv6 has its quick way here. What goes to the router gets its guest's number before, as the lower half of
 *      its flow label.
 *   3. A port whose MAC is not known yet (learn.h) sends nothing. One without anti-spoof may send in any name.
 *   4. The source MAC must be the port's. Then each protocol that can lie about who sends has a chain. A chain
 *      ends in a drop: it lists what may pass. Protocols that do not say who sends need no more than the MAC.
 *
 * Forward, where a frame goes from one port to another: not from and not to an isolated one. Frames for the
 * network itself and from it do not come there.
 *
 * RA guard (RFC 6105) must not be evaded by hiding what a packet is (RFC 7113): `meta l4proto` follows the
 * chain of extension headers and matches nothing where that cannot be done. Thus "!= 255" (reserved) below
 * means: it is known; what is not known is dropped. The same holds for a field that is not there, because the
 * packet ends before or because it is in another fragment. A fragment that is not the first one is harmless: it
 * is nothing without the first. Neighbour discovery is never fragmented (RFC 6980).
 *
 * Options of neighbour discovery are at fixed places: a message has those that hosts send, or it is dropped.
 * For NS that is the source's address, then or instead the nonce of RFC 7527.
 *
 * Whom a frame is for is told by its packet type, which the bridge has found out already: "host" is the bridge itself,
 * by its own MAC or the port's; "other" is another station.
 *
 * Drops are counted in a set, too, by interface and reason; an element appears with the first drop. The reason
 * is passed as the packet's mark, which nobody will look at any more.
 */
#include "plane/linux/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plane/linux/bridged.h"
#include "plane/linux/elements.h"

/* Names of ports that are gone keep their counters until a port gets the name; then there are taps and veths. */
#define ELEMENTS_MAX (2 * PLANE_PORTS_MAX)

static const char *const drop_names[] = {
#define DROP_NAME(name) #name,
    PLANE_DROPS(DROP_NAME)};

/* Arguments: elements, counters, the table. */
static const char table_sets[] =
    "table bridge %3$s {\n"
    "  set learning { type ifname; size %1$d; }\n"
    "  set unguarded { type ifname; size %1$d; }\n"
    "  set isolated { type ifname; size %1$d; }\n"
    "  set senders { type iface_index . ether_addr; size %1$d; }\n"
    /* The same, to be compared with bytes that nftables has no name for. */
    "  set macs { typeof iif . @th,208,48; size %1$d; }\n"
    "  set senders4 { type iface_index . ether_addr . ipv4_addr; size %1$d; }\n"
    /* The same of frames: @ll,48,64 is the source and the protocol, or a tag where there is one. */
    "  set own4 { typeof iif . @ll,48,64 . @nh,96,32; size %1$d; }\n"
    "  set any4 { type ifname; size %1$d; }\n"
    "  set rates { type ifname; size %1$d; flags dynamic; }\n"
    /* The guest's number (net_config_guest()), for the way out: see chain label. */
    "  map labels { typeof iifname : @nh,16,16; size %1$d; }\n"
    "  set drops { type ifname . mark; size %2$d; flags dynamic; }\n"
    "  chain count {\n"
    /* Where the set is full, the rule ends here and the next one drops nevertheless. */
    "    add @drops { iifname . meta mark counter }\n"
    "    drop\n"
    "  }\n";

/*
 * Where ports have no bridge in common what comes from outside may be of another port: it is known by its MAC, under which
 * a port with anti-spoof sends. The drop is that of the port which would have got the frame.
 */
static const char table_apart[] =
    "  set machines { type ether_addr; size %1$d; }\n"
    "  set alone { type ether_addr; size %1$d; }\n"
    "  chain isolated_here {\n"
    "    meta mark set %2$d\n"
    "    add @drops { oifname . meta mark counter }\n"
    "    drop\n"
    "  }\n"
    "  chain apart {\n"
    "    type filter hook forward priority filter; policy accept;\n"
    "    iifname \"" BRIDGED_LEG_PREFIX
    "*\" oifname @isolated ether saddr @machines goto isolated_here\n"
    "    iifname \"" BRIDGED_LEG_PREFIX "*\" ether saddr @alone goto isolated_here\n"
    "  }\n";

/* Arguments: frames a second, burst. */
static const char table_group[] = "  chain to_group { add @rates { iifname limit rate over "
                                  "%1$d/second burst %2$d packets } goto storm; }\n";

/* Arguments: which frames are not from one port to another. */
static const char table_forward[] = "  chain forward {\n"
                                    "    type filter hook forward priority filter; policy accept;\n"
                                    "%s"
                                    "    iifname @isolated goto isolated\n"
                                    "    oifname @isolated goto isolated\n"
                                    "  }\n";

/* What a port's announcement (announce.h) is, RARP, is dropped later and not counted here. */
static const char ip_only[] =
    "    oifname \"" BRIDGED_LEG "\" ether type != { arp, ip, ip6, 0x8035 } goto not_ip\n";

/*
 * An IPv6 address does not tell who has it, so the way out is told by the flow label's lower 16 bits: a
 * guest's number instead of what it wrote. Of TCP it gets no more than SYNs (policy.c). A port without a number
 * is nobody.
 */
static const char table_label[] = "  chain label {\n"
                                  "    tcp flags & (fin|syn|rst|ack) != syn return\n"
                                  "    @nh,16,16 set 0\n"
                                  "    @nh,16,16 set iifname map @labels\n"
                                  "  }\n";

/* Arguments: the gateway's IPv4 address. */
static const char table_ipv4[] =
    "  chain from_arp {\n"
    "    arp htype != 1 goto spoofed_mac\n"
    "    arp ptype != 0x0800 goto spoofed_mac\n"
    "    arp hlen != 6 goto spoofed_mac\n"
    "    arp plen != 4 goto spoofed_mac\n"
    "    iif . arp saddr ether != @senders goto spoofed_mac\n"
    "    arp saddr ip 0.0.0.0 accept\n" /* a probe (RFC 5227) */
    "    iif . arp saddr ether . arp saddr ip @senders4 accept\n"
    "    arp saddr ip != %1$s iifname @any4 accept\n"
    "    goto spoofed_ipv4\n"
    "  }\n"
    "  chain from_ipv4 {\n"
    "    udp sport 67 goto rogue_dhcp\n"
    "    icmp type redirect goto rogue_ra\n"
    /* The address for which a DHCP client asks; one lease a port. Else a guest could decline another's. */
    "    udp dport 67 ip frag-off & 0x3fff != 0 goto spoofed_mac\n"
    "    udp dport 67 iif . @th,288,48 != @macs goto spoofed_mac\n"
    "    meta l4proto != 255 iif . ether saddr . ip saddr @senders4 accept\n"
    "    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n"
    /* One that has another address by now than the one it has leased (RFC 2131 4.3.6, REBINDING) is told so. */
    "    ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept\n"
    "    ip saddr 0.0.0.0 meta l4proto igmp accept\n" /* RFC 3376 4.2.13 */
    "    meta l4proto != 255 ip saddr != 0.0.0.0 ip saddr != %1$s iifname @any4 accept\n"
    "    goto spoofed_ipv4\n"
    "  }\n"
    "  chain udp4 {\n"
    "    udp sport 67 return\n"
    "    udp dport 67 return\n"
    "    accept\n"
    "  }\n";

/* Arguments: the router's IPv6 addresses, the same as numbers, a rule for the network's prefix or nothing. */
static const char table_ipv6[] =
    "  chain from_ipv6 {\n"
    "    meta l4proto vmap { icmpv6 : goto icmp6, udp : goto udp6 }\n"
    "    meta l4proto != 255 goto source6\n"
    "    goto rogue_ra\n"
    "  }\n"
    "  chain source6 {\n"
    "    ip6 saddr %1$s goto spoofed_ipv6\n"
    "%3$s"
    "    ip6 saddr fe80::/10 accept\n"
    "    goto spoofed_ipv6\n"
    "  }\n"
    "  chain udp6 {\n"
    "    frag frag-off != 0 goto source6\n"
    "    udp sport != 547 goto source6\n"
    "    goto rogue_dhcp\n"
    "  }\n"
    "  chain icmp6 {\n"
    "    frag frag-off != 0 goto source6\n"
    "    icmpv6 type { nd-router-advert, nd-redirect } goto rogue_ra\n"
    "    exthdr frag exists icmpv6 type { nd-router-solicit, nd-neighbor-solicit,"
    " nd-neighbor-advert } goto rogue_ra\n"
    "    icmpv6 type vmap { nd-router-solicit : goto solicit_router,"
    " nd-neighbor-solicit : goto solicit, nd-neighbor-advert : goto advertise }\n"
    "    ip6 saddr :: icmpv6 type { 131, 132, 143 } accept\n" /* listeners without address */
    "    icmpv6 type != 255 goto source6\n"
    "    goto rogue_ra\n"
    "  }\n"
    "  chain solicit_router {\n"
    "    @th,64,16 != 0x0101 goto spoofed_mac\n"
    "    iif . @th,80,48 != @macs goto spoofed_mac\n"
    "    @th,128,8 >= 0 goto spoofed_mac\n"
    "    ip6 saddr :: accept\n"
    "    goto source6\n"
    "  }\n"
    "  chain solicit {\n"
    "    @th,192,16 != { 0x0101, 0x0e01 } goto spoofed_mac\n"
    "    @th,192,16 0x0101 iif . @th,208,48 != @macs goto spoofed_mac\n"
    "    @th,256,16 != { 0x0101, 0x0e01 } goto spoofed_mac\n"
    "    @th,256,16 0x0101 iif . @th,272,48 != @macs goto spoofed_mac\n"
    "    @th,320,8 >= 0 goto spoofed_mac\n"
    "    ip6 saddr :: accept\n"
    "    goto source6\n"
    "  }\n"
    "  chain advertise {\n"
    "    @th,64,128 %2$s goto spoofed_ipv6\n"
    "    @th,192,16 != 0x0201 goto spoofed_mac\n"
    "    iif . @th,208,48 != @macs goto spoofed_mac\n"
    "    @th,256,8 >= 0 goto spoofed_mac\n"
    "    goto source6\n"
    "  }\n";

static const char table_prerouting[] =
    "  chain prerouting {\n"
    "    type filter hook prerouting priority -300; policy accept;\n";

/* Arguments: the packet type, where to. */
static const char table_own4[] =
    "    %2$smeta pkttype %1$s meta l4proto tcp iif . @ll,48,64 . @nh,96,32 @own4 accept\n"
    "    %2$smeta pkttype %1$s meta l4proto udp iif . @ll,48,64 . @nh,96,32 @own4 jump udp4\n";

/* On a physical network each address may be a machine's. No set of two protocols: it costs more than another rule. */
static const char table_own_mac[] =
    "    meta pkttype other ether type ip meta l4proto tcp"
    " iif . ether saddr @senders accept\n"
    "    meta pkttype other ether type ip meta l4proto udp ip saddr != 0.0.0.0"
    " iif . ether saddr @senders jump udp4\n"
    "    meta pkttype other ether type ip6 meta l4proto tcp"
    " iif . ether saddr @senders accept\n"
    "    meta pkttype host ether type { ip, ip6 } meta l4proto tcp"
    " iif . ether saddr @senders accept\n";

/* Arguments: the network's prefix, the router's address. */
static const char table_own6[] =
    "    ether type ip6 meta l4proto tcp ip6 saddr %s/64 ip6 saddr != %s iif . ether saddr"
    " @senders accept\n";

static const char table_others[] =
    "    iifname @learning goto unknown_mac\n"
    "    iifname @unguarded accept\n"
    "    iif . ether saddr != @senders goto spoofed_mac\n"
    /* What a tag hides is not looked at, but hosts look into tag 0. */
    "    ether type vmap { arp : goto from_arp, ip : goto from_ipv4, ip6 : goto from_ipv6, 8021q : "
    "goto spoofed_mac,"
    " 8021ad : goto spoofed_mac }\n"
    "  }\n"
    "}\n";

/* The link-local address that the kernel gives a link of this MAC (RFC 4291, appendix A). */
static struct ip_addr link_local(const struct mac_addr *mac)
{
    const uint8_t *b = mac->bytes;

    return (struct ip_addr){
        .family = AF_INET6,
        .bytes = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, b[0] ^ 2, b[1], b[2], 0xff, 0xfe, b[3], b[4], b[5]},
    };
}

static const char *hex_format(const struct ip_addr *addr, char buf[40])
{
    int at = snprintf(buf, 40, "0x");

    for (int i = 0; i < 16; i++)
        at += snprintf(buf + at, 40 - (size_t)at, "%02x", addr->bytes[i]);
    return buf;
}

static void print_ipv6(FILE *text, const struct net_config *config)
{
    char addresses[160], numbers[160], prefix[96] = "", ip[2][IP_TEXT_MAX], hex[2][40];
    struct ip_addr link = link_local(&config->mac);
    /* Without IPv6 of its own the router has one address, which guests could use nevertheless. */
    const struct ip_addr *gateway = config->gateway6.family ? &config->gateway6 : &link;

    snprintf(addresses, sizeof(addresses), "{ %s, %s }", ip_format(&link, ip[0]),
             ip_format(gateway, ip[1]));
    snprintf(numbers, sizeof(numbers), "{ %s, %s }", hex_format(&link, hex[0]),
             hex_format(gateway, hex[1]));
    /* Any address of the physical network may be a machine's. */
    if (config->mode == NET_MODE_BRIDGED)
        snprintf(prefix, sizeof(prefix), "    accept\n");
    if (config->prefix6.family)
        snprintf(prefix, sizeof(prefix), "    ip6 saddr %s/64 accept\n",
                 ip_format(&config->prefix6, ip[0]));
    fprintf(text, table_ipv6, addresses, numbers, prefix);
}

/*
 * The quick way of IPv4. In a namespace of the network's own the engine is told of each guest, and the rules for routed
 * packets see to it that the router is no second way to another guest. In the host's these rules do the latter: where
 * br_netfilter is on, those for routed packets meet what the bridge passes on, too.
 *
 * There are also other bridges there, whose frames are no business of ours. Nearly all of them are told by their source
 * address, which is read more quickly than a name; the others by the name of the interface.
 */
static void print_own4(FILE *text, const struct place *place)
{
    const struct net_config *config = place->config;
    uint32_t mask = ip_mask_u32(config->prefix_len), subnet = net_config_subnet(config);
    char outside[48] = "", router[32];

    if (place->host) {
        fprintf(text, "    @nh,96,32 & 0x%08x != 0x%08x goto others\n", mask, subnet);
        snprintf(outside, sizeof(outside), "@nh,128,32 & 0x%08x != 0x%08x ", mask, subnet);
    }
    fprintf(text, table_own4, "host", outside);
    fprintf(text, table_own4, "other", "");
    if (!place->host)
        return;
    snprintf(router, sizeof(router), "@nh,128,32 0x%08x ", config->gateway);
    fprintf(text, table_own4, "host", router);
    fprintf(text, "    goto others\n"
                  "  }\n"
                  "  chain others {\n");
}

static void print_prerouting(FILE *text, const struct place *place)
{
    const struct net_config *config = place->config;
    bool bridged = config->mode == NET_MODE_BRIDGED;
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    struct ip_addr router = ip_from_u32(config->gateway);
    char subnet4[IP_TEXT_MAX], router4[IP_TEXT_MAX], router6[IP_TEXT_MAX], prefix6[IP_TEXT_MAX];

    ip_format(&config->prefix6, prefix6);
    ip_format(&config->gateway6, router6);
    ip_format(&subnet, subnet4);
    ip_format(&router, router4);
    fputs(table_prerouting, text);
    if (!bridged)
        print_own4(text, place);
    if (place->host)
        fprintf(text, "    iifname != \"%s*\" accept\n", place->tap);
    else if (bridged)
        fputs("    iifname \"" BRIDGED_LEG_PREFIX "*\" accept\n", text);
    if (bridged)
        fputs(table_own_mac, text);
    fputs("    meta pkttype { broadcast, multicast } jump to_group\n", text);
    if (place->host && !bridged) {
        fprintf(text, "    meta pkttype host ip daddr %s/%u ip daddr != %s drop\n", subnet4,
                config->prefix_len, router4);
        if (config->prefix6.family)
            fprintf(text, "    meta pkttype host ip6 daddr %s/64 ip6 daddr != %s drop\n", prefix6,
                    router6);
    }
    if (!place->host && !bridged)
        fputs("    meta pkttype host ether type ip6 jump label\n", text);
    if (config->prefix6.family)
        fprintf(text, table_own6, prefix6, router6);
    fputs(table_others, text);
}

/* Beside ports a bridge may have links that lead outside. */
static void print_forward(FILE *text, const struct place *place)
{
    char others[256] = "";

    if (place->host)
        snprintf(others, sizeof(others),
                 "    oifname != \"%1$s*\" accept\n"
                 "    iifname != \"%1$s*\" accept\n",
                 place->tap);
    else if (place->config->mode == NET_MODE_BRIDGED)
        snprintf(others, sizeof(others),
                 "%s"
                 "    oifname \"" BRIDGED_LEG_PREFIX "*\" accept\n"
                 "    iifname \"" BRIDGED_LEG_PREFIX "*\" accept\n",
                 place->ip_only ? ip_only : "");
    fprintf(text, table_forward, others);
}

void guard_write(FILE *text, const struct place *place)
{
    const struct net_config *config = place->config;
    struct ip_addr gateway = ip_from_u32(config->gateway);
    char ipv4[IP_TEXT_MAX];

    fprintf(text, table_sets, ELEMENTS_MAX, ELEMENTS_MAX * PLANE_DROPS_LEN, place->table);
    for (int i = 0; i < PLANE_DROPS_LEN; i++)
        fprintf(text, "  chain %s { meta mark set %d goto count; }\n", drop_names[i], i);
    fprintf(text, table_group, GUARD_STORM_FRAMES_S, GUARD_STORM_BURST_FRAMES);
    print_forward(text, place);
    if (place->apart)
        fprintf(text, table_apart, ELEMENTS_MAX, PLANE_DROP_isolated);
    /* A bridged network has no gateway of its own: the address that is nobody's stands for it. */
    fprintf(text, table_ipv4, ip_format(&gateway, ipv4));
    print_ipv6(text, config);
    fputs(table_label, text);
    print_prerouting(text, place);
}
