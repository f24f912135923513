/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream socket at a path of the network, for VM monitors that connect by themselves: many on one
 * socket, a port for each. Who connects says nothing of itself, so the port is made when the first frame is
 * there, and gets the MAC that this frame comes from. The frame stays in the socket, for the pump.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/peer.h"
#include "daemon/methods.h"

/* Connections whose first frame has not come yet. */
#define LISTENER_PENDING_MAX 128
#define LISTENER_USER_PENDING_MAX                                                                  \
    32 /* of one user, where others may connect, too; and no more than ports */
#define ETHERNET_BYTES 14
/* Until one more is tried, when no descriptor was left for it. */
#define RETRY_MS 1000

struct pending {
    struct list list;
    struct listener *listener;
    struct loop_source source;
    struct network_port *port; /* being attached */
    pid_t pid;
    uid_t uid;
};

struct listener {
    struct engine *engine;
    struct loop_source source;
    struct list pending;
    struct loop_timer timer;
    unsigned pending_len;
    bool paused;
};

static void listener_pause(struct listener *listener, bool pause)
{
    if (listener->paused != pause)
        loop_change(listener->engine->loop, &listener->source, pause ? 0 : LOOP_IN);
    listener->paused = pause;
}

static void on_timer(struct loop_timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, timer);

    listener_pause(listener, listener->pending_len >= LISTENER_PENDING_MAX);
}

/* Forgets a connection; its descriptor is closed unless it was handed over. */
static void pending_free(struct pending *pending, int fd)
{
    struct listener *listener = pending->listener;

    loop_remove(listener->engine->loop, &pending->source);
    if (fd >= 0)
        close(fd);
    list_remove(&pending->list);
    free(pending);
    listener->pending_len--;
    listener_pause(listener, false);
}

/* It becomes no port. */
static void pending_end(struct pending *pending)
{
    struct engine *engine = pending->listener->engine;

    pending_free(pending, pending->source.fd);
    engine_connection_ended(engine);
}

static void refuse(struct engine *engine, const char *reason)
{
    if (access_may_log(&engine->denials))
        log_warn("a client of the stream socket got no port: %s", reason);
}

static void on_attached(struct engine *engine, const struct engine_request *request,
                        const struct message *answer, const int *fds, unsigned fds_len)
{
    struct pending *pending = request->context;
    struct network_port *port = pending->port;
    int fd = pending->source.fd, result = answer->result;
    struct pump_tap tap;

    if (result == 0)
        result = engine_take_tap(engine, answer, fds, fds_len, &tap);
    /* Also where it is not the pump's after all: pending_free() gets it. */
    loop_remove(engine->loop, &pending->source);
    if (result == 0) {
        port->port = answer->port;
        port->attached = true;
        result = pump_add(engine->pump, PUMP_STREAM, fd, &tap, -1, engine->network.mtu);
        fd = -1; /* the pump's, on failure too */
    }
    if (result < 0) {
        refuse(engine, answer->err.text[0] ? answer->err.text : strerror(-result));
        engine_drop_port(engine, port);
    } else {
        forwards_port_attached(engine->forwards);
        network_save(&engine->network);
    }
    pending_free(pending, fd);
    if (result < 0)
        engine_port_removed(engine);
}

static int pending_attach(struct pending *pending, const struct mac_addr *mac, struct err *err)
{
    struct engine *engine = pending->listener->engine;
    struct message message = {.type = MESSAGE_ADD_PORT};
    struct network_request request = {.name = "",
                                      .interface_id = "",
                                      .mac = mac,
                                      .kind = PORT_STREAM,
                                      .owner_pid = pending->pid,
                                      .owner_uid = pending->uid};
    int result = network_allot(&engine->network, &request, &pending->port, err);

    if (result < 0)
        return result;
    message.port = pending->port->port;
    result = engine_request(engine, &message, -1, NULL, on_attached, pending);
    if (result < 0) {
        engine_drop_port(engine, pending->port);
        return err_set(err, result, "the network's router takes no requests now");
    }
    return 0;
}

