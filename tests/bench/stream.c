/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP stream for a fraction of a second, as many times as one likes: iperf3 takes whole seconds. The receiver
 * counts, and not what comes while the stream finds its pace.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netbench.h"

#define CHUNK_BYTES (128 * 1024)
#define WARM_UP 4 /* this part of the time */

static void *chunk_new(void)
{
    void *chunk = calloc(1, CHUNK_BYTES);

    if (!chunk)
        fail("memory");
    return chunk;
}

static void send_stream(int fd, uint32_t duration_ms)
{
    uint64_t end_ns = now_ns() + (uint64_t)duration_ms * 1000000;
    void *chunk = chunk_new();

    while (now_ns() < end_ns && send(fd, chunk, CHUNK_BYTES, MSG_NOSIGNAL) > 0)
        ;
    shutdown(fd, SHUT_WR);
    free(chunk);
}

static void receive_stream(int fd, struct message *message)
{
    uint64_t begin_ns = now_ns() + (uint64_t)message->duration_ms * 1000000 / WARM_UP;
    uint64_t first_ns = 0, last_ns = 0;
    void *chunk = chunk_new();
    ssize_t len;

    message->bytes = 0;
    while ((len = recv(fd, chunk, CHUNK_BYTES, 0)) > 0) {
        last_ns = now_ns();
        if (first_ns)
            message->bytes += (uint64_t)len;
        else if (last_ns >= begin_ns)
            first_ns = last_ns;
    }
    message->elapsed_ns = first_ns ? last_ns - first_ns : 0;
    free(chunk);
}

void serve_stream(int fd, struct message *message)
{
    if (!write_all(fd, message, sizeof(*message)))
        return;
    if (message->kind == KIND_TCP_DOWN) {
        send_stream(fd, message->duration_ms);
        return;
    }
    receive_stream(fd, message);
    write_all(fd, message, sizeof(*message));
}

int run_stream(const struct sockaddr_in *server, enum kind kind, uint32_t duration_ms)
{
    struct message message = {.kind = kind, .duration_ms = duration_ms};
    int fd = open_stream(server, NULL);

    if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
        fail("tcp: the request");
    if (kind == KIND_TCP_UP) {
        send_stream(fd, duration_ms);
        if (!read_all(fd, &message, sizeof(message)))
            fail("tcp: the result");
    } else {
        receive_stream(fd, &message);
    }
    if (message.elapsed_ns == 0)
        errno = ETIMEDOUT, fail("tcp: nothing came");
    printf("bits_per_s=%.0f\n", (double)message.bytes * 8e9 / (double)message.elapsed_ns);
    return 0;
}
