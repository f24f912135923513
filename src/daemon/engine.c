/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/process.h"
#include "base/resolv_conf.h"
#include "daemon/channel.h"
#include "daemon/forward_host.h"
#include "daemon/methods.h"
#include "daemon/run_dir.h"
#include "daemon/signals.h"

/* A router that does not answer for so long is being started anew. */
#define ROUTER_TIMEOUT_MS 5000

const char *engine_plane(const struct net_config *config)
{
    return config->system ? "system" : "private";
}

void engine_list_ports(struct engine *engine)
{
    struct message message = {.type = MESSAGE_LIST_PORTS, .id = ++engine->next_id};
    struct list *ports = &engine->network.ports;

    for (struct list *node = ports->next; node != ports; node = node->next)
        CONTAINER_OF(node, struct network_port, list)->seen = false;
    engine->list_id = message.id;
    channel_send(engine->args->router_fd, &message, NULL, 0);
    /* Where it was not sent, or the router dies over it, the timer asks again. */
    loop_timer_set(engine->loop, &engine->list_timer, ROUTER_TIMEOUT_MS);
}

static void on_list_timer(struct loop_timer *timer)
{
    engine_list_ports(CONTAINER_OF(timer, struct engine, list_timer));
}

static void engine_listed(struct engine *engine, const struct message *answer)
{
    struct list *ports = &engine->network.ports;
    bool removed = false;

    if (answer->result < 0) {
        log_warn("the router cannot list the ports: %s", strerror(-answer->result));
        return; /* the timer asks again */
    }
    loop_timer_clear(engine->loop, &engine->list_timer);
    engine->plane_warning = answer->err;

    for (struct list *node = ports->next, *next; node != ports; node = next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        next = node->next;
        if (port->attached && !port->seen) {
            engine_drop_port(engine, port);
            removed = true;
        }
    }
    if (!engine->restored && engine_serve(engine) < 0) {
        log_error("cannot serve the network's sockets");
        loop_stop(engine->loop); /* the parent starts a new engine */
    }
    if (removed)
        engine_port_removed(engine);
}

int engine_request(struct engine *engine, struct message *message, int fd,
                   struct control_client *client, engine_answer_fn *on_answer, void *context)
{
    struct engine_request *request = engine_new_request(engine, client, on_answer, context);

    if (!request)
        return -EAGAIN;
    message->id = request->id;
    request->due_ms = loop_now_ms(engine->loop) + ROUTER_TIMEOUT_MS;
    if (channel_send(engine->args->router_fd, message, &fd, fd >= 0 ? 1 : 0) < 0) {
        request->used = false;
        return -EAGAIN;
    }
    if (!engine->request_timer.due_ms)
        loop_timer_set(engine->loop, &engine->request_timer, ROUTER_TIMEOUT_MS);
    return 0;
}

void engine_remove_orphan(struct engine *engine, const struct message *answer)
{
    struct message message = {.type = MESSAGE_REMOVE_PORT, .port = answer->port};

    if (answer->result == 0 && answer->port.kind == PORT_VETH && answer->port.interface[0])
        channel_send(engine->args->router_fd, &message, NULL, 0);
}

int engine_take_tap(struct engine *engine, const struct message *answer, const int *fds,
                    unsigned fds_len, struct pump_tap *ret_tap)
{
    int fd = fds_len ? fcntl(fds[0], F_DUPFD_CLOEXEC, 0) : -1;

    if (fd < 0)
        return fds_len ? -errno : -EIO;
    *ret_tap = (struct pump_tap){.fd = fd};
    return 0;
}

void engine_forget_guest(struct engine *engine, const struct plane_port *port)
{
    if (port->ipv4)
        uplink_forget_guest(engine->uplink, ip_from_u32(port->ipv4));
}

static void on_request_timer(struct loop_timer *timer)
{
    struct engine *engine = CONTAINER_OF(timer, struct engine, request_timer);
    bool left = false;

    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++) {
        struct engine_request *request = &engine->requests[i];
        struct message answer = {.type = MESSAGE_DONE, .result = -ETIMEDOUT};

        if (!request->used)
            continue;
        if (loop_now_ms(engine->loop) < request->due_ms) {
            left = true;
            continue;
        }
        err_set(&answer.err, 0, "the network's router did not answer within %d s; try again",
                ROUTER_TIMEOUT_MS / 1000);
        engine_answer(engine, request->id, &answer, NULL, 0);
    }
    if (left)
        loop_timer_set(engine->loop, timer, ROUTER_TIMEOUT_MS / 5);
}

static void engine_answered(struct engine *engine, const struct message *answer, const int *fds,
                            unsigned fds_len)
{
    if (answer->id == engine->list_id) {
        engine_listed(engine, answer);
        return;
    }
    if (engine_answer(engine, answer->id, answer, fds, fds_len))
        return;
    /* Of an engine before us, or too late: closing the descriptor removes the port again. */
    if (!fds_len)
        engine_remove_orphan(engine, answer);
}

