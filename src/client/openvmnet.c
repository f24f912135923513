/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libopenvmnet: the public interface over client.h. Options, keys and JSON are text, so that what is
 * behind them can grow without a change of the binary interface.
 */
#include <openvmnet.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "client/connection.h"

#define OPTION_NAME_MAX 32

static_assert(OPENVMNET_ERROR_TEXT_MAX == ERR_TEXT_MAX, "texts are copied whole");

struct openvmnet_port {
    struct client_port port;
    char mtu[16]; /* as text */
};

/* What one list of options asks for. */
struct request {
    struct net_spec network;
    struct port_spec port;
    struct client_way way;
    char namespace[NET_PATH_MAX]; /* PORT_VETH: its path */
};

/* The last step of each function: the code and the text for the caller. Returns @code. */
static int report(struct openvmnet_error *ret_error, int code, const struct err *err)
{
    if (ret_error) {
        ret_error->code = code;
        snprintf(ret_error->text, sizeof(ret_error->text), "%s", err->text);
        if (code < 0 && !ret_error->text[0])
            snprintf(ret_error->text, sizeof(ret_error->text), "%s", strerror(-code));
    }
    return code;
}

/* The same for what a network said: which one it is comes first. */
static int report_network(struct openvmnet_error *ret_error, int code, const char *network,
                          struct err *err)
{
    if (network[0] && err->text[0] && code != -EINVAL)
        err_prefix(err, code, "network '%.*s'", NET_NAME_MAX, network);
    return report(ret_error, code, err);
}

int openvmnet_version(void)
{
    return OPENVMNET_VERSION_NUMBER;
}

/* ---- options */

static int set_kind(struct request *request, const char *value, struct err *err)
{
    if (port_kind_parse(value, &request->way.kind) == 0)
        return 0;
    return err_set(err, -EINVAL, "kind=%.40s: write tap, stream, dgram or veth", value);
}

static int set_path(struct request *request, const char *value, struct err *err)
{
    return spec_parse_switch("path", value, &request->way.path, err);
}

static int set_namespace(struct request *request, const char *value, struct err *err)
{
    if (value[0] != '/' || strlen(value) >= sizeof(request->namespace))
        return err_set(err, -EINVAL,
                       "netns=%.40s: write the path of a network namespace, such as "
                       "/run/netns/NAME or /proc/PID/ns/net",
                       value);
    snprintf(request->namespace, sizeof(request->namespace), "%s", value);
    return 0;
}

static const struct {
    const char *name;
    int (*set)(struct request *request, const char *value, struct err *err);
} way_options[] = {
    {"kind", set_kind},
    {"path", set_path},
    {"netns", set_namespace},
};

static int set_port_option(struct request *request, const char *name, const char *value,
                           struct err *err)
{
    struct err network_err = *err, port_err = {""};
    int result;

    for (size_t i = 0; i < sizeof(way_options) / sizeof(way_options[0]); i++)
        if (strcmp(way_options[i].name, name) == 0)
            return way_options[i].set(request, value, err);
    result = port_spec_set(&request->port, name, value, &port_err);
    if (result != -ENOENT)
        return result < 0 ? err_set(err, result, "%s", port_err.text) : 0;
    return err_set(err, -EINVAL, "%.450s; %.450s; and kind, path, netns", network_err.text,
                   port_err.text);
}

/* One "NAME=VALUE". @network_only: those of a port are not known. */
static int set_option(struct request *request, const char *option, bool network_only,
                      struct err *err)
{
    size_t len = strcspn(option, "=");
    const char *value = option[len] ? option + len + 1 : "on";
    char name[OPTION_NAME_MAX];
    int result;

    if (len == 0 || len >= sizeof(name))
        return err_set(err, -EINVAL, "'%.60s' is not an option: write NAME=VALUE", option);
    memcpy(name, option, len);
    name[len] = '\0';
    result = net_spec_set(&request->network, name, value, err);
    if (result != -ENOENT)
        return result;
    return network_only ? -EINVAL : set_port_option(request, name, value, err);
}

