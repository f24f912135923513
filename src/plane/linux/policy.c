/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A guest's packet that is not for the network itself leaves by the default route, over the TUN device
 * `up0`, to the engine. TCP is different only in its first segment:
 *
 *   1. The guest's SYN goes over up0 to the engine, which connects to the destination outside.
 *   2. When that worked, the engine writes the same SYN back to up0. It now comes *in* from up0, and
 *      `tproxy` gives it to the engine's transparent listener: mark 1, whose routing table says that
 *      every address is local.
 *   3. All later segments of the guest match that connection's socket: `socket transparent`, mark 1.
 *
 * A SYN is never matched against sockets in step 3: it may start anew what is in TIME_WAIT, which only
 * tproxy handles (kernel: nf_tproxy_handle_time_wait4).
 *
 * The gateway's own addresses are local to this namespace, but stand for the host: what is not DHCP,
 * DNS or ICMP gets mark 2, whose routing table leads to up0 for local addresses too. For that the rule
 * for the local table stands below those for the marks.
 *
 * A host network is the same but for what may go to up0: nothing without mark 2, so its guests reach the host.
 *
 * From one guest to another there is the bridge and no other way: what a guest sends to the router's MAC for
 * another guest's address is dropped before it is routed, so that the router neither forwards nor redirects it.
 *
 * No rule here tracks connections: nothing to fill up, nothing to time out.
 */
#include "plane/linux/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RULESET_BYTES 8192

static const char ruleset_head[] = "table inet openvmnet\n"
                                   "delete table inet openvmnet\n"
                                   "table inet openvmnet {\n";

/* Arguments: uplink, port4, bridge, gateway, subnet, prefix length. */
static const char ruleset_detour4[] =
    "  chain detour4 {\n"
    "    type filter hook prerouting priority mangle; policy accept;\n"
    "    meta nfproto != ipv4 accept\n"
    "    iifname \"%1$s\" tcp flags & (fin|syn|rst|ack) == syn tproxy ip to :%2$u meta mark set 1"
    " accept\n"
    "    iifname != \"%3$s\" accept\n"
    "    tcp flags & (fin|syn|rst|ack) != syn socket transparent 1 meta mark set 1 accept\n"
    "    ip daddr %4$s udp dport { 53, 67 } accept\n"
    "    ip daddr %4$s tcp dport 53 accept\n"
    "    ip daddr %4$s meta l4proto { tcp, udp } meta mark set 2 accept\n"
    "    ip daddr %5$s/%6$u ip daddr != %4$s drop\n"
    "  }\n";

/* Arguments: uplink, port6, bridge, gateway, prefix. */
static const char ruleset_detour6[] =
    "  chain detour6 {\n"
    "    type filter hook prerouting priority mangle; policy accept;\n"
    "    meta nfproto != ipv6 accept\n"
    "    iifname \"%1$s\" tcp flags & (fin|syn|rst|ack) == syn tproxy ip6 to :%2$u meta mark set 1"
    " accept\n"
    "    iifname != \"%3$s\" accept\n"
    "    tcp flags & (fin|syn|rst|ack) != syn socket transparent 1 meta mark set 1 accept\n"
    "    ip6 daddr %4$s udp dport { 53, 547 } accept\n"
    "    ip6 daddr %4$s tcp dport 53 accept\n"
    "    ip6 daddr %4$s meta l4proto { tcp, udp } meta mark set 2 accept\n"
    "    ip6 daddr %5$s/64 ip6 daddr != %4$s drop\n"
    "  }\n";

/* Arguments: uplink, bridge, a rule for a host network or nothing. */
static const char ruleset_filter[] = "  chain input {\n"
                                     "    type filter hook input priority filter; policy drop;\n"
                                     "    iifname \"lo\" accept\n"
                                     "    meta mark 1 accept\n"
                                     "    iifname != \"%2$s\" drop\n"
                                     "    udp dport { 53, 67 } accept\n"
                                     "    tcp dport 53 accept\n"
                                     "    meta l4proto { icmp, icmpv6 } accept\n"
                                     "    meta l4proto tcp reject with tcp reset\n"
                                     "  }\n"
                                     "  chain forward {\n"
                                     "    type filter hook forward priority filter; policy drop;\n"
                                     "%3$s"
                                     "    iifname \"%2$s\" oifname \"%1$s\" accept\n"
                                     "    iifname \"%1$s\" oifname \"%2$s\" accept\n"
                                     "  }\n"
                                     "}\n";

/* Arguments: bridge. What comes back from the uplink has no mark. */
static const char ruleset_host_only[] =
    "    iifname \"%s\" meta mark != 2 reject with icmpx admin-prohibited\n";

static int policy_append(char *ruleset, size_t *used_bytes, const char *text)
{
    size_t len_bytes = strlen(text);

    if (*used_bytes + len_bytes >= RULESET_BYTES)
        return -ENOSPC;
    memcpy(ruleset + *used_bytes, text, len_bytes + 1);
    *used_bytes += len_bytes;
    return 0;
}

int policy_load(struct nft_ctx *nft, const struct net_config *config, const char *bridge,
                const char *uplink, unsigned port4, unsigned port6, struct err *err)
{
    char ruleset[RULESET_BYTES], part[2048], gateway[IP_TEXT_MAX], subnet[IP_TEXT_MAX];
    char host_only[128] = "";
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    struct ip_addr subnet4 = ip_from_u32(net_config_subnet(config));
    size_t used_bytes = 0;
    int result;

    result = policy_append(ruleset, &used_bytes, ruleset_head);
    snprintf(part, sizeof(part), ruleset_detour4, uplink, port4, bridge,
             ip_format(&gateway4, gateway), ip_format(&subnet4, subnet), config->prefix_len);
    if (result == 0)
        result = policy_append(ruleset, &used_bytes, part);
    if (result == 0 && port6) {
        snprintf(part, sizeof(part), ruleset_detour6, uplink, port6, bridge,
                 ip_format(&config->gateway6, gateway), ip_format(&config->prefix6, subnet));
        result = policy_append(ruleset, &used_bytes, part);
    }
    if (config->mode == NET_MODE_HOST)
        snprintf(host_only, sizeof(host_only), ruleset_host_only, bridge);
    snprintf(part, sizeof(part), ruleset_filter, uplink, bridge, host_only);
    if (result == 0)
        result = policy_append(ruleset, &used_bytes, part);
    if (result < 0)
        return err_set(err, result, "the network's nftables rules are longer than %d bytes",
                       RULESET_BYTES);
    result = ruleset_run(nft, ruleset, err);
    return result < 0 ? err_prefix(err, result,
                                   "cannot load the network's rules; the kernel needs nf_tables "
                                   "with tproxy and socket (modules nft_tproxy, nft_socket)")
                      : 0;
}
