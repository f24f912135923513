/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to a frame for enable_tso and enable_checksum_offload, whose clients pass frames without a word
 * about them.
 *
 * Written: headers are looked at, and the kernel is told by the virtio-net header what is left to do. Headers
 * that change are changed in a copy, never in the caller's memory. Read: what the kernel has left open is
 * computed, so a frame is always whole, whoever gets it. (Clients that want to pass offloads on use
 * enable_virtio_header, for which nothing of this is done.)
 */
#ifndef OPENVMNET_COMPAT_VMNET_OFFLOAD_H
#define OPENVMNET_COMPAT_VMNET_OFFLOAD_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define OFFLOAD_HEAD_MAX 320 /* Ethernet, VLAN tags, IP with its extensions, TCP with options */

struct offload {
    bool checksum; /* enable_checksum_offload */
    bool tso;
    unsigned mtu;
};

/* A frame to be written: the header for the kernel, and the first bytes where they differ from the caller's. */
struct offload_frame {
    struct virtio_net_hdr header;
    uint8_t head[OFFLOAD_HEAD_MAX];
    size_t head_bytes; /* 0: as the caller has it */
};

/* False where the frame is to be dropped: malformed, or too large for what it is. */
bool offload_write(const struct offload *offload, const struct iovec *iov, unsigned iov_len,
                   size_t frame_bytes, struct offload_frame *ret_frame);

/* @header: what the kernel says of the frame. False where it is to be dropped. */
bool offload_read(const struct offload *offload, const struct virtio_net_hdr *header,
                  const struct iovec *iov, unsigned iov_len, size_t frame_bytes);

#endif
