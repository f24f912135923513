/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/methods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INTERFACE "io.openvmnet"

/* The interface in Varlink's own language; what `varlinkctl introspect` shows. */
static const char interface_text[] =
    "# A network for virtual machines\n"
    "interface " INTERFACE "\n"
    "\n"
    "type Network (name: string, mode: string, plane: string, subnet: string, gateway: string,\n"
    "  poolStart: string, poolEnd: string, ipv6Prefix: ?string, gateway6: ?string, domain: "
    "string,\n"
    "  mtu: int, lasting: bool, ports: int)\n"
    "\n"
    "type Port (network: string, interface: string, mac: string, ipv4: string, ipv6Prefix: "
    "?string,\n"
    "  gateway: string, gateway6: ?string, name: string, domain: string, interfaceId: string,\n"
    "  mtu: int)\n"
    "\n"
    "type Processes (parent: int, engine: int, router: int, dnsmasq: int)\n"
    "\n"
    "# What the network is\n"
    "method Describe() -> (network: Network)\n"
    "\n"
    "# A new port. Its packet descriptor comes beside the reply; fd is its index there, 0\n"
    "method Attach(name: ?string, mac: ?string, interfaceId: ?string) -> (port: Port, fd: int)\n"
    "\n"
    "# Removes a port, whoever holds its descriptor\n"
    "method Detach(interface: string) -> ()\n"
    "\n"
    "# The network, its ports, its processes, and what was counted\n"
    "method Status() -> (network: Network, ports: []Port, processes: Processes,\n"
    "  counters: [string]int)\n"
    "\n"
    "# The network stays when its last port goes\n"
    "method Keep() -> ()\n"
    "\n"
    "# Ends the network; with ports attached only where force is true\n"
    "method Stop(force: ?bool) -> ()\n"
    "\n"
    "# The request cannot be carried out: code is an errno name, reason is for people\n"
    "error Failed (code: string, reason: string)\n";

static const struct {
    int code;
    const char *name;
} error_names[] = {
    {EINVAL, "EINVAL"}, {EEXIST, "EEXIST"}, {ENOSPC, "ENOSPC"},       {EBUSY, "EBUSY"},
    {ENODEV, "ENODEV"}, {ENOMEM, "ENOMEM"}, {ETIMEDOUT, "ETIMEDOUT"}, {EAGAIN, "EAGAIN"},
    {EPERM, "EPERM"},   {EACCES, "EACCES"}, {ENOENT, "ENOENT"},
};

static void fail(struct control_client *client, int code, const char *reason)
{
    const char *name = "EIO";

    for (size_t i = 0; i < sizeof(error_names) / sizeof(error_names[0]); i++)
        if (error_names[i].code == -code)
            name = error_names[i].name;
    control_error(client, INTERFACE ".Failed",
                  json_pack("{s:s, s:s}", "code", name, "reason", reason));
}

static void fail_parameter(struct control_client *client, const char *name)
{
    control_error(client, "org.varlink.service.InvalidParameter",
                  json_pack("{s:s}", "parameter", name));
}

/* Reads an optional string. False where it is something else. */
static bool read_string(const json_t *parameters, const char *name, const char **ret_value)
{
    const json_t *value = json_object_get(parameters, name);

    *ret_value = json_is_string(value) ? json_string_value(value) : "";
    return !value || json_is_null(value) || json_is_string(value);
}

static void call_describe(struct engine *engine, struct control_client *client, json_t *parameters)
{
    control_reply(
        client, json_pack("{s:o}", "network", network_describe(&engine->network, engine->lasting)),
        -1);
}

static void call_attach(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct message message = {.type = MESSAGE_ADD_PORT};
    struct network_request request;
    struct network_port *port;
    struct mac_addr mac;
    const char *text;
    struct err err;
    int result;

    if (!read_string(parameters, "name", &request.name)) {
        fail_parameter(client, "name");
        return;
    }
    if (!read_string(parameters, "interfaceId", &request.interface_id)) {
        fail_parameter(client, "interfaceId");
        return;
    }
    if (!read_string(parameters, "mac", &text) || (text[0] && mac_parse(text, &mac) < 0)) {
        fail_parameter(client, "mac");
        return;
    }
    request.mac = text[0] ? &mac : NULL;
    result = network_allot(&engine->network, &request, &port, &err);
    if (result < 0) {
        fail(client, result, err.text);
        engine_port_removed(engine); /* where it would have been the first one */
        return;
    }
    message.port = port->port;
    if (!engine_request(engine, &message, client, port)) {
        network_remove(&engine->network, port);
        fail(client, -EAGAIN, "the network's router takes no requests now; try again");
    }
}

static void call_detach(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct message message = {.type = MESSAGE_REMOVE_PORT};
    const char *interface;
    char reason[128];

    if (!read_string(parameters, "interface", &interface) || !interface[0]) {
        fail_parameter(client, "interface");
        return;
    }
    if (!network_find(&engine->network, interface)) {
        snprintf(reason, sizeof(reason), "no port '%.20s' on this network", interface);
        fail(client, -ENODEV, reason);
        return;
    }
    snprintf(message.port.interface, sizeof(message.port.interface), "%s", interface);
    if (!engine_request(engine, &message, client, NULL))
        fail(client, -EAGAIN, "the network's router takes no requests now; try again");
}

