/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/router.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "base/table.h"
#include "daemon/channel.h"
#include "daemon/run_dir.h"
#include "daemon/signals.h"
#include "uplink/uplink.h"

/* Over which a worker of the uplink asks for sockets. */
struct asker {
    struct loop_source source;
    struct router *router;
};

struct router {
    const struct router_args *args;
    struct loop *loop;
    struct plane *plane;
    struct loop_source engine_source;
    struct asker askers[NET_WORKERS_MAX];
    uint32_t list_id;
};

static void router_send(struct router *router, struct message *message, const int *fds,
                        unsigned fds_len)
{
    int result;

    message->router_pid = getpid();
    message->service_pid = plane_service_pid(router->plane);
    message->mtu = plane_mtu(router->plane);
    result = channel_send(router->args->engine_fd, message, fds, fds_len);
    /* Nothing is lost for good: the engine asks again, and lists the ports after it was away. */
    if (result < 0)
        log_warn("the engine did not take a message: %s", strerror(-result));
}

static void on_service(void *context)
{
    struct router *router = context;
    struct message message = {.type = MESSAGE_PROCESSES};

    err_set(&message.err, 0, "%s", plane_warning(router->plane));
    router_send(router, &message, NULL, 0);
}

static void on_gone(void *context, const char *interface)
{
    struct router *router = context;
    struct message message = {.type = MESSAGE_GONE};

    strncpy(message.port.interface, interface, sizeof(message.port.interface) - 1);
    router_send(router, &message, NULL, 0);
}

static void on_learned(void *context, const char *interface, const struct mac_addr *mac)
{
    struct router *router = context;
    struct message message = {.type = MESSAGE_LEARNED, .port.mac = *mac};

    strncpy(message.port.interface, interface, sizeof(message.port.interface) - 1);
    router_send(router, &message, NULL, 0);
}

static void on_listed(void *context, const struct plane_port *port,
                      const struct plane_port_stats *stats)
{
    struct router *router = context;
    struct message message = {
        .type = MESSAGE_PORT, .id = router->list_id, .port = *port, .stats = *stats};

    router_send(router, &message, NULL, 0);
}

/* The engine's word alone puts nothing into a file or an interface's name. */
static int router_check_port(const struct router *router, const struct plane_port *port,
                             struct err *err)
{
    const struct net_config *config = router->args->config;
    bool learning = mac_is_zero(&port->mac);
    int result = net_hostname_check(port->name, err);

    if (result == 0)
        result = net_uuid_check(port->interface_id, err);
    if (result == 0 && config->system_dhcp && port->ipv4)
        result = err_set(err, -EINVAL, "port '%s': addresses are not the network's", port->name);
    if (result == 0 && learning && (port->ipv4 || port->kind != PORT_TAP))
        result = err_set(err, -EINVAL, "port '%s': has no MAC", port->name);
    if (result == 0 && !learning && !config->system_dhcp && !net_config_in_pool(config, port->ipv4))
        result = err_set(err, -EINVAL, "port '%s': its address is not in the pool", port->name);
    if (result == 0 && (port->mac.bytes[0] & 1))
        result = err_set(err, -EINVAL, "port '%s': its MAC is a group address", port->name);
    if (result == 0 && port->kind >= PORT_KINDS)
        result = err_set(err, -EINVAL, "port '%s': of no kind", port->name);
    return result;
}

/* The engine's word alone leads nobody anywhere but to a guest of this network. */
static void router_set_forwards(struct router *router, int fd)
{
    const struct net_config *config = router->args->config;
    struct plane_forward *forwards = calloc(PLANE_FORWARDS_MAX, sizeof(*forwards));
    ssize_t len =
        forwards && fd >= 0 ? pread(fd, forwards, PLANE_FORWARDS_MAX * sizeof(*forwards), 0) : -1;
    size_t kept = 0;

    for (size_t i = 0; len >= 0 && i < (size_t)len / sizeof(*forwards); i++)
        if (forwards[i].host.port && forwards[i].guest.port &&
            net_config_contains(config, &forwards[i].guest.addr))
            forwards[kept++] = forwards[i];
    if (len >= 0)
        plane_set_forwards(router->plane, forwards, kept);
    free(forwards);
}

static void router_answer(struct router *router, const struct message *request, int peer_fd)
{
    struct message answer = {.type = MESSAGE_DONE, .id = request->id, .port = request->port};
    int fd = -1;

    switch (request->type) {
    case MESSAGE_ADD_PORT:
        answer.result = router_check_port(router, &request->port, &answer.err);
        if (answer.result == 0)
            answer.result = plane_add_port(router->plane, &answer.port, peer_fd, &fd, &answer.err);
        break;
    case MESSAGE_SETTLE_PORT:
        answer.result = router_check_port(router, &request->port, &answer.err);
        if (answer.result == 0 && mac_is_zero(&request->port.mac))
            answer.result = err_set(&answer.err, -EINVAL, "a port is settled with a MAC");
        if (answer.result == 0)
            answer.result = plane_settle_port(router->plane, &request->port, &answer.err);
        break;
    case MESSAGE_REMOVE_PORT:
        answer.result = plane_remove_port(router->plane, request->port.interface, &answer.err);
        break;
    case MESSAGE_CUT_OFF: answer.result = plane_cut_off(router->plane, &answer.err); break;
    case MESSAGE_LIST_PORTS:
        router->list_id = request->id;
        answer.result = plane_list_ports(router->plane, on_listed, router);
        err_set(&answer.err, 0, "%s", plane_warning(router->plane));
        break;
    case MESSAGE_OPEN_SOCKET:
        fd = plane_open_socket(router->plane, request->family, request->socket_type);
        if (fd < 0)
            answer.result =
                err_set(&answer.err, fd, "cannot open a socket in the network: %s", strerror(-fd));
        break;
    case MESSAGE_SET_FORWARDS: router_set_forwards(router, peer_fd); return;
    case MESSAGE_SET_OUTSIDE: plane_set_outside(router->plane, &request->outside); return;
    default: answer.result = err_set(&answer.err, -EBADMSG, "unknown request %u", request->type);
    }
    router_send(router, &answer, &fd, fd >= 0 ? 1 : 0);
    if (fd >= 0)
        close(fd);
    /* Also to an engine that waits for no answer any more. */
    answer.type = MESSAGE_GONE;
    if (request->type == MESSAGE_REMOVE_PORT && answer.result == 0)
        router_send(router, &answer, NULL, 0);
}

