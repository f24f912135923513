/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that lie in several pieces, by their offset. Nothing is read or written behind the last piece. */
#ifndef OPENVMNET_COMPAT_VMNET_IOV_H
#define OPENVMNET_COMPAT_VMNET_IOV_H

#include <stdint.h>
#include <sys/uio.h>

/* Copies up to @len_bytes from @offset; how many there were. */
size_t iov_read(const struct iovec *iov, unsigned iov_len, size_t offset, void *to,
                size_t len_bytes);
size_t iov_write(const struct iovec *iov, unsigned iov_len, size_t offset, const void *from,
                 size_t len_bytes);
/* The pieces from @offset, of @len_bytes together; at most as many as @iov_len. How many pieces. */
unsigned iov_slice(const struct iovec *iov, unsigned iov_len, size_t offset, size_t len_bytes,
                   struct iovec *ret_iov);

/*
 * RFC 1071 sums, folded to 16 bits and not complemented, in memory order: they are stored as they are.
 * iov_sum() begins at an even place of what is summed.
 */
uint16_t sum_bytes(const void *bytes, size_t len_bytes);
uint16_t sum_add(uint16_t a, uint16_t b);
uint16_t iov_sum(const struct iovec *iov, unsigned iov_len, size_t offset, size_t len_bytes);

#endif