static void engine_gone(struct engine *engine, const char *interface)
{
    struct network_port *port;

    if (!interface[0]) {
        engine_list_ports(engine);
        return;
    }
    port = network_find(&engine->network, interface);
    if (!port)
        return;
    engine_drop_port(engine, port);
    engine_port_removed(engine);
}

/* A new router: what the old one was asked is lost, and ports may have gone meanwhile. */
static void engine_router_changed(struct engine *engine)
{
    struct message answer = {.type = MESSAGE_DONE, .result = -EAGAIN};

    err_set(&answer.err, 0, "the network's router was started anew; try again");
    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++)
        if (engine->requests[i].used)
            engine_answer(engine, engine->requests[i].id, &answer, NULL, 0);
    outside_tell(engine->outside);
    forward_uplink_tell(engine->forward_host);
    engine_list_ports(engine);
}

/* One port of a list, whoever asked for it. */
static void engine_reported(struct engine *engine, const struct message *message)
{
    struct network_port *port;

    port = network_find(&engine->network, message->port.interface);
    /* We know of each that a client was given: a router has died between making this one and saying so. */
    if (message->id == engine->list_id && !port && engine->restored)
        engine_remove_orphan(engine, message);
    else if (message->id == engine->list_id)
        network_adopt(&engine->network, &message->port);
    port = network_find(&engine->network, message->port.interface);
    if (!port)
        return;
    /* Whose word came too late, or was for an engine before us. */
    if (mac_is_zero(&port->port.mac))
        port->port = message->port;
    port->stats = message->stats;
}

static void on_router(struct loop_source *source, unsigned events)
{
    struct engine *engine = CONTAINER_OF(source, struct engine, router_source);
    struct message message;
    int fds[CHANNEL_FDS_MAX];
    unsigned fds_len = 0;

    if (channel_receive(source->fd, &message, fds, CHANNEL_FDS_MAX, &fds_len) < 0)
        return;
    if (message.router_pid != engine->router_pid && engine->router_pid)
        engine_router_changed(engine);
    else if (message.router_pid != engine->router_pid && message.id != engine->list_id)
        engine_list_ports(engine); /* the router that was asked may be gone */
    engine->router_pid = message.router_pid;
    engine->service_pid = message.service_pid;
    engine->network.mtu = message.mtu;
    switch (message.type) {
    case MESSAGE_DONE: engine_answered(engine, &message, fds, fds_len); break;
    case MESSAGE_PORT: engine_reported(engine, &message); break;
    case MESSAGE_GONE: engine_gone(engine, message.port.interface); break;
    case MESSAGE_LEARNED: learned(engine, &message); break;
    case MESSAGE_PROCESSES: engine->plane_warning = message.err; break;
    default: break;
    }
    while (fds_len)
        close(fds[--fds_len]);
}

/* What was connected from there has no way any more. */
static void on_address_gone(void *context, const struct ip_addr *addr)
{
    struct engine *engine = context;

    uplink_forget_source(engine->uplink, *addr);
}

static void on_signal(void *context, int signal)
{
    struct engine *engine = context;

    if (signal != SIGCHLD)
        loop_stop(engine->loop);
}

/* As many descriptors as we may have: flows are descriptors. */
static unsigned long raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

static void engine_confine(struct engine *engine)
{
    const struct net_config *config = engine->args->config;
    char runtime[NET_PATH_MAX], resolvers[PATH_MAX] = "";
    struct err err;
    int result;

    snprintf(runtime, sizeof(runtime), "%s", config->run_dir);
    *strrchr(runtime, '/') = '\0';
    /* Wherever it leads: not all systems keep it below /run. */
    if (realpath(RESOLV_CONF_PATH, resolvers))
        *strrchr(resolvers, '/') = '\0';
    const char *const readable[] = {"/etc",   "/run",  "/var/run", "/usr",    "/lib",
                                    "/lib64", "/proc", "/nix",     resolvers, NULL};
    const char *const writable[] = {config->state_dir, runtime, "/dev/null", NULL};

    result = confine_files(readable, writable);
    if (result < 0)
        log_debug("the engine's files are not confined: %s", strerror(-result));
    if (confine_capabilities(NULL, 0, false) < 0)
        log_warn("the engine keeps its capabilities");
#ifndef OPENVMNET_SANITIZED
    if (confine_engine_calls(&err) < 0)
        log_warn("%s", err.text);
#else
    (void)err; /* sanitizers make system calls of their own */
#endif
}

static int engine_start_uplink(struct engine *engine, const struct uplink_limits *limits,
                               struct err *err)
{
    const struct engine_args *args = engine->args;
    const int *handles = engine->handles.fd;
    struct worker_config configs[NET_WORKERS_MAX];
    int result;

