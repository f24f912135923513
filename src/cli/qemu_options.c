/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/qemu_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum {
    MACOS = 1,
    SHARED = 2,
    HOST = 4,
    BRIDGED = 8,
    ALL = MACOS | SHARED | HOST | BRIDGED,
};

static const struct netdev_type {
    const char *name;
    unsigned bit;
    const char *mode; /* NULL: the option "mode" says it */
} types[] = {
    {"vmnet-macos", MACOS, NULL},
    {"vmnet-shared", SHARED, "shared"},
    {"vmnet-host", HOST, "host"},
    {"vmnet-bridged", BRIDGED, "bridged"},
};
#define TYPES_LEN (sizeof(types) / sizeof(types[0]))

static const struct netdev_option {
    const char *name;
    unsigned types;
    bool repeats;
} options[] = {
    {"mode", MACOS, false},
    {"network", ALL, false},
    {"start-address", MACOS | SHARED | HOST, false},
    {"end-address", MACOS | SHARED | HOST, false},
    {"subnet-mask", MACOS | SHARED | HOST, false},
    {"dhcp-range", MACOS | SHARED | HOST, false},
    {"dhcp-host", MACOS | SHARED | HOST, true},
    {"nat66-prefix", MACOS | SHARED, false},
    {"net-uuid", MACOS | HOST, false},
    {"host-ip-address", MACOS | HOST, false},
    {"host-subnet-mask", MACOS | HOST, false},
    {"host-ipv6-address", MACOS | HOST, false},
    {"ifname", MACOS | BRIDGED, false},
    {"mtu", ALL, false},
    {"workers", MACOS | SHARED | HOST, false},
    {"dhcp", MACOS | SHARED | HOST, false},
    {"dns", MACOS | SHARED | HOST, false},
    {"ra", MACOS | SHARED | HOST, false},
    {"nat44", MACOS | SHARED, false},
    {"nat66", MACOS | SHARED, false},
    {"host-loopback", MACOS | SHARED | HOST, false},
    {"host-ports", MACOS | SHARED | HOST, true},
    {"isolated", ALL, false},
    {"hostname", ALL, false},
    {"interface-id", ALL, false},
    {"anti-spoof", ALL, false},
    {"forward", ALL, true},
};
#define OPTIONS_LEN (sizeof(options) / sizeof(options[0]))

/* Of QEMU's user network and bridge, which a machine had before: what is said in other words here, and where. */
static const struct {
    const char *name;
    unsigned types;
    const char *instead;
} elsewhere[] = {
    {"hostfwd", ALL,
     "write forward=PROTO:[HOSTADDR]:HOSTPORT-:GUESTPORT, where HOSTADDR is 127.0.0.1 "
     "unless it is given"},
    {"guestfwd", MACOS | SHARED | HOST,
     "the host's ports are reached at the gateway's address, without an option"},
    {"net", MACOS | SHARED | HOST, "write start-address, end-address and subnet-mask"},
    {"host", MACOS | SHARED | HOST,
     "write start-address, which is the host's address, with end-address and subnet-mask"},
    {"dhcpstart", MACOS | SHARED | HOST,
     "write dhcp-range=FIRST-LAST, with start-address, end-address and subnet-mask"},
    {"restrict", MACOS | SHARED, "write nat44=off, nat66=off and host-ports=none"},
    {"dnssearch", MACOS | SHARED | HOST,
     "write domain-search below [dhcp-options] in the network's file, openvmnet.conf(5)"},
    {"ipv6-prefix", MACOS | SHARED, "write nat66-prefix"},
    {"ipv6-net", MACOS | SHARED, "write nat66-prefix"},
    {"tftp", MACOS | SHARED | HOST,
     "write tftp-server below [dhcp-options] in the network's file, openvmnet.conf(5)"},
    {"bootfile", MACOS | SHARED | HOST,
     "write bootfile-name below [dhcp-options] in the network's file, openvmnet.conf(5)"},
    {"br", ALL, "write network=NAME"},
};

static const struct netdev_option *find_option(const char *key)
{
    const char *name = net_spec_option_name(key);

    for (size_t i = 0; i < OPTIONS_LEN; i++) {
        if (name ? strcmp(options[i].name, name) == 0 : text_is_option(options[i].name, key))
            return &options[i];
    }
    return NULL;
}

static bool makes_device(const struct qemu_nic *nic)
{
    return nic->origin == QEMU_NIC;
}

static int read_id(struct qemu_nic *nic, const char *value, struct err *err)
{
    /* QEMU's own rule; it also lets the id be written back without escapes. */
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    if (!isalpha((unsigned char)value[0]) || value[strspn(value, rest)] != '\0')
        return err_set(
            err, -EINVAL,
            "'%s' is no valid id; it begins with a letter, and letters, digits, '-', '.' "
            "and '_' follow",
            value);
    free(nic->id);
    nic->id = strdup(value);
    return nic->id ? 0 : -ENOMEM;
}

static int keep_property(struct qemu_nic *nic, const char *key, const char *value)
{
    char *escaped = kv_escape(value);
    char *properties = NULL;
    int len = -1;

    if (escaped)
        len =
            asprintf(&properties, "%s,%s=%s", nic->properties ? nic->properties : "", key, escaped);
    free(escaped);
    if (len < 0)
        return -ENOMEM;
    free(nic->properties);
    nic->properties = properties;
    return 0;
}

