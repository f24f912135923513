/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports. What a request asks beyond the first version of the interface is checked in the reply: a
 * network goes on when the programs are replaced by newer ones, and its vmnetd ignores what it does not
 * know, which may be the isolation of a port.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client.h"
#include "client/connection.h"
#include "client/open.h"

/* How long a refusal may be due to a port that is just going. */
#define SETTLE_MS 1000

static void take_port(const json_t *object, struct client_port *port)
{
    const struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = {
        {"network", port->network, sizeof(port->network)},
        {"interface", port->interface, sizeof(port->interface)},
        {"mac", port->mac, sizeof(port->mac)},
        {"ipv4", port->ipv4, sizeof(port->ipv4)},
        {"ipv6Prefix", port->ipv6_prefix, sizeof(port->ipv6_prefix)},
        {"gateway", port->gateway, sizeof(port->gateway)},
        {"gateway6", port->gateway6, sizeof(port->gateway6)},
        {"dns", port->dns, sizeof(port->dns)},
        {"name", port->name, sizeof(port->name)},
        {"domain", port->domain, sizeof(port->domain)},
        {"interfaceId", port->interface_id, sizeof(port->interface_id)},
        {"socket", port->socket, sizeof(port->socket)},
        {"mode", port->mode, sizeof(port->mode)},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *text = json_string_value(json_object_get(object, texts[i].key));

        snprintf(texts[i].to, texts[i].size, "%s", text ? text : "");
    }
    port->mtu = (unsigned)json_integer_value(json_object_get(object, "mtu"));
    port->ipv4_default = json_is_true(json_object_get(object, "ipv4Default"));
    port->ipv6_default = json_is_true(json_object_get(object, "ipv6Default"));
}

static json_t *attach_parameters(const struct port_spec *request, const struct client_way *way)
{
    json_t *parameters = json_object(), *forwards = NULL;
    char text[FORWARD_TEXT_MAX], mac[MAC_TEXT_MAX];

    if (request->name[0])
        json_object_set_new(parameters, "name", json_string(request->name));
    if (request->interface_id[0])
        json_object_set_new(parameters, "interfaceId", json_string(request->interface_id));
    if (request->mac_given)
        json_object_set_new(parameters, "mac", json_string(mac_format(&request->mac, mac)));
    if (request->learn_mac)
        json_object_set_new(parameters, "learnMac", json_true());
    if (request->arriving)
        json_object_set_new(parameters, "arriving", json_true());
    if (request->isolated)
        json_object_set_new(parameters, "isolated", json_true());
    if (request->anti_spoof != ANTI_SPOOF_ON)
        json_object_set_new(parameters, "antiSpoof", json_false());
    if (request->anti_spoof == ANTI_SPOOF_AUTO)
        json_object_set_new(parameters, "antiSpoofAuto", json_true());
    if (request->forwards_len)
        forwards = json_array();
    for (unsigned i = 0; i < request->forwards_len; i++)
        json_array_append_new(forwards, json_string(forward_format(&request->forwards[i], text)));
    if (forwards)
        json_object_set_new(parameters, "forwards", forwards);
    if (way && way->kind != PORT_TAP)
        json_object_set_new(parameters, "kind", json_string(port_kind_name(way->kind)));
    if (way && way->path)
        json_object_set_new(parameters, "path", json_true());
    return parameters;
}

/* True where the reply does not show what only a newer vmnetd knows, and it was asked for. */
static bool is_ignored(const struct port_spec *request, const struct client_way *way,
                       const json_t *port)
{
    bool asked = request->isolated || request->anti_spoof != ANTI_SPOOF_ON ||
                 request->forwards_len || (way && way->kind != PORT_TAP);

    if (request->learn_mac && json_is_string(json_object_get(port, "mac")))
        return true;
    return asked && (!json_is_boolean(json_object_get(port, "isolated")) ||
                     json_is_true(json_object_get(port, "isolated")) != request->isolated);
}

