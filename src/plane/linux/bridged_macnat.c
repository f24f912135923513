/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The chain at the link to the network gets what its filter leaves: what is not for the host. (A copy of what is for a
 * group the host has got, as it was.) It ends in "out": the source becomes the interface's MAC, and the frame leaves by
 * the interface, past its hook for what is sent. There it is told from the host's own by a mark, which it then loses.
 *
 * At the interface, of what is received, a frame for a group is copied to the network. One for the interface's MAC is a
 * machine's where its IP address is, and not the host's. ARP goes to both, for it does not say which host is
 * meant: the copy gets the machine's MAC, and the frame then its own one back.
 *
 * A field within ICMPv6, or DHCP, cannot be set by nftables' words: they leave the checksum of what they do not know as it
 * was. The kernel does it, so these rules are made as messages. A checksum that hardware is to complete needs no change.
 */
#include "plane/linux/bridged_macnat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "plane/linux/elements.h"

/* "vmnt"; a frame has it between two hooks. */
#define MARK 0x766d6e74

#define DHCP_FLAGS_OFFSET 18 /* behind UDP's header; RFC 2131 2 */
#define DHCP_BROADCAST 0x8000
#define UDP_CHECKSUM_OFFSET 6
#define ICMP6_CHECKSUM_OFFSET 2
#define OPTION_HEADER_BYTES                                                                        \
    2 /* type and length of an option of neighbour discovery, RFC 4861 4.6 */

/* Arguments: the interface's MAC and index, new addresses a minute and at once. */
static const char out_text[] =
    "  set newcomers { type ether_addr; size 1024; flags dynamic,timeout; timeout 10m; }\n"
    "  chain out { meta mark set %5$d ether saddr set %1$s fwd to %2$d; }\n"
    "  chain newcomer { update @newcomers { ether saddr limit rate over %3$d/minute burst %4$d "
    "packets } drop; }\n"
    "  chain dhcp { udp checksum 0 @th,144,16 set 0x8000 return; }\n"
    "  chain lladdr_8 {}\n"
    "  chain lladdr_24 {}\n"
    "  chain lladdr_32 {}\n"
    "  chain arp_out {\n"
    "    arp saddr ether set %1$s\n"
    "    arp saddr ip 0.0.0.0 goto out\n"
    "    arp saddr ip != @owners4 jump newcomer\n"
    "    delete @owners4 { arp saddr ip : ether saddr }\n"
    "    add @owners4 { arp saddr ip : ether saddr }\n"
    "    goto out\n"
    "  }\n"
    "  chain ipv4_out {\n"
    "    ip saddr 0.0.0.0 udp sport 68 udp dport 67 jump dhcp\n"
    "    ip saddr 0.0.0.0 goto out\n"
    "    fib saddr type { local, broadcast, multicast } drop\n"
    "    ip saddr != @owners4 jump newcomer\n"
    "    update @owners4 { ip saddr : ether saddr }\n"
    "    goto out\n"
    "  }\n"
    "  chain ipv6_out {\n"
    "    icmpv6 type nd-router-solicit @th,64,16 0x0101 jump lladdr_8\n"
    "    icmpv6 type nd-neighbor-solicit @th,192,16 0x0101 jump lladdr_24\n"
    "    icmpv6 type nd-neighbor-solicit @th,192,16 0x0e01 @th,256,16 0x0101 jump lladdr_32\n"
    "    icmpv6 type nd-neighbor-advert @th,192,16 0x0201 jump lladdr_24\n"
    "    ip6 saddr :: goto out\n"
    "    ip6 saddr != fe80::/10 fib saddr type local drop\n"
    "    ip6 saddr != @owners6 jump newcomer\n"
    "    icmpv6 type nd-neighbor-advert delete @owners6 { ip6 saddr : ether saddr }\n"
    "    update @owners6 { ip6 saddr : ether saddr }\n"
    "    goto out\n"
    "  }\n";

/* Arguments: the link's name. */
static const char link_text[] =
    "  chain from_machines {\n"
    "    type filter hook ingress device \"%s\" priority filter; policy drop;\n"
    "    ether saddr != @machines drop\n"
    "    ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f drop\n"
    "    arp htype 1 arp ptype 0x0800 arp hlen 6 arp plen 4 goto arp_out\n"
    "    ether type vmap { ip : goto ipv4_out, ip6 : goto ipv6_out }\n"
    "  }\n";

