/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_PLANE_MACOS_LEASE_H
#define OPENVMNET_PLANE_MACOS_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * True where @frame is the acknowledgement of an IPv4 address by a DHCP server to @mac (RFC 2131 4.3.1): *ret_ipv4 is
 * the address, in host order. @server (host order; 0: any) has to be its sender: what other guests say in its name the
 * framework does not let through. Cheap for any other frame.
 */
bool lease_read(const uint8_t *frame, size_t len_bytes, const struct mac_addr *mac, uint32_t server,
                uint32_t *ret_ipv4);

#endif
