/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of qemu_args.h. Each vmnet option or placeholder becomes one struct qemu_nic;
 * then the devices are searched for MAC addresses and the ports get their host names, which depend
 * on all of them.
 */
#include "cli/qemu_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/keyvalue.h"
#include "cli/qemu_options.h"

#define QEMU_PREFIX "qemu-system-"

/* Distributions' names for the QEMU of their own machine, with KVM. */
static const char *const kvm_names[] = {"qemu-kvm", "kvm"};

/* The machines whose usual board has PCI: there the default NIC is the fast one. */
static const char *const virtio_machines[] = {
    "x86_64", "i386", "aarch64", "riscv64", "ppc64", "loongarch64",
};

/*
 * A machine type without PCI, on which QEMU's -nic and -net nic make no device, whatever model they name (they warn, and it
 * boots without): -device does.
 */
#define MMIO_MACHINE "microvm"
#define MMIO_NIC "virtio-net-device"

/* Networks that need no monitor, and of -net what is a device. */
static const char *const no_networks[] = {"none", "nic", "help", "hubport"};

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

bool qemu_args_option_is(const char *argument, const char *name)
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

static bool is_listed(const char *text, const char *const *list, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}
#define IS_LISTED(text, list) is_listed(text, list, sizeof(list) / sizeof((list)[0]))

bool qemu_args_is_qemu(const char *command)
{
    const char *name = base_name(command);

    return strncmp(name, QEMU_PREFIX, strlen(QEMU_PREFIX)) == 0 || IS_LISTED(name, kvm_names);
}

/* Of a command that is QEMU. */
static bool has_virtio(const char *command)
{
    const char *name = base_name(command);

    return IS_LISTED(name, kvm_names) || IS_LISTED(name + strlen(QEMU_PREFIX), virtio_machines);
}

/* The last one counts, as for QEMU. */
static bool has_mmio_alone(char *const *argv)
{
    bool found = false;

    for (char *const *arg = argv + 1; arg[0] && arg[1]; arg++) {
        struct kv_list list = {0};
        const char *type = NULL;

        if (!qemu_args_option_is(arg[0], "M") && !qemu_args_option_is(arg[0], "machine"))
            continue;
        if (kv_parse(arg[1], "type", &list, NULL) == 0)
            type = kv_get(&list, "type");
        if (type)
            found = strcmp(type, MMIO_MACHINE) == 0;
        kv_done(&list);
    }
    return found;
}

static int check_id(const struct qemu_args *args, const struct qemu_nic *nic, const char *option,
                    struct err *err)
{
    for (const struct qemu_nic *other = args->nics; nic->id && other < nic; other++) {
        if (other->id && strcmp(other->id, nic->id) == 0)
            return err_set(
                err, -EINVAL,
                "%s '%.*s': another network option has the id '%s' already; give each its "
                "own",
                option, QUOTE_MAX, *nic->text, nic->id);
    }
    return 0;
}

/* One more NIC; what comes to be in it is freed by qemu_args_done(). */
static int add_nic(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                   enum qemu_origin origin, struct qemu_nic **ret_nic, struct err *err)
{
    struct qemu_nic *nics;

    if (args->count == QEMU_NICS_MAX)
        return err_set(err, -EINVAL, "more than %d vmnet networks in one command; leave some out",
                       QEMU_NICS_MAX);
    nics = realloc(args->nics, (args->count + 1) * sizeof(*nics));
    if (!nics)
        return -ENOMEM;
    args->nics = nics;
    *ret_nic = &nics[args->count++];
    **ret_nic = (struct qemu_nic){
        .origin = origin,
        .way = {.kind = origin == QEMU_PLACEHOLDER ? defaults->fd_kind : defaults->kind,
                .peer_fd = -1},
    };
    return 0;
}

/* @text was its options, given by @option; NULL: it has none. */
static int complete_nic(struct qemu_nic *nic, const struct qemu_args_defaults *defaults,
                        const char *option, const char *text, struct err *err)
{
    const struct net_spec *spec = &nic->spec;
    bool named = spec->name[0] || spec->net_uuid[0]; /* which is a name, too */
    int rc = 0;

    if (!named && defaults->network && *defaults->network)
        rc = net_spec_set(&nic->spec, "network", defaults->network, err);
    return rc < 0 ? rc : qemu_options_complete(nic, option, text, err);
}

