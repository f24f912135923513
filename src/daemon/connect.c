/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connect: a TCP connection from the gateway to a machine on the network, for a client outside. The router
 * opens the socket, so it is inside the network; here it is connected, and then it is the client's. No byte
 * of the connection passes this process.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/methods.h"

/* Less than a client waits for its reply. */
#define CONNECT_TIMEOUT_MS 10000

struct connecting {
    struct connects *connects;
    struct control_client *client; /* NULL: free */
    struct loop_source source;
    struct ip_endpoint target;
    uint64_t due_ms;
    char host[NET_HOSTNAME_MAX + NET_DOMAIN_MAX + 2]; /* as it was asked for */
};

struct connects {
    struct engine *engine;
    struct loop_timer timer;
    struct connecting table[CONNECTS_MAX];
};

static void connect_end(struct connecting *pending)
{
    int fd = pending->source.fd;

    loop_remove(pending->connects->engine->loop, &pending->source);
    if (fd >= 0)
        close(fd);
    pending->source.fd = -1;
    pending->client = NULL;
}

static void connect_fail(struct connecting *pending, int error)
{
    struct control_client *client = pending->client;
    char address[IP_TEXT_MAX], reason[256];

    snprintf(reason, sizeof(reason), "%s (%s) port %u: %s%s", pending->host,
             ip_format(&pending->target.addr, address), pending->target.port,
             error == -ETIMEDOUT ? "does not answer" : strerror(-error),
             error == -ECONNREFUSED ? "; nothing listens there" : "");
    connect_end(pending);
    methods_fail(client, error, reason);
}

static void on_connected(struct loop_source *source, unsigned events)
{
    struct connecting *pending = CONTAINER_OF(source, struct connecting, source);
    struct control_client *client = pending->client;
    int error = 0, fd = source->fd, flags;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error) {
        connect_fail(pending, -error);
        return;
    }
    /* As a client expects a socket. */
    flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    control_reply(client, json_pack("{s:i}", "fd", 0), &fd, 1);
    connect_end(pending);
}

static void on_timer(struct loop_timer *timer)
{
    struct connects *connects = CONTAINER_OF(timer, struct connects, timer);
    uint64_t now_ms = loop_now_ms(connects->engine->loop);
    bool left = false;

    for (int i = 0; i < CONNECTS_MAX; i++) {
        struct connecting *pending = &connects->table[i];

        if (pending->client && pending->source.fd >= 0 && now_ms >= pending->due_ms)
            connect_fail(pending, -ETIMEDOUT);
        left = left || pending->client;
    }
    if (left)
        loop_timer_set(connects->engine->loop, timer, CONNECT_TIMEOUT_MS / 10);
}

