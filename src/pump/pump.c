/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump's thread. It owns all clients; others reach it through a pipe of pointers to new ones. The number
 * of clients is counted where they are added, so the pipe needs no bound of its own.
 */
#include "pump/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "pump/client.h"
#include "pump/dgram.h"

/* How soon a datagram port goes when its client does, with no frame to send that would tell. */
#define PROBE_MS 1000

/* What is in the pipe. */
struct command {
    struct pump_client *client; /* the thread's from now on; NULL: */
    const void *device;         /* the client of this one is to end */
};

/* Datagram sockets say nothing when their peer goes. */
static void on_probe(struct loop_timer *timer)
{
    struct pump *pump = CONTAINER_OF(timer, struct pump, probe_timer);
    struct list *node, *next;

    for (node = pump->clients.next; node != &pump->clients; node = next) {
        struct pump_client *client = CONTAINER_OF(node, struct pump_client, list);

        next = node->next;
        if (client->framing != PUMP_DGRAM)
            continue;
        loop_timer_set(pump->loop, timer, PROBE_MS);
        if (client->has_peer && pump_dgram_probe(client) < 0)
            pump_client_end(client);
    }
}

static void end_client_of(struct pump *pump, const void *device)
{
    for (struct list *node = pump->clients.next; node != &pump->clients; node = node->next) {
        struct pump_client *client = CONTAINER_OF(node, struct pump_client, list);

        if (client->tap.device == device) {
            pump_client_end(client);
            return;
        }
    }
}

static void on_command(struct loop_source *source, unsigned events)
{
    struct pump *pump = CONTAINER_OF(source, struct pump, command_source);
    struct command command;
    ssize_t len = read(source->fd, &command, sizeof(command));

    if (len == 0) {
        loop_stop(pump->loop);
    } else if (len == sizeof(command) && !command.client) {
        end_client_of(pump, command.device);
    } else if (len == sizeof(command)) {
        if (command.client->framing == PUMP_DGRAM && !pump->probe_timer.listed)
            loop_timer_set(pump->loop, &pump->probe_timer, PROBE_MS);
        pump_client_start(command.client);
    }
}

static void *pump_main(void *context)
{
    struct pump *pump = context;
    int result = loop_run(pump->loop);

    if (result < 0) {
        log_error("the pump's event loop: %s", strerror(-result));
        abort(); /* the parent starts a new engine */
    }
    return NULL;
}

