/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnetd where vmnet.framework is the plane: one process. parent.h is what main() knows of it, as of the process tree
 * on Linux; decision 0022 says why there is none here.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/forward_host.h"
#include "daemon/parent.h"
#include "daemon/signals.h"
#include "daemon/vmnet.h"
#include "uplink/quota.h"

/* Forwards cost the system more than us: a rule, or a listener, each. */
#define FORWARDS_MAX 1024
#define NAMES_BYTES 256

const char *engine_plane(const struct net_config *config)
{
    return "vmnet";
}

struct parent {
    struct engine_args args;
    struct engine engine;
    struct vmnet_side side;
};

/* Connections are the guests' own here. */
void engine_forget_guest(struct engine *engine, const struct plane_port *port)
{
    (void)engine;
    (void)port;
}

json_t *engine_describe_use(const struct engine *engine, const struct plane_port *port)
{
    (void)engine;
    (void)port;
    return json_null(); /* which the system does not tell */
}

#define DESCRIBE_COUNTER(name)                                                                     \
    json_object_set_new(counters, #name,                                                           \
                        json_integer((json_int_t)atomic_load_explicit(&engine->pump_counters.name, \
                                                                      memory_order_relaxed)));

void engine_describe(const struct engine *engine, json_t *reply)
{
    json_t *counters = json_object();

    PUMP_COUNTERS(DESCRIBE_COUNTER)
    json_object_set_new(reply, "processes",
                        json_pack("{s:i, s:i, s:i, s:i}", "parent", (int)getpid(), "engine",
                                  (int)getpid(), "router", 0, "dnsmasq", 0));
    json_object_set_new(reply, "counters", counters);
    json_object_set_new(reply, "workers", json_array());
}

static void on_signal(void *context, int signal)
{
    struct engine *engine = context;

    if (signal != SIGCHLD)
        loop_stop(engine->loop);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* What the framework would say only when the first machine is there. */
static int check_member(const struct net_config *config, struct err *err)
{
    char names[NAMES_BYTES];

    if (config->mode != NET_MODE_BRIDGED || vmnet_can_bridge(config->ifname, names, sizeof(names)))
        return 0;
    return err_set(err, -ENODEV,
                   "network '%s': vmnet.framework cannot bridge to '%s'; it can to: %s (ifname=)",
                   config->name, config->ifname, names[0] ? names : "none");
}

/* What only the framework knows until there is an interface, or is the system's to decide. */
static void leave_open(struct net_config *config)
{
    config->system_dhcp = true;
    if (config->mode != NET_MODE_SHARED && !config->host6_asked)
        config->prefix6 = config->gateway6 = (struct ip_addr){0};
    if (config->mode == NET_MODE_BRIDGED || (config->net_uuid[0] && !config->host_asked))
        config->gateway = config->pool_start = config->pool_end = 0;
}

static int engine_start(struct engine *engine, struct err *err)
{
    int result = loop_new(&engine->loop);

    if (result == 0)
        result = signals_watch(engine->loop, on_signal, engine);
    if (result == 0)
        result = vmnet_watch_new(engine, &engine->vmnet->watch);
    if (result < 0)
        return err_set(err, result, "cannot start the network: %s", strerror(-result));
    vmnet_requests_begin(engine);
    result = vmnet_ports_begin(engine, err);
    if (result < 0)
        return result;
    network_init(&engine->network, engine->args->config);
    result = pump_new(&engine->pump_counters, &engine->pump, err);
    if (result < 0)
        return result;
    result = forward_host_new(engine, &engine->forward_host);
    if (result == 0)
        engine->forwards = forwards_new(&engine->network, engine->forward_host, FORWARDS_MAX);
    engine->connects = connects_new(engine);
    if (!engine->forwards || !engine->connects)
        return err_set(err, -ENOMEM, "out of memory");
    result = engine_serve(engine);
    if (result < 0)
        return err_set(err, result, "cannot serve the network's sockets: %s", strerror(-result));
    engine_begin(engine);
    return 0;
}

int parent_start(const struct net_config *config, const struct parent_sockets *sockets,
                 int private_fd, struct parent **ret_parent, struct err *err)
{
    struct parent *parent = calloc(1, sizeof(*parent));
    int result = check_member(config, err);

    (void)private_fd;
    if (!parent)
        return err_set(err, -ENOMEM, "out of memory");
    if (result < 0) {
        free(parent);
        return result;
    }
    raise_descriptor_limit();
    parent->side.engine = &parent->engine;
    parent->side.config = *config;
    parent->side.has_net = vmnet_net_serves(config);
    leave_open(&parent->side.config);
    parent->args = (struct engine_args){
        .config = &parent->side.config,
        .parent_pid = getpid(),
        .control_fd = sockets->control_fd,
        .stream_fd = sockets->stream_fd,
    };
    parent->engine.args = &parent->args;
    parent->engine.vmnet = &parent->side;
    result = engine_start(&parent->engine, err);
    if (result < 0)
        return result; /* the process ends, and all goes with it */
    *ret_parent = parent;
    return 0;
}

int parent_run(struct parent *parent)
{
    struct engine *engine = &parent->engine;
    int result = loop_run(engine->loop);

    control_free(engine->control);
    engine->control = NULL;
    listener_free(engine->listener);
    engine->listener = NULL;
    connects_free(engine->connects);
    pump_free(engine->pump);
    vmnet_ports_end(engine);
    forwards_free(engine->forwards);
    forward_host_free(engine->forward_host);
    vmnet_watch_free(engine->vmnet->watch);
    vmnet_requests_end(engine);
    vmnet_ports_free(engine);
    network_done(&engine->network);
    loop_free(engine->loop);
    free(parent);
    return result < 0 ? 1 : 0;
}
