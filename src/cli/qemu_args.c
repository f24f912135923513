/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of qemu_args.h. Each vmnet option becomes one struct qemu_nic; then the devices
 * are searched for MAC addresses and the ports get their host names, which depend on all of them.
 */
#include "cli/qemu_args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/keyvalue.h"

#define QEMU_PREFIX "qemu-system-"
#define VMNET_PREFIX "vmnet-"
/* How much of an argument a message repeats: the reason after it must fit into struct err too. */
#define QUOTE_MAX 400

static const struct netdev_type {
    const char *name;
    const char *mode; /* NULL: the option "mode" says it */
} netdev_types[] = {
    {"vmnet-macos", NULL},
    {"vmnet-shared", "shared"},
    {"vmnet-host", "host"},
    {"vmnet-bridged", "bridged"},
};
#define NETDEV_TYPES "vmnet-macos, vmnet-shared, vmnet-host, vmnet-bridged"

/* Part of the option set that this project stands for, and not there yet. */
static const char *const later_options[] = {
    "isolated", "nat66-prefix", "ifname", "net-uuid", "forward", "mtu", "anti-spoof",
};

/* The machines whose usual board has PCI: there the default NIC is the fast one. */
static const char *const virtio_machines[] = {
    "x86_64", "i386", "aarch64", "riscv64", "ppc64", "loongarch64",
};

/* How QEMU connects a device to a netdev, and how that device is told its MAC. */
static const struct device_option {
    const char *name; /* without dashes */
    const char *implied_key;
    const char *type; /* required value of implied_key, or NULL */
    const char *mac_key;
} device_options[] = {
    {"device", "driver", NULL, "mac"},
    {"net", "type", "nic", "macaddr"},
};

/* The first two revisions of these options had underscores where the later ones have dashes. */
static bool key_is(const char *key, const char *name)
{
    for (; *key && *name; key++, name++) {
        if (*key != *name && !(*key == '_' && *name == '-'))
            return false;
    }
    return *key == *name;
}

