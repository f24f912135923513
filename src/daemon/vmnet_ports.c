/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "daemon/vmnet.h"

static const char *const state_names[VMNET_STATES] = {
    "starting", "ready", "served", "stopping", "waiting", "restarting", "ending",
};

static void set_state(struct vmnet_served *served, enum vmnet_state state)
{
    log_debug("port %s: %s -> %s", served->port->port.interface, state_names[served->state],
              state_names[state]);
    served->state = state;
}

static struct vmnet_served *find_port(struct vmnet_side *side, const struct vmnet_port *port)
{
    for (unsigned i = 0; i < side->ports_len; i++)
        if (side->ports[i].port == port)
            return &side->ports[i];
    return NULL;
}

static struct vmnet_served *find_interface(struct vmnet_side *side, const char *interface)
{
    for (unsigned i = 0; i < side->ports_len; i++)
        if (strcmp(side->ports[i].port->port.interface, interface) == 0)
            return &side->ports[i];
    return NULL;
}

struct vmnet_port *vmnet_ports_find(struct engine *engine, const struct ip_addr *guest)
{
    struct vmnet_side *side = engine->vmnet;

    for (unsigned i = 0; i < side->ports_len; i++) {
        const struct vmnet_served *served = &side->ports[i];
        struct ip_addr addr = ip_from_u32(served->port->port.ipv4);

        if (served->state == VMNET_SERVED && (!guest || ip_equal(&addr, guest)))
            return served->port;
    }
    return NULL;
}

static void answer(struct engine *engine, uint32_t id, struct message *message, const int *fds,
                   unsigned fds_len)
{
    message->type = MESSAGE_DONE;
    message->id = id;
    engine_answer(engine, id, message, fds, fds_len);
}

static void answer_failed(struct engine *engine, uint32_t id, int result, const struct err *err)
{
    struct message message = {.result = result, .err = *err};

    answer(engine, id, &message, NULL, 0);
}

/* ---- a port's end */

static void free_port(struct engine *engine, struct vmnet_served *served)
{
    struct vmnet_side *side = engine->vmnet;
    struct message message = {0};
    uint32_t end_request = served->end_request;
    struct network_port *known = network_find(&engine->network, served->port->port.interface);

    vmnet_port_free(served->port);
    *served = side->ports[--side->ports_len];
    if (known)
        engine_drop_port(engine, known);
    answer(engine, end_request, &message, NULL, 0);
    if (known)
        engine_port_removed(engine);
    if (side->ending && side->ports_len == 0)
        loop_stop(engine->loop);
}

static void set_timer(struct engine *engine)
{
    struct vmnet_side *side = engine->vmnet;
    uint64_t now_ms = loop_now_ms(engine->loop), next_ms = 0;

    for (unsigned i = 0; i < side->ports_len; i++)
        if (side->ports[i].due_ms && (!next_ms || side->ports[i].due_ms < next_ms))
            next_ms = side->ports[i].due_ms;
    if (next_ms)
        loop_timer_set(engine->loop, &side->state_timer, next_ms > now_ms ? next_ms - now_ms : 0);
    else
        loop_timer_clear(engine->loop, &side->state_timer);
}

static void set_due(struct engine *engine, struct vmnet_served *served, unsigned delay_ms)
{
    served->due_ms = delay_ms ? loop_now_ms(engine->loop) + delay_ms : 0;
    set_timer(engine);
}

static void end_port(struct engine *engine, struct vmnet_served *served)
{
    set_state(served, VMNET_ENDING);
    forward_vmnet_down(engine->forward_host, served->port);
    set_due(engine, served, VMNET_STOP_MS);
    vmnet_port_stop(served->port);
}

/* ---- events */

