/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/forward_way.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/table.h"

struct forward_way {
    struct worker *worker;
    struct loop_source source;
    struct udp_socket socket;
    void (*on_answer)(void *context, const struct iovec *payload);
    void *context;
};

/* The datagram at @at of those that came together. Returns where the next one is. */
static size_t datagram_at(const struct udp_received *received, size_t at, struct iovec *ret_part)
{
    size_t len = received->len_bytes - at;

    *ret_part = (struct iovec){received->payload + at,
                               len < received->segment_bytes ? len : received->segment_bytes};
    return at + ret_part->iov_len;
}

static void take(struct udp_socket *socket, const struct udp_received *received)
{
    struct forward_way *way = CONTAINER_OF(socket, struct forward_way, socket);
    struct iovec part;
    size_t at = 0;

    do {
        at = datagram_at(received, at, &part);
        way->on_answer(way->context, &part);
    } while (at < received->len_bytes);
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct forward_way *way = CONTAINER_OF(source, struct forward_way, source);
    socklen_t error_len = sizeof(int);
    int error;

    /* The guest's port may be closed; its client asks again, or not. */
    if (events & LOOP_HANGUP)
        getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
    udp_receive(way->worker->udp_receiver, &way->socket, take);
}

int forward_way_new(struct worker *worker, const struct ip_endpoint *guest,
                    void (*on_answer)(void *context, const struct iovec *payload), void *context,
                    struct forward_way **ret_way)
{
    struct forward_way *way = calloc(1, sizeof(*way));
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(guest, &address);
    int fd, result;

    if (!way)
        return -ENOMEM;
    *way = (struct forward_way){.worker = worker,
                                .source = {.on_event = on_socket, .fd = -1},
                                .on_answer = on_answer,
                                .context = context};
    fd = descriptor_socket(guest->addr.family, SOCK_DGRAM, true);
    /* The kernel takes the gateway's address, by which alone it reaches guests, and a port. */
    result = fd < 0 ? fd : connect(fd, (struct sockaddr *)&address, len) < 0 ? -errno : 0;
    if (result == 0)
        result = udp_socket_init(&way->socket, fd, guest->addr.family,
                                 &worker->config.counters->forward_udp_down);
    if (result == 0)
        result = loop_add(worker->loop, &way->source, fd, LOOP_IN);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        free(way);
        return result;
    }
    *ret_way = way;
    return 0;
}

void forward_way_free(struct forward_way *way)
{
    int fd;

    if (!way)
        return;
    fd = way->source.fd;
    loop_remove(way->worker->loop, &way->source);
    close(fd);
    free(way);
}

void forward_way_send(struct forward_way *way, const struct udp_received *received,
                      atomic_uint_fast64_t *counter)
{
    struct iovec part;
    size_t at = 0;

    do {
        at = datagram_at(received, at, &part);
        if (udp_send_payload(way->source.fd, NULL, &part) == 0)
            COUNT_OF(counter, 1);
    } while (at < received->len_bytes);
}