/* Arguments: the interface's MAC and name, the link's index, the names of the chains, the mark. */
static const char interface_text[] =
    "  chain arp_in {\n"
    "    arp daddr ip @owners4 ether daddr set arp daddr ip map @owners4"
    " arp daddr ether set arp daddr ip map @owners4 dup to %3$d"
    " ether daddr set %1$s arp daddr ether set %1$s accept\n"
    /* An answer to who asks before it takes an address (RFC 5227) names none. */
    "    arp daddr ip 0.0.0.0 ether daddr set ff:ff:ff:ff:ff:ff dup to %3$d ether daddr set %1$s\n"
    "  }\n"
    "  chain %4$s {\n"
    "    type filter hook ingress device \"%2$s\" priority filter; policy accept;\n"
    /* An access point returns what is sent to a group; of a machine's the host would learn the wrong MAC. */
    "    ether saddr %1$s drop\n"
    "    ether saddr @machines accept\n"
    "    ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f accept\n"
    "    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ether type { arp, ip, ip6 } dup to "
    "%3$d\n"
    "    ether daddr != %1$s accept\n"
    "    ether type arp goto arp_in\n"
    "    fib daddr type local accept\n"
    "    ip6 daddr fe80::/10 fib daddr . iif type local accept\n"
    "    ip daddr @owners4 ether daddr set ip daddr map @owners4 fwd to %3$d\n"
    "    ip6 daddr @owners6 ether daddr set ip6 daddr map @owners6 fwd to %3$d\n"
    "  }\n"
    "  chain %5$s {\n"
    "    type filter hook egress device \"%2$s\" priority filter; policy accept;\n"
    "    meta mark %6$d meta mark set 0 accept\n"
    "    ether daddr @machines fwd to %3$d\n"
    "    ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f accept\n"
    "    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ether type { arp, ip, ip6 } dup to "
    "%3$d\n"
    "  }\n";

static const char *const owners[] = {"owners4", "owners6"};

/* Calls @each with each address that is known to be a machine's. */
static void walk_owners(struct wire *wire, const char *map,
                        void (*each)(void *context, const char *address, const char *mac),
                        void *context)
{
    json_t *root, *item, *pair;
    char command[64];
    const char *output;
    size_t i, k;

    snprintf(command, sizeof(command), "list map netdev %s %s", wire->leg_name, map);
    output = ruleset_list(wire->nft, command);
    root = output ? json_loads(output, 0, NULL) : NULL;
    json_array_foreach(json_object_get(root, "nftables"), i, item)
    {
        json_array_foreach(json_object_get(json_object_get(item, "map"), "elem"), k, pair)
        {
            json_t *key = json_object_get(json_array_get(pair, 0), "elem");
            const char *address = json_string_value(json_object_get(key, "val"));
            const char *mac = json_string_value(json_array_get(pair, 1));

            if (address && mac)
                each(context, address, mac);
        }
    }
    json_decref(root);
}

struct writing {
    FILE *text;
    bool any;
};

static void write_owner(void *context, const char *address, const char *mac)
{
    struct writing *writing = context;

    fprintf(writing->text, "%s%s : %s", writing->any ? ", " : " elements = { ", address, mac);
    writing->any = true;
}

void macnat_write(FILE *text, struct wire *wire, const char *received, const char *sent)
{
    static const char *const types[] = {"ipv4_addr", "ipv6_addr"};
    const struct bridged_link *nic = &wire->nic;
    char mac[MAC_TEXT_MAX];

    mac_format(&nic->mac, mac);
    for (int i = 0; i < 2; i++) {
        struct writing writing = {.text = text};

        fprintf(text,
                "  map %s { type %s : ether_addr; size %d; flags dynamic,timeout; timeout %dh;",
                owners[i], types[i], MACNAT_ADDRESSES_MAX, MACNAT_ADDRESS_HOURS);
        walk_owners(wire, owners[i], write_owner, &writing);
        fputs(writing.any ? " }; }\n" : " }\n", text);
    }
    fprintf(text, out_text, mac, nic->ifindex, MACNAT_NEW_A_MINUTE, MACNAT_NEW_BURST, MARK);
    fprintf(text, link_text, wire->leg_name);
    fprintf(text, interface_text, mac, nic->name, wire->leg, received, sent, MARK);
}

struct forgetting {
    const struct mac_addr *mac;
    FILE *pairs, *keys;
    bool any;
};

static void forget_owner(void *context, const char *address, const char *text)
{
    struct forgetting *forgetting = context;
    struct mac_addr mac;

    if (mac_parse(text, &mac) < 0 || memcmp(&mac, forgetting->mac, sizeof(mac)) != 0)
        return;
    fprintf(forgetting->pairs, "%s%s : %s", forgetting->any ? ", " : "", address, text);
    fprintf(forgetting->keys, "%s%s", forgetting->any ? ", " : "", address);
    forgetting->any = true;
}

static void forget_in(struct wire *wire, const char *map, const struct mac_addr *mac)
{
    char *pairs = NULL, *keys = NULL;
    size_t pairs_len, keys_len;
    struct forgetting forgetting = {
        .mac = mac,
        .pairs = open_memstream(&pairs, &pairs_len),
        .keys = open_memstream(&keys, &keys_len),
    };
    struct ruleset ruleset;
    struct err err;

    if (forgetting.pairs && forgetting.keys)
        walk_owners(wire, map, forget_owner, &forgetting);
    if (forgetting.pairs)
        fclose(forgetting.pairs);
    if (forgetting.keys)
        fclose(forgetting.keys);
    if (forgetting.any) {
        /* Only what is there can be deleted, and any may have run out since. */
        if (ruleset_begin(&ruleset))
            fprintf(
                ruleset.file,
                "add element netdev %1$s %2$s { %3$s }\ndelete element netdev %1$s %2$s { %4$s }\n",
                wire->leg_name, map, pairs, keys);
        if (ruleset_end(&ruleset, wire->nft, &err) < 0)
            log_warn("addresses of a machine that has left stay its own for a while: %s", err.text);
    }
    free(pairs);
    free(keys);
}

