/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams through host sockets, many to a system call: what a guest's mappings (udp.c) and forwards
 * (forward_udp.c) have in common. Only for src/uplink.
 *
 * Datagrams that follow each other with the same size, from one socket to one destination, are one message
 * with UDP_SEGMENT; the rest go by sendmmsg(). What comes in is read by recvmmsg() with UDP_GRO, and what
 * belongs together goes to the guest as one packet that its side cuts. Where a kernel or a device of the
 * host cannot do that, everything still passes, one datagram after the other.
 */
#ifndef OPENVMNET_UPLINK_UDP_SOCKET_H
#define OPENVMNET_UPLINK_UDP_SOCKET_H

#include <netinet/in.h>
#include <sys/uio.h>

#include "uplink/worker.h"

/* Payload of an IPv4 datagram; an IPv6 one could have 20 bytes more, which no socket of ours sends. */
#define UDP_DATAGRAM_MAX 65507

/* Where a datagram goes, and (forwards) from which of the host's addresses. */
struct udp_target {
    struct sockaddr_storage to;
    socklen_t to_len;
    struct in6_pktinfo local; /* with has_local; an IPv4 address is in the first 4 bytes */
    bool has_local;
};

/* What a guest said in its IP header and the socket is told, so that it leaves as it came. */
struct udp_header {
    uint8_t ttl, tos;
    bool dont_fragment;
};

struct udp_socket {
    int fd;
    int family;
    atomic_uint_fast64_t *sent; /* the counter of datagrams that went out */
    /*
     * A datagram of the guest could not be sent; NULL: nobody wants to know. @packet is what the guest sent
     * but for its payload, where several came as one. Must send no datagram.
     */
    void (*on_failed)(struct udp_socket *socket, const struct wire_packet *packet, int error);

    /* Of udp_send_linux.c and udp_receive_linux.c. */
    struct udp_header header; /* as the socket has it, where header_known */
    bool header_known;
    uint16_t segment_max;            /* payloads larger than this are not sent as segments */
    uint32_t overruns;               /* of the receive buffer so far */
    int first_message, last_message; /* in the batch; -1: none */
};

/* Sets the options that both directions need on @fd, which stays the caller's. 0 or -errno. */
int udp_socket_init(struct udp_socket *socket, int fd, int family, atomic_uint_fast64_t *sent);

/* ---- from guests */

struct udp_sender;
int udp_sender_new(struct worker *worker, struct udp_sender **ret_sender);
void udp_sender_free(struct udp_sender *sender);
/*
 * Sends the datagram or datagrams of @in, at the latest in udp_sender_flush(): until then packet and socket
 * must stay where they are.
 */
void udp_send(struct udp_sender *sender, struct udp_socket *socket, const struct udp_target *target,
              const struct uplink_packet *in);
void udp_sender_flush(struct udp_sender *sender);
/* Before a socket goes. */
void udp_sender_forget(struct udp_sender *sender, struct udp_socket *socket);

/* One datagram, at once; @target NULL: to which the socket is connected. 0 or -errno. */
int udp_send_payload(int fd, const struct udp_target *target, const struct iovec *payload);

/* ---- to guests */

/* One datagram from outside, or several of one size. */
struct udp_received {
    const struct sockaddr_storage *from;
    struct in6_pktinfo local; /* to which of the host's addresses, where the socket tells */
    uint8_t *payload;         /* WIRE_HEADROOM bytes in front are free */
    size_t len_bytes;
    size_t segment_bytes; /* of each but the last; len_bytes where there is one datagram */
    uint8_t tos;
};

struct udp_receiver;
int udp_receiver_new(struct worker *worker, struct udp_receiver **ret_receiver);
void udp_receiver_free(struct udp_receiver *receiver);
/* Reads what there is, within bounds, and hands it to @take in order. */
void udp_receive(struct udp_receiver *receiver, struct udp_socket *socket,
                 void (*take)(struct udp_socket *socket, const struct udp_received *received));
/*
 * From within @take: writes the datagrams to a guest, together with those before and behind them that are
 * alike. Adds their number to @counter.
 */
void udp_deliver(struct udp_receiver *receiver, const struct udp_received *received,
                 const struct ip_endpoint *src, const struct ip_endpoint *dst,
                 atomic_uint_fast64_t *counter);

#endif