/* Takes over @reply and what is in @fds. */
static int take_reply(const struct port_spec *request, const struct client_way *way, json_t *reply,
                      int fds[CONNECTION_FDS_MAX], struct client_port *ret_port, struct err *err)
{
    const json_t *port = json_object_get(reply, "port");
    bool has_fd = !way || way->kind != PORT_VETH;
    int result = 0;

    *ret_port = (struct client_port){.fd = connection_take_fd(reply, "fd", fds)};
    take_port(port, ret_port);
    if (is_ignored(request, way, port))
        result = err_set(err, -EOPNOTSUPP,
                         "runs with an older vmnetd, which does not know all options of this port; "
                         "end the network's VMs, then it starts anew");
    else if (has_fd != (ret_port->fd >= 0))
        result = err_set(err, -EPROTO, "the network sent %s descriptor",
                         has_fd ? "no" : "an unexpected");
    if (result < 0 && ret_port->fd >= 0)
        close(ret_port->fd);
    connection_close_fds(fds);
    json_decref(reply);
    return result;
}

/*
 * Taken, or full: that may be so for the port of a VM that has just ended, which the kernel takes some
 * tens of milliseconds to remove, or for its forwards. Other reasons to try again (the network's last
 * port went in this moment, its router was started anew) end by themselves.
 */
static bool is_settling(int result)
{
    return result == -EEXIST || result == -ENOSPC || result == -EADDRINUSE || result == -EDQUOT;
}

int client_attach(const struct net_spec *spec, const struct port_spec *request,
                  const struct client_way *way, struct client_port *ret_port, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    uint64_t settled_ms = clock_now_ms() + SETTLE_MS;
    int fd, peer_fd = way && way->kind == PORT_VETH ? way->peer_fd : -1;
    int fds[CONNECTION_FDS_MAX], result;
    struct err warning = {""};
    json_t *reply = NULL;

    for (;;) {
        uint64_t now_ms = clock_now_ms();

        result = network_open(spec, false, deadline_ms, &fd, &warning, err);
        if (result < 0)
            return result;
        result = connection_call(fd, OPEN_INTERFACE "Attach", attach_parameters(request, way),
                                 peer_fd, &reply, fds, err);
        close(fd);
        if (result == 0 || now_ms >= (is_settling(result) ? settled_ms : deadline_ms) ||
            !(is_settling(result) || result == -ECONNRESET || result == -EAGAIN))
            break;
        poll(NULL, 0, OPEN_RETRY_MS);
    }
    if (result == 0)
        result = take_reply(request, way, reply, fds, ret_port, err);
    return result < 0 ? result : err_set(err, 0, "%s", warning.text);
}

int client_namespaces(const struct net_spec *spec, int *ret_user_fd, int *ret_net_fd,
                      struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + CLIENT_TIMEOUT_MS;
    int fd, fds[CONNECTION_FDS_MAX], result;
    struct err warning = {""};
    json_t *reply = NULL;

    for (;;) {
        result = network_open(spec, false, deadline_ms, &fd, &warning, err);
        if (result < 0)
            return result;
        result = connection_call(fd, OPEN_INTERFACE "Namespaces", NULL, -1, &reply, fds, err);
        close(fd);
        if ((result != -ECONNRESET && result != -EAGAIN) || clock_now_ms() >= deadline_ms)
            break;
        poll(NULL, 0, OPEN_RETRY_MS);
    }
    if (result < 0)
        return result;
    *ret_user_fd = connection_take_fd(reply, "user", fds);
    *ret_net_fd = connection_take_fd(reply, "network", fds);
    connection_close_fds(fds);
    json_decref(reply);
    if (*ret_net_fd >= 0)
        return err_set(err, 0, "%s", warning.text);
    if (*ret_user_fd >= 0)
        close(*ret_user_fd);
    return err_set(err, -EPROTO, "the network sent no descriptor");
}
