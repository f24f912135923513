/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/announce.h"

#include <string.h>

#include "wire/format.h"
#include "wire/packet.h"

#define FRAME_MIN 60         /* IEEE 802.3 4.2.3.3, without the check sequence */
#define HARDWARE_ETHERNET 1  /* RFC 826 */
#define PROTOCOL_IPV4 0x0800 /* an ethertype */
#define HOPS_ON_LINK 255     /* RFC 4861 7.1.2: with any other it is not believed */

struct ipv6_frame {
    struct wire_ethernet ethernet;
    struct wire_ipv6 ip;
    struct wire_neighbour_advert advert;
};
static_assert(sizeof(struct ipv6_frame) == WIRE_ANNOUNCE_MAX, "the longest frame");

static size_t write_arp(uint8_t *frame, const struct mac_addr *mac, const struct ip_addr *addr)
{
    struct wire_ethernet *ethernet = (void *)frame;
    struct wire_arp *arp = (void *)(frame + sizeof(*ethernet));
    bool reverse = addr->family == 0;

    memset(frame, 0, FRAME_MIN);
    memset(ethernet->dst, 0xff, sizeof(ethernet->dst));
    put16(ethernet->type, reverse ? WIRE_ETHERTYPE_RARP : WIRE_ETHERTYPE_ARP);
    put16(arp->hardware_type, HARDWARE_ETHERNET);
    put16(arp->protocol_type, PROTOCOL_IPV4);
    arp->hardware_len = sizeof(arp->sender_mac);
    arp->protocol_len = sizeof(arp->sender_ip);
    put16(arp->operation, reverse ? WIRE_ARP_REVERSE_REQUEST : WIRE_ARP_REQUEST);
    memcpy(arp->sender_mac, mac->bytes, sizeof(arp->sender_mac));
    if (reverse) {
        memcpy(arp->target_mac, mac->bytes, sizeof(arp->target_mac));
    } else {
        memcpy(arp->sender_ip, addr->bytes, sizeof(arp->sender_ip));
        memcpy(arp->target_ip, addr->bytes, sizeof(arp->target_ip));
    }
    return FRAME_MIN;
}

static size_t write_advert(uint8_t *bytes, const struct mac_addr *mac, const struct ip_addr *addr)
{
    static const struct ip_addr all_nodes = {.family = AF_INET6, .bytes = {0xff, 0x02, [15] = 1}};
    struct ipv6_frame *frame = (void *)bytes;
    struct wire_neighbour_advert *advert = &frame->advert;
    uint32_t sum;

    *frame = (struct ipv6_frame){
        .ethernet.dst = {0x33, 0x33, 0, 0, 0, 1}, /* of all_nodes, RFC 2464 7 */
        .ip = {.next_header = WIRE_PROTO_ICMPV6, .hop_limit = HOPS_ON_LINK},
        .advert = {.type = WIRE_ICMPV6_NEIGHBOUR_ADVERT,
                   .option_type = WIRE_ND_TARGET_LINK_LAYER,
                   .option_len = 1},
    };
    put16(frame->ethernet.type, WIRE_ETHERTYPE_IPV6);
    put32(frame->ip.version_class_flow, 6u << 28);
    put16(frame->ip.payload_len, sizeof(*advert));
    memcpy(frame->ip.src, addr->bytes, sizeof(frame->ip.src));
    memcpy(frame->ip.dst, all_nodes.bytes, sizeof(frame->ip.dst));
    put32(advert->flags, WIRE_ND_OVERRIDE);
    memcpy(advert->target, addr->bytes, sizeof(advert->target));
    memcpy(advert->mac, mac->bytes, sizeof(advert->mac));
    sum = wire_checksum_pseudo(addr, &all_nodes, WIRE_PROTO_ICMPV6, sizeof(*advert));
    put16(advert->checksum, wire_checksum_fold(wire_checksum_add(sum, advert, sizeof(*advert))));
    return sizeof(*frame);
}

size_t wire_announce(uint8_t ret_frame[WIRE_ANNOUNCE_MAX], const struct mac_addr *mac,
                     const struct ip_addr *addr)
{
    size_t len_bytes = addr->family == AF_INET6 ? write_advert(ret_frame, mac, addr)
                                                : write_arp(ret_frame, mac, addr);

    memcpy(((struct wire_ethernet *)(void *)ret_frame)->src, mac->bytes, sizeof(mac->bytes));
    return len_bytes;
}
