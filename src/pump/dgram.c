/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram a frame (QEMU's -netdev dgram, vfkit, krunkit), in batches. How a system moves a batch and says that
 * the peer is gone is in dgram_linux.c and dgram_macos.c.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "pump/client.h"
#include "pump/dgram.h"

/*
 * Nobody is at the other side any more. With a lifeline somebody may come, and the lifeline says when nobody
 * will; without, this was the client's end.
 */
static int lose_peer(struct pump_client *client, int error)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (client->lifeline_fd < 0)
        return error;
    client->has_peer = false;
    (void)connect(client->socket_fd, &nobody, sizeof(nobody));
    return pump_client_watch(client);
}

static int gain_peer(struct pump_client *client, const struct sockaddr_un *name, socklen_t len)
{
    /* A sender without a name cannot be answered, and one that is gone again need not be. */
    if (len <= offsetof(struct sockaddr_un, sun_path) ||
        connect(client->socket_fd, (const struct sockaddr *)name, len) < 0)
        return 0;
    client->has_peer = true;
    /* Its network begins now: not with what was said to whoever was here before. */
    pump_tap_flush(client);
    return pump_client_watch(client);
}

static int take_datagram(struct pump_client *client, uint8_t *frame, size_t len_bytes)
{
    if (len_bytes < PUMP_FRAME_MIN_BYTES)
        return 0;
    if (len_bytes > client->frame_max_bytes) {
        PUMP_COUNT(client->pump, pump_drop_malformed);
        return 0;
    }
    return pump_tap_write(client, frame, len_bytes) ? 0 : -ENODEV;
}

int pump_dgram_receive(struct pump_client *client)
{
    /* One byte more than a frame tells one that is too large. */
    const size_t slot_bytes = PUMP_VNET_BYTES + client->frame_max_bytes + 1;
    size_t slots = PUMP_UP_BYTES / slot_bytes;
    struct iovec parts[PUMP_FRAMES_A_TURN];
    struct sockaddr_un name;
    socklen_t name_len = sizeof(name);
    int len, result = 0;

    if (slots > PUMP_FRAMES_A_TURN)
        slots = PUMP_FRAMES_A_TURN;
    /* Who sends is asked for one at a time: then the first one is it. */
    if (!client->has_peer)
        slots = 1;
    for (size_t i = 0; i < slots; i++)
        parts[i] = (struct iovec){.iov_base = client->pump->up + i * slot_bytes + PUMP_VNET_BYTES,
                                  .iov_len = client->frame_max_bytes + 1};
    len = dgram_receive(client->socket_fd, parts, (unsigned)slots, client->has_peer ? NULL : &name,
                        &name_len);
    if (len < 0)
        return len == -EAGAIN || len == -EINTR ? 0 : lose_peer(client, len);
    if (len > 0 && !client->has_peer)
        result = gain_peer(client, &name, name_len);
    for (int i = 0; i < len && result == 0; i++)
        result = take_datagram(client, parts[i].iov_base, parts[i].iov_len);
    if (!pump_tap_push(client) && result == 0)
        result = -ENODEV;
    return result;
}

/* Fills @parts with the frames in @data. Returns their number. */
static unsigned prepare(const uint8_t *data, size_t len_bytes, struct iovec *parts)
{
    unsigned frames = 0;

    for (size_t at = 0; at < len_bytes && frames < PUMP_FRAMES_A_TURN; frames++) {
        size_t length = pump_get_length(data + at);

        at += PUMP_LENGTH_BYTES;
        parts[frames] = (struct iovec){.iov_base = (void *)(data + at), .iov_len = length};
        at += length;
    }
    return frames;
}

ssize_t pump_dgram_send(struct pump_client *client, const uint8_t *data, size_t len_bytes)
{
    struct iovec parts[PUMP_FRAMES_A_TURN];
    unsigned frames = prepare(data, len_bytes, parts), done = 0;
    size_t done_bytes = 0;

    while (done < frames && client->has_peer) {
        int sent = dgram_send(client->socket_fd, parts + done, frames - done);

        if (sent == -EAGAIN || sent == -EINTR)
            break;
        if (sent < 0 && sent != -EMSGSIZE && sent != -ENOBUFS && sent != -ENOMEM) {
            int result = lose_peer(client, sent);

            if (result < 0)
                return result;
            break;
        }
        if (sent < 0) { /* this one will never go, or not now */
            PUMP_COUNT(client->pump, pump_drop_queue_full);
            sent = 1;
        }
        for (int i = 0; i < sent; i++)
            done_bytes += PUMP_LENGTH_BYTES + parts[done + (unsigned)i].iov_len;
        done += (unsigned)sent;
    }
    if (client->has_peer)
        return (ssize_t)done_bytes;
    PUMP_COUNT_ADD(client->pump, pump_drop_queue_full, frames - done);
    return (ssize_t)len_bytes;
}

int pump_dgram_probe(struct pump_client *client)
{
    int result = dgram_probe(client->socket_fd, client->lifeline_fd >= 0);

    return result < 0 ? lose_peer(client, result) : 0;
}