static json_t *describe_counters(struct uplink_counters *counters)
{
    json_t *object = json_object();

#define DESCRIBE_COUNTER(name)                                                                     \
    json_object_set_new(                                                                           \
        object, #name,                                                                             \
        json_integer((json_int_t)atomic_load_explicit(&counters->name, memory_order_relaxed)));
    UPLINK_COUNTERS(DESCRIBE_COUNTER)
#undef DESCRIBE_COUNTER
    return object;
}

static void call_status(struct engine *engine, struct control_client *client, json_t *parameters)
{
    struct network *network = &engine->network;
    json_t *ports = json_array();

    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (port->attached)
            json_array_append_new(ports, network_describe_port(network, port));
    }
    control_reply(client,
                  json_pack("{s:o, s:o, s:{s:i, s:i, s:i, s:i}, s:o}", "network",
                            network_describe(network, engine->lasting), "ports", ports, "processes",
                            "parent", engine->args->parent_pid, "engine", (int)getpid(), "router",
                            engine->router_pid, "dnsmasq", engine->service_pid, "counters",
                            describe_counters(&engine->counters)),
                  -1);
}

static void call_keep(struct engine *engine, struct control_client *client, json_t *parameters)
{
    int result = engine_make_lasting(engine);

    if (result < 0)
        fail(client, result, "cannot write to the network's runtime directory");
    else
        control_reply(client, NULL, -1);
}

static void call_stop(struct engine *engine, struct control_client *client, json_t *parameters)
{
    const json_t *force = json_object_get(parameters, "force");
    char reason[160];

    if (force && !json_is_boolean(force) && !json_is_null(force)) {
        fail_parameter(client, "force");
        return;
    }
    if (engine->network.ports_len && !json_is_true(force)) {
        snprintf(reason, sizeof(reason),
                 "%u port%s attached: end the VMs first, or use --force, which cuts them off",
                 engine->network.ports_len, engine->network.ports_len == 1 ? " is" : "s are");
        fail(client, -EBUSY, reason);
        return;
    }
    control_reply(client, NULL, -1);
    engine_stop(engine);
}

static void call_get_info(struct engine *engine, struct control_client *client, json_t *parameters)
{
    control_reply(client,
                  json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "openvmnet", "product",
                            "vmnetd", "version", OPENVMNET_VERSION, "url", "", "interfaces",
                            "org.varlink.service", INTERFACE),
                  -1);
}

static void call_get_description(struct engine *engine, struct control_client *client,
                                 json_t *parameters)
{
    const char *interface;

    if (!read_string(parameters, "interface", &interface))
        fail_parameter(client, "interface");
    else if (strcmp(interface, INTERFACE) != 0)
        control_error(client, "org.varlink.service.InterfaceNotFound",
                      json_pack("{s:s}", "interface", interface));
    else
        control_reply(client, json_pack("{s:s}", "description", interface_text), -1);
}

static const struct {
    const char *name;
    void (*call)(struct engine *engine, struct control_client *client, json_t *parameters);
} methods[] = {
    {INTERFACE ".Attach", call_attach},
    {INTERFACE ".Describe", call_describe},
    {INTERFACE ".Detach", call_detach},
    {INTERFACE ".Keep", call_keep},
    {INTERFACE ".Status", call_status},
    {INTERFACE ".Stop", call_stop},
    {"org.varlink.service.GetInfo", call_get_info},
    {"org.varlink.service.GetInterfaceDescription", call_get_description},
};

void methods_call(void *context, struct control_client *client, const char *method,
                  json_t *parameters)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(methods[i].name, method) == 0) {
            methods[i].call(context, client, parameters);
            return;
        }
    }
    control_error(client, "org.varlink.service.MethodNotFound",
                  json_pack("{s:s}", "method", method));
}

void methods_answer(struct engine *engine, struct engine_request *request, int result,
                    const struct plane_port *port, int fd, const struct err *err)
{
    struct network_port *attached = request->port;
    struct control_client *client = request->client;

    if (attached && result == 0 && fd >= 0 && client) {
        attached->port = *port;
        attached->attached = true;
        control_reply(client,
                      json_pack("{s:o, s:i}", "port",
                                network_describe_port(&engine->network, attached), "fd", 0),
                      fd);
        return;
    }
    /* With nobody to give it to, the descriptor is closed by the caller and the port goes away. */
    if (attached)
        network_remove(&engine->network, attached);
    if (client && result < 0)
        fail(client, result, err->text);
    else if (client && attached)
        fail(client, -EIO, "the network's router sent no descriptor");
    else if (client)
        control_reply(client, NULL, -1);
    if (attached)
        engine_port_removed(engine);
}

void methods_client_gone(void *context, struct control_client *client)
{
    struct engine *engine = context;

    for (int i = 0; i < ENGINE_REQUESTS_MAX; i++)
        if (engine->requests[i].used && engine->requests[i].client == client)
            engine->requests[i].client = NULL;
}
