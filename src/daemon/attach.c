/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attach: a new port. Its forwards are opened first, for they are what fails most often; then the router
 * makes the device. What the client gets is the tap's descriptor or, where the pump has that, the other end
 * of a socket; a port in the client's own namespace needs neither.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/paths.h"
#include "daemon/methods.h"

struct attach {
    struct network_port *port;
    bool path;   /* a datagram socket at a path */
    int peer_fd; /* PORT_VETH: the client's network namespace, or -1 */
};

static void attach_free(struct attach *attach)
{
    if (attach->peer_fd >= 0)
        close(attach->peer_fd);
    free(attach);
}

/* Nothing of it stays, and the network ends where this would have been its first port. */
static void attach_fail(struct engine *engine, struct attach *attach, struct control_client *client,
                        int code, const char *reason)
{
    if (attach->port)
        engine_drop_port(engine, attach->port);
    if (client)
        methods_fail(client, code, reason);
    attach_free(attach);
    engine_port_removed(engine);
}

/* A datagram socket at a path of its own in run_dir. The descriptor or -errno. */
static int open_path_socket(struct engine *engine, struct network_port *port, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[16];
    int fd, result;

    snprintf(name, sizeof(name), "p%u", ++engine->next_socket);
    result = path_socket(engine->network.config->run_dir, name, port->socket, err);
    if (result < 0)
        return result;
    memcpy(address.sun_path, port->socket, strlen(port->socket) + 1); /* path_socket(): it fits */
    fd = descriptor_socket(AF_UNIX, SOCK_DGRAM, true);
    unlink(port->socket); /* of an engine before this one */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    result = fd < 0 ? fd : -errno;
    err_set(err, result, "%s: %s", port->socket, strerror(-result));
    port->socket[0] = '\0';
    if (fd >= 0)
        close(fd);
    return result;
}

/*
 * Hands the tap over to the pump. *ret_fd is what the client gets: the other end of the pump's socket or,
 * where that is at a path, of the pair that keeps it.
 */
static int attach_pump(struct engine *engine, struct attach *attach, const struct message *answer,
                       const int *fds, unsigned fds_len, int *ret_fd, struct err *err)
{
    enum pump_framing framing = attach->port->port.kind == PORT_STREAM ? PUMP_STREAM : PUMP_DGRAM;
    struct pump_tap tap;
    int pair[2], socket_fd, result;

    result = pump_open_pair(attach->path ? PUMP_STREAM : framing, pair);
    if (result < 0)
        return err_set(err, result, "cannot open a socket: %s", strerror(-result));
    socket_fd = attach->path ? open_path_socket(engine, attach->port, err) : pair[0];
    result = socket_fd < 0 ? socket_fd : engine_take_tap(engine, answer, fds, fds_len, &tap);
    if (result < 0) {
        if (socket_fd >= 0)
            err_set(err, result, "%s", strerror(-result));
        if (attach->path && socket_fd >= 0)
            close(socket_fd);
        close(pair[0]);
        close(pair[1]);
        return result;
    }
    result = pump_add(engine->pump, framing, socket_fd, &tap, attach->path ? pair[0] : -1,
                      engine->network.mtu);
    if (result < 0) {
        close(pair[1]);
        return err_set(err, result, "the pump takes no more clients: %s", strerror(-result));
    }
    *ret_fd = pair[1];
    return 0;
}

static void on_attached(struct engine *engine, const struct engine_request *request,
                        const struct message *answer, const int *fds, unsigned fds_len)
{
    struct attach *attach = request->context;
    struct network_port *port = attach->port;
    struct err err = answer->err;
    int client_fd = -1, result = answer->result;
    json_t *reply;

    if (result == 0 && !fds_len && port->port.kind != PORT_VETH)
        result = err_set(&err, -EIO, "no descriptor came with the new port");
    /* With nobody to give it to, the descriptor is closed by the caller and the port goes away. */
    if (result == 0 && !request->client) {
        result = -ECONNRESET;
        engine_remove_orphan(engine, answer);
    }
    if (result == 0) {
        port->port = answer->port;
        port->attached = true;
    }
    if (result == 0 && (port->port.kind == PORT_STREAM || port->port.kind == PORT_DGRAM))
        result = attach_pump(engine, attach, answer, fds, fds_len, &client_fd, &err);
    if (result < 0) {
        attach_fail(engine, attach, request->client, result, err.text);
        return;
    }
    forwards_port_attached(engine->forwards);
    reply =
        json_pack("{s:o}", "port", network_describe_port(&engine->network, port, engine->has_ipv6));
    if (port->port.kind != PORT_VETH)
        json_object_set_new(reply, "fd", json_integer(0));
    control_reply(request->client, reply, client_fd >= 0 ? &client_fd : fds,
                  client_fd >= 0 || fds_len ? 1 : 0);
    if (client_fd >= 0)
        close(client_fd);
    attach_free(attach);
    /* Nobody waits for the disk: what is not written yet stands in the port's alias. */
    network_save(&engine->network);
}

