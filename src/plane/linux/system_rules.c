/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The host routes for the network, and these rules say what may pass: the promises are those of the private plane
 * (policy.c and uplink/rules.c), in nftables' words.
 *
 *   input        from a guest to the host: DHCP, DNS, ping, and what host-ports says, at the gateway's address
 *   forward      from a guest to elsewhere, and the answers; from elsewhere only what a forward has let in
 *   prerouting   a forward's port becomes its guest's
 *   postrouting  what leaves has the host's address
 *
 * A verdict accept ends these rules and no others: what the host's administrator forbids elsewhere stays forbidden.
 * Answers are known by their connection and asked no questions, so the rules cost a flow's first packet alone.
 *
 * Where br_netfilter is on, frames between guests meet these rules too, as packets from the bridge to the bridge. The
 * guard has looked at them (guard.c), and has dropped what would go that way through the host; so such a packet is
 * either of that kind or a forward's that leads back into the network.
 *
 * Another network of ours on this host is not reached: who wants machines to see each other puts them on one.
 */
#include "plane/linux/system_rules.h"

#include <stdlib.h>
#include <string.h>

/* What ip_is_forbidden() says of IPv4, and those with IPv6's own; nobody is reached there for a guest. */
#define FORBIDDEN4 "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0-255.255.255.255"
#define FORBIDDEN6 "::/96, ::ffff:0.0.0.0/96, fe80::/10, ff00::/8"

/*
 * IPv6 addresses that carry an IPv4 one (ip_embedded()): where that is, in bits from the header's begin, and what tells
 * such an address. Teredo's is inverted.
 */
static const struct {
    const char *match;
    unsigned at_bits;
    uint32_t inverted;
} embedded[] = {
    {"ip6 daddr 64:ff9b::/96", 288, 0},
    {"ip6 daddr ::ffff:0:0:0/96", 288, 0},
    {"@nh,256,32 & 0xfdffffff == 0x00005efe", 288, 0},
    {"ip6 daddr 2002::/16", 208, 0},
    {"ip6 daddr 2001::/32", 288, 0xffffffff},
};

static const struct {
    uint32_t address, mask;
} forbidden4[] = {
    {0x00000000, 0xff000000},
    {0x7f000000, 0xff000000},
    {0xa9fe0000, 0xffff0000},
    {0xe0000000, 0xe0000000},
};

static void write_embedded(FILE *text)
{
    for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++)
        for (size_t k = 0; k < sizeof(forbidden4) / sizeof(forbidden4[0]); k++)
            fprintf(text, "    %s @nh,%u,32 & 0x%08x == 0x%08x goto denied\n", embedded[i].match,
                    embedded[i].at_bits, forbidden4[k].mask,
                    (forbidden4[k].address ^ embedded[i].inverted) & forbidden4[k].mask);
    fputs("    goto embedded_own\n", text);
}

void system_rules_write_own(FILE *text, const struct place *place, const uint32_t *own4, size_t len)
{
    fprintf(text, "flush chain inet %s embedded_own\n", place->table);
    for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]) && len; i++) {
        fprintf(text, "add rule inet %s embedded_own %s @nh,%u,32 { ", place->table,
                embedded[i].match, embedded[i].at_bits);
        for (size_t k = 0; k < len; k++)
            fprintf(text, "%s0x%08x", k ? ", " : "", own4[k] ^ embedded[i].inverted);
        fputs(" } goto denied\n", text);
    }
}

static unsigned rule_weight(const struct net_rule *rule)
{
    return rule->prefix_len << 2 | (rule->port ? 2u : 0u) | (rule->allow ? 0u : 1u);
}

static int compare_rules(const void *a, const void *b)
{
    const struct net_rule *const *first = a, *const *second = b;

    return (int)rule_weight(*second) - (int)rule_weight(*first);
}

/* The rules of the network's file, in the order in which net_rules_allow() prefers them: the first match decides. */
static void write_file_rules(FILE *text, const struct net_file *file)
{
    const struct net_rule *sorted[NET_RULES_MAX];
    char address[IP_TEXT_MAX];
    bool any_deny = false;

    if (!file || !file->rules_len)
        return;
    for (unsigned i = 0; i < file->rules_len; i++) {
        sorted[i] = &file->rules[i];
        any_deny = any_deny || !file->rules[i].allow;
    }
    qsort(sorted, file->rules_len, sizeof(const struct net_rule *), compare_rules);
    for (unsigned i = 0; i < file->rules_len; i++) {
        const struct net_rule *rule = sorted[i];

        fprintf(text, "    meta nfproto %s %s daddr %s/%u ",
                rule->prefix.family == AF_INET ? "ipv4" : "ipv6",
                rule->prefix.family == AF_INET ? "ip" : "ip6", ip_format(&rule->prefix, address),
                rule->prefix_len);
        if (rule->port)
            fprintf(text, "meta l4proto { tcp, udp } th dport %u ", rule->port);
        fputs(rule->allow ? "accept\n" : "goto excluded\n", text);
    }
    if (!any_deny)
        fputs("    goto excluded\n", text);
}