static void on_socket(struct engine *engine, const struct engine_request *request,
                      const struct message *answer, const int *fds, unsigned fds_len)
{
    struct connecting *pending = request->context;
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&pending->target, &address);
    struct ip_endpoint gateway = {.addr = ip_from_u32(engine->network.config->gateway)};
    struct sockaddr_storage local;
    socklen_t local_len;
    int fd, result = 0;

    if (!request->client) {
        pending->client = NULL;
        return;
    }
    fd = answer->result == 0 && fds_len ? fcntl(fds[0], F_DUPFD_CLOEXEC, 0) : -1;
    if (fd < 0) {
        pending->client = NULL;
        methods_fail(request->client, answer->result < 0 ? answer->result : -EMFILE,
                     answer->result < 0 ? answer->err.text : "no descriptor is left");
        return;
    }
    if (pending->target.addr.family == AF_INET6)
        gateway.addr = engine->network.config->gateway6;
    local_len = endpoint_to_sockaddr(&gateway, &local);
    if (bind(fd, (struct sockaddr *)&local, local_len) < 0 ||
        (connect(fd, (struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS))
        result = -errno;
    if (result == 0)
        result = loop_add(engine->loop, &pending->source, fd, LOOP_OUT);
    if (result < 0) {
        close(fd);
        connect_fail(pending, result);
    }
}

/* A name or an address to the address of a machine on the network. */
static int resolve(struct engine *engine, const char *host, struct ip_addr *ret_addr,
                   struct err *err)
{
    const struct net_config *config = engine->network.config;
    const struct network_port *port = network_find_name(&engine->network, host);
    const struct net_file *file = config->file;
    size_t len;

    if (port) {
        *ret_addr = ip_from_u32(port->port.ipv4);
        return 0;
    }
    for (unsigned i = 0; file && i < file->records_len; i++) {
        const char *name = file->records[i].name;

        len = strlen(name);
        if (strncasecmp(name, host, len) == 0 &&
            (!host[len] || (host[len] == '.' && strcasecmp(host + len + 1, config->domain) == 0)) &&
            net_config_contains(config, &file->records[i].address)) {
            *ret_addr = file->records[i].address;
            return 0;
        }
    }
    if (ip_parse(host, ret_addr) < 0)
        return err_set(err, -ENOENT,
                       "no machine '%.100s' is on network '%s' now; vmnet status %s lists those "
                       "that are",
                       host, config->name, config->name);
    if (!net_config_contains(config, ret_addr))
        return err_set(err, -EINVAL, "%.100s is not an address of network '%s'; see vmnet status",
                       host, config->name);
    return 0;
}

void connect_call(struct engine *engine, struct control_client *client, json_t *parameters)
{
    const json_t *number = json_object_get(parameters, "port");
    struct message message = {.type = MESSAGE_OPEN_SOCKET, .socket_type = SOCK_STREAM};
    struct connects *connects = engine->connects;
    struct connecting *pending = NULL;
    struct ip_addr addr;
    const char *host;
    struct err err;
    int result;

    if (!methods_read_string(parameters, "host", &host) || !host[0]) {
        methods_fail_parameter(client, "host");
        return;
    }
    if (!json_is_integer(number) || json_integer_value(number) < 1 ||
        json_integer_value(number) > 65535) {
        methods_fail_parameter(client, "port");
        return;
    }
    result = resolve(engine, host, &addr, &err);
    if (result < 0) {
        methods_fail(client, result, err.text);
        return;
    }
    for (int i = 0; i < CONNECTS_MAX && !pending; i++)
        if (!connects->table[i].client)
            pending = &connects->table[i];
    message.family = addr.family;
    if (!pending || engine_request(engine, &message, -1, client, on_socket, pending) < 0) {
        methods_fail(client, -EAGAIN, "too many connections are under way; try again");
        return;
    }
    pending->client = client;
    pending->target = (struct ip_endpoint){addr, (uint16_t)json_integer_value(number)};
    pending->due_ms = loop_now_ms(engine->loop) + CONNECT_TIMEOUT_MS;
    snprintf(pending->host, sizeof(pending->host), "%s", host);
    if (!connects->timer.due_ms)
        loop_timer_set(engine->loop, &connects->timer, CONNECT_TIMEOUT_MS / 10);
}

struct connects *connects_new(struct engine *engine)
{
    struct connects *connects = calloc(1, sizeof(*connects));

    if (!connects)
        return NULL;
    connects->engine = engine;
    connects->timer.on_timer = on_timer;
    for (int i = 0; i < CONNECTS_MAX; i++) {
        connects->table[i].connects = connects;
        connects->table[i].source = (struct loop_source){.on_event = on_connected, .fd = -1};
    }
    return connects;
}

void connects_client_gone(struct connects *connects, struct control_client *client)
{
    for (int i = 0; connects && i < CONNECTS_MAX; i++)
        /* One that still waits for its socket is freed when that comes. */
        if (connects->table[i].client == client && connects->table[i].source.fd >= 0)
            connect_end(&connects->table[i]);
}

void connects_free(struct connects *connects)
{
    if (!connects)
        return;
    for (int i = 0; i < CONNECTS_MAX; i++)
        connect_end(&connects->table[i]);
    loop_timer_clear(connects->engine->loop, &connects->timer);
    free(connects);
}
