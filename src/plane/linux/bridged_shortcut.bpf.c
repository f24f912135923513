/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of the short way (bridged_shortcut.h), for the kernel: each sees a frame that a link receives, and either
 * says where it goes or leaves it to what comes next.
 *
 * A machine's frame is taken here only if it is one that the guard would let pass (guard.c, the quick ways of a bridged
 * network): to one station, TCP or UDP, under the port's own MAC and without a tag, and no DHCP. Whatever is not certain
 * is left to the guard, so nothing is dropped here, and there is nothing to count.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "plane/linux/bridged_shortcut_maps.h"

#define VERSION_AND_LENGTH 0x45 /* of an IPv4 header without options */
#define IP_FRAGMENT 0x3fff      /* of its offset and flags */
#define DHCP_SERVER 67

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, SHORTCUT_MACHINES_MAX);
    __type(key, struct shortcut_mac);
    __type(value, __u32);
} machines SEC(".maps"); /* whose ports are which: an interface's index, or 0 */

struct shortcut_links links;

static __always_inline struct shortcut_mac mac_at(const __u16 *parts)
{
    return (struct shortcut_mac){{parts[0], parts[1], parts[2]}};
}

/* A long packet that is still to be cut is none: it leaves the host in pieces. */
static __always_inline int is_too_long(const struct __sk_buff *frame)
{
    return frame->len > links.frame_max && !frame->gso_size;
}

static __always_inline int is_udp4_of_anybody(const struct iphdr *ip, const void *end)
{
    const struct udphdr *udp = (const void *)(ip + 1);

    return (const void *)(udp + 1) <= end && !(ip->frag_off & bpf_htons(IP_FRAGMENT)) &&
           ip->saddr && udp->source != bpf_htons(DHCP_SERVER) &&
           udp->dest != bpf_htons(DHCP_SERVER);
}

/* @len: of the packet that is to be in the frame, which may have something after it. */
static __always_inline int has_room(const struct __sk_buff *frame, __u32 len)
{
    return ETH_HLEN + len <= frame->len;
}

static __always_inline int is_harmless4(const struct __sk_buff *frame, const struct iphdr *ip,
                                        const void *end)
{
    __u32 len;

    if ((const void *)(ip + 1) > end || *(const __u8 *)ip != VERSION_AND_LENGTH)
        return 0;
    len = bpf_ntohs(ip->tot_len);
    return len >= sizeof(*ip) && has_room(frame, len) &&
           (ip->protocol == IPPROTO_TCP ||
            (ip->protocol == IPPROTO_UDP && is_udp4_of_anybody(ip, end)));
}

static __always_inline int is_harmless6(const struct __sk_buff *frame, const struct ipv6hdr *ip6,
                                        const void *end)
{
    return (const void *)(ip6 + 1) <= end && ip6->version == 6 && ip6->nexthdr == IPPROTO_TCP &&
           has_room(frame, sizeof(*ip6) + bpf_ntohs(ip6->payload_len));
}

static __always_inline int is_harmless(const struct __sk_buff *frame, const struct ethhdr *ethernet,
                                       const void *end)
{
    const void *packet = ethernet + 1;

    return ethernet->h_proto == bpf_htons(ETH_P_IP)     ? is_harmless4(frame, packet, end)
           : ethernet->h_proto == bpf_htons(ETH_P_IPV6) ? is_harmless6(frame, packet, end)
                                                        : 0;
}

/* Received from a machine. */
SEC("tc") int from_machine(struct __sk_buff *frame)
{
    const struct ethhdr *ethernet = (const void *)(long)frame->data;
    const void *end = (const void *)(long)frame->data_end;
    struct shortcut_mac from, to;
    const __u32 *port;

    if (!links.open || frame->vlan_present || is_too_long(frame) ||
        (const void *)(ethernet + 1) > end || (ethernet->h_dest[0] & 1) ||
        !is_harmless(frame, ethernet, end))
        return TC_ACT_UNSPEC;
    from = mac_at((const void *)ethernet->h_source);
    port = bpf_map_lookup_elem(&machines, &from);
    if (!port || *port != frame->ifindex)
        return TC_ACT_UNSPEC;
    /* To another machine there is no way but the bridge. */
    to = mac_at((const void *)ethernet->h_dest);
    if (bpf_map_lookup_elem(&machines, &to))
        return TC_ACT_UNSPEC;
    /* The kernel says so of what a link is given that has this MAC, and passes only such frames to the host's stack. */
    if (to.parts[0] == links.host.parts[0] && to.parts[1] == links.host.parts[1] &&
        to.parts[2] == links.host.parts[2])
        bpf_skb_change_type(frame, PACKET_HOST);
    return (int)bpf_redirect_peer(links.inside, 0);
}

/* Received by the interface of the host. */
SEC("tc") int from_outside(struct __sk_buff *frame)
{
    const struct ethhdr *ethernet = (const void *)(long)frame->data;
    struct shortcut_mac to;

    if (!links.open || frame->vlan_present ||
        (const void *)(ethernet + 1) > (const void *)(long)frame->data_end)
        return TC_ACT_UNSPEC;
    to = mac_at((const void *)ethernet->h_dest);
    return bpf_map_lookup_elem(&machines, &to) ? (int)bpf_redirect_peer(links.leg, 0)
                                               : TC_ACT_UNSPEC;
}

/* Received from the host's namespace, from that interface or its host. */
SEC("tc") int to_machine(struct __sk_buff *frame)
{
    const struct ethhdr *ethernet = (const void *)(long)frame->data;
    struct shortcut_mac to;
    const __u32 *port;

    if (!links.open || frame->vlan_present || is_too_long(frame) ||
        (const void *)(ethernet + 1) > (const void *)(long)frame->data_end)
        return TC_ACT_UNSPEC;
    to = mac_at((const void *)ethernet->h_dest);
    port = bpf_map_lookup_elem(&machines, &to);
    return port && *port ? (int)bpf_redirect(*port, 0) : TC_ACT_UNSPEC;
}

const char license_text[] SEC("license") = "Apache-2.0";
