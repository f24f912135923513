/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving, and on to the guest. A socket with UDP_GRO gives datagrams that its host had put together (or
 * never cut) as one, with their size beside. Those, and others that are alike and follow each other, become a
 * train: one packet with one header (virtio's UDP_L4 segmentation), which the kernel of the network cuts where
 * the way to the guest needs it. Most never are: a guest's kernel takes it as it is.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "uplink/udp_socket.h"

#define DATAGRAMS_A_TURN 32
#define SLOT_BYTES (WIRE_HEADROOM + WIRE_PACKET_MAX + 1)
#define CONTROL_BYTES                                                                              \
    (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) +              \
     3 * CMSG_SPACE(sizeof(int)))
/* As many as a kernel before 6.9 puts together itself. */
#define TRAIN_SEGMENTS 64
#define TO_GUEST_TTL 64
/*
 * Room for what comes while others have their turn: 700 datagrams of an Ethernet. The kernel gives what
 * rmem_max allows.
 */
#define RECEIVE_BUFFER_BYTES (1 << 20)

/* Datagrams to a guest that are waiting to be written. */
struct train {
    struct ip_endpoint src, dst;
    uint8_t tos;
    size_t segment_bytes, len_bytes; /* len_bytes of 0: there is none */
    unsigned segments, parts_len;
    struct iovec parts[2 + DATAGRAMS_A_TURN]; /* the first two are headers */
};

struct udp_receiver {
    struct worker *worker;
    bool no_segments; /* the kernel cuts none: before 6.2 */
    struct train train;
    struct sockaddr_storage from[DATAGRAMS_A_TURN];
    struct mmsghdr messages[DATAGRAMS_A_TURN];
    struct iovec parts[DATAGRAMS_A_TURN];
    char control[DATAGRAMS_A_TURN][CONTROL_BYTES] __attribute__((aligned(8)));
    uint8_t slots[DATAGRAMS_A_TURN][SLOT_BYTES];
};

int udp_socket_init(struct udp_socket *socket, int fd, int family, atomic_uint_fast64_t *sent)
{
    bool ipv6 = family == AF_INET6;
    int one = 1, size_bytes = RECEIVE_BUFFER_BYTES;

    *socket = (struct udp_socket){
        .fd = fd,
        .family = family,
        .sent = sent,
        .segment_max = UDP_DATAGRAM_MAX,
        .first_message = -1,
        .last_message = -1,
    };
    /* Without them it works, only less well: the kernel has all since 5.0. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size_bytes, sizeof(size_bytes));
    setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one));
    /* An IPv6 socket may have IPv4 clients. */
    if (setsockopt(fd, SOL_IP, IP_RECVTOS, &one, sizeof(one)) < 0 ||
        (ipv6 && setsockopt(fd, SOL_IPV6, IPV6_RECVTCLASS, &one, sizeof(one)) < 0))
        return -errno;
    return 0;
}

/* ---- what comes in */

/* To which of the host's addresses a datagram came: all zero where the socket does not tell. */
static void read_local6(struct in6_pktinfo *local, const void *data)
{
    memcpy(local, data, sizeof(*local));
    /* The way back is the routes' business, but for addresses that mean nothing without it. */
    if (!IN6_IS_ADDR_LINKLOCAL(&local->ipi6_addr))
        local->ipi6_ifindex = 0;
}

static void read_local4(struct in6_pktinfo *local, const void *data)
{
    struct in_pktinfo info;

    memcpy(&info, data, sizeof(info));
    memset(local, 0, sizeof(*local));
    /* What came before the option was set knows its destination only, which is nearly the same. */
    memcpy(&local->ipi6_addr, info.ipi_spec_dst.s_addr ? &info.ipi_spec_dst : &info.ipi_addr,
           sizeof(info.ipi_addr));
}

static void count_overruns(struct udp_receiver *receiver, struct udp_socket *socket,
                           const void *data)
{
    uint32_t overruns;

    memcpy(&overruns, data, sizeof(overruns));
    COUNT_ADD(receiver->worker->config.counters, udp_overrun,
              (uint32_t)(overruns - socket->overruns));
    socket->overruns = overruns;
}

