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
 * No rule here tracks connections: nothing to fill up, nothing to time out.
 */
#include "plane/linux/policy.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>

#define RULESET_BYTES 8192

static const char ruleset_head[] = "table inet openvmnet\n"
                                   "delete table inet openvmnet\n"
                                   "table inet openvmnet {\n";

/* Arguments: uplink, port4, bridge, gateway, subnet. */
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
    "  }\n";

/* Arguments: uplink, port6, bridge, gateway. */
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
    "  }\n";

/* Arguments: uplink, bridge. */
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
                                     "    iifname \"%2$s\" oifname \"%1$s\" accept\n"
                                     "    iifname \"%1$s\" oifname \"%2$s\" accept\n"
                                     "  }\n"
                                     "}\n";

static int policy_append(char *ruleset, size_t *used_bytes, const char *text)
{
    size_t len_bytes = strlen(text);

    if (*used_bytes + len_bytes >= RULESET_BYTES)
        return -ENOSPC;
    memcpy(ruleset + *used_bytes, text, len_bytes + 1);
    *used_bytes += len_bytes;
    return 0;
}

static int policy_run(const char *ruleset, struct err *err)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    int result = 0;

    if (!nft)
        return err_set(err, -ENOMEM, "cannot start libnftables");
    nft_ctx_buffer_error(nft);
    nft_ctx_buffer_output(nft);
    if (nft_run_cmd_from_buffer(nft, ruleset) != 0)
        result =
            err_set(err, -EOPNOTSUPP,
                    "cannot load the network's nftables rules; the kernel needs nf_tables with "
                    "tproxy and socket (modules nft_tproxy, nft_socket): %.300s",
                    nft_ctx_get_error_buffer(nft));
    nft_ctx_free(nft);
    return result;
}

int policy_load(const struct net_config *config, const char *bridge, const char *uplink,
                unsigned port4, unsigned port6, struct err *err)
{
    char ruleset[RULESET_BYTES], part[2048], gateway[IP_TEXT_MAX];
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    size_t used_bytes = 0;
    int result;

    result = policy_append(ruleset, &used_bytes, ruleset_head);
    snprintf(part, sizeof(part), ruleset_detour4, uplink, port4, bridge,
             ip_format(&gateway4, gateway));
    if (result == 0)
        result = policy_append(ruleset, &used_bytes, part);
    if (result == 0 && port6) {
        snprintf(part, sizeof(part), ruleset_detour6, uplink, port6, bridge,
                 ip_format(&config->gateway6, gateway));
        result = policy_append(ruleset, &used_bytes, part);
    }
    snprintf(part, sizeof(part), ruleset_filter, uplink, bridge);
    if (result == 0)
        result = policy_append(ruleset, &used_bytes, part);
    if (result < 0)
        return err_set(err, result, "the network's nftables rules are longer than %d bytes",
                       RULESET_BYTES);
    return policy_run(ruleset, err);
}
