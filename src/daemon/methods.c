/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/methods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY "the network's router takes no requests now; try again"

static const struct {
    int code;
    const char *name;
} error_names[] = {
    {EINVAL, "EINVAL"},
    {EEXIST, "EEXIST"},
    {ENOSPC, "ENOSPC"},
    {EBUSY, "EBUSY"},
    {ENODEV, "ENODEV"},
    {ENOMEM, "ENOMEM"},
    {ETIMEDOUT, "ETIMEDOUT"},
    {EAGAIN, "EAGAIN"},
    {EPERM, "EPERM"},
    {EACCES, "EACCES"},
    {ENOENT, "ENOENT"},
    {EADDRINUSE, "EADDRINUSE"},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL"},
    {ECONNREFUSED, "ECONNREFUSED"},
    {EHOSTUNREACH, "EHOSTUNREACH"},
    {EOPNOTSUPP, "EOPNOTSUPP"},
};

void methods_fail(struct control_client *client, int code, const char *reason)
{
    const char *name = "EIO";
    char text[ERR_TEXT_MAX];
    json_t *parameters;

    for (size_t i = 0; i < sizeof(error_names) / sizeof(error_names[0]); i++)
        if (error_names[i].code == -code)
            name = error_names[i].name;
    parameters = json_pack("{s:s, s:s}", "code", name, "reason", reason);
    if (!parameters) {
        /* A character was cut where the text was: it is no UTF-8 any more. */
        snprintf(text, sizeof(text), "%s", reason);
        for (char *at = text; *at; at++)
            if ((unsigned char)*at >= 0x80)
                *at = '?';
        parameters = json_pack("{s:s, s:s}", "code", name, "reason", text);
    }
    control_error(client, METHODS_INTERFACE ".Failed", parameters);
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
    snprintf(message.port.interface, sizeof(message.port.interface), "%s", interface);
    if (engine_request(engine, &message, -1, client, on_done, NULL) < 0)
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
    const char *text;
    struct err err;
    int result;

    if (!methods_read_string(parameters, "forward", &text) || !text[0]) {
        methods_fail_parameter(client, "forward");
        return;
    }
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

static void call_stop(struct engine *engine, struct control_client *client, json_t *parameters)
{
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

/* @owner: on a network of the system only root may. What is left only reads. */
static const struct {
    const char *name;
    void (*call)(struct engine *engine, struct control_client *client, json_t *parameters);
    bool owner;
} methods[] = {
    {METHODS_INTERFACE ".AddForward", call_add_forward, true},
    {METHODS_INTERFACE ".Attach", attach_call, true},
    {METHODS_INTERFACE ".Connect", connect_call, true},
    {METHODS_INTERFACE ".Describe", call_describe, false},
    {METHODS_INTERFACE ".Detach", call_detach, true},
    {METHODS_INTERFACE ".Keep", call_keep, true},
    {METHODS_INTERFACE ".Namespaces", call_namespaces, true},
    {METHODS_INTERFACE ".RemoveForward", call_remove_forward, true},
    {METHODS_INTERFACE ".Status", call_status, false},
    {METHODS_INTERFACE ".Stop", call_stop, true},
    {"org.varlink.service.GetInfo", call_get_info, false},
    {"org.varlink.service.GetInterfaceDescription", call_get_description, false},
};

void methods_call(void *context, struct control_client *client, const char *method,
                  json_t *parameters)
{
    const struct engine *engine = context;

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, method) != 0)
            continue;
        if (methods[i].owner && engine->network.config->system && control_uid(client) != 0)
            methods_fail(client, -EACCES, "is a network of the system, which is for root alone");
        else
            methods[i].call(context, client, parameters);
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