/* Looks at the value of one -netdev or -nic; those of other types are QEMU's business. */
static int parse_netdev(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                        enum qemu_origin origin, char *const *text, struct err *err)
{
    const char *option = origin == QEMU_NIC ? "-nic" : "-netdev", *type;
    struct kv_list list = {0};
    struct qemu_nic *nic = NULL;
    int rc = 0;

    if (origin == QEMU_NIC && kv_is_json(*text))
        goto out; /* QEMU has no such form and says so */
    rc = kv_parse(*text, "type", &list, err);
    if (rc == -EINVAL) {
        rc = strstr(*text, VMNET_PREFIX) ? err_prefix(err, rc, "-netdev '%.*s'", QUOTE_MAX, *text)
                                         : 0;
        goto out;
    }
    type = kv_get(&list, "type");
    if (rc < 0 || !type || strncmp(type, VMNET_PREFIX, strlen(VMNET_PREFIX)) != 0)
        goto out;
    rc = add_nic(args, defaults, origin, &nic, err);
    if (!nic)
        goto out;
    nic->json = kv_is_json(*text);
    nic->text = text;
    rc = qemu_options_read(nic, option, *text, &list, err);
    if (origin == QEMU_NIC && !kv_get(&list, "model") && has_mmio_alone(args->argv))
        nic->driver = MMIO_NIC;
    if (rc == 0)
        rc = complete_nic(nic, defaults, option, *text, err);
    if (rc == 0)
        rc = check_id(args, nic, option, err);
out:
    kv_done(&list);
    return rc;
}

/* A port without options of its own in the command: those of --nic, if any, are its options. */
static int add_free_nic(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                        enum qemu_origin origin, const char *text, struct err *err)
{
    struct kv_list list = {0};
    struct qemu_nic *nic;
    int rc = add_nic(args, defaults, origin, &nic, err);

    if (rc == 0 && text) {
        rc = kv_parse(text, "type", &list, err);
        rc = rc == -EINVAL ? err_prefix(err, rc, "--nic '%.*s'", QUOTE_MAX, text) : rc;
        if (rc == 0)
            rc = qemu_options_read(nic, "--nic", text, &list, err);
        kv_done(&list);
    }
    if (origin == QEMU_ADDED && has_mmio_alone(args->argv)) {
        nic->driver = MMIO_NIC;
    } else if (rc == 0 && origin == QEMU_ADDED && has_virtio(args->argv[0])) {
        nic->properties = strdup(",model=virtio-net-pci");
        rc = nic->properties ? 0 : -ENOMEM;
    }
    return rc < 0 ? rc : complete_nic(nic, defaults, "--nic", text, err);
}

static size_t list_len(const char *const *list)
{
    size_t len = 0;

    while (list && list[len])
        len++;
    return len;
}

static int add_placeholders(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                            struct err *err)
{
    size_t given = list_len(defaults->nics);
    int rc = 0;

    if (given > args->placeholders.ports)
        return err_set(err, -EINVAL,
                       "--nic '%.*s': number %zu of them, but the placeholders of the command are "
                       "those of %u port%s; leave it out, or add {fd%zu} to the command",
                       QUOTE_MAX, defaults->nics[given - 1], given, args->placeholders.ports,
                       args->placeholders.ports == 1 ? "" : "s", given);
    for (size_t i = 0; rc == 0 && i < args->placeholders.ports; i++) {
        rc = add_free_nic(args, defaults, QEMU_PLACEHOLDER, i < given ? defaults->nics[i] : NULL,
                          err);
        if (rc < 0 || !(args->placeholders.used[i] & 1u << PLACEHOLDER_SOCKET))
            continue;
        if (defaults->fd_kind == PORT_STREAM)
            rc = err_set(err, -EINVAL,
                         "--way stream: {socket} in the command is always a datagram socket; leave "
                         "--way out, or write {fd}");
        args->nics[i].way = (struct client_way){.kind = PORT_DGRAM, .path = true, .peer_fd = -1};
    }
    return rc;
}

/* The first option of the command that makes a network of QEMU's own; or NULL. */
static char *const *find_other_network(const struct qemu_args *args)
{
    for (char *const *arg = args->argv + 1; arg[0] && arg[1]; arg++) {
        struct kv_list list = {0};
        const char *type = NULL;
        bool found;

        if (!qemu_args_option_is(arg[0], "nic") && !qemu_args_option_is(arg[0], "netdev") &&
            !qemu_args_option_is(arg[0], "net"))
            continue;
        if (kv_parse(arg[1], "type", &list, NULL) == 0)
            type = kv_get(&list, "type");
        found = type && !IS_LISTED(type, no_networks);
        kv_done(&list);
        if (found)
            return arg;
    }
    return NULL;
}

