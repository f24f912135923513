/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing half of qemu_args.h. A vmnet netdev becomes one on an open descriptor: tap, stream or
 * dgram. QEMU's -nic knows no stream and dgram (7.2: "Parameter 'type' is missing"), so there it
 * becomes -netdev and -net nic, which makes the same device, on any board that has one of its own.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

#define ARGS_PER_NIC 4
#define NUMBER_MAX 16

/* The new command line while it is made; it has room for all. */
struct writer {
    char **argv;
    size_t argc;
    int rc; /* -ENOMEM as soon as anything has failed */
};

/* Takes over @text; NULL is one that failed. */
static void put(struct writer *writer, char *text)
{
    if (text)
        writer->argv[writer->argc++] = text;
    else
        writer->rc = -ENOMEM;
}

/* QEMU takes descriptors as strings, even in JSON: they may name one given by QMP. */
static json_t *netdev_object(const struct qemu_nic *nic, const struct qemu_args_port *port)
{
    char fd[NUMBER_MAX], vhost_fd[NUMBER_MAX];

    snprintf(fd, sizeof(fd), "%d", port->port->fd);
    snprintf(vhost_fd, sizeof(vhost_fd), "%d", port->vhost_fd);
    switch (nic->way.kind) {
    case PORT_STREAM:
        return json_pack("{s:s, s:s, s:b, s:{s:s, s:s}}", "type", "stream", "id", nic->id, "server",
                         0, "addr", "type", "fd", "str", fd);
    case PORT_DGRAM:
        return json_pack("{s:s, s:s, s:{s:s, s:s}}", "type", "dgram", "id", nic->id, "local",
                         "type", "fd", "str", fd);
    default:
        return port->vhost_fd < 0
                   ? json_pack("{s:s, s:s, s:s}", "type", "tap", "id", nic->id, "fd", fd)
                   : json_pack("{s:s, s:s, s:s, s:b, s:s}", "type", "tap", "id", nic->id, "fd", fd,
                               "vhost", 1, "vhostfd", vhost_fd);
    }
}

static char *netdev_json(const struct qemu_nic *nic, const struct qemu_args_port *port)
{
    json_t *object = netdev_object(nic, port);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    json_decref(object);
    return text;
}

/* @tail goes behind it as it is. */
static char *netdev_pairs(const struct qemu_nic *nic, const char *id,
                          const struct qemu_args_port *port, const char *tail)
{
    static const char *const formats[PORT_KINDS] = {[PORT_TAP] = "fd=",
                                                    [PORT_STREAM] =
                                                        "server=off,addr.type=fd,addr.str=",
                                                    [PORT_DGRAM] = "local.type=fd,local.str="};
    char vhost[48] = "";
    char *text;

    if (port->vhost_fd >= 0)
        snprintf(vhost, sizeof(vhost), ",vhost=on,vhostfd=%d", port->vhost_fd);
    if (asprintf(&text, "%s%s%s,%s%d%s%s", port_kind_name(nic->way.kind), id ? ",id=" : "",
                 id ? id : "", formats[nic->way.kind], port->port->fd, vhost, tail) < 0)
        return NULL;
    return text;
}

