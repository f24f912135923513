/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/methods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define BUSY "the network's router takes no requests now; try again"

json_t *methods_failure(int code, const char *reason)
{
    const char *name = err_code_name(code);
    json_t *parameters = json_pack("{s:s, s:s}", "code", name, "reason", reason);
    char text[ERR_TEXT_MAX];

    if (!parameters) {
        /* A character was cut where the text was: it is no UTF-8 any more. */
        snprintf(text, sizeof(text), "%s", reason);
        for (char *at = text; *at; at++)
            if ((unsigned char)*at >= 0x80)
                *at = '?';
        parameters = json_pack("{s:s, s:s}", "code", name, "reason", text);
    }
    return parameters;
}

void methods_fail(struct control_client *client, int code, const char *reason)
{
    control_error(client, METHODS_FAILED, methods_failure(code, reason));
}

void methods_fail_parameter(struct control_client *client, const char *name)
{
    control_error(client, "org.varlink.service.InvalidParameter",
                  json_pack("{s:s}", "parameter", name));
}

bool methods_read_string(const json_t *parameters, const char *name, const char **ret_value)
{
    const json_t *value = json_object_get(parameters, name);

    *ret_value = json_is_string(value) ? json_string_value(value) : "";
    return !value || json_is_null(value) || json_is_string(value);
}

bool methods_read_bool(const json_t *parameters, const char *name, bool *ret_value)
{
    const json_t *value = json_object_get(parameters, name);

    if (json_is_boolean(value))
        *ret_value = json_is_true(value);
    return !value || json_is_null(value) || json_is_boolean(value);
}

static void call_describe(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct network_state state = engine_state(engine);

    control_reply(client, json_pack("{s:o}", "network", network_describe(&engine->network, &state)),
                  NULL, 0);
}

/* The answer to a request that has nothing to say but whether it worked. */
static void on_done(struct engine *engine, const struct engine_request *request,
                    const struct message *answer, const int *fds, unsigned fds_len)
{
    if (request->client && answer->result < 0)
        methods_fail(request->client, answer->result, answer->err.text);
    else if (request->client)
        control_reply(request->client, NULL, NULL, 0);
}

/* Whether a port is the client's to change: root's are all, and so are all to who owns the network. */
static bool methods_owns(const struct engine *engine, struct control_client *client,
                         const struct network_port *port)
{
    const struct net_config *config = engine->network.config;

    return access_of_peer(config, control_socket(client)) == ACCESS_OWN ||
           (port && port->port.owner_uid == control_uid(client));
}

/* Whoever attaches one after the answer gets what it had; and the answer comes before the network's end. */
static void on_detached(struct engine *engine, const struct engine_request *request,
                        const struct message *answer, const int *fds, unsigned fds_len)
{
    struct network_port *port = network_find(&engine->network, answer->port.interface);

    on_done(engine, request, answer, fds, fds_len);
    if (answer->result < 0 || !port)
        return;
    engine_drop_port(engine, port);
    engine_port_removed(engine);
}

static void call_detach(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct message message = {.type = MESSAGE_REMOVE_PORT};
    const char *interface;
    char reason[128];

    if (!methods_read_string(parameters, "interface", &interface) || !interface[0]) {
        methods_fail_parameter(client, "interface");
        return;
    }
    if (!network_find(&engine->network, interface)) {
        snprintf(reason, sizeof(reason), "no port '%.20s' on this network", interface);
        methods_fail(client, -ENODEV, reason);
        return;
    }
    if (!methods_owns(engine, client, network_find(&engine->network, interface))) {
        methods_deny(engine, client, ACCESS_OWN, "detach the ports of others");
        return;
    }
    snprintf(message.port.interface, sizeof(message.port.interface), "%s", interface);
    if (engine_request(engine, &message, -1, client, on_detached, NULL) < 0)
        methods_fail(client, -EAGAIN, BUSY);
}

static void call_namespaces(struct engine *engine, struct control_client *client,
                            json_t *parameters)
{
    const int fds[] = {engine->handles.fd[PLANE_NAMESPACE], engine->handles.fd[PLANE_USER]};

    if (fds[1] >= 0)
        control_reply(client, json_pack("{s:i, s:i}", "network", 0, "user", 1), fds, 2);
    else
        control_reply(client, json_pack("{s:i, s:n}", "network", 0, "user"), fds, 1);
}

/* A user who names a machine of their own means its port, whose name another machine may have later. */
static const struct network_port *own_port(struct engine *engine, struct control_client *client,
                                           struct forward_spec *spec)
{
    const struct network_port *port = network_find_name(&engine->network, spec->guest_name);