static void on_first_bytes(struct loop_source *source, unsigned events)
{
    struct pending *pending = CONTAINER_OF(source, struct pending, source);
    uint8_t bytes[PUMP_LENGTH_BYTES + ETHERNET_BYTES];
    uint32_t length = 1;
    struct mac_addr mac;
    struct err err;
    ssize_t len;

    if (pending->port)
        return; /* on its way; whether the client is still there the pump will see */
    len = recv(source->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    if (len < 0 && errno == EAGAIN)
        return;
    if (len >= PUMP_LENGTH_BYTES) {
        memcpy(&length, bytes, sizeof(length));
        length = ntohl(length);
    }
    if (len > 0 && len < (ssize_t)sizeof(bytes) && !(events & LOOP_HANGUP) && length > 0 &&
        length <= PUMP_LENGTH_MAX)
        return; /* more is coming, and tells: the source is edge-triggered */
    if (len < (ssize_t)sizeof(bytes) || length < ETHERNET_BYTES || length > PUMP_LENGTH_MAX) {
        pending_end(pending);
        return;
    }
    memcpy(mac.bytes, bytes + PUMP_LENGTH_BYTES + 6, sizeof(mac.bytes));
    if (pending_attach(pending, &mac, &err) < 0) {
        refuse(pending->listener->engine, err.text);
        pending_end(pending);
    }
}

static bool is_allowed(struct listener *listener, int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    struct engine *engine = listener->engine;
    const struct net_config *config = engine->network.config;
    unsigned found = 0;

    if (peer_identity(fd, ret_uid, ret_pid) < 0)
        return false;
    if (*ret_uid == 0 || !config->system)
        return *ret_uid == 0 || *ret_uid == geteuid();
    if (access_of_peer(config, fd) < ACCESS_USE) {
        access_deny(&engine->denials, config, *ret_uid, ACCESS_USE, "attach ports", NULL);
        return false;
    }
    for (struct list *node = listener->pending.next; node != &listener->pending; node = node->next)
        found += CONTAINER_OF(node, struct pending, list)->uid == *ret_uid;
    return found < LISTENER_USER_PENDING_MAX && found < config->file->access.user_ports;
}

static void on_listener(struct loop_source *source, unsigned events)
{
    struct listener *listener = CONTAINER_OF(source, struct listener, source);
    int fd = descriptor_accept(source->fd);
    struct pending *pending;
    pid_t pid = 0;
    uid_t uid;

    if (fd < 0) {
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) {
            listener_pause(listener, true);
            loop_timer_set(listener->engine->loop, &listener->timer, RETRY_MS);
        }
        return;
    }
    pending = is_allowed(listener, fd, &uid, &pid) ? calloc(1, sizeof(*pending)) : NULL;
    if (!pending) {
        close(fd);
        return;
    }
    pending->listener = listener;
    pending->pid = pid;
    pending->uid = uid;
    pending->source = (struct loop_source){.on_event = on_first_bytes, .fd = -1};
    list_append(&listener->pending, &pending->list);
    listener->pending_len++;
    if (loop_add(listener->engine->loop, &pending->source, fd, LOOP_IN | LOOP_EDGE) < 0)
        pending_free(pending, fd);
    else if (listener->pending_len >= LISTENER_PENDING_MAX)
        listener_pause(listener, true);
}

int listener_new(struct engine *engine, int fd, struct listener **ret_listener)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int result;

    if (!listener)
        return -ENOMEM;
    listener->engine = engine;
    listener->source = (struct loop_source){.on_event = on_listener, .fd = -1};
    listener->timer.on_timer = on_timer;
    list_init(&listener->pending);
    result = loop_add(engine->loop, &listener->source, fd, LOOP_IN);
    if (result < 0) {
        free(listener);
        return result;
    }
    *ret_listener = listener;
    return 0;
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    loop_timer_clear(listener->engine->loop, &listener->timer);
    while (!list_is_empty(&listener->pending)) {
        struct pending *pending = CONTAINER_OF(listener->pending.next, struct pending, list);

        pending_free(pending, pending->source.fd);
    }
    loop_remove(listener->engine->loop, &listener->source);
    free(listener);
}

bool listener_is_busy(const struct listener *listener)
{
    return listener && listener->pending_len > 0;
}