/* QEMU takes every option with one dash or two. */
static bool option_is(const char *argument, const char *name)
{
    if (*argument++ != '-')
        return false;
    if (*argument == '-')
        argument++;
    return strcmp(argument, name) == 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool qemu_args_is_qemu(const char *command)
{
    return strncmp(base_name(command), QEMU_PREFIX, strlen(QEMU_PREFIX)) == 0;
}

static int read_mac(const char *text, struct client_port_request *request, struct err *err)
{
    static const struct mac_addr zero;

    if (mac_parse(text, &request->mac) < 0)
        return err_set(err, -EINVAL,
                       "'%s' is not a MAC address; write six pairs of hex digits, such as "
                       "52:54:00:12:34:56",
                       text);
    if (request->mac.bytes[0] & 1)
        return err_set(
            err, -EINVAL,
            "MAC address %s is a multicast one, which no device can have; make its first "
            "byte even",
            text);
    if (memcmp(&request->mac, &zero, sizeof(zero)) == 0)
        return err_set(
            err, -EINVAL,
            "MAC address %s is all zero; give another, or none to get one from the network", text);
    request->mac_given = true;
    return 0;
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

/* Both checks of base/netspec.h have this form; the copy fits because they bound the length. */
static int read_checked(int (*check)(const char *, struct err *), char *field, size_t size_bytes,
                        const char *value, struct err *err)
{
    int rc = check(value, err);

    if (rc == 0)
        snprintf(field, size_bytes, "%s", value);
    return rc;
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

/* 0, -ENOMEM, -EINVAL with the reason, or -ENOENT: no such option, no text. */
static int read_option(struct qemu_nic *nic, const struct netdev_type *type,
                       const struct kv_pair *pair, struct err *err)
{
    const char *key = pair->key, *value = pair->value;
    int rc;

    if (key_is(key, "type"))
        return 0;
    for (size_t i = 0; i < sizeof(later_options) / sizeof(later_options[0]); i++) {
        if (key_is(key, later_options[i]))
            return err_set(err, -EINVAL,
                           "option '%s' is not supported by this version; leave it out", key);
    }
    if (!value)
        return err_set(err, -EINVAL, "option '%s' must be a string, an integer or a boolean", key);
    if (key_is(key, "id"))
        return read_id(nic, value, err);
    if (key_is(key, "hostname"))
        return read_checked(net_hostname_check, nic->request.name, sizeof(nic->request.name), value,
                            err);
    if (key_is(key, "interface-id"))
        return read_checked(net_uuid_check, nic->request.interface_id,
                            sizeof(nic->request.interface_id), value, err);
    if (nic->is_nic && (key_is(key, "mac") || key_is(key, "macaddr")))
        return read_mac(value, &nic->request, err);
    if (key_is(key, "mode") && type->mode)
        return -ENOENT;
    rc = net_spec_set(&nic->spec, key, value, err);
    if (rc == -ENOENT && nic->is_nic)
        return keep_property(nic, key, value);
    return rc;
}

static int read_options(struct qemu_nic *nic, const struct netdev_type *type,
                        const struct kv_list *list, struct err *err)
{
    const char *option = nic->is_nic ? "-nic" : "-netdev";
    int rc = 0;

    if (type->mode)
        rc = net_spec_set(&nic->spec, "mode", type->mode, err);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        rc = read_option(nic, type, &list->pairs[i], err);
        if (rc == -ENOENT)
            return err_set(err, -EINVAL,
                           "unknown option '%s' in %s '%.*s'; the options are: id, %snetwork, "
                           "hostname, interface-id, start-address, end-address, subnet-mask%s",
                           list->pairs[i].key, option, QUOTE_MAX, *nic->text,
                           type->mode ? "" : "mode, ", nic->is_nic ? ", model, mac" : "");
    }
    if (rc == 0 && !nic->is_nic && !nic->id)
        rc = err_set(err, -EINVAL,
                     "option 'id' is missing; add id=NAME, and netdev=NAME to a -device");
    if (rc == 0)
        rc = net_spec_complete(&nic->spec, err);
    return rc == -EINVAL ? err_prefix(err, rc, "%s '%.*s'", option, QUOTE_MAX, *nic->text) : rc;
}

static int check_id(const struct qemu_args *args, const struct qemu_nic *nic, struct err *err)
{
    for (const struct qemu_nic *other = args->nics; nic->id && other < nic; other++) {
        if (other->id && strcmp(other->id, nic->id) == 0)
            return err_set(
                err, -EINVAL,
                "%s '%.*s': another network option has the id '%s' already; give each its "
                "own",
                nic->is_nic ? "-nic" : "-netdev", QUOTE_MAX, *nic->text, nic->id);
    }
    return 0;
}

/* The next free NIC, or NULL with the reason. What is in it is freed by qemu_args_done(). */
static struct qemu_nic *add_nic(struct qemu_args *args, struct err *err)
{
    if (args->count < QEMU_NICS_MAX)
        return &args->nics[args->count++];
    err_set(err, -EINVAL, "more than %d vmnet networks in one command; leave some out",
            QEMU_NICS_MAX);
    return NULL;
}

static int set_default_network(struct qemu_nic *nic, const struct qemu_args_defaults *defaults,
                               struct err *err)
{
    if (!defaults->network || !*defaults->network)
        return 0;
    return net_spec_set(&nic->spec, "network", defaults->network, err);
}

/* Looks at the value of one -netdev or -nic; those of other types are QEMU's business. */
static int parse_netdev(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                        bool is_nic, char *const *text, struct err *err)
{
    const struct netdev_type *type = NULL;
    struct kv_list list = {0};
    struct qemu_nic *nic;
    const char *name;
    int rc = 0;

    if (is_nic && kv_is_json(*text))
        goto out; /* QEMU has no such form and says so */
    rc = kv_parse(*text, "type", &list, err);
    if (rc == -EINVAL) {
        rc = strstr(*text, VMNET_PREFIX) ? err_prefix(err, rc, "-netdev '%.*s'", QUOTE_MAX, *text)
                                         : 0;
        goto out;
    }
    name = kv_get(&list, "type");
    if (rc < 0 || !name || strncmp(name, VMNET_PREFIX, strlen(VMNET_PREFIX)) != 0)
        goto out;
    for (size_t i = 0; !type && i < sizeof(netdev_types) / sizeof(netdev_types[0]); i++) {
        if (strcmp(name, netdev_types[i].name) == 0)
            type = &netdev_types[i];
    }
    if (!type) {
        rc = err_set(err, -EINVAL, "%s '%.*s': no network type '%s'; the types are: " NETDEV_TYPES,
                     is_nic ? "-nic" : "-netdev", QUOTE_MAX, *text, name);
        goto out;
    }
    nic = add_nic(args, err);
    if (!nic) {
        rc = -EINVAL;
        goto out;
    }
    nic->is_nic = is_nic;
    nic->json = kv_is_json(*text);
    nic->text = text;
    rc = set_default_network(nic, defaults, err);
    if (rc == 0)
        rc = read_options(nic, type, &list, err);
    if (rc == 0)
        rc = check_id(args, nic, err);
out:
    kv_done(&list);
    return rc;
}

/* A command that asks for nothing: QEMU gets one NIC, anything else was a mistake. */
static int add_default_nic(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                           struct err *err)
{
    const char *command = args->argv[0];
    struct qemu_nic *nic;
    int rc;

    if (!qemu_args_is_qemu(command))
        return err_set(
            err, -EINVAL,
            "'%.*s': no vmnet network in its arguments; looked for -netdev or -nic of the "
            "types " NETDEV_TYPES "; add one, such as '-nic vmnet-shared' (only a command "
            "named " QEMU_PREFIX "* gets a network without)",
            QUOTE_MAX, command);
    nic = add_nic(args, err);
    if (!nic)
        return -EINVAL;
    nic->is_nic = true;
    rc = set_default_network(nic, defaults, err);
    for (size_t i = 0; rc == 0 && i < sizeof(virtio_machines) / sizeof(virtio_machines[0]); i++) {
        if (strcmp(base_name(command) + strlen(QEMU_PREFIX), virtio_machines[i]) == 0)
            rc = keep_property(nic, "model", "virtio-net-pci");
    }
    return rc < 0 ? rc : net_spec_complete(&nic->spec, err);
}

/* Looks at one option that makes a device: whether it is @nic's, and which MAC it has. */
static int parse_device(const struct device_option *option, struct qemu_nic *nic, char *const *text,
                        struct err *err)
{
    struct kv_list list;
    const char *value;
    int rc = kv_parse(*text, option->implied_key, &list, err);

    if (rc < 0)
        goto out;
    value = kv_get(&list, option->implied_key);
    if (option->type && (!value || strcmp(value, option->type) != 0))
        goto out;
    value = kv_get(&list, "netdev");
    if (!value || strcmp(value, nic->id) != 0)
        goto out;
    value = kv_get(&list, option->mac_key);
    if (value) {
        rc = read_mac(value, &nic->request, err);
    } else {
        nic->device = text;
        nic->device_mac_key = option->mac_key;
    }
out:
    kv_done(&list);
    return rc == -EINVAL ? err_prefix(err, rc, "-%s '%.*s'", option->name, QUOTE_MAX, *text) : rc;
}

/* QEMU allows one device for a netdev, so the first one found is the one. */
static int find_device(const struct qemu_args *args, struct qemu_nic *nic, struct err *err)
{
    for (char *const *arg = args->argv + 1; arg[0] && arg[1]; arg++) {
        for (size_t i = 0; i < sizeof(device_options) / sizeof(device_options[0]); i++) {
            int rc;

            if (!option_is(arg[0], device_options[i].name))
                continue;
            rc = parse_device(&device_options[i], nic, arg + 1, err);
            if (rc < 0)
                return rc;
            if (nic->device || nic->request.mac_given)
                return 0;
        }
    }
    return 0;
}

static void trim_label(char *name)
{
    size_t len = strlen(name);

    while (len > 0 && name[len - 1] == '-')
        name[--len] = '\0';
}

void qemu_args_hostname(const char *text, char ret_name[NET_HOSTNAME_MAX + 1])
{
    size_t len = 0;

    for (; *text && len < NET_HOSTNAME_MAX; text++) {
        unsigned char c = (unsigned char)*text;
        bool fits = c < 0x80 && isalnum(c);

        if (fits || len > 0)
            ret_name[len++] = fits ? (char)tolower(c) : '-';
    }
    ret_name[len] = '\0';
    trim_label(ret_name);
}

/* The VM's name in QEMU's -name, as a label; empty without. */
static int find_name(const struct qemu_args *args, char ret_name[NET_HOSTNAME_MAX + 1],
                     struct err *err)
{
    ret_name[0] = '\0';
    for (char *const *arg = args->argv + 1; arg[0] && arg[1]; arg++) {
        struct kv_list list;
        const char *guest;
        int rc;

        if (!option_is(arg[0], "name"))
            continue;
        rc = kv_parse(arg[1], "guest", &list, err);
        guest = rc == 0 ? kv_get(&list, "guest") : NULL;
        if (guest)
            qemu_args_hostname(guest, ret_name);
        kv_done(&list);
        if (rc == -ENOMEM)
            return rc;
    }
    return 0;
}

/* "<base>-<suffix>", where the base gives way: the suffix is what tells the ports apart. */
static void suffix_name(const char *base, const struct qemu_nic *nic, unsigned ordinal,
                        char ret_name[NET_HOSTNAME_MAX + 1])
{
    char suffix[NET_HOSTNAME_MAX + 1], head[NET_HOSTNAME_MAX + 1];

    snprintf(suffix, sizeof(suffix), "%u", ordinal);
    if (nic->id)
        qemu_args_hostname(nic->id, suffix);
    suffix[NET_HOSTNAME_MAX / 2] = '\0';
    trim_label(suffix);
    snprintf(head, sizeof(head), "%.*s", (int)(NET_HOSTNAME_MAX - 1 - strlen(suffix)), base);
    trim_label(head);
    snprintf(ret_name, NET_HOSTNAME_MAX + 1, "%s-%s", head, suffix);
}

/* Names the ports that have no hostname=; a name is taken once on a network. */
static int choose_names(struct qemu_args *args, const char *name, struct err *err)
{
    bool derived[QEMU_NICS_MAX] = {false};
    char base[NET_HOSTNAME_MAX + 1];
    int rc;

    if (name && *name)
        snprintf(base, sizeof(base), "%s", name);
    else if ((rc = find_name(args, base, err)) < 0)
        return rc;
    for (size_t i = 0; *base && i < args->count; i++) {
        struct qemu_nic *nic = &args->nics[i];
        unsigned ordinal = 1;

        if (nic->request.name[0])
            continue;
        derived[i] = true;
        for (size_t j = 0; j < i; j++)
            ordinal += derived[j] && strcmp(args->nics[j].spec.name, nic->spec.name) == 0;
        if (ordinal == 1)
            snprintf(nic->request.name, sizeof(nic->request.name), "%s", base);
        else
            suffix_name(base, nic, ordinal, nic->request.name);
    }
    return 0;
}

int qemu_args_parse(char *const *argv, const struct qemu_args_defaults *defaults,
                    struct qemu_args *ret_args, struct err *err)
{
    int rc = 0;

    *ret_args = (struct qemu_args){.argv = argv};
    for (char *const *arg = argv + 1; rc == 0 && arg[0] && arg[1]; arg++) {
        bool is_nic = option_is(arg[0], "nic");

        if (is_nic || option_is(arg[0], "netdev"))
            rc = parse_netdev(ret_args, defaults, is_nic, arg + 1, err);
    }
    if (rc == 0 && ret_args->count == 0)
        rc = add_default_nic(ret_args, defaults, err);
    for (size_t i = 0; rc == 0 && i < ret_args->count; i++) {
        if (!ret_args->nics[i].is_nic)
            rc = find_device(ret_args, &ret_args->nics[i], err);
    }
    if (rc == 0)
        rc = choose_names(ret_args, defaults->name, err);
    return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
}

void qemu_args_done(struct qemu_args *args)
{
    for (size_t i = 0; i < args->count; i++) {
        free(args->nics[i].id);
        free(args->nics[i].properties);
    }
    args->count = 0;
}
