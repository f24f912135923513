/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as programs for vmnet.h write and read them, and as the plane for macOS looks at them. The input: the client's
 * options, a virtio-net header, where the frame is cut into pieces, and the frame.
 *
 * What was written for the kernel must be whole when it is read again, for its checksums are left open alone.
 */
#include "compat/vmnet/iov.h"
#include "compat/vmnet/offload.h"
#include "fuzz.h"
#include "plane/macos/lease.h"

static void lease(const uint8_t *frame, size_t len_bytes)
{
    struct mac_addr mac = {{0}};
    uint32_t ipv4 = 0;

    /* The machine's own: else the fuzzer would have to guess it. */
    if (len_bytes >= 76)
        memcpy(mac.bytes, frame + 70, sizeof(mac.bytes));
    if (lease_read(frame, len_bytes, &mac, 0, &ipv4))
        REQUIRE(ipv4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct input input = {data, len_bytes};
    uint8_t options = input_byte(&input);
    struct offload offload = {options & 1, options & 2, options & 4 ? 1500 : 576};
    struct virtio_net_hdr header = {.flags = input_byte(&input)};
    size_t first, second, frame_bytes;
    struct offload_frame written;
    struct iovec iov[2], changed[3];
    unsigned changed_len;
    uint8_t *pieces[2];

    header.csum_start = (uint16_t)input_u16(&input);
    header.csum_offset = (uint16_t)input_u16(&input);
    first = input_u16(&input);
    lease(input.data, input.len_bytes);
    pieces[0] = input_copy(&input, first, &first);
    pieces[1] = input_copy(&input, 65536, &second);
    iov[0] = (struct iovec){pieces[0], first};
    iov[1] = (struct iovec){pieces[1], second};
    frame_bytes = first + second;
    if (offload_write(&offload, iov, 2, frame_bytes, &written) && written.head_bytes) {
        REQUIRE(written.head_bytes <= frame_bytes && written.head_bytes <= OFFLOAD_HEAD_MAX);
        changed[0] = (struct iovec){written.head, written.head_bytes};
        changed_len = 1 + iov_slice(iov, 2, written.head_bytes, frame_bytes - written.head_bytes,
                                    changed + 1);
        REQUIRE(offload_read(&offload, &written.header, changed, changed_len, frame_bytes));
        /* Checksums are right now, but for what is cut later: it has a header for each segment. */
        if (written.header.gso_type == 0)
            REQUIRE(offload_read(&(struct offload){.checksum = true}, &(struct virtio_net_hdr){0},
                                 changed, changed_len, frame_bytes));
    }
    offload_read(&offload, &header, iov, 2, frame_bytes);
    free(pieces[0]);
    free(pieces[1]);
    return 0;
}
