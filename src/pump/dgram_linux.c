/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram a frame (QEMU's -netdev dgram, vfkit, krunkit), in batches.
 *
 * What unix(7) does not say, seen on Linux 6.1 to 6.18:
 * - A datagram socket gets no event when its peer is closed: not EPOLLHUP, not EPOLLERR, and reading just
 *   finds nothing. Sending once gives ECONNREFUSED and disconnects, from then on it is ENOTCONN; a peer that
 *   was shut down gives EPIPE. A probe that the peer would not notice is pump_dgram_probe().
 * - Between two sockets that are connected to each other only SO_SNDBUF bounds the queue. Where the client
 *   sends without being connected it is net.unix.max_dgram_qlen. EPOLLOUT comes again in both cases, with
 *   SO_SNDBUF once three quarters are free.
 * - Connecting a bound socket makes the kernel refuse others (EPERM), also one who takes the dead peer's
 *   place. So the peer that is gone must be noticed.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pump/client.h"

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

static int take_datagram(struct pump_client *client, const struct mmsghdr *message)
{
    uint8_t *frame = (uint8_t *)message->msg_hdr.msg_iov->iov_base;

    if (message->msg_len < PUMP_FRAME_MIN_BYTES)
        return 0;
    if (message->msg_len > client->frame_max_bytes) {
        PUMP_COUNT(client->pump, pump_drop_malformed);
        return 0;
    }
    return pump_tap_write(client, frame, message->msg_len) ? 0 : -ENODEV;
}

int pump_dgram_receive(struct pump_client *client)
{
    /* One byte more than a frame tells one that is too large. */
    const size_t slot_bytes = PUMP_VNET_BYTES + client->frame_max_bytes + 1;
    size_t slots = PUMP_UP_BYTES / slot_bytes;
    struct mmsghdr messages[PUMP_FRAMES_A_TURN];
    struct iovec parts[PUMP_FRAMES_A_TURN];
    struct sockaddr_un name;
    int len, result = 0;

    if (slots > PUMP_FRAMES_A_TURN)
        slots = PUMP_FRAMES_A_TURN;
    /* Who sends is asked for one at a time: then the first one is it. */
    if (!client->has_peer)
        slots = 1;
    for (size_t i = 0; i < slots; i++) {
        parts[i] = (struct iovec){.iov_base = client->pump->up + i * slot_bytes + PUMP_VNET_BYTES,
                                  .iov_len = client->frame_max_bytes + 1};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    if (!client->has_peer) {
        messages[0].msg_hdr.msg_name = &name;
        messages[0].msg_hdr.msg_namelen = sizeof(name);
    }
    len = recvmmsg(client->socket_fd, messages, (unsigned)slots, MSG_DONTWAIT, NULL);
    if (len < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : lose_peer(client, -errno);
    if (len > 0 && !client->has_peer)
        result = gain_peer(client, &name, messages[0].msg_hdr.msg_namelen);
    for (int i = 0; i < len && result == 0; i++)
        result = take_datagram(client, &messages[i]);
    return result;
}

/* Fills @messages with the frames in @data. Returns their number. */
static unsigned prepare(const uint8_t *data, size_t len_bytes, struct mmsghdr *messages,
                        struct iovec *parts)
{
    unsigned frames = 0;

    for (size_t at = 0; at < len_bytes && frames < PUMP_FRAMES_A_TURN; frames++) {
        size_t length = pump_get_length(data + at);

        at += PUMP_LENGTH_BYTES;
        parts[frames] = (struct iovec){.iov_base = (void *)(data + at), .iov_len = length};
        messages[frames] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[frames], .msg_iovlen = 1}};
        at += length;
    }
    return frames;
}

ssize_t pump_dgram_send(struct pump_client *client, const uint8_t *data, size_t len_bytes)
{
    struct mmsghdr messages[PUMP_FRAMES_A_TURN];
    struct iovec parts[PUMP_FRAMES_A_TURN];
    unsigned frames = prepare(data, len_bytes, messages, parts), done = 0;
    size_t done_bytes = 0;

    while (done < frames && client->has_peer) {
        int sent = sendmmsg(client->socket_fd, messages + done, frames - done,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (sent < 0 && errno != EMSGSIZE && errno != ENOBUFS && errno != ENOMEM) {
            int result = lose_peer(client, -errno);

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
    struct sockaddr_un name;
    socklen_t len = sizeof(name);
    int probe_fd, result = 0;

    if (getpeername(client->socket_fd, (struct sockaddr *)&name, &len) < 0 ||
        len <= offsetof(struct sockaddr_un, sun_path))
        return 0;
    /*
     * Another socket tries to connect to the peer's name. Where the peer is there, and connected to ours,
     * that is refused with EPERM; without a peer it is ECONNREFUSED. Our own socket could try, too, but would
     * then be connected to whoever took the name. Success is a peer that only sends to us, or, as the ends
     * of a pair are connected, a stranger. ENOENT says nothing: a peer may have removed its path.
     */
    probe_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe_fd < 0)
        return 0;
    if (connect(probe_fd, (const struct sockaddr *)&name, len) == 0)
        result = client->lifeline_fd >= 0 ? 0 : -ECONNREFUSED;
    else if (errno == ECONNREFUSED)
        result = -ECONNREFUSED;
    close(probe_fd);
    return result < 0 ? lose_peer(client, result) : 0;
}