    for (unsigned i = 0; i < args->config->workers; i++)
        configs[i] = (struct worker_config){
            .net = args->config,
            .host = engine->host,
            .limits = *limits,
            .tun_fd = handles[PLANE_TUN + i],
            .listen4_fd = handles[PLANE_LISTEN_TCP4 + i],
            .listen6_fd = handles[PLANE_LISTEN_TCP6 + i],
            .raw4_fd = i == 0 ? args->raw4_fd : -1,
            .raw6_fd = i == 0 ? args->raw6_fd : -1,
            .sockets_fd = args->sockets_fd[i],
        };
    process_map_large(true);
    result = uplink_start(configs, args->config->workers, &engine->uplink, err);
    process_map_large(false);
    return result;
}

/* What needs nothing of the network: done while the router makes it. */
static int engine_prepare(struct engine *engine, struct err *err)
{
    const struct engine_args *args = engine->args;
    int result = loop_new(&engine->loop);

    /* The router may wait for us to read what it sends: we never wait for it. */
    if (result == 0 && fcntl(args->router_fd, F_SETFL, O_NONBLOCK) < 0)
        result = -errno;
    if (result == 0)
        result = signals_watch(engine->loop, on_signal, engine);
    if (result == 0)
        result = host_new(engine->loop, on_address_gone, engine, &engine->host);
    if (result == 0)
        result = loop_add(engine->loop, &engine->router_source, args->router_fd, LOOP_IN);
    if (result < 0)
        return err_set(err, result, "cannot start the engine: %s", strerror(-result));
    network_init(&engine->network, args->config);
    plane_bridge_name(args->config, engine->bridge);
    engine_confine(engine);
    return 0;
}

/* Waits for as long as the router takes to make the network; the parent ends us where that fails. */
static int engine_receive_handles(struct engine *engine, struct err *err)
{
    int fds[PLANE_HANDLES], result;
    struct message message;
    unsigned fds_len = 0;

    result = channel_receive(engine->args->parent_fd, &message, fds, PLANE_HANDLES, &fds_len);
    if (result < 0)
        return err_set(err, result, "the engine got no handles: %s", strerror(-result));
    channel_take_handles(&message, fds, fds_len, &engine->handles);
    return 0;
}

static int engine_start(struct engine *engine, unsigned long descriptors, struct err *err)
{
    struct uplink_limits limits = uplink_limits(descriptors, engine->args->config->workers);
    int result = outside_new(engine, &engine->outside);

    if (result < 0)
        return err_set(err, result, "cannot start the engine: %s", strerror(-result));
    result = engine_start_uplink(engine, &limits, err);
    if (result == 0)
        result = pump_new(&engine->pump_counters, &engine->pump, err);
    if (result < 0)
        return result;
    result = forward_host_new(engine, &engine->forward_host);
    if (result == 0)
        engine->forwards = forwards_new(&engine->network, engine->forward_host, limits.forwards);
    engine->connects = connects_new(engine);
    if (!engine->forwards || !engine->connects)
        return err_set(err, -ENOMEM, "out of memory");
    outside_look(engine->outside);
    engine_list_ports(engine);
    engine_begin(engine);
    return 0;
}

/* The parent is gone and removes nothing any more. */
static void engine_clean_up(const struct engine *engine)
{
    log_error("the parent process ended; the network ends with it");
    run_dir_abandon(engine->args->config);
}

int engine_main(const struct engine_args *args)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    struct message ready = {.type = MESSAGE_READY};
    unsigned long descriptors;
    bool ended;
    int result;

    /* The process ends with this function: on failure its memory and descriptors go with it. */
    if (!engine || confine_die_with_parent(args->parent_pid, SIGTERM) < 0)
        return 1;
    engine->args = args;
    engine->router_pid = args->router_pid;
    /* So that an answer to the engine before is not taken for one to this. */
    engine->next_id = (uint32_t)getpid() << 16;
    engine->router_source = (struct loop_source){.on_event = on_router, .fd = -1};
    engine->request_timer.on_timer = on_request_timer;
    engine->list_timer.on_timer = on_list_timer;
    descriptors = raise_descriptor_limit();
    result = engine_prepare(engine, &ready.err);
    if (result == 0)
        result = engine_receive_handles(engine, &ready.err);
    if (result == 0)
        result = engine_start(engine, descriptors, &ready.err);
    if (result < 0) {
        ready.type = MESSAGE_FAILED;
        ready.result = result;
    }
    if (channel_send(args->parent_fd, &ready, NULL, 0) < 0 || result < 0)
        return 1;
    result = loop_run(engine->loop);
    ended = engine->ended;
    control_free(engine->control);
    listener_free(engine->listener);
    connects_free(engine->connects);
    forwards_free(engine->forwards);
    forward_host_free(engine->forward_host);
    pump_free(engine->pump);
    uplink_stop(engine->uplink);
    outside_free(engine->outside);
    host_free(engine->host);
    network_done(&engine->network);
    loop_free(engine->loop);
    if (getppid() != args->parent_pid)
        engine_clean_up(engine);
    free(engine);
    return result == 0 && ended ? ENGINE_EXIT_ENDED : 1;
}