/* Reads the request. NULL, or the name of the parameter that is not as it has to be. */
static const char *read_request(json_t *parameters, struct network_request *request,
                                struct mac_addr *mac, bool *ret_anti_spoof_auto, bool *ret_path)
{
    bool anti_spoof = true;
    const char *text;

    if (!methods_read_string(parameters, "name", &request->name))
        return "name";
    if (!methods_read_string(parameters, "interfaceId", &request->interface_id))
        return "interfaceId";
    if (!methods_read_string(parameters, "mac", &text) || (text[0] && mac_parse(text, mac) < 0))
        return "mac";
    request->mac = text[0] ? mac : NULL;
    if (!methods_read_bool(parameters, "learnMac", &request->learn_mac) ||
        (request->learn_mac && text[0]))
        return "learnMac";
    if (!methods_read_bool(parameters, "arriving", &request->arriving))
        return "arriving";
    if (!methods_read_bool(parameters, "isolated", &request->isolated))
        return "isolated";
    if (!methods_read_bool(parameters, "antiSpoof", &anti_spoof))
        return "antiSpoof";
    request->anti_spoof_off = !anti_spoof;
    if (!methods_read_bool(parameters, "antiSpoofAuto", ret_anti_spoof_auto))
        return "antiSpoofAuto";
    if (!methods_read_string(parameters, "kind", &text) ||
        (text[0] && port_kind_parse(text, &request->kind) < 0) ||
        (request->learn_mac && request->kind != PORT_TAP))
        return "kind";
    if (!methods_read_bool(parameters, "path", ret_path) ||
        (*ret_path && request->kind != PORT_DGRAM))
        return "path";
    return NULL;
}

/*
 * What others than its owner may not ask of a network: NULL, or what it is. The namespace of a veth could be the
 * host's, and a socket at a path would be everybody's. Where @anti_spoof_auto that is on for such a user.
 */
static const char *check_user(const struct engine *engine, const struct control_client *client,
                              struct network_request *request, bool anti_spoof_auto, bool path)
{
    if (access_of_peer(engine->network.config, control_socket(client)) == ACCESS_OWN)
        return NULL;
    if (anti_spoof_auto)
        request->anti_spoof_off = false;
    if (request->anti_spoof_off)
        return "let a machine send in the name of others (anti-spoof=off)";
    if (request->kind == PORT_VETH)
        return "have a program as a machine (veth)";
    return path ? "have a datagram socket at a path" : NULL;
}

static int open_forwards(struct engine *engine, const struct network_port *port,
                         const json_t *texts, struct err *err)
{
    struct forward_spec spec;
    const json_t *text;
    int result = 0;
    size_t i;

    if (json_array_size(texts) > PORT_FORWARDS_MAX)
        return err_set(err, -EINVAL, "more than %d forwards for one port", PORT_FORWARDS_MAX);
    json_array_foreach(texts, i, text)
    {
        result = json_is_string(text) ? forward_parse(json_string_value(text), &spec, err)
                                      : err_set(err, -EINVAL, "a forward is a string");
        if (result == 0)
            result = forwards_add(engine->forwards, &spec, port, err);
        if (result < 0)
            break;
    }
    return result;
}

void attach_call(struct engine *engine, struct control_client *client, json_t *parameters)
{
    const json_t *forwards = json_object_get(parameters, "forwards");
    struct network_request request = {.owner_pid = control_pid(client),
                                      .owner_uid = control_uid(client)};
    struct message message = {.type = MESSAGE_ADD_PORT};
    struct attach *attach = calloc(1, sizeof(*attach));
    struct mac_addr mac;
    const char *wrong, *denied;
    bool anti_spoof_auto = false;
    struct err err;
    int result;

    if (!attach) {
        methods_fail(client, -ENOMEM, "out of memory");
        return;
    }
    attach->peer_fd = control_take_fd(client);
    wrong = read_request(parameters, &request, &mac, &anti_spoof_auto, &attach->path);
    if (!wrong && forwards && !json_is_array(forwards) && !json_is_null(forwards))
        wrong = "forwards";
    if (wrong) {
        attach_free(attach);
        methods_fail_parameter(client, wrong);
        return;
    }
    denied = check_user(engine, client, &request, anti_spoof_auto, attach->path);
    if (denied) {
        attach_free(attach);
        methods_deny(engine, client, ACCESS_OWN, denied);
        return;
    }
    if (request.kind == PORT_VETH && attach->peer_fd < 0)
        result = err_set(&err, -EINVAL,
                         "a veth port needs the descriptor of a network namespace beside the call");
    else
        result = network_allot(&engine->network, &request, &attach->port, &err);
    if (result == 0)
        result = open_forwards(engine, attach->port, forwards, &err);
    if (result == 0) {
        message.port = attach->port->port;
        result = engine_request(engine, &message, request.kind == PORT_VETH ? attach->peer_fd : -1,
                                client, on_attached, attach);
        if (result < 0)
            err_set(&err, result, "the network's router takes no requests now; try again");
    }
    if (result < 0)
        attach_fail(engine, attach, client, result, err.text);
}
