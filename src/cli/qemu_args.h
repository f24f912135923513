/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of a VM monitor: which networks it asks for, and the same line with open
 * descriptors in their place.
 *
 * QEMU knows netdevs of the types vmnet-macos, vmnet-shared, vmnet-host and vmnet-bridged, given by
 * -netdev or -nic, with one or two dashes, as key=value pairs or (-netdev) as JSON. Any other
 * monitor says by placeholders (placeholders.h) where a port belongs. qemu_args_parse() finds and
 * checks all of them before anything is attached; the caller attaches a port for each and
 * qemu_args_rewrite() puts in what QEMU or the other monitor needs to use it.
 *
 * The scan looks at single arguments, not at the program's name, so it works through wrappers such
 * as sudo, env or a script that passes its arguments on. Nothing here does I/O.
 */
#ifndef OPENVMNET_CLI_QEMU_ARGS_H
#define OPENVMNET_CLI_QEMU_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/netspec.h"
#include "cli/placeholders.h"
#include "client/client.h"

/* Ports of one command: more than the slots of a PCI bus. */
#define QEMU_NICS_MAX PLACEHOLDER_PORTS_MAX

/* What the command line leaves open; an empty string or NULL: nothing. Lists end with NULL. */
struct qemu_args_defaults {
    const char *network;
    const char *name;        /* host name of the first port on a network; before QEMU's -name */
    enum port_kind kind;     /* tap, stream or dgram: how the frames reach QEMU */
    enum port_kind fd_kind;  /* the same for {fd} */
    const char *const *nics; /* options, key=value,…, of the ports that have none of their own */
    const char *const *forwards; /* further ones of the first port */
};

/* Where a port is asked for. */
enum qemu_origin {
    QEMU_NETDEV,      /* -netdev */
    QEMU_NIC,         /* -nic, which makes the device too */
    QEMU_ADDED,       /* nowhere: a NIC for a QEMU without any, to be appended */
    QEMU_PLACEHOLDER, /* {fd} or {socket} */
};

/* One port that the command line asks for. */
struct qemu_nic {
    struct net_spec spec;     /* complete */
    struct port_spec request; /* what to attach */
    struct client_way way;    /* and how */
    /* From here on for qemu_args_rewrite() only. */
    enum qemu_origin origin;
    bool json;
    char *id; /* the netdev's, or NULL */
    char *
        properties; /* of a device that QEMU makes: what is passed on, ",key=value" each; or NULL */
    /* Of a -device in place of that which QEMU makes itself, which on this machine type it would not; or NULL. */
    const char *driver;
    char *const *text;   /* the option's value within args->argv, or NULL */
    char *const *device; /* value of the -device that lacks a MAC, within args->argv; or NULL */
    const char *device_mac_key;
};

struct qemu_args {
    char *const *argv;     /* the caller's, which must outlive this; NULL-terminated */
    struct qemu_nic *nics; /* each has room for many forwards, too much for a stack */
    size_t count;
    struct placeholders placeholders;
    /* The option within @argv, its value next, by which a command that is given a NIC has QEMU's own; or NULL. */
    char *const *beside;
};

/*
 * Reads a NULL-terminated command line with at least one element. On success ret_args->count is at
 * least one: a QEMU (qemu_args_is_qemu()) without a vmnet option or placeholder gets a NIC on the
 * default network, or one for each of defaults->nics. 0; -ENOMEM; -EINVAL with the reason;
 * -EOPNOTSUPP for a network that cannot be had without privileges. The caller ends with
 * qemu_args_done(), after an error too.
 */
int qemu_args_parse(char *const *argv, const struct qemu_args_defaults *defaults,
                    struct qemu_args *ret_args, struct err *err);
void qemu_args_done(struct qemu_args *args);

/* What a port gives to the command line. */
struct qemu_args_port {
    const struct client_port *port;
    int vhost_fd; /* or -1 */
};

/*
 * The command line with @ports, one for each of args->nics in the same order, in it. 0, -ENOMEM, or
 * -ENODATA with the reason: a placeholder for what a port does not have. qemu_argv_free() frees the
 * result.
 */
int qemu_args_rewrite(const struct qemu_args *args, const struct qemu_args_port *ports,
                      char ***ret_argv, struct err *err);
void qemu_argv_free(char **argv);

/* Whether the command's own file name, not its directory, is one of QEMU's: qemu-system-*, qemu-kvm or kvm. */
bool qemu_args_is_qemu(const char *command);

/*
 * Names the ports that have no host name: @name (NULL or empty: the VM's name in -name) is that of
 * the first port on each network, further ones get a suffix. 0 or -ENOMEM.
 */
int qemu_args_choose_names(struct qemu_args *args, const char *name, struct err *err);

/*
 * Makes a DNS label of @text: lower case, what a label cannot hold becomes '-', none of them at
 * either end. Empty where nothing is left.
 */
void qemu_args_hostname(const char *text, char ret_name[NET_HOSTNAME_MAX + 1]);

/* Whether it is a QEMU that waits for a machine which is migrated to it (-incoming). */
bool qemu_args_is_arriving(char *const *argv);

/* Whether @argument is QEMU's option @name, which it takes with one dash or two. */
bool qemu_args_option_is(const char *argument, const char *name);

#endif