/* Starts the thread where it does not run yet. 0 or -errno. */
static int ensure_running(struct pump *pump)
{
    sigset_t all, old;
    int result = 0;

    pthread_mutex_lock(&pump->lock);
    if (!pump->is_running) {
        /* Signals are the main thread's. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        result = -pthread_create(&pump->thread, NULL, pump_main, pump);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pump->is_running = result == 0;
    }
    pthread_mutex_unlock(&pump->lock);
    return result;
}

int pump_new(struct pump_counters *counters, struct pump **ret_pump, struct err *err)
{
    struct pump *pump = calloc(1, sizeof(*pump));
    int result;

    if (!pump)
        return err_set(err, -ENOMEM, "out of memory");
    pump->counters = counters;
    pump->command_fd[0] = pump->command_fd[1] = -1;
    pump->command_source = (struct loop_source){.on_event = on_command, .fd = -1};
    pump->probe_timer = (struct loop_timer){.on_timer = on_probe};
    pthread_mutex_init(&pump->lock, NULL);
    list_init(&pump->clients);
    result = loop_new(&pump->loop);
    if (result == 0)
        result = descriptor_pipe(true, pump->command_fd);
    if (result == 0)
        result = loop_add(pump->loop, &pump->command_source, pump->command_fd[0], LOOP_IN);
    if (result < 0) {
        pump_free(pump);
        return err_set(err, result, "cannot make what serves the ports' sockets: %s",
                       strerror(-result));
    }
    *ret_pump = pump;
    return 0;
}

void pump_free(struct pump *pump)
{
    if (!pump)
        return;
    if (pump->command_fd[1] >= 0)
        close(pump->command_fd[1]);
    if (pump->is_running)
        pthread_join(pump->thread, NULL);
    while (!list_is_empty(&pump->clients))
        pump_client_end(CONTAINER_OF(pump->clients.next, struct pump_client, list));
    if (pump->command_fd[0] >= 0)
        close(pump->command_fd[0]);
    pthread_mutex_destroy(&pump->lock);
    loop_free(pump->loop);
    free(pump);
}

int pump_open_pair(enum pump_framing framing, int ret_fds[2])
{
    const int type = framing == PUMP_STREAM ? SOCK_STREAM : SOCK_DGRAM;
    const int bytes = PUMP_SOCKET_BYTES;
    int error = descriptor_socket_pair(type, ret_fds);

    if (error < 0)
        return error;
    /* Where a stream ends both sides are told; a datagram socket's peer is found by its name. */
    if (framing == PUMP_DGRAM)
        error = dgram_make_findable(ret_fds[1]);
    if (error < 0) {
        close(ret_fds[0]);
        close(ret_fds[1]);
        return error;
    }
    (void)setsockopt(ret_fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    (void)setsockopt(ret_fds[1], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return 0;
}

static void close_all(int socket_fd, const struct pump_tap *tap, int lifeline_fd)
{
    close(socket_fd);
    pump_tap_close(tap);
    if (lifeline_fd >= 0)
        close(lifeline_fd);
}

/* Counts one more client where there is room for it. */
static bool reserve(struct pump *pump)
{
    if (PUMP_COUNT(pump, pump_clients) < PUMP_CLIENTS_MAX)
        return true;
    atomic_fetch_sub_explicit(&pump->counters->pump_clients, 1, memory_order_relaxed);
    return false;
}

int pump_add(struct pump *pump, enum pump_framing framing, int socket_fd,
             const struct pump_tap *tap, int lifeline_fd, unsigned mtu)
{
    size_t frame_max_bytes = (mtu < PUMP_MTU_MAX ? mtu : PUMP_MTU_MAX) + PUMP_FRAME_SLACK_BYTES;
    struct pump_client *client;
    struct command command = {0};
    int result, flags;

    if (!reserve(pump)) {
        close_all(socket_fd, tap, lifeline_fd);
        return -ENOSPC;
    }
    client = calloc(1, sizeof(*client) + PUMP_LENGTH_BYTES + frame_max_bytes);
    result = client ? ensure_running(pump) : -ENOMEM;
    flags = fcntl(tap->fd, F_GETFL);
    if (result == 0 && (flags < 0 || fcntl(tap->fd, F_SETFL, flags | O_NONBLOCK) < 0))
        result = -errno;
    if (result == 0) {
        *client = (struct pump_client){
            .pump = pump,
            .framing = framing,
            .frame_max_bytes = frame_max_bytes,
            .socket_fd = socket_fd,
            .tap = *tap,
            .lifeline_fd = lifeline_fd,
            .socket_source = {.fd = -1},
            .tap_source = {.fd = -1},
            .lifeline_source = {.fd = -1},
        };
        command.client = client;
        /* A pipe write of this size is whole or nothing. */
        if (write(pump->command_fd[1], &command, sizeof(command)) != sizeof(command))
            result = -errno;
    }
    if (result < 0) {
        atomic_fetch_sub_explicit(&pump->counters->pump_clients, 1, memory_order_relaxed);
        close_all(socket_fd, tap, lifeline_fd);
        free(client);
    }
    return result;
}

int pump_end(struct pump *pump, const void *device)
{
    const struct command command = {.device = device};

    return write(pump->command_fd[1], &command, sizeof(command)) == sizeof(command) ? 0 : -EAGAIN;
}
