/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash for tables whose keys come from guests, and,
 * with a fixed key, for values that must come out the same each time (MAC addresses, IPv6 prefixes).
 */
#ifndef OPENVMNET_BASE_HASH_H
#define OPENVMNET_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const uint64_t key[2], const void *data, size_t len_bytes);

#endif
