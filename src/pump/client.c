/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's life, and the way of its frames.
 *
 * To the tap nothing waits: what it does not take is dropped, as on a wire. To the client a turn's frames
 * are read from the tap and sent at once; what the socket does not take is kept, and until that is gone the
 * tap is not read. So a client that stalls costs nothing at all: the tap's own queue fills, and the kernel
 * drops what comes then before anybody has touched it, counted as the device's tx_dropped. The queue here is
 * never more than one turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "pump/client.h"

static const struct {
    int (*receive)(struct pump_client *client);
    ssize_t (*send)(struct pump_client *client, const uint8_t *data, size_t len_bytes);
} framings[] = {
    [PUMP_STREAM] = {pump_stream_receive, pump_stream_send},
    [PUMP_DGRAM] = {pump_dgram_receive, pump_dgram_send},
};

int pump_client_watch(struct pump_client *client)
{
    bool waits = client->queue != NULL;
    int result = loop_change(client->pump->loop, &client->socket_source,
                             LOOP_IN | (waits ? (unsigned)LOOP_OUT : 0u));

    if (result < 0)
        return result;
    return loop_change(client->pump->loop, &client->tap_source,
                       waits || !client->has_peer ? 0u : (unsigned)LOOP_IN);
}

void pump_client_end(struct pump_client *client)
{
    struct loop_source *const sources[] = {&client->socket_source, &client->tap_source,
                                           &client->lifeline_source};

    list_remove(&client->list);
    for (int i = 0; i < 3; i++)
        loop_remove(client->pump->loop, sources[i]);
    close(client->socket_fd);
    pump_tap_close(&client->tap);
    if (client->lifeline_fd >= 0)
        close(client->lifeline_fd);
    atomic_fetch_sub_explicit(&client->pump->counters->pump_clients, 1, memory_order_relaxed);
    free(client->queue);
    free(client);
}

/* Keeps what the socket did not take. */
static int keep(struct pump_client *client, const uint8_t *data, size_t len_bytes)
{
    client->queue = malloc(len_bytes);
    /* Half a frame may have been sent: what follows would be nonsense to the client. */
    if (!client->queue)
        return -ENOMEM;
    memcpy(client->queue, data, len_bytes);
    client->queue_len_bytes = len_bytes;
    client->queue_at_bytes = 0;
    return pump_client_watch(client);
}

static int send_kept(struct pump_client *client)
{
    ssize_t sent = framings[client->framing].send(client, client->queue + client->queue_at_bytes,
                                                  client->queue_len_bytes - client->queue_at_bytes);

    if (sent < 0)
        return (int)sent;
    client->queue_at_bytes += (size_t)sent;
    if (client->queue_at_bytes < client->queue_len_bytes)
        return 0;
    free(client->queue);
    client->queue = NULL;
    return pump_client_watch(client);
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct pump_client *client = CONTAINER_OF(source, struct pump_client, socket_source);
    int result = 0;

    if (events & LOOP_OUT && client->queue)
        result = send_kept(client);
    /* A hang-up, too, is found by reading: what came before it is not lost. */
    if (result == 0 && events & (LOOP_IN | LOOP_HANGUP))
        result = framings[client->framing].receive(client);
    if (result < 0)
        pump_client_end(client);
}

static void on_tap(struct loop_source *source, unsigned events)
{
    struct pump_client *client = CONTAINER_OF(source, struct pump_client, tap_source);
    uint8_t *data = client->pump->down;
    ssize_t len, sent;

    len = events & LOOP_IN ? pump_tap_read(client, data, sizeof(client->pump->down)) : -ENODEV;
    sent = len > 0 ? framings[client->framing].send(client, data, (size_t)len) : len;
    if (sent < 0 || (sent < len && keep(client, data + sent, (size_t)(len - sent)) < 0))
        pump_client_end(client);
}

static void on_lifeline(struct loop_source *source, unsigned events)
{
    /* Nothing is to be read from it, so it is asked for nothing but its end. */
    if (events & LOOP_HANGUP)
        pump_client_end(CONTAINER_OF(source, struct pump_client, lifeline_source));
}

void pump_client_start(struct pump_client *client)
{
    const int bytes = PUMP_SOCKET_BYTES;
    struct sockaddr_storage name;
    socklen_t name_len = sizeof(name);
    struct loop *loop = client->pump->loop;
    int result;

    list_append(&client->pump->clients, &client->list);
    client->socket_source.on_event = on_socket;
    client->tap_source.on_event = on_tap;
    client->lifeline_source.on_event = on_lifeline;
    /* The host may allow less; then it is less. */
    (void)setsockopt(client->socket_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    (void)setsockopt(client->socket_fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    client->has_peer = client->framing == PUMP_STREAM ||
                       getpeername(client->socket_fd, (struct sockaddr *)&name, &name_len) == 0;
    result = loop_add(loop, &client->socket_source, client->socket_fd, LOOP_IN);
    if (result == 0)
        result = loop_add(loop, &client->tap_source, client->tap.fd,
                          client->has_peer ? (unsigned)LOOP_IN : 0u);
    if (result == 0 && client->lifeline_fd >= 0)
        result = loop_add(loop, &client->lifeline_source, client->lifeline_fd, 0);
    if (result == 0)
        return;
    log_error("cannot serve a port's socket: %s", strerror(-result));
    pump_client_end(client);
}
