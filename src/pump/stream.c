/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of frames, each with its length in front (QEMU's -netdev stream and socket, passt's protocol).
 *
 * A client may cut it anywhere. What is read is taken frame by frame where it lies in the buffer: the space
 * for a frame's virtio-net header is its length and the end of the frame before, which is done with. Only
 * the start of a frame whose rest is to come is copied, in front of what is read next.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "pump/client.h"

/* For the header in front of the first frame, 6 of it; a frame is then aligned as its length is. */
#define HEADROOM_BYTES 16

/*
 * Beyond the largest frame that any network could have there is no reason to believe that this is a length.
 * Up to it, a frame too large is passed over: the client and the network differ in their MTU only.
 */
static int broken(struct pump_client *client, uint32_t length)
{
    PUMP_COUNT(client->pump, pump_broken);
    log_warn("a port's client sent %u as the length of a frame and is disconnected: it must send "
             "each frame after its length in 4 bytes, big-endian",
             length);
    return -EBADMSG;
}

/* Takes the frames in @data; *ret_taken_bytes is all but the start of a frame at its end. 0 or -errno. */
static int take_frames(struct pump_client *client, uint8_t *data, size_t len_bytes,
                       size_t *ret_taken_bytes)
{
    size_t at = client->skip_bytes < len_bytes ? client->skip_bytes : len_bytes;

    client->skip_bytes -= at;
    while (len_bytes - at >= PUMP_LENGTH_BYTES) {
        uint32_t length = pump_get_length(data + at);
        size_t left_bytes = len_bytes - at - PUMP_LENGTH_BYTES;

        if (length == 0 || length > PUMP_LENGTH_MAX)
            return broken(client, length);
        if (length < PUMP_FRAME_MIN_BYTES || length > client->frame_max_bytes) {
            PUMP_COUNT(client->pump, pump_drop_malformed);
            if (left_bytes < length)
                client->skip_bytes = length - left_bytes;
            else
                left_bytes = length;
            at += PUMP_LENGTH_BYTES + left_bytes;
            continue;
        }
        if (left_bytes < length)
            break;
        at += PUMP_LENGTH_BYTES;
        if (!pump_tap_write(client, data + at, length))
            return -ENODEV;
        at += length;
    }
    *ret_taken_bytes = at;
    return 0;
}

int pump_stream_receive(struct pump_client *client)
{
    uint8_t *data = client->pump->up + HEADROOM_BYTES;
    size_t len_bytes = client->partial_len_bytes, taken_bytes = 0;
    ssize_t got = recv(client->socket_fd, data + len_bytes, PUMP_READ_BYTES, MSG_DONTWAIT);
    int result;

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (got == 0)
        return -EPIPE;
    memcpy(data, client->partial, len_bytes);
    len_bytes += (size_t)got;
    result = take_frames(client, data, len_bytes, &taken_bytes);
    if (!pump_tap_push(client) && result == 0)
        result = -ENODEV;
    if (result < 0)
        return result;
    client->partial_len_bytes = len_bytes - taken_bytes;
    memcpy(client->partial, data + taken_bytes, client->partial_len_bytes);
    return 0;
}

ssize_t pump_stream_send(struct pump_client *client, const uint8_t *data, size_t len_bytes)
{
    ssize_t sent = send(client->socket_fd, data, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
    return sent;
}