static void adopt_facts(struct engine *engine, struct vmnet_port *port)
{
    struct net_config *config = &engine->vmnet->config;
    const struct vmnet_facts *facts = &port->facts;
    char asked[IP_TEXT_MAX], given[IP_TEXT_MAX];

    if (facts->has_mac)
        port->port.mac = facts->mac;
    if (facts->mtu)
        engine->network.mtu = config->mtu = facts->mtu;
    port->server = config->gateway;
    if (!facts->start.family || !facts->mask.family || config->mode == NET_MODE_BRIDGED)
        return;
    if (config->gateway && ntohl(facts->start.v4.s_addr) != config->gateway) {
        struct ip_addr gateway = ip_from_u32(config->gateway);

        log_warn("network '%s': the system gave it the gateway %s in place of %s", config->name,
                 ip_format(&facts->start, given), ip_format(&gateway, asked));
    }
    config->gateway = port->server = ntohl(facts->start.v4.s_addr);
    config->prefix_len = (unsigned)__builtin_popcount(facts->mask.v4.s_addr);
    config->pool_start = config->range_start = config->gateway + 1;
    config->pool_end = facts->end.family ? ntohl(facts->end.v4.s_addr)
                                         : (config->gateway | ~ip_mask_u32(config->prefix_len)) - 1;
    config->range_end = config->pool_end;
}

static void on_up(struct engine *engine, struct vmnet_served *served)
{
    struct message message = {0};

    adopt_facts(engine, served->port);
    set_due(engine, served, 0);
    if (served->state == VMNET_RESTARTING) {
        set_state(served, VMNET_SERVED);
        if (served->closed) {
            end_port(engine, served);
            return;
        }
        served->mend_ms = 0;
        vmnet_port_lend(served->port);
        forward_vmnet_up(engine->forward_host, served->port);
        log_info("port %s: its interface was made anew", served->port->port.interface);
        return;
    }
    if (served->state != VMNET_STARTING) { /* given up meanwhile */
        end_port(engine, served);
        return;
    }
    set_state(served, VMNET_READY);
    message.port = served->port->port;
    answer(engine, served->start_request, &message, &served->port->wake_fd[0], 1);
    /* The place may be another's now: others went meanwhile. */
    served = find_interface(engine->vmnet, message.port.interface);
    if (served && served->state == VMNET_READY)
        end_port(engine, served);
    else if (served)
        forward_vmnet_up(engine->forward_host, served->port);
}

/* Has the port's interface started, on the network's object if there is to be one. 0 or -errno with the reason. */
static int start_interface(struct engine *engine, struct vmnet_served *served, struct err *err)
{
    struct vmnet_side *side = engine->vmnet;
    int result = side->has_net && !side->net ? vmnet_net_new(&side->config, &side->net, err) : 0;

    if (result == 0)
        vmnet_port_start(served->port, side->net);
    return result;
}

/* A first failure is told, and what goes on is tried again. */
static void mend_later(struct engine *engine, struct vmnet_served *served, const struct err *err)
{
    if (served->closed) {
        free_port(engine, served);
        return;
    }
    if (served->mend_ms == 0)
        log_warn("port %s: %s; tried again until it works", served->port->port.interface,
                 err->text);
    served->mend_ms = served->mend_ms == 0 ? VMNET_MEND_MS : 2 * served->mend_ms;
    if (served->mend_ms > VMNET_MEND_MAX_MS)
        served->mend_ms = VMNET_MEND_MAX_MS;
    set_state(served, VMNET_WAITING);
    set_due(engine, served, served->mend_ms);
}

/* An object on which no interface is and none starts may be what is broken: the next one to start has a new one. */
static void give_up_object(struct vmnet_side *side)
{
    for (unsigned i = 0; i < side->ports_len; i++)
        if (side->ports[i].port->interface)
            return;
    vmnet_net_free(side->net);
    side->net = NULL;
}

static void on_failed(struct engine *engine, struct vmnet_served *served, uint32_t status)
{
    uint32_t request = served->start_request;
    struct err err = {""};
    int result = vmnet_explain(status, &engine->vmnet->config, &err);

    served->port->interface = NULL;
    give_up_object(engine->vmnet);
    if (served->state == VMNET_RESTARTING) {
        mend_later(engine, served, &err);
        return;
    }
    free_port(engine, served);
    answer_failed(engine, request, result, &err);
}

static void restart(struct engine *engine, struct vmnet_served *served)
{
    struct err err;

    set_state(served, VMNET_RESTARTING);
    set_due(engine, served, 0);
    if (start_interface(engine, served, &err) < 0)
        mend_later(engine, served, &err);
}

