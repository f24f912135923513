/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of io.openvmnet, and the engine that they act on. Only for src/daemon. */
#ifndef OPENVMNET_DAEMON_METHODS_H
#define OPENVMNET_DAEMON_METHODS_H

#include "daemon/channel.h"
#include "daemon/control.h"
#include "daemon/engine.h"
#include "daemon/network.h"
#include "uplink/dns.h"
#include "uplink/uplink.h"

/* Requests to the router at one time: each control client has at most one. */
#define ENGINE_REQUESTS_MAX CONTROL_CLIENTS_MAX
/* In run_dir: the network stays without ports. */
#define ENGINE_LASTING_FILE "lasting"

struct engine_request {
    bool used;
    uint32_t id;
    struct control_client *client; /* NULL: it went away meanwhile */
    struct network_port *port;     /* being attached, or NULL */
    uint64_t due_ms;
};

struct engine {
    const struct engine_args *args;
    struct loop *loop;
    struct host *host;
    struct dns *dns;
    struct control *control;
    struct worker *worker;
    struct network network;
    struct uplink_counters counters;
    struct loop_source router_source;
    struct loop_timer first_port_timer, request_timer;
    struct engine_request requests[ENGINE_REQUESTS_MAX];
    uint32_t next_id, list_id;
    int router_pid, service_pid;
    bool lasting, ended;
};

/* Sends @message to the router with an id of its own; methods_answer() gets the answer. NULL on failure. */
struct engine_request *engine_request(struct engine *engine, const struct message *message,
                                      struct control_client *client, struct network_port *port);
/* The router's answer; @port and @fd (borrowed) where it has them. */
void methods_answer(struct engine *engine, struct engine_request *request, int result,
                    const struct plane_port *port, int fd, const struct err *err);

/* The network stays when its last port goes. 0 or -errno. */
int engine_make_lasting(struct engine *engine);
/* Ends the network. */
void engine_stop(struct engine *engine);
/* A port was removed: ends the network where it was the last and the network is not lasting. */
void engine_port_removed(struct engine *engine);

control_method_fn methods_call;
control_gone_fn methods_client_gone;

#endif
