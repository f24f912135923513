/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fragments back to packets.
 *
 * The kernel of the network's namespace has already reassembled, checked and cut again what a
 * guest sends (the nftables tproxy and socket expressions turn on its defragmentation), so honest
 * fragments arrive in order. This code therefore takes the pieces of a packet only in order,
 * without gap or overlap, and drops the whole packet otherwise (RFC 5722, RFC 8900): few states,
 * nothing to attack. Memory is fixed: REASSEMBLY_SLOTS packets; the oldest gives way. A sender
 * that has its share of them gives way to itself, so that a flood of first fragments costs others
 * nothing, whatever addresses it has.
 */
#ifndef OPENVMNET_WIRE_REASSEMBLY_H
#define OPENVMNET_WIRE_REASSEMBLY_H

#include "wire/packet.h"

#define REASSEMBLY_SLOTS 32
#define REASSEMBLY_SLOTS_A_SENDER 8
#define REASSEMBLY_TIMEOUT_MS 5000

struct reassembly;

/* NULL where memory is short. Buffers for packets are allocated once, on first use, and kept. */
struct reassembly *reassembly_new(void);
void reassembly_free(struct reassembly *reassembly);

/*
 * Takes one fragment. Returns 1 and the whole packet, as an IP packet without any fragment header
 * and with lengths, flags and IPv4 header checksum made right (valid until the next call), where
 * it is the last; 0 where more are to come; -EBADMSG where it did not follow its predecessor, or
 * the sum passes 65535, or the whole is itself a fragment: then all of that packet is forgotten.
 * -ENOMEM. @fragment is one that wire_parse() accepted, with is_fragment; @sender whose share it is.
 */
int reassembly_add(struct reassembly *reassembly, const struct wire_packet *fragment,
                   unsigned sender, uint64_t now_ms, const uint8_t **ret_data,
                   size_t *ret_len_bytes);

#endif
