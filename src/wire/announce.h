/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet frames that say where a station is, without being asked. */
#ifndef OPENVMNET_WIRE_ANNOUNCE_H
#define OPENVMNET_WIRE_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define WIRE_ANNOUNCE_MAX 86

/*
 * Writes a frame from @mac to all, without its check sequence, and returns its length.
 *
 *   an IPv4 @addr    an ARP announcement (RFC 5227 3)
 *   an IPv6 @addr    an unsolicited neighbour advertisement that overrides (RFC 4861 7.2.6)
 *   family 0         a RARP request (RFC 903), which speaks of no address: bridges and switches learn of it, and nobody
 *                    answers it. It is what QEMU and others send for a machine that has moved.
 */
size_t wire_announce(uint8_t ret_frame[WIRE_ANNOUNCE_MAX], const struct mac_addr *mac,
                     const struct ip_addr *addr);

#endif