/* A command that asks for nothing: QEMU gets a NIC, anything else was a mistake. */
static int add_default_nics(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                            struct err *err)
{
    const char *command = args->argv[0];
    int rc = 0;

    if (!qemu_args_is_qemu(command))
        return err_set(
            err, -EINVAL,
            "'%.*s': no vmnet network in its arguments; looked for -netdev or -nic of the "
            "types " VMNET_TYPES " and for {fd} or {socket}; add one, such as '-nic vmnet-shared' "
            "(only a command named " QEMU_PREFIX "*, qemu-kvm or kvm gets a network without)",
            QUOTE_MAX, command);
    args->beside = find_other_network(args);
    if (list_len(defaults->nics) == 0)
        return add_free_nic(args, defaults, QEMU_ADDED, NULL, err);
    for (const char *const *text = defaults->nics; rc == 0 && *text; text++)
        rc = add_free_nic(args, defaults, QEMU_ADDED, *text, err);
    return rc;
}

/* There are ports by vmnet options: whatever else says which ports there are contradicts them. */
static int check_only_options(const struct qemu_args *args,
                              const struct qemu_args_defaults *defaults, struct err *err)
{
    if (args->placeholders.ports > 0)
        return err_set(err, -EINVAL,
                       "both '%.*s' and placeholders such as {fd} in the command: which port is "
                       "meant? Use one or the other; {{fd}} is the text {fd} itself",
                       QUOTE_MAX, *args->nics[0].text);
    if (list_len(defaults->nics) > 0)
        return err_set(
            err, -EINVAL,
            "--nic '%.*s': the command has a network of its own, '%.*s'; put the options "
            "there",
            QUOTE_MAX / 2, defaults->nics[0], QUOTE_MAX / 2, *args->nics[0].text);
    return 0;
}

static int add_forwards(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                        struct err *err)
{
    int rc = 0;

    for (const char *const *text = defaults->forwards; rc == 0 && text && *text; text++) {
        rc = port_spec_set(&args->nics[0].request, "forward", *text, err);
        if (rc == -EINVAL)
            err_prefix(err, rc, "--forward '%.*s'", QUOTE_MAX, *text);
    }
    return rc;
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
        rc = port_spec_set(&nic->request, "mac", value, err);
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

            if (!qemu_args_option_is(arg[0], device_options[i].name))
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

static int find_nics(struct qemu_args *args, const struct qemu_args_defaults *defaults,
                     struct err *err)
{
    int rc = placeholders_scan(args->argv, &args->placeholders, err);

    for (char *const *arg = args->argv + 1; rc == 0 && arg[0] && arg[1]; arg++) {
        if (qemu_args_option_is(arg[0], "nic"))
            rc = parse_netdev(args, defaults, QEMU_NIC, arg + 1, err);
        else if (qemu_args_option_is(arg[0], "netdev"))
            rc = parse_netdev(args, defaults, QEMU_NETDEV, arg + 1, err);
    }
    if (rc < 0)
        return rc;
    if (args->count > 0)
        return check_only_options(args, defaults, err);
    return args->placeholders.ports > 0 ? add_placeholders(args, defaults, err)
                                        : add_default_nics(args, defaults, err);
}

bool qemu_args_is_arriving(char *const *argv)
{
    for (; argv[0] && argv[1]; argv++)
        if (qemu_args_option_is(argv[0], "incoming"))
            return true;
    return false;
}

int qemu_args_parse(char *const *argv, const struct qemu_args_defaults *defaults,
                    struct qemu_args *ret_args, struct err *err)
{
    int rc;

    *ret_args = (struct qemu_args){.argv = argv};
    rc = find_nics(ret_args, defaults, err);
    if (rc == 0)
        rc = add_forwards(ret_args, defaults, err);
    for (size_t i = 0; rc == 0 && i < ret_args->count; i++) {
        if (ret_args->nics[i].origin == QEMU_NETDEV)
            rc = find_device(ret_args, &ret_args->nics[i], err);
    }
    for (size_t i = 0; i < ret_args->count; i++)
        ret_args->nics[i].request.arriving = qemu_args_is_arriving(argv);
    if (rc == 0)
        rc = qemu_args_choose_names(ret_args, defaults->name, err);
    return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
}

void qemu_args_done(struct qemu_args *args)
{
    for (size_t i = 0; i < args->count; i++) {
        free(args->nics[i].id);
        free(args->nics[i].properties);
    }
    free(args->nics);
    args->nics = NULL;
    args->count = 0;
}