static void read_control(struct udp_receiver *receiver, struct udp_socket *socket,
                         struct msghdr *message, struct udp_received *received)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
         control = CMSG_NXTHDR(message, control)) {
        const uint8_t *data = CMSG_DATA(control);
        int value = 0;

        if (control->cmsg_len >= CMSG_LEN(sizeof(value)))
            memcpy(&value, data, sizeof(value));
        if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO && value > 0)
            received->segment_bytes = (size_t)value;
        else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL)
            count_overruns(receiver, socket, data);
        else if (control->cmsg_level == SOL_IP && control->cmsg_type == IP_TOS)
            received->tos = data[0];
        else if (control->cmsg_level == SOL_IPV6 && control->cmsg_type == IPV6_TCLASS)
            received->tos = (uint8_t)value;
        else if (control->cmsg_level == SOL_IPV6 && control->cmsg_type == IPV6_PKTINFO)
            read_local6(&received->local, data);
        else if (control->cmsg_level == SOL_IP && control->cmsg_type == IP_PKTINFO)
            read_local4(&received->local, data);
    }
    if (received->segment_bytes > received->len_bytes)
        received->segment_bytes = received->len_bytes;
}

static void train_flush(struct udp_receiver *receiver);

void udp_receive(struct udp_receiver *receiver, struct udp_socket *socket,
                 void (*take)(struct udp_socket *socket, const struct udp_received *received))
{
    int len;

    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        receiver->parts[i] = (struct iovec){.iov_base = receiver->slots[i] + WIRE_HEADROOM,
                                            .iov_len = UDP_DATAGRAM_MAX};
        receiver->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &receiver->from[i],
            .msg_namelen = sizeof(receiver->from[i]),
            .msg_iov = &receiver->parts[i],
            .msg_iovlen = 1,
            .msg_control = receiver->control[i],
            .msg_controllen = CONTROL_BYTES,
        };
    }
    len = recvmmsg(socket->fd, receiver->messages, DATAGRAMS_A_TURN, MSG_DONTWAIT, NULL);
    for (int i = 0; i < len; i++) {
        struct msghdr *message = &receiver->messages[i].msg_hdr;
        struct udp_received received = {
            .from = &receiver->from[i],
            .payload = receiver->parts[i].iov_base,
            .len_bytes = receiver->messages[i].msg_len,
            .segment_bytes = receiver->messages[i].msg_len,
        };

        read_control(receiver, socket, message, &received);
        /* IPv6 has datagrams longer than an IPv4 guest could get. */
        if (!(message->msg_flags & MSG_TRUNC))
            take(socket, &received);
    }
    train_flush(receiver);
}

/* ---- and on to the guest */

static size_t headers_bytes(const struct ip_endpoint *src)
{
    return (src->addr.family == AF_INET ? 20 : 40) + 8;
}

/* Datagrams each in a packet of its own. Those that do not fit the network's MTU become fragments. */
static void deliver_singly(struct udp_receiver *receiver, uint8_t *payload, size_t len_bytes,
                           size_t segment_bytes, const struct train *train)
{
    struct worker *worker = receiver->worker;

    do {
        size_t one_bytes = len_bytes < segment_bytes ? len_bytes : segment_bytes;
        const struct wire_ip_fields fields = {TO_GUEST_TTL, train->tos,
                                              worker_take_ip_ids(worker, 1)};
        struct wire_vnet_hdr vnet;
        bool fits = headers_bytes(&train->src) + one_bytes <= worker->config.net->mtu;
        /* What is in front has been delivered: its bytes are room for headers. */
        uint8_t *packet =
            fits ? wire_prepend_udp_offload(payload, one_bytes, one_bytes, &train->src, &train->dst,
                                            &fields, &vnet)
                 : wire_prepend_udp(payload, one_bytes, &train->src, &train->dst, &fields);

        tun_send(worker, packet, one_bytes + (size_t)(payload - packet), fits ? &vnet : NULL);
        payload += one_bytes;
        len_bytes -= one_bytes;
    } while (len_bytes > 0);
}