void macnat_forget(struct wire *wire, const struct mac_addr *mac)
{
    for (int i = 0; i < 2; i++)
        forget_in(wire, owners[i], mac);
}

/* ---- rules that are messages */

#define BATCH_BYTES 4096

struct batch {
    uint8_t buf[BATCH_BYTES];
    size_t len_bytes;
    uint32_t messages;
};

static struct nlmsghdr *put_message(struct batch *batch, uint16_t type, uint16_t flags,
                                    uint8_t family, uint16_t resource)
{
    return nfnetlink_put_header(batch->buf + batch->len_bytes, ++batch->messages, type, flags,
                                family, resource);
}

static struct nlattr *begin_expression(struct nlmsghdr *header, const char *name,
                                       struct nlattr **ret_data)
{
    struct nlattr *element = mnl_attr_nest_start(header, NFTA_LIST_ELEM);

    mnl_attr_put_strz(header, NFTA_EXPR_NAME, name);
    *ret_data = mnl_attr_nest_start(header, NFTA_EXPR_DATA);
    return element;
}

static void end_expression(struct nlmsghdr *header, struct nlattr *element, struct nlattr *data)
{
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, element);
}

/* Appends a rule to @chain: sets what is at @offset behind the transport header's beginning, and the checksum. */
static void put_rule(struct batch *batch, const struct wire *wire, const char *chain,
                     uint32_t offset, const void *bytes, size_t len, uint32_t checksum_offset)
{
    struct nlmsghdr *header = put_message(batch, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
                                          NLM_F_CREATE | NLM_F_APPEND, NFPROTO_NETDEV, 0);
    struct nlattr *list, *element, *data, *value;

    mnl_attr_put_strz(header, NFTA_RULE_TABLE, wire->leg_name);
    mnl_attr_put_strz(header, NFTA_RULE_CHAIN, chain);
    list = mnl_attr_nest_start(header, NFTA_RULE_EXPRESSIONS);
    element = begin_expression(header, "immediate", &data);
    mnl_attr_put_u32(header, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_1));
    value = mnl_attr_nest_start(header, NFTA_IMMEDIATE_DATA);
    mnl_attr_put(header, NFTA_DATA_VALUE, len, bytes);
    mnl_attr_nest_end(header, value);
    end_expression(header, element, data);
    element = begin_expression(header, "payload", &data);
    mnl_attr_put_u32(header, NFTA_PAYLOAD_SREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(header, NFTA_PAYLOAD_BASE, htonl(NFT_PAYLOAD_TRANSPORT_HEADER));
    mnl_attr_put_u32(header, NFTA_PAYLOAD_OFFSET, htonl(offset));
    mnl_attr_put_u32(header, NFTA_PAYLOAD_LEN, htonl((uint32_t)len));
    mnl_attr_put_u32(header, NFTA_PAYLOAD_CSUM_TYPE, htonl(NFT_PAYLOAD_CSUM_INET));
    mnl_attr_put_u32(header, NFTA_PAYLOAD_CSUM_OFFSET, htonl(checksum_offset));
    end_expression(header, element, data);
    mnl_attr_nest_end(header, list);
    batch->len_bytes += header->nlmsg_len;
}

static void put_frame(struct batch *batch, uint16_t type, uint16_t flags)
{
    batch->len_bytes += put_message(batch, type, flags, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

int macnat_complete(struct wire *wire)
{
    static const struct {
        const char *chain;
        uint32_t offset;
    } options[] = {{"lladdr_8", 8}, {"lladdr_24", 24}, {"lladdr_32", 32}};
    const uint16_t flags = htons(DHCP_BROADCAST);
    struct batch batch = {.len_bytes = 0};
    int result = 0, answers = 0;
    char buf[4096];
    ssize_t len;

    put_frame(&batch, NFNL_MSG_BATCH_BEGIN, 0);
    put_rule(&batch, wire, "dhcp", DHCP_FLAGS_OFFSET, &flags, sizeof(flags), UDP_CHECKSUM_OFFSET);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        put_rule(&batch, wire, options[i].chain, options[i].offset + OPTION_HEADER_BYTES,
                 wire->nic.mac.bytes, sizeof(wire->nic.mac.bytes), ICMP6_CHECKSUM_OFFSET);
    put_frame(&batch, NFNL_MSG_BATCH_END, NLM_F_ACK);
    if (mnl_socket_sendto(wire->rules, batch.buf, batch.len_bytes) < 0)
        return -errno;
    /* The kernel has answered by now, as in elements.c. */
    while ((len = recv(mnl_socket_get_fd(wire->rules), buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        answers++;
        if (mnl_cb_run(buf, (size_t)len, 0, 0, NULL, NULL) < 0 && result == 0)
            result = -errno;
    }
    return result == 0 && !answers ? -EIO : result;
}