static void on_down(struct engine *engine, struct vmnet_served *served)
{
    if (served->state == VMNET_ENDING || served->closed)
        free_port(engine, served);
    else if (served->state == VMNET_STOPPING)
        restart(engine, served);
}

static void on_back(struct engine *engine, struct vmnet_served *served, uint32_t status)
{
    struct err err;

    if (served->state != VMNET_SERVED)
        return;
    if (vmnet_explain(status, &engine->vmnet->config, &err) < 0)
        log_warn("port %s: its interface is gone and is made anew: %s",
                 served->port->port.interface, err.text);
    forward_vmnet_down(engine->forward_host, served->port);
    set_state(served, VMNET_STOPPING);
    vmnet_port_stop(served->port);
}

static void on_closed(struct engine *engine, struct vmnet_served *served)
{
    served->closed = true;
    if (served->state == VMNET_SERVED)
        end_port(engine, served);
    else if (served->state == VMNET_WAITING)
        free_port(engine, served);
    /* Else what is under way ends, and then the port does. */
}

static void on_address(struct engine *engine, struct vmnet_served *served, uint32_t ipv4)
{
    struct network_port *known = network_find(&engine->network, served->port->port.interface);

    if (!known)
        return;
    served->port->port.ipv4 = known->port.ipv4 = ipv4;
    forwards_port_attached(engine->forwards);
}

static void on_events(struct loop_source *source, unsigned events)
{
    struct engine *engine = CONTAINER_OF(source, struct vmnet_side, source)->engine;
    struct vmnet_message message;
    struct vmnet_served *served;

    (void)events;
    if (read(source->fd, &message, sizeof(message)) != sizeof(message))
        return;
    served = find_port(engine->vmnet, message.port);
    if (!served)
        return;
    switch (message.event) {
    case VMNET_PORT_UP: on_up(engine, served); break;
    case VMNET_PORT_FAILED: on_failed(engine, served, message.status); break;
    case VMNET_PORT_DOWN: on_down(engine, served); break;
    case VMNET_PORT_BACK: on_back(engine, served, message.status); break;
    case VMNET_PORT_CLOSED: on_closed(engine, served); break;
    case VMNET_PORT_ADDRESS: on_address(engine, served, message.ipv4); break;
    }
}

/* ---- what takes too long, and what waits */

static void give_up_start(struct engine *engine, struct vmnet_served *served)
{
    uint32_t request = served->start_request;
    struct err err;

    /* Should it come up after all, it is ended. */
    set_state(served, VMNET_ENDING);
    served->due_ms = 0;
    err_set(&err, 0,
            "vmnet.framework does not start an interface within %d s; try again, or restart "
            "the computer",
            VMNET_START_MS / 1000);
    answer_failed(engine, request, -ETIMEDOUT, &err);
}

/* The port's memory is left to the framework, which may still use it. */
static void give_up_stop(struct engine *engine, struct vmnet_served *served)
{
    struct vmnet_side *side = engine->vmnet;
    struct network_port *known = network_find(&engine->network, served->port->port.interface);
    uint32_t request = served->end_request;
    struct message message = {0};

    log_warn("vmnet.framework does not say that the interface of port %s has ended",
             served->port->port.interface);
    *served = side->ports[--side->ports_len];
    if (known)
        engine_drop_port(engine, known);
    answer(engine, request, &message, NULL, 0);
    if (known)
        engine_port_removed(engine);
}

static void on_state_timer(struct loop_timer *timer)
{
    struct vmnet_side *side = CONTAINER_OF(timer, struct vmnet_side, state_timer);
    struct engine *engine = side->engine;

    for (unsigned i = side->ports_len; i-- > 0;) {
        struct vmnet_served *served = &side->ports[i];

        if (!served->due_ms || served->due_ms > loop_now_ms(engine->loop))
            continue;
        if (served->state == VMNET_WAITING)
            restart(engine, served);
        else if (served->state == VMNET_STARTING)
            give_up_start(engine, served);
        else
            give_up_stop(engine, served);
    }
    set_timer(engine);
}

static void on_end_timer(struct loop_timer *timer)
{
    struct vmnet_side *side = CONTAINER_OF(timer, struct vmnet_side, end_timer);

    loop_stop(side->engine->loop);
}

