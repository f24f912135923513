/* SPDX-License-Identifier: Apache-2.0 */
#include "compat/vmnet/iov.h"

#include <string.h>

unsigned iov_slice(const struct iovec *iov, unsigned iov_len, size_t offset, size_t len_bytes,
                   struct iovec *ret_iov)
{
    unsigned pieces = 0;

    /* The usual case: one piece has it all. */
    if (iov_len && offset + len_bytes <= iov[0].iov_len) {
        ret_iov[0] = (struct iovec){(uint8_t *)iov[0].iov_base + offset, len_bytes};
        return len_bytes > 0;
    }
    for (unsigned i = 0; i < iov_len && len_bytes; i++) {
        size_t piece_bytes = iov[i].iov_len;

        if (offset >= piece_bytes) {
            offset -= piece_bytes;
            continue;
        }
        piece_bytes -= offset;
        if (piece_bytes > len_bytes)
            piece_bytes = len_bytes;
        ret_iov[pieces++] = (struct iovec){(uint8_t *)iov[i].iov_base + offset, piece_bytes};
        offset = 0;
        len_bytes -= piece_bytes;
    }
    return pieces;
}

/* Calls for each piece within the range; what is done is chosen by which of the three pointers is set. */
static size_t walk(const struct iovec *iov, unsigned iov_len, size_t offset, size_t len_bytes,
                   uint8_t *to, const uint8_t *from, uint16_t *sum)
{
    size_t done = 0;

    for (unsigned i = 0; i < iov_len && done < len_bytes; i++) {
        size_t piece_bytes = iov[i].iov_len;
        uint8_t *piece;

        if (offset >= piece_bytes) {
            offset -= piece_bytes;
            continue;
        }
        piece = (uint8_t *)iov[i].iov_base + offset;
        piece_bytes -= offset;
        offset = 0;
        if (piece_bytes > len_bytes - done)
            piece_bytes = len_bytes - done;
        if (to)
            memcpy(to + done, piece, piece_bytes);
        if (from)
            memcpy(piece, from + done, piece_bytes);
        if (sum) {
            uint16_t part = sum_bytes(piece, piece_bytes);

            /* A piece at an odd place has its bytes in the other halves (RFC 1071 2 B). */
            *sum = sum_add(*sum, done & 1 ? (uint16_t)(part << 8 | part >> 8) : part);
        }
        done += piece_bytes;
    }
    return done;
}

size_t iov_read(const struct iovec *iov, unsigned iov_len, size_t offset, void *to,
                size_t len_bytes)
{
    return walk(iov, iov_len, offset, len_bytes, to, NULL, NULL);
}

size_t iov_write(const struct iovec *iov, unsigned iov_len, size_t offset, const void *from,
                 size_t len_bytes)
{
    return walk(iov, iov_len, offset, len_bytes, NULL, from, NULL);
}

uint16_t sum_add(uint16_t a, uint16_t b)
{
    uint32_t sum = (uint32_t)a + b;

    return (uint16_t)(sum + (sum >> 16));
}

uint16_t sum_bytes(const void *bytes, size_t len_bytes)
{
    const uint8_t *at = bytes;
    uint64_t sum = 0;
    uint32_t word;

    /* 64 KiB of words of 32 bits do not overflow 64 bits. */
    for (; len_bytes >= 4; len_bytes -= 4, at += 4) {
        memcpy(&word, at, 4);
        sum += word;
    }
    word = 0;
    memcpy(&word, at, len_bytes);
    sum += word;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t iov_sum(const struct iovec *iov, unsigned iov_len, size_t offset, size_t len_bytes)
{
    uint16_t sum = 0;

    walk(iov, iov_len, offset, len_bytes, NULL, NULL, &sum);
    return sum;
}