    if (access_of_peer(engine->network.config, control_socket(client)) == ACCESS_OWN || !port ||
        !port->attached || port->port.owner_uid != control_uid(client))
        return NULL;
    spec->guest_name[0] = '\0';
    return port;
}

static void call_add_forward(struct engine *engine, struct control_client *client,
                             json_t *parameters)
{
    const char *text, *interface;
    const struct network_port *owner = NULL;
    struct forward_spec spec;
    struct err err;
    int result;

    if (!methods_read_string(parameters, "forward", &text) || !text[0]) {
        methods_fail_parameter(client, "forward");
        return;
    }
    if (!methods_read_string(parameters, "interface", &interface)) {
        methods_fail_parameter(client, "interface");
        return;
    }
    result = forward_parse(text, &spec, &err);
    if (result == 0 && interface[0]) {
        owner = network_find(&engine->network, interface);
        if (!owner || !owner->attached)
            result = err_set(&err, -ENODEV, "no port '%.20s' on this network", interface);
    } else if (result == 0) {
        owner = own_port(engine, client, &spec);
    }
    if (result == 0 && !methods_owns(engine, client, owner)) {
        methods_deny(engine, client, ACCESS_OWN, "forward to others than the own ports");
        return;
    }
    if (result == 0)
        result = forwards_add(engine->forwards, &spec, owner, &err);
    if (result < 0)
        methods_fail(client, result, err.text);
    else
        control_reply(client,
                      json_pack("{s:o}", "forward", forwards_describe_last(engine->forwards)), NULL,
                      0);
}

static void call_remove_forward(struct engine *engine, struct control_client *client,
                                json_t *parameters)
{
    const struct network_port *owner;
    const char *text;
    struct err err;
    int result;

    if (!methods_read_string(parameters, "forward", &text) || !text[0]) {
        methods_fail_parameter(client, "forward");
        return;
    }
    result = forwards_find(engine->forwards, text, &owner, &err);
    if (result == 0 && !methods_owns(engine, client, owner)) {
        methods_deny(engine, client, ACCESS_OWN, "end the forwards of others");
        return;
    }
    if (result == 0)
        result = forwards_remove(engine->forwards, text, &err);
    if (result < 0)
        methods_fail(client, result, err.text);
    else
        control_reply(client, NULL, NULL, 0);
}

static json_t *describe_drops(const struct plane_port_stats *stats)
{
    json_t *object = json_object();

#define DESCRIBE_DROP(name)                                                                        \
    json_object_set_new(object, #name, json_integer((json_int_t)stats->drops[PLANE_DROP_##name]));
    PLANE_DROPS(DESCRIBE_DROP)
    return object;
}

/* A port with what was counted there. */
static json_t *describe_port_status(const struct engine *engine, const struct network_port *port)
{
    json_t *object = network_describe_port(&engine->network, port, engine->has_ipv6);
    const struct plane_port_stats *stats = &port->stats;

    json_object_set_new(
        object, "traffic",
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "upPackets", (json_int_t)stats->up_packets,
                  "upBytes", (json_int_t)stats->up_bytes, "downPackets",
                  (json_int_t)stats->down_packets, "downBytes", (json_int_t)stats->down_bytes,
                  "downDropped", (json_int_t)stats->down_dropped));
    json_object_set_new(object, "drops", describe_drops(stats));
    json_object_set_new(object, "use", engine_describe_use(engine, &port->port));
    return object;
}

/* The router has reported what was counted at each port. */
static void on_status(struct engine *engine, const struct engine_request *request,
                      const struct message *answer, const int *fds, unsigned fds_len)
{
    struct network_state state = engine_state(engine);
    struct network *network = &engine->network;
    json_t *ports, *reply;

    if (!request->client)
        return;
    ports = json_array();
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        const struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (port->attached)
            json_array_append_new(ports, describe_port_status(engine, port));
    }
    reply = json_pack("{s:o, s:o, s:o}", "network", network_describe(network, &state), "ports",
                      ports, "forwards", forwards_describe(engine->forwards));
    engine_describe(engine, reply);
    control_reply(request->client, reply, NULL, 0);
}

static void call_status(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct message message = {.type = MESSAGE_LIST_PORTS};

    /* Without the router what is known is said all the same: on_status() looks at no result. */
    if (engine_request(engine, &message, -1, client, on_status, NULL) < 0)
        on_status(engine, &(struct engine_request){.client = client}, NULL, NULL, 0);
}

static void call_keep(struct engine *engine, struct control_client *client, json_t *parameters)
{
    int result = engine_make_lasting(engine);

    if (result < 0)
        methods_fail(client, result, "cannot write to the network's runtime directory");
    else
        control_reply(client, NULL, NULL, 0);
}

