/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of a VM monitor: which networks it asks for, and the same line with open
 * descriptors in their place.
 *
 * QEMU knows netdevs of the types vmnet-macos, vmnet-shared, vmnet-host and vmnet-bridged, given by
 * -netdev or -nic, with one or two dashes, as key=value pairs or (-netdev) as JSON.
 * qemu_args_parse() finds and checks all of them before anything is attached; the caller attaches a
 * port for each and qemu_args_rewrite() turns each into a tap netdev on that port's descriptor.
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
#include "client/client.h"

/* Ports of one command: more than the slots of a PCI bus, few enough for a table of fixed size. */
#define QEMU_NICS_MAX 64

/* For what the command line leaves open; an empty string or NULL: nothing. */
struct qemu_args_defaults {
    const char *network;
    const char *name; /* host name of the first port on a network; goes before QEMU's -name */
};

/* One network that the command line asks for. */
struct qemu_nic {
    struct net_spec spec;               /* complete */
    struct client_port_request request; /* what to attach */
    /* From here on for qemu_args_rewrite() only. */
    bool is_nic; /* -nic, which makes the device too; else -netdev */
    bool json;
    char *id;            /* the netdev's, or NULL */
    char *properties;    /* -nic: what is passed on, ",key=value" each; or NULL */
    char *const *text;   /* the option's value within args->argv, NULL for a NIC to be appended */
    char *const *device; /* value of the -device that lacks a MAC, within args->argv; or NULL */
    const char *device_mac_key;
};

struct qemu_args {
    char *const *argv; /* the caller's, which must outlive this; NULL-terminated */
    struct qemu_nic nics[QEMU_NICS_MAX];
    size_t count;
};

/* What a port gives to the command line. */
struct qemu_args_port {
    int fd;
    int vhost_fd; /* or -1 */
    const char *mac;
};

/*
 * Reads a NULL-terminated command line with at least one element. On success ret_args->count is at
 * least one: a command named qemu-system-* without a vmnet option gets a NIC on the default
 * network. 0, -ENOMEM, or -EINVAL with the reason. The caller ends with qemu_args_done(), after an
 * error too.
 */
int qemu_args_parse(char *const *argv, const struct qemu_args_defaults *defaults,
                    struct qemu_args *ret_args, struct err *err);
void qemu_args_done(struct qemu_args *args);

/*
 * The command line with @ports, one for each of args->nics in the same order, in it. 0 or -ENOMEM.
 * qemu_argv_free() frees the result.
 */
int qemu_args_rewrite(const struct qemu_args *args, const struct qemu_args_port *ports,
                      char ***ret_argv);
void qemu_argv_free(char **argv);

/* Whether the command's own file name, not its directory, begins with "qemu-system-". */
bool qemu_args_is_qemu(const char *command);

/*
 * Makes a DNS label of @text: lower case, what a label cannot hold becomes '-', none of them at
 * either end. Empty where nothing is left.
 */
void qemu_args_hostname(const char *text, char ret_name[NET_HOSTNAME_MAX + 1]);

#endif
