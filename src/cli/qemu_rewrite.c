/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of qemu_args.h. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_args.h"

/* QEMU's tap netdev takes descriptors as strings, even in JSON: they may name one given by QMP. */
static int set_number(json_t *object, const char *key, int number)
{
    return json_object_set_new(object, key, json_sprintf("%d", number));
}

static char *tap_json(const struct qemu_nic *nic, const struct qemu_args_port *port)
{
    json_t *object = json_pack("{s:s, s:s}", "type", "tap", "id", nic->id);
    char *text = NULL;

    if (!object || set_number(object, "fd", port->fd) < 0)
        goto out;
    if (port->vhost_fd >= 0 && (json_object_set_new(object, "vhost", json_true()) < 0 ||
                                set_number(object, "vhostfd", port->vhost_fd) < 0))
        goto out;
    text = json_dumps(object, JSON_COMPACT);
out:
    json_decref(object);
    return text;
}

static char *tap_pairs(const struct qemu_nic *nic, const struct qemu_args_port *port)
{
    char vhost[48] = "";
    char *text;
    int len;

    if (port->vhost_fd >= 0)
        snprintf(vhost, sizeof(vhost), ",vhost=on,vhostfd=%d", port->vhost_fd);
    len = asprintf(&text, "tap%s%s,fd=%d%s%s%s%s", nic->id ? ",id=" : "", nic->id ? nic->id : "",
                   port->fd, vhost, nic->properties ? nic->properties : "",
                   nic->is_nic ? ",mac=" : "", nic->is_nic ? port->mac : "");
    return len < 0 ? NULL : text;
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

/* Puts @text, which is taken over, in the place of one element. -ENOMEM where it is NULL. */
static int replace(char **element, char *text)
{
    if (!text)
        return -ENOMEM;
    free(*element);
    *element = text;
    return 0;
}

static int rewrite_nic(const struct qemu_args *args, const struct qemu_nic *nic,
                       const struct qemu_args_port *port, char **argv, size_t *argc)
{
    char *value = nic->json ? tap_json(nic, port) : tap_pairs(nic, port);
    int rc;

    if (nic->text)
        return replace(&argv[nic->text - args->argv], value);
    rc = replace(&argv[(*argc)++], strdup("-nic"));
    if (rc < 0) {
        free(value);
        return rc;
    }
    return replace(&argv[(*argc)++], value);
}

int qemu_args_rewrite(const struct qemu_args *args, const struct qemu_args_port *ports,
                      char ***ret_argv)
{
    size_t argc = 0;
    char **argv;
    int rc = 0;

    while (args->argv[argc])
        argc++;
    /* Two more for each NIC that has to be appended, and the NULL that ends the list. */
    argv = calloc(argc + 2 * args->count + 1, sizeof(*argv));
    if (!argv)
        return -ENOMEM;
    for (size_t i = 0; rc == 0 && i < argc; i++)
        rc = replace(&argv[i], strdup(args->argv[i]));
    for (size_t i = 0; rc == 0 && i < args->count; i++) {
        const struct qemu_nic *nic = &args->nics[i];

        rc = rewrite_nic(args, nic, &ports[i], argv, &argc);
        if (rc == 0 && nic->device)
            rc = replace(&argv[nic->device - args->argv], kv_is_json(*nic->device)
                                                              ? device_json(nic, ports[i].mac)
                                                              : device_pairs(nic, ports[i].mac));
    }
    if (rc < 0) {
        qemu_argv_free(argv);
        return rc;
    }
    *ret_argv = argv;
    return 0;
}

void qemu_argv_free(char **argv)
{
    for (char **arg = argv; arg && *arg; arg++)
        free(*arg);
    free(argv);
}
