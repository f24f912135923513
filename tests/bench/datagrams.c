/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of 1400 bytes, sent without a pause; what arrives is counted. There are two ways to send and
 * to receive, and both are in use: each datagram for itself, many of them to a system call (DNS, games,
 * WireGuard in user space), and segmentation by the kernel (UDP_SEGMENT and UDP_GRO, udp(7)), where a
 * system call hands over one large buffer that is many datagrams (QUIC).
 */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netbench.h"

#define DATAGRAM_BYTES 1400
#define BATCH 32           /* buffers to a system call: the network is measured, not the calls */
#define SEGMENTS 46        /* datagrams in a buffer with GSO: as many as 64 KiB hold */
#define GSO_CALL_BUFFERS 1 /* as QUIC stacks do: one such buffer to a system call */
#define BUFFER_BYTES (4 << 20)
#define QUIET_MS 200 /* so long nothing came: nothing is under way any more */

struct count {
    uint64_t bytes, first_ns, last_ns;
};

/* The buffers of one call. */
struct batch {
    struct mmsghdr message[BATCH];
    struct iovec part[BATCH];
    char control[BATCH][CMSG_SPACE(sizeof(int))];
    uint8_t data[BATCH][SEGMENTS * DATAGRAM_BYTES];
};

static bool is_gso(enum kind kind)
{
    return kind == KIND_UDP_GSO_UP || kind == KIND_UDP_GSO_DOWN;
}

static bool is_up(enum kind kind)
{
    return kind == KIND_UDP_UP || kind == KIND_UDP_GSO_UP;
}

static int open_datagrams(const struct sockaddr_in *local, const struct sockaddr_in *peer, bool gso)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = BUFFER_BYTES;
    int segment = DATAGRAM_BYTES, one = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    if (fd < 0 || (local && bind(fd, (const struct sockaddr *)local, sizeof(*local)) < 0) ||
        (peer && connect(fd, (const struct sockaddr *)peer, sizeof(*peer)) < 0))
        fail("a UDP socket");
    if (gso && (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0 ||
                setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) < 0))
        fail("UDP_SEGMENT and UDP_GRO");
    return fd;
}

static struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    if (!batch)
        fail("memory");
    for (int i = 0; i < BATCH; i++) {
        batch->part[i].iov_base = batch->data[i];
        batch->message[i].msg_hdr = (struct msghdr){.msg_iov = &batch->part[i], .msg_iovlen = 1};
    }
    return batch;
}

/* Sends as fast as the socket takes it. Errors of single datagrams are the network's: go on. */
static void send_datagrams(int fd, bool gso, uint32_t duration_ms)
{
    struct batch *batch = batch_new();
    uint64_t end_ns = now_ns() + (uint64_t)duration_ms * 1000000;
    unsigned buffers = gso ? GSO_CALL_BUFFERS : BATCH;

    for (int i = 0; i < BATCH; i++)
        batch->part[i].iov_len = gso ? sizeof(batch->data[i]) : DATAGRAM_BYTES;
    while (now_ns() < end_ns)
        sendmmsg(fd, batch->message, buffers, MSG_NOSIGNAL);
    free(batch);
}

/* Bytes of whole datagrams in a buffer: where it holds several, the kernel says how long each is. */
static size_t count_bytes(const struct mmsghdr *message)
{
    struct msghdr header = message->msg_hdr;
    struct cmsghdr *part = header.msg_controllen ? CMSG_FIRSTHDR(&header) : NULL;
    int segment = (int)message->msg_len;

    if (part && part->cmsg_level == SOL_UDP && part->cmsg_type == UDP_GRO)
        memcpy(&segment, CMSG_DATA(part), sizeof(segment));
    return segment == DATAGRAM_BYTES ? message->msg_len : 0;
}

static int receive_batch(int fd, struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        batch->part[i].iov_len = sizeof(batch->data[i]);
        batch->message[i].msg_hdr.msg_control = batch->control[i];
        batch->message[i].msg_hdr.msg_controllen = sizeof(batch->control[i]);
    }
    return recvmmsg(fd, batch->message, BATCH, MSG_DONTWAIT, NULL);
}

/* Counts until @control_fd has something to read and then nothing comes for QUIET_MS. */
static struct count receive_datagrams(int fd, int control_fd)
{
    struct batch *batch = batch_new();
    struct count count = {0};
    struct pollfd polls[2] = {{.fd = fd, .events = POLLIN}, {.fd = control_fd, .events = POLLIN}};

    while (poll(polls, 2, polls[1].fd < 0 ? QUIET_MS : TIMEOUT_S * 1000) > 0) {
        int received = receive_batch(fd, batch);

        if (polls[1].revents) {
            recv(control_fd, batch->data, MESSAGE_BYTES, MSG_DONTWAIT);
            polls[1].fd = -1;
        }
        for (int i = 0; i < received; i++)
            count.bytes += count_bytes(&batch->message[i]);
        if (received > 0)
            count.last_ns = now_ns();
        if (count.bytes > 0 && !count.first_ns)
            count.first_ns = count.last_ns;
    }
    free(batch);
    return count;
}

void serve_datagrams(int fd, struct message *message)
{
    bool gso = is_gso(message->kind);
    struct sockaddr_in local, peer;
    socklen_t len = sizeof(local);
    uint8_t hello;
    int datagrams_fd;

    getsockname(fd, (struct sockaddr *)&local, &len);
    local.sin_port = 0;
    datagrams_fd = open_datagrams(&local, NULL, gso);
    set_options(datagrams_fd);
    getsockname(datagrams_fd, (struct sockaddr *)&local, &len);
    message->port = ntohs(local.sin_port);
    len = sizeof(peer);
    if (!write_all(fd, message, sizeof(*message)) ||
        recvfrom(datagrams_fd, &hello, 1, 0, (struct sockaddr *)&peer, &len) < 0)
        goto out;
    if (is_up(message->kind)) {
        struct count count = receive_datagrams(datagrams_fd, fd);

        message->bytes = count.bytes;
        message->elapsed_ns = count.last_ns - count.first_ns;
    } else if (connect(datagrams_fd, (struct sockaddr *)&peer, len) == 0) {
        send_datagrams(datagrams_fd, gso, message->duration_ms);
    }
    write_all(fd, message, sizeof(*message));
out:
    close(datagrams_fd);
}

int run_datagrams(struct sockaddr_in server, enum kind kind, uint32_t duration_ms)
{
    struct message message = {.kind = kind, .duration_ms = duration_ms};
    int fd = open_stream(&server, NULL), datagrams_fd;

    if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
        fail("udp: the request");
    server.sin_port = htons(message.port);
    datagrams_fd = open_datagrams(NULL, &server, is_gso(kind));
    if (send(datagrams_fd, "", 1, 0) != 1)
        fail("udp: the first datagram");
    if (is_up(kind)) {
        send_datagrams(datagrams_fd, is_gso(kind), duration_ms);
        if (!write_all(fd, "", 1) || !read_all(fd, &message, sizeof(message)))
            fail("udp: the result");
    } else {
        struct count count = receive_datagrams(datagrams_fd, fd);

        message.bytes = count.bytes;
        message.elapsed_ns = count.last_ns - count.first_ns;
    }
    if (message.elapsed_ns == 0)
        errno = ETIMEDOUT, fail("udp: no datagram came");
    printf("bits_per_s=%.0f\n", (double)message.bytes * 8e9 / (double)message.elapsed_ns);
    return 0;
}
