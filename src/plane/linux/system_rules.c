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

/* What ip_is_forbidden() says; nobody is reached there for a guest. */
static const struct {
    uint32_t address, mask;
} forbidden4[] = {
    {0x00000000, 0xff000000},
    {0x7f000000, 0xff000000},
    {0xa9fe0000, 0xffff0000},
    {0xe0000000, 0xe0000000},
};
#define FORBIDDEN4_LEN (sizeof(forbidden4) / sizeof(forbidden4[0]))
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

static void write_embedded(FILE *text)
{
    for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++)
        for (size_t k = 0; k < FORBIDDEN4_LEN; k++)
            fprintf(text, "    %s @nh,%u,32 & 0x%08x == 0x%08x goto unless_forward\n",
                    embedded[i].match, embedded[i].at_bits, forbidden4[k].mask,
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
        fputs(" } goto unless_forward\n", text);
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

/*
 * The rules of the network's file for one IP version, in the order in which net_rules_allow() prefers them: the first match
 * decides. What a forward leads back into the network is none of their business.
 */
static void write_file_rules(FILE *text, const struct net_file *file, int family)
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
    fputs("    ct status dnat accept\n", text);
    for (unsigned i = 0; i < file->rules_len; i++) {
        const struct net_rule *rule = sorted[i];

        if (rule->prefix.family != family)
            continue;
        fprintf(text, "    meta nfproto %s %s daddr %s/%u ", family == AF_INET ? "ipv4" : "ipv6",
                family == AF_INET ? "ip" : "ip6", ip_format(&rule->prefix, address),
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

/*
 * From a guest to elsewhere. A connection that is made meets all of this, so what tells common packets from rare ones is of
 * the kinds that are quick (decision 0030), and the rare ones go to chains of their own.
 */
static void write_from_guest(FILE *text, const struct place *place, const char *subnet6)
{
    const struct net_config *config = place->config;

    fputs("  chain from_guest {\n"
          "    meta nfproto ipv6 goto from_guest6\n",
          text);
    fprintf(text, "    @nh,96,32 & 0x%08x != 0x%08x goto stranger\n",
            ip_mask_u32(config->prefix_len), net_config_subnet(config));
    if (net_config_has_nat(config, AF_INET)) {
        fputs("    oifname \"" PLACE_PREFIX "*\" goto to_network\n", text);
        for (size_t i = 0; i < FORBIDDEN4_LEN; i++)
            fprintf(text, "    @nh,128,32 & 0x%08x == 0x%08x goto unless_forward\n",
                    forbidden4[i].mask, forbidden4[i].address);
        write_file_rules(text, config->file, AF_INET);
    } else {
        fputs("    goto no_way\n", text);
    }
    fprintf(text,
            "  }\n"
            "  chain from_guest6 {\n"
            "    ip6 saddr != %s goto stranger\n",
            config->prefix6.family ? subnet6 : "::");
    if (net_config_has_nat(config, AF_INET6)) {
        fputs("    oifname \"" PLACE_PREFIX "*\" goto to_network\n"
              "    ip6 daddr { " FORBIDDEN6 " } goto unless_forward\n"
              "    jump embedded\n",
              text);
        write_file_rules(text, config->file, AF_INET6);
    } else {
        fputs("    goto no_way\n", text);
    }
    fputs("  }\n", text);
}

static void write_forward(FILE *text, const struct place *place, const char *subnet6)
{
    fprintf(text,
            "  chain forward {\n"
            "    type filter hook forward priority filter; policy accept;\n"
            "    ct state established,related accept\n"
            "    iifname \"%1$s\" goto from_guest\n"
            "    oifname \"%1$s\" goto to_guest\n"
            "    oifname != \"" PLACE_PREFIX "*\" jump closed\n"
            "  }\n"
            "  chain closed {\n"
            "  }\n"
            "  chain to_guest {\n"
            "%2$s"
            /* Guests of another network are told; whose rules come first is not said. */
            "    iifname \"" PLACE_PREFIX "*\" goto denied\n"
            "    drop\n"
            "  }\n"
            /* From bridge to bridge: see above. */
            "  chain stranger {\n"
            "    oifname \"%1$s\" accept\n"
            "    drop\n"
            "  }\n"
            /* Without a way out of one IP version that is answered as what is denied. */
            "  chain no_way {\n"
            "    oifname \"%1$s\" accept\n"
            "    goto denied\n"
            "  }\n"
            "  chain to_network {\n"
            "    oifname \"%1$s\" accept\n"
            "    goto unless_forward\n"
            "  }\n"
            "  chain unless_forward {\n"
            "    ct status dnat accept\n"
            "    goto denied\n"
            "  }\n",
            place->bridge,
            net_config_has_way_out(place->config) ? "    ct status dnat accept\n" : "");
    write_from_guest(text, place, subnet6);
    fputs("  chain embedded_own {\n"
          "  }\n"
          "  chain embedded {\n",
          text);
    write_embedded(text);
    fputs("  }\n", text);
}

/*
 * A forward of one address of the host, and one of all of them. The host's loopback is not asked here: what comes from
 * the host itself goes another way. The first question is whether it could be a forward's at all, by a lookup of two bytes.
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
    fputs("  set ports { type inet_service; }\n"
          "  chain prerouting {\n"
          "    type nat hook prerouting priority dstnat; policy accept;\n"
          "    th dport != @ports accept\n"
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

/*
 * What leaves gets the host's address; to group addresses the host alone sends. What leads back into the network by a forward
 * must come back the same way.
 */
static void write_masquerade(FILE *text, const struct place *place, const char *subnet4,
                             const char *subnet6)
{
    const struct net_config *config = place->config;
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    struct ip_addr mask = ip_from_u32(ip_mask_u32(config->prefix_len));
    char masks[IP_TEXT_MAX], address[IP_TEXT_MAX];

    fputs("  chain postrouting {\n"
          "    type nat hook postrouting priority srcnat; policy accept;\n",
          text);
    if (net_config_has_nat(config, AF_INET))
        fprintf(text,
                "    ip saddr & %1$s == %2$s ip daddr & %1$s != %2$s"
                " ip daddr & 240.0.0.0 != 224.0.0.0 ip daddr != 255.255.255.255"
                " oifname != \"%3$s\" masquerade fully-random,persistent\n"
                "    ip saddr %4$s oifname \"%3$s\" ct status dnat masquerade\n",
                ip_format(&mask, masks), ip_format(&subnet, address), place->bridge, subnet4);
    if (net_config_has_nat(config, AF_INET6) && config->prefix6.family)
        fprintf(text,
                "    ip6 saddr %1$s ip6 daddr != { %1$s, ff00::/8 } oifname != \"%2$s\""
                " masquerade fully-random,persistent\n"
                "    ip6 saddr %1$s oifname \"%2$s\" ct status dnat masquerade\n",
                subnet6, place->bridge);
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
    write_forward(text, place, subnet6);
    if (net_config_has_way_out(config)) {
        write_forwards(text, config);
        write_masquerade(text, place, subnet4, subnet6);
    }
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
    fprintf(text, "flush set inet %s ports\n", place->table);
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
        fprintf(text, "flush map inet %s %s\n", place->table, maps[i]);
    for (size_t i = 0; i < len; i++) {
        const struct ip_endpoint *from = &forwards[i].host, *to = &forwards[i].guest;
        const char *family = from->addr.family == AF_INET ? "ip" : "ip6";
        bool all = memcmp(from->addr.bytes, none.bytes, ip_len_bytes(&from->addr)) == 0;

        if (from->addr.family != to->addr.family)
            continue;
        fprintf(text, "add element inet %s ports { %u }\n", place->table, from->port);
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
