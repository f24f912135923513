/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot holds what has come of one packet so far; the only question asked of a fragment is
 * whether it begins where the last one ended. A duplicate or an overlap therefore forgets the
 * packet (RFC 5722), and so does a gap.
 *
 * The packet is handed out under the header of its first fragment, without IPv4 options or the
 * IPv6 extension headers that stood before the fragment header: whoever takes it hands the
 * payload to a socket, where they would mean nothing.
 */
#include "wire/reassembly.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/format.h"

/* Both headers fit in front of the payload, and end where it begins. */
#define HEADER_BYTES sizeof(struct wire_ipv6)

struct slot {
    bool used;
    unsigned sender;
    uint8_t protocol;
    uint32_t id;
    struct ip_addr src, dst;
    uint64_t serial; /* the order of first fragments, for a tie within one millisecond */
    uint64_t started_ms;
    size_t len_bytes; /* of the payload so far */
    uint8_t *buf;     /* HEADER_BYTES + WIRE_PACKET_MAX; NULL until first use */
};

struct reassembly {
    uint64_t serial;
    struct slot slots[REASSEMBLY_SLOTS];
};

struct reassembly *reassembly_new(void)
{
    return calloc(1, sizeof(struct reassembly));
}

void reassembly_free(struct reassembly *reassembly)
{
    if (!reassembly)
        return;
    for (size_t i = 0; i < REASSEMBLY_SLOTS; i++)
        free(reassembly->slots[i].buf);
    free(reassembly);
}

/* RFC 791 3.2: addresses, protocol, identification; RFC 8200 4.5: the same without the protocol. */
static bool slot_matches(const struct slot *slot, const struct wire_packet *fragment)
{
    return slot->used && slot->id == fragment->fragment_id &&
           (slot->protocol == fragment->protocol || fragment->src.family == AF_INET6) &&
           ip_equal(&slot->src, &fragment->src) && ip_equal(&slot->dst, &fragment->dst);
}

static struct slot *older(struct slot *a, struct slot *b)
{
    return !a || b->serial < a->serial ? b : a;
}

static struct slot *find_slot(struct reassembly *reassembly, const struct wire_packet *fragment)
{
    for (struct slot *slot = reassembly->slots; slot < reassembly->slots + REASSEMBLY_SLOTS; slot++)
        if (slot_matches(slot, fragment))
            return slot;
    return NULL;
}

/* A free slot; else the oldest, of the same sender where that one has its share already. */
static struct slot *pick_slot(struct reassembly *reassembly, unsigned sender)
{
    struct slot *oldest = NULL, *own_oldest = NULL, *unused = NULL;
    unsigned own = 0;

    for (struct slot *slot = reassembly->slots; slot < reassembly->slots + REASSEMBLY_SLOTS;
         slot++) {
        if (!slot->used) {
            /* One that has its buffer comes first, so that memory grows with need only. */
            if (!unused || (!unused->buf && slot->buf))
                unused = slot;
            continue;
        }
        oldest = older(oldest, slot);
        if (slot->sender == sender) {
            own++;
            own_oldest = older(own_oldest, slot);
        }
    }
    if (own >= REASSEMBLY_SLOTS_A_SENDER)
        return own_oldest;
    return unused ? unused : oldest;
}

static int start_slot(struct reassembly *reassembly, const struct wire_packet *fragment,
                      unsigned sender, uint64_t now_ms, struct slot **ret_slot)
{
    struct slot *slot = pick_slot(reassembly, sender);
    uint8_t *buf = slot->buf ? slot->buf : malloc(HEADER_BYTES + WIRE_PACKET_MAX);

    if (!buf)
        return -ENOMEM;
    *slot = (struct slot){
        .used = true,
        .sender = sender,
        .protocol = fragment->protocol,
        .id = fragment->fragment_id,
        .src = fragment->src,
        .dst = fragment->dst,
        .serial = reassembly->serial++,
        .started_ms = now_ms,
        .buf = buf,
    };
    if (fragment->src.family == AF_INET)
        memcpy(buf + HEADER_BYTES - sizeof(struct wire_ipv4), fragment->data,
               sizeof(struct wire_ipv4));
    else
        memcpy(buf, fragment->data, sizeof(struct wire_ipv6));
    *ret_slot = slot;
    return 0;
}

/* Makes the kept header that of a whole packet. */
static int finish_slot(struct slot *slot, const uint8_t **ret_data, size_t *ret_len_bytes)
{
    uint8_t *payload = slot->buf + HEADER_BYTES, *data;
    struct wire_packet packet;
    size_t len_bytes;

    if (slot->src.family == AF_INET) {
        struct wire_ipv4 *ip = (void *)(payload - sizeof(*ip));

        data = (uint8_t *)ip;
        len_bytes = sizeof(*ip) + slot->len_bytes;
        ip->version_ihl = 0x45;
        put16(ip->total_len, (uint16_t)len_bytes);
        put16(ip->fragment, 0);
        put16(ip->checksum, 0);
        put16(ip->checksum, wire_checksum_fold(wire_checksum_add(0, ip, sizeof(*ip))));
    } else {
        struct wire_ipv6 *ip = (void *)(payload - sizeof(*ip));

        data = (uint8_t *)ip;
        len_bytes = sizeof(*ip) + slot->len_bytes;
        ip->next_header = slot->protocol;
        put16(ip->payload_len, (uint16_t)slot->len_bytes);
    }
    /* A fragment header hidden behind destination options would make it a fragment once more. */
    if (wire_parse(data, len_bytes, &packet) == WIRE_PARSE_OK && packet.is_fragment)
        return -EBADMSG;
    *ret_data = data;
    *ret_len_bytes = len_bytes;
    return 1;
}

int reassembly_add(struct reassembly *reassembly, const struct wire_packet *fragment,
                   unsigned sender, uint64_t now_ms, const uint8_t **ret_data,
                   size_t *ret_len_bytes)
{
    size_t max_bytes = WIRE_PACKET_MAX;
    struct slot *slot;

    assert(fragment->is_fragment);
    if (fragment->src.family == AF_INET)
        max_bytes -= sizeof(struct wire_ipv4);

    for (slot = reassembly->slots; slot < reassembly->slots + REASSEMBLY_SLOTS; slot++)
        if (slot->used && now_ms - slot->started_ms > REASSEMBLY_TIMEOUT_MS)
            slot->used = false;

    slot = find_slot(reassembly, fragment);
    if (!slot && fragment->fragment_offset_bytes == 0) {
        int error = start_slot(reassembly, fragment, sender, now_ms, &slot);

        if (error)
            return error;
    }
    if (!slot)
        return -EBADMSG;
    if (slot->len_bytes != fragment->fragment_offset_bytes ||
        fragment->l4_len_bytes > max_bytes - slot->len_bytes) {
        slot->used = false;
        return -EBADMSG;
    }
    memcpy(slot->buf + HEADER_BYTES + slot->len_bytes, fragment->l4, fragment->l4_len_bytes);
    slot->len_bytes += fragment->l4_len_bytes;
    if (fragment->more_fragments)
        return 0;
    slot->used = false;
    return finish_slot(slot, ret_data, ret_len_bytes);
}