static void write_host_ports(FILE *text, const struct port_set *ports)
{
    if (!ports->given) {
        fputs("    meta l4proto { tcp, udp } accept\n", text);
        return;
    }
    for (unsigned i = 0; i < ports->len; i++)
        fprintf(text, "    meta l4proto { tcp, udp } th dport %u-%u accept\n",
                ports->ranges[i].first, ports->ranges[i].last);
}

/* From a guest to the host. */
static void write_input(FILE *text, const struct place *place, const char *gateway4,
                        const char *gateway6)
{
    const struct net_config *config = place->config;

    fprintf(text,
            "  chain input {\n"
            "    type filter hook input priority filter; policy accept;\n"
            "    iifname \"%s\" goto to_host\n"
            "  }\n"
            "  chain to_host {\n"
            "    ct state established,related accept\n"
            "    meta nfproto ipv4 udp dport 67 accept\n"
            "    meta nfproto ipv6 udp dport 547 accept\n"
            "    ip6 daddr { fe80::/10, ff00::/8 } meta l4proto icmpv6 accept\n"
            "%s"
            "    fib daddr type { broadcast, multicast } drop\n"
            "    ip daddr %s goto to_gateway\n",
            place->bridge,
            config->on[NET_DNS]
                ? "    ip6 daddr fe80::/10 meta l4proto { tcp, udp } th dport 53 accept\n"
                : "",
            gateway4);
    if (config->gateway6.family)
        fprintf(text, "    ip6 daddr %s goto to_gateway\n", gateway6);
    fputs("    goto denied\n"
          "  }\n"
          "  chain to_gateway {\n"
          "    meta l4proto { icmp, icmpv6 } accept\n",
          text);
    if (config->on[NET_DNS])
        fputs("    meta l4proto { tcp, udp } th dport 53 accept\n", text);
    write_host_ports(text, &config->host_ports);
    fputs("    goto excluded\n"
          "  }\n",
          text);
}

static void write_forward(FILE *text, const struct place *place, const char *subnet4,
                          const char *subnet6)
{
    const struct net_config *config = place->config;
    bool nat4 = net_config_has_nat(config, AF_INET), nat6 = net_config_has_nat(config, AF_INET6);

    fprintf(text,
            "  chain forward {\n"
            "    type filter hook forward priority filter; policy accept;\n"
            "    ct state established,related accept\n"
            "    iifname \"%1$s\" oifname \"%1$s\" accept\n"
            "    iifname \"%1$s\" goto from_guest\n"
            "    oifname \"%1$s\" goto to_guest\n"
            "    oifname != \"vmnet-*\" jump closed\n"
            "  }\n"
            "  chain closed {\n"
            "  }\n"
            "  chain to_guest {\n"
            "%2$s"
            /* Guests of another network are told; whose rules come first is not said. */
            "    iifname \"vmnet-*\" goto denied\n"
            "    drop\n"
            "  }\n"
            "  chain from_guest {\n",
            place->bridge, nat4 || nat6 ? "    ct status dnat accept\n" : "");
    /* Without a way out of one IP version that is answered as what is denied. */
    fprintf(text, "    meta nfproto ipv4 ip saddr != %s drop\n", subnet4);
    fprintf(text, "    meta nfproto ipv6 ip6 saddr != %s drop\n",
            config->prefix6.family ? subnet6 : "::");
    if (!nat4)
        fputs("    meta nfproto ipv4 goto denied\n", text);
    if (!nat6)
        fputs("    meta nfproto ipv6 goto denied\n", text);
    fputs("    ct status dnat accept\n"
          "    oifname \"vmnet-*\" goto denied\n"
          "    ip daddr { " FORBIDDEN4 " } goto denied\n"
          "    ip6 daddr { " FORBIDDEN6 " } goto denied\n"
          "    meta nfproto ipv6 jump embedded\n",
          text);
    write_file_rules(text, config->file);
    fputs("  }\n"
          "  chain embedded_own {\n"
          "  }\n"
          "  chain embedded {\n",
          text);
    write_embedded(text);
    fputs("  }\n", text);
}

/*
 * What leads back into the network by a forward must come back the same way. @protocol and the addresses for which nothing
 * is translated are in nft's words.
 */
static void write_masquerade(FILE *text, const struct place *place, const char *protocol,
                             const char *subnet, const char *group)
{
    fprintf(text,
            "    %1$s saddr %2$s oifname \"%3$s\" ct status dnat masquerade\n"
            "    %1$s saddr %2$s oifname != \"%3$s\" %1$s daddr != { %2$s, %4$s }"
            " masquerade fully-random,persistent\n",
            protocol, subnet, place->bridge, group);
}