static void on_engine(struct loop_source *source, unsigned events)
{
    struct router *router = CONTAINER_OF(source, struct router, engine_source);
    struct message request;
    unsigned fds_len;
    int fd = -1;

    if (channel_receive(source->fd, &request, &fd, 1, &fds_len) < 0)
        return;
    router_answer(router, &request, fds_len ? fd : -1);
    if (fds_len)
        close(fd);
}

/* The uplink wants sockets for connections to guests; what cannot be had now it asks for again. */
static void on_sockets(struct loop_source *source, unsigned events)
{
    struct router *router = CONTAINER_OF(source, struct asker, source)->router;
    int fds[UPLINK_SOCKETS_A_REQUEST];
    struct uplink_socket_request request;
    unsigned len = 0;

    if (recv(source->fd, &request, sizeof(request), MSG_DONTWAIT) != sizeof(request) ||
        (request.family != AF_INET && request.family != AF_INET6))
        return;
    while (len < request.count && len < UPLINK_SOCKETS_A_REQUEST) {
        int fd = plane_open_socket(router->plane, request.family, SOCK_STREAM);

        if (fd < 0)
            break;
        fds[len++] = fd;
    }
    descriptor_send(source->fd, "", 1, fds, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (len)
        close(fds[--len]);
}

static void on_signal(void *context, int signal)
{
    struct router *router = context;

    if (signal == SIGCHLD)
        plane_reap(router->plane);
    else
        loop_stop(router->loop);
}

static int router_start(struct router *router, struct message *ready, int *fds, unsigned *fds_len,
                        struct err *err)
{
    const struct plane_events events = {on_gone, on_service, on_learned, router};
    const struct router_args *args = router->args;
    struct plane_handles handles;
    int result;

    /* What would stay without us we have to remove: a network namespace ends by itself. */
    if (confine_die_with_parent(args->parent_pid, args->config->system ? SIGTERM : SIGKILL) < 0)
        return -ESRCH;
    result = loop_new(&router->loop);
    if (result < 0)
        return err_set(err, result, "cannot start an event loop: %s", strerror(-result));
    if (args->handles) {
        result = plane_join(args->config, args->handles, &router->plane, err);
        close(args->handles->fd[PLANE_DNS_UDP]); /* the engine's */
    } else {
        result = plane_create(args->config, &router->plane, &handles, err);
        if (result == 0)
            *fds_len = channel_put_handles(&handles, ready, fds);
    }
    if (result < 0)
        return result;
    result = signals_watch(router->loop, on_signal, router);
    router->engine_source = (struct loop_source){.on_event = on_engine, .fd = -1};
    if (result == 0)
        result = loop_add(router->loop, &router->engine_source, args->engine_fd, LOOP_IN);
    for (unsigned i = 0; i < args->config->workers && result == 0; i++) {
        router->askers[i] = (struct asker){{.on_event = on_sockets, .fd = -1}, router};
        result = loop_add(router->loop, &router->askers[i].source, args->sockets_fd[i], LOOP_IN);
    }
    if (result < 0)
        return err_set(err, result, "cannot watch the engine: %s", strerror(-result));
    return plane_run(router->plane, router->loop, &events, err);
}

/* Told to stop: the network ends. Where its parent has ended nobody else can remove what is root's. */
static void router_end(struct router *router)
{
    const struct net_config *config = router->args->config;

    plane_destroy(router->plane);
    if (config->system && getppid() != router->args->parent_pid)
        run_dir_abandon(config);
}

int router_main(const struct router_args *args)
{
    struct router router = {.args = args};
    struct message ready = {.type = MESSAGE_READY};
    int fds[PLANE_HANDLES];
    unsigned fds_len = 0;
    int result = router_start(&router, &ready, fds, &fds_len, &ready.err);

    if (result < 0) {
        if (router.plane && !args->handles)
            plane_destroy(router.plane);
        ready.type = MESSAGE_FAILED;
        ready.result = result;
        channel_send(args->parent_fd, &ready, NULL, 0);
        return 1;
    }
    result = channel_send(args->parent_fd, &ready, fds, fds_len);
    /* The parent has them now. A device or listener kept open here would outlive its purpose. */
    for (unsigned i = 0; i < fds_len; i++)
        close(fds[i]);
    if (result == 0) {
        plane_serve(router.plane);
        result = loop_run(router.loop);
        if (result == 0)
            router_end(&router);
    }
    plane_free(router.plane);
    loop_free(router.loop);
    return result < 0 ? 1 : 0;
}