/* Opens what is to be open for the call: the caller closes request->way.peer_fd, in any case. */
static int check_way(struct request *request, struct err *err)
{
    struct client_way *way = &request->way;

    if (way->path && way->kind != PORT_DGRAM)
        return err_set(err, -EINVAL, "path=on is of kind=dgram, not of kind=%s",
                       port_kind_name(way->kind));
    if ((way->kind == PORT_VETH) != (request->namespace[0] != '\0'))
        return err_set(err, -EINVAL, "kind=veth and netns=PATH belong together: write both");
    if (way->kind != PORT_VETH)
        return 0;
    way->peer_fd = open(request->namespace, O_RDONLY | O_CLOEXEC);
    if (way->peer_fd < 0)
        return err_set(err, -errno, "netns=%s: %s", request->namespace, strerror(errno));
    return 0;
}

static int read_options(const char *const *options, bool network_only, struct request *ret_request,
                        struct err *err)
{
    int result = 0;

    *ret_request = (struct request){.way = {.kind = port_kind_default(false), .peer_fd = -1}};
    for (size_t i = 0; result == 0 && options && options[i]; i++)
        result = set_option(ret_request, options[i], network_only, err);
    if (result == 0)
        result = net_spec_complete(&ret_request->network, err);
    return result;
}

/* ---- ports */

static int attach(struct request *request, struct openvmnet_port *port, struct err *err)
{
    int result = check_way(request, err);

    if (result == 0)
        result = client_attach(&request->network, &request->port, &request->way, &port->port, err);
    if (request->way.peer_fd >= 0)
        close(request->way.peer_fd);
    snprintf(port->mtu, sizeof(port->mtu), "%u", port->port.mtu);
    return result;
}

struct openvmnet_port *openvmnet_attach(const char *const *options,
                                        struct openvmnet_error *ret_error)
{
    struct openvmnet_port *port = calloc(1, sizeof(*port));
    struct request *request = calloc(1, sizeof(*request)); /* kilobytes: not for a thread's stack */
    struct err err = {""};
    int result = port && request ? read_options(options, false, request, &err) : -ENOMEM;

    if (result == 0)
        result = attach(request, port, &err);
    report_network(ret_error, result, request ? request->network.name : "", &err);
    free(request);
    if (result == 0)
        return port;
    free(port);
    return NULL;
}