/*
 * A forward of one address of the host, and one of all of them. The host's loopback is not asked here: what comes from
 * the host itself goes another way.
 */
static void write_forwards(FILE *text, const struct net_config *config)
{
    static const struct {
        int family;
        const char *ip, *type;
    } families[] = {{AF_INET, "ip", "ipv4_addr"}, {AF_INET6, "ip6", "ipv6_addr"}};

    for (int i = 0; i < 2; i++)
        fprintf(text,
                "  map one_%1$s { type inet_proto . %2$s . inet_service : %2$s . inet_service; }\n"
                "  map all_%1$s { type inet_proto . inet_service : %2$s . inet_service; }\n",
                families[i].ip, families[i].type);
    fputs("  chain prerouting {\n"
          "    type nat hook prerouting priority dstnat; policy accept;\n"
          "    meta l4proto != { tcp, udp } accept\n"
          "    fib daddr type != local accept\n",
          text);
    for (int i = 0; i < 2; i++)
        if (net_config_has_nat(config, families[i].family))
            fprintf(text,
                    "    dnat %1$s to meta l4proto . %1$s daddr . th dport map @one_%1$s\n"
                    "    dnat %1$s to meta l4proto . th dport map @all_%1$s\n",
                    families[i].ip);
    fputs("  }\n", text);
}

static void write_nat(FILE *text, const struct place *place, const char *subnet4,
                      const char *subnet6)
{
    const struct net_config *config = place->config;

    write_forwards(text, config);
    fputs("  chain postrouting {\n"
          "    type nat hook postrouting priority srcnat; policy accept;\n",
          text);
    if (net_config_has_nat(config, AF_INET))
        write_masquerade(text, place, "ip", subnet4, "224.0.0.0/4, 255.255.255.255");
    if (net_config_has_nat(config, AF_INET6) && config->prefix6.family)
        write_masquerade(text, place, "ip6", subnet6, "ff00::/8");
    fputs("  }\n", text);
}

void system_rules_write(FILE *text, const struct place *place)
{
    const struct net_config *config = place->config;
    struct ip_addr gateway = ip_from_u32(config->gateway);
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    char gateway4[IP_TEXT_MAX], gateway6[IP_TEXT_MAX], address[IP_TEXT_MAX];
    char subnet4[IP_TEXT_MAX + 4], subnet6[IP_TEXT_MAX + 4];

    ip_format(&gateway, gateway4);
    ip_format(&config->gateway6, gateway6);
    snprintf(subnet4, sizeof(subnet4), "%s/%u", ip_format(&subnet, address), config->prefix_len);
    snprintf(subnet6, sizeof(subnet6), "%s/64", ip_format(&config->prefix6, address));
    fprintf(text,
            "table inet %1$s\n"
            "delete table inet %1$s\n"
            "table inet %1$s {\n"
            "  chain denied { reject with icmpx admin-prohibited; }\n"
            "  chain excluded { reject with icmpx admin-prohibited; }\n",
            place->table);
    write_input(text, place, gateway4, gateway6);
    write_forward(text, place, subnet4, subnet6);
    if (net_config_has_way_out(config))
        write_nat(text, place, subnet4, subnet6);
    fputs("}\n", text);
}

void system_rules_write_forwards(FILE *text, const struct place *place,
                                 const struct plane_forward *forwards, size_t len)
{
    static const char *const maps[] = {"one_ip", "all_ip", "one_ip6", "all_ip6"};
    static const struct ip_addr none;
    char host[IP_TEXT_MAX], guest[IP_TEXT_MAX];

    if (!net_config_has_way_out(place->config))
        return;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        fprintf(text, "flush map inet %s %s\n", place->table, maps[i]);
    for (size_t i = 0; i < len; i++) {
        const struct ip_endpoint *from = &forwards[i].host, *to = &forwards[i].guest;
        const char *family = from->addr.family == AF_INET ? "ip" : "ip6";
        bool all = memcmp(from->addr.bytes, none.bytes, ip_len_bytes(&from->addr)) == 0;

        if (from->addr.family != to->addr.family)
            continue;
        fprintf(text, "add element inet %s %s_%s { %s . ", place->table, all ? "all" : "one",
                family, forwards[i].udp ? "udp" : "tcp");
        if (!all)
            fprintf(text, "%s . ", ip_format(&from->addr, host));
        fprintf(text, "%u : %s . %u }\n", from->port, ip_format(&to->addr, guest), to->port);
    }
}

void system_rules_remove(FILE *text, const struct place *place)
{
    fprintf(text,
            "table inet %1$s\n"
            "delete table inet %1$s\n"
            "table bridge %1$s\n"
            "delete table bridge %1$s\n",
            place->table);
}