void vmnet_ports_renew(struct engine *engine)
{
    for (unsigned i = 0; i < engine->vmnet->ports_len; i++)
        if (engine->vmnet->ports[i].state == VMNET_SERVED)
            vmnet_port_recall(engine->vmnet->ports[i].port);
}

/* ---- what is asked of them */

int vmnet_ports_add(struct engine *engine, struct message *message, struct err *err)
{
    struct vmnet_side *side = engine->vmnet;
    struct vmnet_served *served = &side->ports[side->ports_len];
    struct plane_port *port = &message->port;
    int result;

    if (port->kind != PORT_STREAM && port->kind != PORT_DGRAM)
        return err_set(
            err, -EOPNOTSUPP,
            "vmnet.framework has no %s ports: use a socket (vmnet run --way dgram or stream)",
            port_kind_name(port->kind));
    if (side->ports_len == PLANE_PORTS_MAX)
        return err_set(err, -ENOSPC, "the network has %d ports, and no more are possible",
                       PLANE_PORTS_MAX);
    snprintf(port->interface, sizeof(port->interface), "vmnet%u", side->next_interface++);
    *served = (struct vmnet_served){
        .port = vmnet_port_new(&side->config, port, side->event_fd[1]),
        .start_request = message->id,
    };
    if (!served->port)
        return err_set(err, -ENOMEM, "no memory or descriptors are left for a port");
    side->ports_len++;
    set_due(engine, served, VMNET_START_MS);
    result = start_interface(engine, served, err);
    if (result < 0)
        free_port(engine, served);
    return result;
}

int vmnet_ports_remove(struct engine *engine, const struct message *message, struct err *err)
{
    struct vmnet_served *served = find_interface(engine->vmnet, message->port.interface);

    if (!served)
        return err_set(err, -ENODEV, "no port '%s' on this network", message->port.interface);
    if (served->end_request)
        return err_set(err, -EBUSY, "port '%s' is being removed", message->port.interface);
    if (pump_end(engine->pump, served->port) < 0)
        return err_set(err, -EAGAIN, "the pump takes no commands now; try again");
    served->end_request = message->id;
    return 0;
}

int engine_take_tap(struct engine *engine, const struct message *answer, const int *fds,
                    unsigned fds_len, struct pump_tap *ret_tap)
{
    struct vmnet_served *served = find_interface(engine->vmnet, answer->port.interface);

    (void)fds;
    (void)fds_len;
    if (!served || served->state != VMNET_READY)
        return -ENODEV;
    set_state(served, VMNET_SERVED);
    vmnet_port_lend(served->port);
    *ret_tap = (struct pump_tap){.fd = served->port->wake_fd[0], .device = served->port};
    return 0;
}

/* ---- begin and end */

int vmnet_ports_begin(struct engine *engine, struct err *err)
{
    struct vmnet_side *side = engine->vmnet;
    int result = descriptor_pipe(false, side->event_fd);

    if (result < 0)
        return err_set(err, result, "cannot make a pipe: %s", strerror(-result));
    side->source = (struct loop_source){.on_event = on_events, .fd = -1};
    side->state_timer.on_timer = on_state_timer;
    side->end_timer.on_timer = on_end_timer;
    result = loop_add(engine->loop, &side->source, side->event_fd[0], LOOP_IN);
    if (result < 0)
        return err_set(err, result, "cannot watch a pipe: %s", strerror(-result));
    return side->has_net ? vmnet_net_new(&side->config, &side->net, err) : 0;
}

void vmnet_ports_end(struct engine *engine)
{
    struct vmnet_side *side = engine->vmnet;

    side->ending = true;
    /* Those who asked are gone, with all that their answers would be put into. */
    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++)
        engine->requests[i].used = false;
    if (side->ports_len == 0)
        return;
    loop_timer_set(engine->loop, &side->end_timer, VMNET_STOP_MS);
    loop_run(engine->loop);
}

void vmnet_ports_free(struct engine *engine)
{
    struct vmnet_side *side = engine->vmnet;

    /* What is left of ports, if anything, is the framework's; it goes with the process. */
    loop_timer_clear(engine->loop, &side->state_timer);
    loop_timer_clear(engine->loop, &side->end_timer);
    loop_remove(engine->loop, &side->source);
    vmnet_net_free(side->net);
}
