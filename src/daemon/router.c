/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/router.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/table.h"
#include "daemon/channel.h"
#include "daemon/signals.h"

struct router {
    const struct router_args *args;
    struct loop *loop;
    struct plane *plane;
    struct loop_source engine_source;
    uint32_t list_id;
};

static void router_send(struct router *router, struct message *message, const int *fd)
{
    int result;

    message->router_pid = getpid();
    message->service_pid = plane_service_pid(router->plane);
    result = channel_send(router->args->engine_fd, message, fd, fd ? 1 : 0);
    /* Nothing is lost for good: the engine asks again, and lists the ports after it was away. */
    if (result < 0)
        log_warn("the engine did not take a message: %s", strerror(-result));
}

static void on_service(void *context)
{
    struct message message = {.type = MESSAGE_PROCESSES};

    router_send(context, &message, NULL);
}

static void on_gone(void *context, const char *interface)
{
    struct router *router = context;
    struct message message = {.type = MESSAGE_GONE};

    strncpy(message.port.interface, interface, sizeof(message.port.interface) - 1);
    router_send(router, &message, NULL);
}

static void on_listed(void *context, const struct plane_port *port)
{
    struct router *router = context;
    struct message message = {.type = MESSAGE_PORT, .id = router->list_id, .port = *port};

    router_send(router, &message, NULL);
}

/* The engine's word alone puts nothing into a file or an interface's name. */
static int router_check_port(const struct router *router, const struct plane_port *port,
                             struct err *err)
{
    const struct net_config *config = router->args->config;
    int result = net_hostname_check(port->name, err);

    if (result == 0)
        result = net_uuid_check(port->interface_id, err);
    if (result == 0 && (port->ipv4 <= config->gateway || port->ipv4 > config->pool_end))
        result = err_set(err, -EINVAL, "port '%s': its address is not in the pool", port->name);
    if (result == 0 && (port->mac.bytes[0] & 1))
        result = err_set(err, -EINVAL, "port '%s': its MAC is a group address", port->name);
    return result;
}

static void router_answer(struct router *router, const struct message *request)
{
    struct message answer = {.type = MESSAGE_DONE, .id = request->id, .port = request->port};
    int fd = -1;

    switch (request->type) {
    case MESSAGE_ADD_PORT:
        answer.result = router_check_port(router, &request->port, &answer.err);
        if (answer.result == 0)
            answer.result = plane_add_port(router->plane, &answer.port, &fd, &answer.err);
        break;
    case MESSAGE_REMOVE_PORT:
        answer.result = plane_remove_port(router->plane, request->port.interface, &answer.err);
        break;
    case MESSAGE_LIST_PORTS:
        router->list_id = request->id;
        answer.result = plane_list_ports(router->plane, on_listed, router);
        break;
    default: answer.result = err_set(&answer.err, -EBADMSG, "unknown request %u", request->type);
    }
    router_send(router, &answer, fd >= 0 ? &fd : NULL);
    if (fd >= 0)
        close(fd);
}

static void on_engine(struct loop_source *source, unsigned events)
{
    struct router *router = CONTAINER_OF(source, struct router, engine_source);
    struct message request;
    unsigned fds_len;

    if (channel_receive(source->fd, &request, NULL, 0, &fds_len) == 0)
        router_answer(router, &request);
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
    const struct plane_events events = {on_gone, on_service, router};
    const struct router_args *args = router->args;
    struct plane_handles handles;
    int result;

    if (confine_die_with_parent(args->parent_pid, SIGKILL) < 0)
        return -ESRCH;
    result = loop_new(&router->loop);
    if (result < 0)
        return err_set(err, result, "cannot start an event loop: %s", strerror(-result));
    if (args->handles) {
        result = plane_join(args->config, args->handles, &router->plane, err);
    } else {
        result = plane_create(args->config, &router->plane, &handles, err);
        for (unsigned i = 0; result == 0 && i < PLANE_HANDLES; i++) {
            if (handles.fd[i] < 0)
                continue;
            ready->handles |= 1u << i;
            fds[(*fds_len)++] = handles.fd[i];
        }
    }
    if (result < 0)
        return result;
    result = signals_watch(router->loop, on_signal, router);
    router->engine_source = (struct loop_source){.on_event = on_engine, .fd = -1};
    if (result == 0)
        result = loop_add(router->loop, &router->engine_source, args->engine_fd, LOOP_IN);
    if (result < 0)
        return err_set(err, result, "cannot watch the engine: %s", strerror(-result));
    return plane_run(router->plane, router->loop, &events, err);
}

int router_main(const struct router_args *args)
{
    struct router router = {.args = args};
    struct message ready = {.type = MESSAGE_READY};
    int fds[PLANE_HANDLES];
    unsigned fds_len = 0;
    int result = router_start(&router, &ready, fds, &fds_len, &ready.err);

    if (result < 0) {
        ready.type = MESSAGE_FAILED;
        ready.result = result;
        channel_send(args->parent_fd, &ready, NULL, 0);
        return 1;
    }
    result = channel_send(args->parent_fd, &ready, fds, fds_len);
    /* The parent has them now. A device or listener kept open here would outlive its purpose. */
    for (unsigned i = 0; i < fds_len; i++)
        close(fds[i]);
    if (result == 0)
        result = loop_run(router.loop);
    plane_free(router.plane);
    loop_free(router.loop);
    return result < 0 ? 1 : 0;
}