/* "a, b and c" of the types in @bits but for vmnet-macos, unless it is the only one. */
static void list_types(unsigned bits, char text[100])
{
    size_t len = 0;

    if (bits != MACOS)
        bits &= ~(unsigned)MACOS;
    text[0] = '\0';
    for (size_t i = 0; i < TYPES_LEN; i++) {
        if (bits & types[i].bit)
            len +=
                (size_t)snprintf(text + len, 100 - len, "%s%s", len ? " and " : "", types[i].name);
    }
}

static int refuse_unknown(const struct qemu_nic *nic, const struct netdev_type *type,
                          const char *key, struct err *err)
{
    char known[300] = "";
    size_t len = 0;

    for (size_t i = 0; i < OPTIONS_LEN; i++) {
        if (options[i].types & type->bit)
            len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len ? ", " : "",
                                    options[i].name);
    }
    if (nic->origin == QEMU_NETDEV &&
        (text_is_option("mac", key) || text_is_option("macaddr", key)))
        return err_set(err, -EINVAL,
                       "option '%s' does not belong to a netdev: give it to the -device", key);
    return err_set(err, -EINVAL, "unknown option '%.100s'; the options of %s are: %s%s", key,
                   type->name, nic->origin == QEMU_NETDEV ? "id, " : "", known);
}

/* QEMU's options and -nic's, which are no network's. -ENOENT without a text: not one of them. */
static int read_common(struct qemu_nic *nic, const char *key, const char *value, struct err *err)
{
    bool has_mac = nic->origin != QEMU_NETDEV;

    if (has_mac && (text_is_option("mac", key) || text_is_option("macaddr", key)))
        return port_spec_set(&nic->request, "mac", value, err);
    if (nic->text && text_is_option("id", key))
        return read_id(nic, value, err);
    return -ENOENT;
}

/* 0 where it is no option of QEMU's other networks. */
static int refuse_elsewhere(const struct netdev_type *type, const char *key, struct err *err)
{
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        if (text_is_option(elsewhere[i].name, key))
            return err_set(err, -EINVAL, "option '%s' is not one of %s: %s", key, type->name,
                           elsewhere[i].types & type->bit ? elsewhere[i].instead : "leave it out");
    }
    return 0;
}

static int read_option(struct qemu_nic *nic, const struct netdev_type *type,
                       const struct kv_pair *pair, struct err *err)
{
    const struct netdev_option *option = find_option(pair->key);
    char belongs[100];
    int rc;

    if (text_is_option("type", pair->key))
        return 0;
    if (option && !(option->types & type->bit)) {
        list_types(option->types, belongs);
        return err_set(err, -EINVAL, "option '%s' does not belong to %s: it is one of %s",
                       pair->key, type->name, belongs);
    }
    if (!option && (rc = refuse_elsewhere(type, pair->key, err)) < 0)
        return rc;
    if (pair->listed && !(option && option->repeats))
        return err_set(err, -EINVAL, "option '%s' takes one value, not an array of them",
                       pair->key);
    if (!pair->value)
        return err_set(err, -EINVAL, "option '%s' must be a string, an integer or a boolean%s",
                       pair->key, option && option->repeats ? ", or an array of them" : "");
    rc = read_common(nic, pair->key, pair->value, err);
    if (rc != -ENOENT)
        return rc;
    if (!option)
        return makes_device(nic) ? keep_property(nic, pair->key, pair->value)
                                 : refuse_unknown(nic, type, pair->key, err);
    rc = net_spec_set(&nic->spec, option->name, pair->value, err);
    return rc == -ENOENT ? port_spec_set(&nic->request, option->name, pair->value, err) : rc;
}

/* Puts in front what the reason is about; without memory there is none. */
static int name_place(int rc, const char *option, const char *text, struct err *err)
{
    return rc < 0 && rc != -ENOMEM ? err_prefix(err, rc, "%s '%.*s'", option, QUOTE_MAX, text) : rc;
}

int qemu_options_read(struct qemu_nic *nic, const char *option, const char *text,
                      const struct kv_list *list, struct err *err)
{
    const char *name = kv_get(list, "type");
    const struct netdev_type *type = name ? NULL : &types[0];
    int rc = 0;

    for (size_t i = 0; !type && i < TYPES_LEN; i++) {
        if (strcmp(name, types[i].name) == 0)
            type = &types[i];
    }
    if (!type)
        rc = err_set(err, -EINVAL, "no network type '%s'; the types are: " VMNET_TYPES, name);
    else if (type->mode)
        rc = net_spec_set(&nic->spec, "mode", type->mode, err);
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        rc = read_option(nic, type, &list->pairs[i], err);
    if (rc == 0 && nic->origin == QEMU_NETDEV && !nic->id)
        rc = err_set(err, -EINVAL,
                     "option 'id' is missing; add id=NAME, and netdev=NAME to a -device");
    return name_place(rc, option, text, err);
}

int qemu_options_complete(struct qemu_nic *nic, const char *option, const char *text,
                          struct err *err)
{
    int rc = net_spec_complete(&nic->spec, err);

    return text ? name_place(rc, option, text, err) : rc;
}