const char *openvmnet_port_get(const struct openvmnet_port *port, const char *key)
{
    if (!port || !key)
        return NULL;

    const struct {
        const char *key, *value;
    } values[] = {
        {"network", port->port.network},
        {"mode", port->port.mode},
        {"interface", port->port.interface},
        {"hostname", port->port.name},
        {"domain", port->port.domain},
        {"mac", port->port.mac},
        {"ipv4", port->port.ipv4},
        {"gateway", port->port.gateway},
        {"ipv6-prefix", port->port.ipv6_prefix},
        {"gateway6", port->port.gateway6},
        {"dns", port->port.dns},
        {"ipv4-default", port->port.ipv4_default ? "on" : "off"},
        {"ipv6-default", port->port.ipv6_default ? "on" : "off"},
        {"mtu", port->mtu},
        {"interface-id", port->port.interface_id},
        {"socket", port->port.socket},
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (strcmp(values[i].key, key) == 0)
            return values[i].value;
    return NULL;
}

int openvmnet_port_fd(const struct openvmnet_port *port)
{
    return port ? port->port.fd : -1;
}

int openvmnet_port_take_fd(struct openvmnet_port *port)
{
    int fd = openvmnet_port_fd(port);

    if (port)
        port->port.fd = -1;
    return fd;
}

void openvmnet_port_free(struct openvmnet_port **port)
{
    int saved = errno;

    if (!port || !*port)
        return;
    if ((*port)->port.fd >= 0)
        close((*port)->port.fd);
    free(*port);
    *port = NULL;
    errno = saved;
}

/* ---- networks */

/* A text that a caller left out is a wrong one. */
static const char *given(const char *text)
{
    return text ? text : "";
}

int openvmnet_start(const char *const *options, struct openvmnet_error *ret_error)
{
    struct request *request = calloc(1, sizeof(*request));
    struct err err = {""};
    int result = request ? read_options(options, true, request, &err) : -ENOMEM;

    if (result == 0)
        result = client_start(&request->network, &err);
    report_network(ret_error, result, request ? request->network.name : "", &err);
    free(request);
    return result;
}

int openvmnet_stop(const char *network, int force, struct openvmnet_error *ret_error)
{
    struct err err = {""};

    return report_network(ret_error, client_stop(given(network), force != 0, &err), given(network),
                          &err);
}

int openvmnet_namespaces(const char *const *options, int *ret_user_fd, int *ret_net_fd,
                         struct openvmnet_error *ret_error)
{
    struct request *request = calloc(1, sizeof(*request));
    struct err err = {""};
    int result = request ? read_options(options, true, request, &err) : -ENOMEM;

    if (result == 0)
        result = client_namespaces(&request->network, ret_user_fd, ret_net_fd, &err);
    report_network(ret_error, result, request ? request->network.name : "", &err);
    free(request);
    return result;
}

int openvmnet_connect(const char *network, const char *host, int port,
                      struct openvmnet_error *ret_error)
{
    struct err err = {""};
    int fd = -1, result;

    if (port < 1 || port > 65535)
        result = err_set(&err, -EINVAL, "port %d: write one from 1 to 65535", port);
    else
        result = client_connect(given(network), given(host), (unsigned)port, &fd, &err);
    return report_network(ret_error, result, given(network), &err) < 0 ? result : fd;
}

/* Takes over @value; where @result is 0 the text of it, free(3)'s, else NULL. */
static char *report_text(struct openvmnet_error *ret_error, int result, const char *network,
                         json_t *value, struct err *err)
{
    char *text = result == 0 ? connection_text(value, JSON_COMPACT) : NULL;

    json_decref(value);
    report_network(ret_error, result == 0 && !text ? -ENOMEM : result, network, err);
    return text;
}

char *openvmnet_list(struct openvmnet_error *ret_error)
{
    json_t *names = NULL;
    struct err err = {""};
    int result = client_list(&names, &err);

    return report_text(ret_error, result, "", names, &err);
}

char *openvmnet_status(const char *network, struct openvmnet_error *ret_error)
{
    json_t *reply = NULL;
    struct err err = {""};
    int result = client_call(given(network), "Status", NULL, &reply, &err);

    return report_text(ret_error, result, given(network), reply, &err);
}

char *openvmnet_interfaces(struct openvmnet_error *ret_error)
{
    json_t *interfaces = NULL;
    struct err err = {""};
    int result = client_interfaces(&interfaces, &err);

    return report_text(ret_error, result, "", interfaces, &err);
}

/* ---- forwards */

/* @interface: of the port that it belongs to, or NULL. */
static int call_forward(const char *network, const char *method, const char *forward,
                        const char *interface, struct openvmnet_error *ret_error)
{
    json_t *parameters =
        json_pack("{s:s, s:s*}", "forward", given(forward), "interface", interface);
    json_t *reply = NULL;
    struct err err = {""};
    int result;

    if (!parameters)
        result = err_set(&err, -EINVAL, "the forward is not UTF-8 text");
    else
        result = client_call(given(network), method, parameters, &reply, &err);
    json_decref(reply);
    return report_network(ret_error, result, given(network), &err);
}

int openvmnet_forward_add(const char *network, const char *forward,
                          struct openvmnet_error *ret_error)
{
    return call_forward(network, "AddForward", forward, NULL, ret_error);
}

int openvmnet_port_forward_add(const struct openvmnet_port *port, const char *forward,
                               struct openvmnet_error *ret_error)
{
    const struct client_port *attached = port ? &port->port : NULL;

    return call_forward(attached ? attached->network : "", "AddForward", forward,
                        attached ? attached->interface : NULL, ret_error);
}

int openvmnet_forward_remove(const char *network, const char *forward,
                             struct openvmnet_error *ret_error)
{
    return call_forward(network, "RemoveForward", forward, NULL, ret_error);
}

char *openvmnet_forwards(const char *network, struct openvmnet_error *ret_error)
{
    json_t *reply = NULL, *forwards;
    struct err err = {""};
    int result = client_call(given(network), "Status", NULL, &reply, &err);

    forwards = json_incref(json_object_get(reply, "forwards"));
    json_decref(reply);
    return report_text(ret_error, result, given(network), forwards ? forwards : json_array(), &err);
}