static char *device_json(const struct qemu_nic *nic, const char *mac)
{
    json_t *object = json_loads(*nic->device, 0, NULL);
    char *text = NULL;

    if (object && json_object_set_new(object, nic->device_mac_key, json_string(mac)) == 0)
        text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

static char *device_pairs(const struct qemu_nic *nic, const char *mac)
{
    const char *device = *nic->device;
    size_t commas = 0, len_bytes = strlen(device);
    char *text;

    /* A lone comma at the end is a separator that one more would turn into a literal comma. */
    while (commas < len_bytes && device[len_bytes - 1 - commas] == ',')
        commas++;
    if (asprintf(&text, "%s%s%s=%s", device, commas % 2 ? "" : ",", nic->device_mac_key, mac) < 0)
        return NULL;
    return text;
}

/* @index is that among the command's NICs; @option is how the user has spelled -nic. */
static void put_nic(struct writer *writer, const struct qemu_nic *nic, size_t index,
                    const struct qemu_args_port *port, const char *option)
{
    const char *properties = nic->properties ? nic->properties : "";
    const char *mac = port->port->mac;
    char own_id[NUMBER_MAX + 8];
    const char *id = nic->id ? nic->id : own_id;
    char *text;

    snprintf(own_id, sizeof(own_id), "vmnet%zu", index);
    if (nic->way.kind == PORT_TAP && !nic->driver) {
        put(writer, strdup(option));
        if (asprintf(&text, "%s,mac=%s", properties, mac) < 0)
            text = NULL;
        put(writer, text ? netdev_pairs(nic, nic->id, port, text) : NULL);
        free(text);
        return;
    }
    put(writer, strdup("-netdev"));
    put(writer, netdev_pairs(nic, id, port, ""));
    put(writer, strdup(nic->driver ? "-device" : "-net"));
    if (asprintf(&text, "%s,netdev=%s%s,%s=%s", nic->driver ? nic->driver : "nic", id, properties,
                 nic->driver ? "mac" : "macaddr", mac) < 0)
        text = NULL;
    put(writer, text);
}

/* The NIC whose -netdev or -nic has its value at @text, or whose device lacks its MAC there. */
static const struct qemu_nic *find_nic(const struct qemu_args *args, char *const *text,
                                       bool *ret_device)
{
    for (const struct qemu_nic *nic = args->nics; nic < args->nics + args->count; nic++) {
        *ret_device = nic->device == text;
        if (nic->text == text || nic->device == text)
            return nic;
    }
    return NULL;
}

static void put_argument(struct writer *writer, const struct qemu_args *args, char *const *text,
                         const struct qemu_args_port *ports,
                         const struct placeholder_values *values)
{
    bool is_device;
    const struct qemu_nic *nic = find_nic(args, text, &is_device);
    const struct qemu_args_port *port = nic ? &ports[nic - args->nics] : NULL;

    if (!nic) {
        put(writer, placeholders_expand(*text, values));
    } else if (is_device) {
        put(writer, kv_is_json(*text) ? device_json(nic, port->port->mac)
                                      : device_pairs(nic, port->port->mac));
    } else if (nic->origin == QEMU_NETDEV) {
        put(writer, nic->json ? netdev_json(nic, port) : netdev_pairs(nic, nic->id, port, ""));
    } else {
        free(writer->argv[--writer->argc]); /* its option, which is written anew */
        put_nic(writer, nic, (size_t)(nic - args->nics), port, text[-1]);
    }
}

/* What the placeholders of one port stand for; the texts that are made here lie in @numbers. */
static int fill_values(const struct qemu_args *args, size_t index, const struct client_port *port,
                       char numbers[2 * NUMBER_MAX + IP_TEXT_MAX],
                       struct placeholder_values *values, struct err *err)
{
    char *fd = numbers, *mtu = numbers + NUMBER_MAX, *ip = numbers + 2 * NUMBER_MAX;

    snprintf(fd, NUMBER_MAX, "%d", port->fd);
    snprintf(mtu, NUMBER_MAX, "%.0u", port->mtu); /* nothing for 0 */
    snprintf(ip, IP_TEXT_MAX, "%.*s", (int)strcspn(port->ipv4, "/"), port->ipv4);
    *values = (struct placeholder_values){{
        [PLACEHOLDER_FD] = fd,
        [PLACEHOLDER_TAP] = port->interface,
        [PLACEHOLDER_MAC] = port->mac,
        [PLACEHOLDER_IP] = ip,
        [PLACEHOLDER_GATEWAY] = port->gateway,
        [PLACEHOLDER_MTU] = mtu,
        [PLACEHOLDER_SOCKET] = port->socket,
    }};
    for (unsigned word = 0; word < PLACEHOLDERS; word++) {
        if (args->placeholders.used[index] & 1u << word && !*values->text[word])
            return err_set(err, -ENODATA,
                           "{%s} in the command: the port on network '%s' has none; leave it out",
                           placeholder_name((enum placeholder)word), port->network);
    }
    return 0;
}

static int write_all(struct writer *writer, const struct qemu_args *args,
                     const struct qemu_args_port *ports, const struct placeholder_values *values)
{
    assert(args->argv[0]); /* qemu_args_parse(): there is at least one */
    put(writer, strdup(args->argv[0]));
    for (char *const *text = args->argv + 1; *text && writer->rc == 0; text++)
        put_argument(writer, args, text, ports, values);
    for (size_t i = 0; i < args->count && writer->rc == 0; i++) {
        if (args->nics[i].origin == QEMU_ADDED)
            put_nic(writer, &args->nics[i], i, &ports[i], "-nic");
    }
    return writer->rc;
}

int qemu_args_rewrite(const struct qemu_args *args, const struct qemu_args_port *ports,
                      char ***ret_argv, struct err *err)
{
    char numbers[QEMU_NICS_MAX][2 * NUMBER_MAX + IP_TEXT_MAX];
    struct placeholder_values values[QEMU_NICS_MAX] = {0};
    struct writer writer = {0};
    size_t argc = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < args->count; i++)
        rc = fill_values(args, i, ports[i].port, numbers[i], &values[i], err);
    if (rc < 0)
        return rc;
    while (args->argv[argc])
        argc++;
    writer.argv = calloc(argc + ARGS_PER_NIC * args->count + 1, sizeof(*writer.argv));
    rc = writer.argv ? write_all(&writer, args, ports, values) : -ENOMEM;
    if (rc < 0) {
        qemu_argv_free(writer.argv);
        return err_set(err, rc, "out of memory");
    }
    *ret_argv = writer.argv;
    return 0;
}

void qemu_argv_free(char **argv)
{
    for (char **arg = argv; arg && *arg; arg++)
        free(*arg);
    free(argv);
}
