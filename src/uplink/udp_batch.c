/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/udp_batch.h"

#include <string.h>

size_t udp_batch_piece_bytes(const struct udp_socket *socket, size_t len_bytes,
                             size_t segment_bytes)
{
    size_t segments = UDP_BATCH_SEGMENTS;

    if (len_bytes <= segment_bytes)
        return len_bytes;
    if (segment_bytes > socket->segment_max)
        return segment_bytes;
    if (segments * segment_bytes > UDP_DATAGRAM_MAX)
        segments = UDP_DATAGRAM_MAX / segment_bytes;
    return len_bytes < segments * segment_bytes ? len_bytes : segments * segment_bytes;
}

static bool same_target(const struct udp_target *a, const struct udp_target *b)
{
    return a->to_len == b->to_len && memcmp(&a->to, &b->to, a->to_len) == 0 &&
           a->has_local == b->has_local &&
           (!a->has_local || memcmp(&a->local, &b->local, sizeof(a->local)) == 0);
}

bool udp_header_equal(const struct udp_header *a, const struct udp_header *b)
{
    return a->ttl == b->ttl && a->tos == b->tos && a->dont_fragment == b->dont_fragment;
}

static bool may_join(const struct udp_message *message, const struct udp_target *target,
                     const struct udp_header *header, size_t len_bytes, size_t segment_bytes,
                     unsigned segments)
{
    /* One datagram has the size of its message, or is the shorter last one. */
    bool fits = segments > 1 ? segment_bytes == message->segment_bytes
                             : len_bytes > 0 && len_bytes <= message->segment_bytes;
    bool full = message->len_bytes == message->segments * message->segment_bytes;

    return fits && full && message->segment_bytes <= message->socket->segment_max &&
           message->segments + segments <= UDP_BATCH_SEGMENTS &&
           message->len_bytes + len_bytes <= UDP_DATAGRAM_MAX &&
           udp_header_equal(&message->header, header) && same_target(&message->target, target);
}

static struct udp_message *begin_message(struct udp_batch *batch, struct udp_socket *socket,
                                         size_t segment_bytes)
{
    int index = (int)batch->messages_len++;
    struct udp_message *message = &batch->messages[index];

    message->socket = socket;
    message->segment_bytes = segment_bytes;
    message->len_bytes = message->segments = 0;
    message->first_piece = message->last_piece = message->next = -1;
    if (socket->first_message < 0)
        socket->first_message = index;
    else
        batch->messages[socket->last_message].next = index;
    socket->last_message = index;
    return message;
}

bool udp_batch_add(struct udp_batch *batch, struct udp_socket *socket,
                   const struct udp_target *target, const struct wire_packet *packet,
                   const uint8_t *payload, size_t len_bytes, size_t segment_bytes)
{
    const struct udp_header header = {packet->ttl, packet->tos, packet->dont_fragment};
    unsigned segments =
        len_bytes > segment_bytes ? (unsigned)((len_bytes + segment_bytes - 1) / segment_bytes) : 1;
    struct udp_message *message = NULL;
    struct udp_piece *piece;
    int index = (int)batch->pieces_len;

    if (batch->pieces_len == UDP_BATCH_PIECES)
        return false;
    if (socket->last_message >= 0)
        message = &batch->messages[socket->last_message];
    if (!message || !may_join(message, target, &header, len_bytes, segment_bytes, segments)) {
        /* There are as many messages as pieces, so there is one left. */
        message = begin_message(batch, socket, segments > 1 ? segment_bytes : len_bytes);
        message->target = *target;
        message->header = header;
    }
    piece = &batch->pieces[batch->pieces_len++];
    *piece = (struct udp_piece){*packet, payload, len_bytes, -1};
    if (message->last_piece < 0)
        message->first_piece = index;
    else
        batch->pieces[message->last_piece].next = index;
    message->last_piece = index;
    message->len_bytes += len_bytes;
    message->segments += segments;
    return true;
}
