/* SPDX-License-Identifier: Apache-2.0 */
/* A network's life, whatever its plane: it stays while it has ports, or until somebody says so where it is lasting. */
#include <stdio.h>
#include <unistd.h>

#include "base/paths.h"
#include "daemon/methods.h"
#include "daemon/run_dir.h"

/* A network that was started for a port and gets none ends after this. */
#define FIRST_PORT_MS 5000

static bool engine_is_lasting(const struct engine *engine)
{
    char path[NET_PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/" RUN_DIR_LASTING, engine->args->config->run_dir);
    return access(path, F_OK) == 0;
}

int engine_make_lasting(struct engine *engine)
{
    char path[NET_PATH_MAX + 16];
    int result;

    snprintf(path, sizeof(path), "%s/" RUN_DIR_LASTING, engine->args->config->run_dir);
    result = path_write_file(path, "", 0, 0600, false);
    engine->lasting = engine->lasting || result == 0;
    return result;
}

void engine_stop(struct engine *engine)
{
    engine->ended = true;
    loop_stop(engine->loop);
}

void engine_port_removed(struct engine *engine)
{
    if (!engine->lasting && engine->network.ports_len == 0 && !listener_is_busy(engine->listener))
        engine_stop(engine);
}

void engine_connection_ended(struct engine *engine)
{
    if (!engine->first_port_timer.due_ms)
        engine_port_removed(engine);
}

static void on_first_port_timer(struct loop_timer *timer)
{
    struct engine *engine = CONTAINER_OF(timer, struct engine, first_port_timer);

    /* Until the router has said which ports there are, none known means nothing. */
    if (engine->restored)
        engine_port_removed(engine);
    else
        loop_timer_set(engine->loop, timer, FIRST_PORT_MS);
}

void engine_drop_port(struct engine *engine, struct network_port *port)
{
    forwards_port_gone(engine->forwards, port);
    if (port->attached)
        engine_forget_guest(engine, &port->port);
    if (port->socket[0])
        unlink(port->socket);
    network_remove(&engine->network, port);
}

struct network_state engine_state(const struct engine *engine)
{
    return (struct network_state){
        .plane = engine_plane(engine->args->config),
        .bridge = engine->bridge,
        .lasting = engine->lasting,
        .has_ipv6 = engine->has_ipv6,
        .warning =
            engine->plane_warning.text[0] ? engine->plane_warning.text : engine->warning.text,
    };
}

static bool is_stranger(void *context, int fd)
{
    const struct engine *engine = context;

    return access_of_peer(engine->network.config, fd) < ACCESS_USE;
}

int engine_serve(struct engine *engine)
{
    bool system = engine->network.config->system;
    int result;

    forwards_restore(engine->forwards);
    engine->restored = true;
    result = control_new(engine->loop, engine->args->control_fd, system ? is_stranger : NULL,
                         methods_call, methods_client_gone, engine, &engine->control);
    if (result == 0)
        result = listener_new(engine, engine->args->stream_fd, &engine->listener);
    return result;
}

void engine_begin(struct engine *engine)
{
    engine->lasting = engine_is_lasting(engine);
    engine->first_port_timer.on_timer = on_first_port_timer;
    loop_timer_set(engine->loop, &engine->first_port_timer, FIRST_PORT_MS);
}