static int train_write(struct udp_receiver *receiver, struct train *train)
{
    struct worker *worker = receiver->worker;
    /* Each datagram has an identification of its own (the kernel counts on from the first). */
    const struct wire_ip_fields fields = {TO_GUEST_TTL, train->tos,
                                          worker_take_ip_ids(worker, train->segments)};
    uint8_t headroom[WIRE_HEADROOM], *packet;
    struct wire_vnet_hdr vnet;

    packet =
        wire_prepend_udp_offload(headroom + sizeof(headroom), train->len_bytes,
                                 train->segment_bytes, &train->src, &train->dst, &fields, &vnet);
    train->parts[0] = (struct iovec){&vnet, sizeof(vnet)};
    train->parts[1] = (struct iovec){packet, (size_t)(headroom + sizeof(headroom) - packet)};
    return tun_write_parts(worker, train->parts, train->parts_len, train->segments);
}

static void train_flush(struct udp_receiver *receiver)
{
    struct train *train = &receiver->train;

    if (!train->len_bytes)
        return;
    if (train->segments > 1 && !receiver->no_segments && train_write(receiver, train) == -EINVAL)
        receiver->no_segments = true;
    if (train->segments == 1 || receiver->no_segments)
        for (unsigned i = 2; i < train->parts_len; i++)
            deliver_singly(receiver, train->parts[i].iov_base, train->parts[i].iov_len,
                           train->segment_bytes, train);
    train->len_bytes = 0;
}

static bool train_may_join(const struct train *train, const struct udp_received *received,
                           unsigned segments, const struct ip_endpoint *src,
                           const struct ip_endpoint *dst)
{
    bool fits = segments > 1
                    ? received->segment_bytes == train->segment_bytes
                    : received->len_bytes > 0 && received->len_bytes <= train->segment_bytes;
    bool full = train->len_bytes == train->segments * train->segment_bytes;

    return train->len_bytes && fits && full && train->segments + segments <= TRAIN_SEGMENTS &&
           train->len_bytes + received->len_bytes <= UDP_DATAGRAM_MAX &&
           train->tos == received->tos && train->src.port == src->port &&
           train->dst.port == dst->port && ip_equal(&train->src.addr, &src->addr) &&
           ip_equal(&train->dst.addr, &dst->addr);
}

void udp_deliver(struct udp_receiver *receiver, const struct udp_received *received,
                 const struct ip_endpoint *src, const struct ip_endpoint *dst,
                 atomic_uint_fast64_t *counter)
{
    struct train *train = &receiver->train;
    size_t mtu_bytes = receiver->worker->config.net->mtu;
    unsigned segments = received->len_bytes > received->segment_bytes
                            ? (unsigned)((received->len_bytes + received->segment_bytes - 1) /
                                         received->segment_bytes)
                            : 1;

    COUNT_OF(counter, segments);
    if (!train_may_join(train, received, segments, src, dst)) {
        train_flush(receiver);
        train->src = *src;
        train->dst = *dst;
        train->tos = received->tos;
        train->segment_bytes = received->segment_bytes;
        train->segments = 0;
        train->parts_len = 2;
        /* An empty one, one to be fragmented, and more than a train may have: by themselves. */
        if (!received->len_bytes || segments > TRAIN_SEGMENTS ||
            headers_bytes(src) + received->segment_bytes > mtu_bytes) {
            deliver_singly(receiver, received->payload, received->len_bytes,
                           received->segment_bytes, train);
            return;
        }
    }
    train->parts[train->parts_len++] = (struct iovec){received->payload, received->len_bytes};
    train->len_bytes += received->len_bytes;
    train->segments += segments;
}

int udp_receiver_new(struct worker *worker, struct udp_receiver **ret_receiver)
{
    struct udp_receiver *receiver = calloc(1, sizeof(*receiver));

    if (!receiver)
        return -ENOMEM;
    receiver->worker = worker;
    *ret_receiver = receiver;
    return 0;
}

void udp_receiver_free(struct udp_receiver *receiver)
{
    free(receiver);
}