/* Where it has failed the network ends all the same. */
static void on_cut_off(struct engine *engine, const struct engine_request *request,
                       const struct message *answer, const int *fds, unsigned fds_len)
{
    if (answer->result < 0)
        log_warn("machines of network '%s' may still reach each other: %s",
                 engine->network.config->name, answer->err.text);
    if (request->client)
        control_reply(request->client, NULL, NULL, 0);
    engine_stop(engine);
}

static void call_stop(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct message message = {.type = MESSAGE_CUT_OFF};
    bool force = false;
    char reason[160];

    if (!methods_read_bool(parameters, "force", &force)) {
        methods_fail_parameter(client, "force");
        return;
    }
    if (engine->network.ports_len && !force) {
        snprintf(reason, sizeof(reason),
                 "%u port%s attached: end the VMs first, or use --force, which cuts them off",
                 engine->network.ports_len, engine->network.ports_len == 1 ? " is" : "s are");
        methods_fail(client, -EBUSY, reason);
        return;
    }
    if (engine->network.ports_len) {
        if (engine_request(engine, &message, -1, client, on_cut_off, NULL) == 0)
            return;
        log_warn(
            "machines of network '%s' may still reach each other: its router takes no requests",
            engine->network.config->name);
    }
    control_reply(client, NULL, NULL, 0);
    engine_stop(engine);
}

static void call_get_info(struct engine *engine, struct control_client *client, json_t *parameters)
{
    control_reply(client,
                  json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "openvmnet", "product",
                            "vmnetd", "version", OPENVMNET_VERSION, "url", "", "interfaces",
                            "org.varlink.service", METHODS_INTERFACE),
                  NULL, 0);
}

static void call_get_description(struct engine *engine, struct control_client *client,
                                 json_t *parameters)
{
    const char *interface;

    if (!methods_read_string(parameters, "interface", &interface))
        methods_fail_parameter(client, "interface");
    else if (strcmp(interface, METHODS_INTERFACE) != 0)
        control_error(client, "org.varlink.service.InterfaceNotFound",
                      json_pack("{s:s}", "interface", interface));
    else
        control_reply(client, json_pack("{s:s}", "description", interface_text), NULL, 0);
}

/* @what it does, for who may not. */
static const struct method {
    const char *name;
    void (*call)(struct engine *engine, struct control_client *client, json_t *parameters);
    enum access needs;
    const char *what;
} methods[] = {
    {METHODS_INTERFACE ".AddForward", call_add_forward, ACCESS_USE, "forward ports"},
    {METHODS_INTERFACE ".Attach", attach_call, ACCESS_USE, "attach ports"},
    {METHODS_INTERFACE ".Connect", connect_call, ACCESS_USE, "connect to machines"},
    {METHODS_INTERFACE ".Describe", call_describe, ACCESS_SEE, NULL},
    {METHODS_INTERFACE ".Detach", call_detach, ACCESS_USE, "detach ports"},
    {METHODS_INTERFACE ".Keep", call_keep, ACCESS_OWN, "make it lasting"},
    {METHODS_INTERFACE ".Namespaces", call_namespaces, ACCESS_OWN, "join its namespaces"},
    {METHODS_INTERFACE ".RemoveForward", call_remove_forward, ACCESS_USE, "forward ports"},
    {METHODS_INTERFACE ".Status", call_status, ACCESS_SEE, NULL},
    {METHODS_INTERFACE ".Stop", call_stop, ACCESS_OWN, "stop it"},
    {"org.varlink.service.GetInfo", call_get_info, ACCESS_SEE, NULL},
    {"org.varlink.service.GetInterfaceDescription", call_get_description, ACCESS_SEE, NULL},
};

void methods_deny(struct engine *engine, struct control_client *client, enum access needs,
                  const char *what)
{
    struct err err;

    access_deny(&engine->denials, engine->network.config, control_uid(client), needs, what, &err);
    control_error(client, METHODS_INTERFACE ".NotAllowed",
                  json_pack("{s:s, s:s}", "code", "EACCES", "reason", err.text));
}

void methods_call(void *context, struct control_client *client, const char *method,
                  json_t *parameters)
{
    struct engine *engine = context;
    const struct net_config *config = engine->network.config;

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        const struct method *called = &methods[i];

        if (strcmp(called->name, method) != 0)
            continue;
        if (called->needs > access_of_peer(config, control_socket(client)))
            methods_deny(engine, client, called->needs, called->what);
        else
            called->call(engine, client, parameters);
        return;
    }
    control_error(client, "org.varlink.service.MethodNotFound",
                  json_pack("{s:s}", "method", method));
}

void methods_client_gone(void *context, struct control_client *client)
{
    struct engine *engine = context;

    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++)
        if (engine->requests[i].used && engine->requests[i].client == client)
            engine->requests[i].client = NULL;
    connects_client_gone(engine->connects, client);
}
