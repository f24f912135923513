/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap's side: a frame a system call, with a virtio-net header in front. Nobody asked for offloads, so the
 * header says nothing both ways; should a kernel leave a checksum to us nevertheless, it is computed.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pump/client.h"

/* Makes the frame whole. False where it cannot be: a segment that somebody else was to cut. */
static bool finish_frame(const struct wire_vnet_hdr *vnet, uint8_t *frame, size_t len_bytes)
{
    return !vnet->gso_type &&
           (!(vnet->flags & WIRE_VNET_NEEDS_CSUM) || wire_offload_finish(vnet, frame, len_bytes));
}

/*
 * Reads one frame to @frame, where there must be room for one byte more than the largest. Returns its
 * length, 0 where it was dropped, -EAGAIN where there is none, -errno where there will be none.
 */
static ssize_t read_frame(struct pump_client *client, uint8_t *frame)
{
    struct wire_vnet_hdr vnet;
    struct iovec parts[2] = {
        {.iov_base = &vnet, .iov_len = sizeof(vnet)},
        {.iov_base = frame, .iov_len = client->frame_max_bytes + 1},
    };
    ssize_t len = readv(client->tap.fd, parts, 2);

    if (len < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (len == 0)
        return -ENODEV;
    len -= (ssize_t)sizeof(vnet);
    if (len >= PUMP_FRAME_MIN_BYTES && (size_t)len <= client->frame_max_bytes &&
        finish_frame(&vnet, frame, (size_t)len))
        return len;
    PUMP_COUNT(client->pump, pump_drop_malformed);
    return 0;
}

ssize_t pump_tap_read(struct pump_client *client, uint8_t *buf, size_t size_bytes)
{
    const size_t room_bytes = PUMP_LENGTH_BYTES + client->frame_max_bytes + 1;
    unsigned frames = 0;
    size_t at = 0;

    for (int i = 0; i < PUMP_FRAMES_A_TURN && size_bytes - at >= room_bytes; i++) {
        ssize_t len = read_frame(client, buf + at + PUMP_LENGTH_BYTES);

        if (len == -EAGAIN)
            break;
        if (len < 0)
            return len;
        if (len == 0)
            continue;
        buf[at] = 0;
        buf[at + 1] = (uint8_t)(len >> 16);
        buf[at + 2] = (uint8_t)(len >> 8);
        buf[at + 3] = (uint8_t)len;
        at += PUMP_LENGTH_BYTES + (size_t)len;
        frames++;
    }
    PUMP_COUNT_ADD(client->pump, pump_frames_down, frames);
    return (ssize_t)at;
}

bool pump_tap_write(struct pump_client *client, uint8_t *frame, size_t len_bytes)
{
    uint8_t *start = frame - PUMP_VNET_BYTES;

    memset(start, 0, PUMP_VNET_BYTES);
    if (write(client->tap.fd, start, PUMP_VNET_BYTES + len_bytes) < 0) {
        if (errno == EBADFD) /* the device was removed */
            return false;
        /* EIO: it is down. ENOBUFS, ENOMEM, EAGAIN: for now. EINVAL: a kernel looked into the frame. */
        PUMP_COUNT(client->pump, pump_drop_tap);
        return true;
    }
    PUMP_COUNT(client->pump, pump_frames_up);
    return true;
}

bool pump_tap_push(struct pump_client *client)
{
    (void)client;
    return true;
}

void pump_tap_flush(struct pump_client *client)
{
    /* A device's queue is longer (txqueuelen), but what comes meanwhile need not be dropped. */
    for (int i = 0; i < 4096 && read_frame(client, client->pump->down) >= 0; i++)
        PUMP_COUNT(client->pump, pump_drop_queue_full);
}

void pump_tap_close(const struct pump_tap *tap)
{
    close(tap->fd);
}
