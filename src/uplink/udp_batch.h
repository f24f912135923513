/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of guests that wait to be sent, as few messages as they make. No sockets are touched here; that
 * is udp_send_linux.c.
 *
 *   socket -> message -> message            in the order in which they came
 *               |-> piece -> piece          payloads of one destination and size, one after the other
 */
#ifndef OPENVMNET_UPLINK_UDP_BATCH_H
#define OPENVMNET_UPLINK_UDP_BATCH_H

#include "uplink/udp_socket.h"

#define UDP_BATCH_PIECES 64
/* Datagrams to a message with UDP_SEGMENT: UDP_MAX_SEGMENTS of Linux before 6.9. */
#define UDP_BATCH_SEGMENTS 64

struct udp_piece {
    struct wire_packet packet; /* which the payload is of, or is a part of */
    const uint8_t *payload;
    size_t len_bytes;
    int next; /* -1: the last one */
};

struct udp_message {
    struct udp_socket *socket;
    struct udp_target target;
    struct udp_header header;
    size_t segment_bytes, len_bytes;
    unsigned segments;
    int first_piece, last_piece;
    int next; /* of the socket; -1: the last one */
};

struct udp_batch {
    unsigned pieces_len, messages_len;
    struct udp_piece pieces[UDP_BATCH_PIECES];
    struct udp_message messages[UDP_BATCH_PIECES];
};

bool udp_header_equal(const struct udp_header *a, const struct udp_header *b);

/*
 * How much of a payload that is cut every @segment_bytes can be one piece: a multiple of that, or all of it.
 * One datagram where the socket sends no such segments.
 */
size_t udp_batch_piece_bytes(const struct udp_socket *socket, size_t len_bytes,
                             size_t segment_bytes);

/*
 * Adds a piece of at most udp_batch_piece_bytes(). It joins the last message of its socket where target and
 * headers are the same, and so is the size of the datagrams; only the last of a message may be shorter, and
 * none empty. False where the batch is full.
 */
bool udp_batch_add(struct udp_batch *batch, struct udp_socket *socket,
                   const struct udp_target *target, const struct wire_packet *packet,
                   const uint8_t *payload, size_t len_bytes, size_t segment_bytes);

#endif
