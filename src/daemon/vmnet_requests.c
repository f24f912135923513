/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine asks of who makes ports, where that is vmnet.framework: in the same process, and answered all the same only
 * after the asking has returned, as a router of Linux's would.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "daemon/vmnet.h"

/* What was counted, as it is known of each port. */
static void update_stats(struct engine *engine)
{
    struct vmnet_side *side = engine->vmnet;

    for (unsigned i = 0; i < side->ports_len; i++) {
        const struct vmnet_port *port = side->ports[i].port;
        struct network_port *known = network_find(&engine->network, port->port.interface);

        if (!known)
            continue;
        known->stats = (struct plane_port_stats){
            .up_packets = atomic_load_explicit(&port->up_packets, memory_order_relaxed),
            .up_bytes = atomic_load_explicit(&port->up_bytes, memory_order_relaxed),
            .down_packets = atomic_load_explicit(&port->down_packets, memory_order_relaxed),
            .down_bytes = atomic_load_explicit(&port->down_bytes, memory_order_relaxed),
        };
        known->stats.drops[PLANE_DROP_spoofed_mac] =
            atomic_load_explicit(&port->spoofed_mac, memory_order_relaxed);
    }
}

static void answer_due(struct engine *engine, const struct vmnet_due *due)
{
    struct message message = {
        .type = MESSAGE_DONE,
        .id = due->id,
        .result = due->result < 0 ? due->result : 0,
        .err = due->err,
    };
    int fd = -1;

    switch (due->result < 0 ? MESSAGE_DONE : due->type) {
    case MESSAGE_DONE: break;    /* it was refused */
    case MESSAGE_CUT_OFF: break; /* an interface of the framework ends with this process */
    case MESSAGE_LIST_PORTS: update_stats(engine); break;
    case MESSAGE_OPEN_SOCKET:
        /* The host itself is on the network. */
        fd = descriptor_socket(due->family, due->socket_type, true);
        if (fd < 0)
            message.result = err_set(&message.err, fd, "cannot open a socket: %s", strerror(-fd));
        break;
    default:
        message.result =
            err_set(&message.err, -EOPNOTSUPP,
                    "a network of vmnet.framework has no namespace: what is to be on it needs "
                    "a VM");
    }
    engine_answer(engine, due->id, &message, &fd, fd >= 0 ? 1 : 0);
    if (fd >= 0)
        close(fd);
}

static void on_due(struct loop_timer *timer)
{
    struct vmnet_side *side = CONTAINER_OF(timer, struct vmnet_side, due_timer);
    struct engine *engine = side->engine;

    while (side->due_len) {
        const struct vmnet_due due = side->due[0];

        memmove(side->due, side->due + 1, --side->due_len * sizeof(due));
        answer_due(engine, &due);
    }
}

int engine_request(struct engine *engine, struct message *message, int fd,
                   struct control_client *client, engine_answer_fn *on_answer, void *context)
{
    struct vmnet_side *side = engine->vmnet;
    struct engine_request *request = engine_new_request(engine, client, on_answer, context);
    struct vmnet_due *due;

    (void)fd;
    if (!request)
        return -EAGAIN;
    message->id = request->id;
    due = &side->due[side->due_len];
    *due =
        (struct vmnet_due){message->id, message->type, message->family, message->socket_type, {""}};
    if (message->type == MESSAGE_ADD_PORT)
        due->result = vmnet_ports_add(engine, message, &due->err);
    else if (message->type == MESSAGE_REMOVE_PORT)
        due->result = vmnet_ports_remove(engine, message, &due->err);
    else
        due->result = 1;
    if (due->result == 0)
        return 0; /* answered when it is done */
    side->due_len++;
    loop_timer_set(engine->loop, &side->due_timer, 0);
    return 0;
}

void engine_remove_orphan(struct engine *engine, const struct message *answer)
{
    /* A port that nobody has taken when it has been answered is ended: on_up(). */
    (void)engine;
    (void)answer;
}

void vmnet_requests_begin(struct engine *engine)
{
    engine->vmnet->due_timer.on_timer = on_due;
}

void vmnet_requests_end(struct engine *engine)
{
    loop_timer_clear(engine->loop, &engine->vmnet->due_timer);
}
