/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placeholders in the arguments of a VM monitor that is not QEMU: "{fd}" and its like, anywhere in
 * an argument and any number of times.
 *
 *   {fd} {tap} {mac} {ip} {gateway} {mtu} {socket}     of the command's first port
 *   {fd2} {mac2} …                                     of its second, and so on
 *
 * What is not exactly one of these stays as it is, for arguments that are JSON are full of braces.
 * Where the text "{fd}" itself is meant it is written "{{fd}}". Nothing here does I/O.
 */
#ifndef OPENVMNET_CLI_PLACEHOLDERS_H
#define OPENVMNET_CLI_PLACEHOLDERS_H

#include <stdbool.h>

#include "base/err.h"

#define PLACEHOLDER_PORTS_MAX 64 /* QEMU_NICS_MAX */

enum placeholder {
    PLACEHOLDER_FD,      /* number of the descriptor */
    PLACEHOLDER_TAP,     /* name of the interface inside the network */
    PLACEHOLDER_MAC,     /* the port's addresses */
    PLACEHOLDER_IP,      /* without the prefix length */
    PLACEHOLDER_GATEWAY, /* the network's */
    PLACEHOLDER_MTU,
    PLACEHOLDER_SOCKET, /* path of a datagram socket */
    PLACEHOLDERS
};

/* Which of them a command line has. */
struct placeholders {
    unsigned ports;                       /* 0: none at all */
    unsigned used[PLACEHOLDER_PORTS_MAX]; /* of each port, a bit 1 << enum placeholder each */
};

/* What is put in their places, for each port. */
struct placeholder_values {
    const char *text[PLACEHOLDERS];
};

/* "fd", "tap" and so on. */
const char *placeholder_name(enum placeholder word);

/*
 * Looks through the arguments of a command (not its name, argv[0]). 0, or -EINVAL with the reason:
 * a number that no port can have, a number left out, a port with both {fd} and {socket}, or with
 * neither.
 */
int placeholders_scan(char *const *argv, struct placeholders *ret_found, struct err *err);

/* @text with all in place, to be freed; NULL without memory. @text was scanned before. */
char *placeholders_expand(const char *text, const struct placeholder_values *ports);

#endif
