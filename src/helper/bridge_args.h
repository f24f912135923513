/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a QEMU's command line says of its NICs on a bridge: -netdev bridge,br=NETWORK with the -device of its id,
 * and -nic bridge,br=NETWORK. The bridge helper is told no more than the bridge's name, and a port has to know
 * its machine's MAC. Nothing here does I/O.
 */
#ifndef OPENVMNET_HELPER_BRIDGE_ARGS_H
#define OPENVMNET_HELPER_BRIDGE_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/netspec.h"

#define BRIDGE_NICS_MAX 32 /* as many as the slots of a PCI bus */

struct bridge_nics {
    struct mac_addr
        macs[BRIDGE_NICS_MAX]; /* in the order of the netdevs, as QEMU calls the helper */
    size_t len;
    char name[NET_HOSTNAME_MAX + 1]; /* of -name, as a host name; or "" */
    bool arriving;                   /* the machine is migrated here */
};

/*
 * Reads @argv (NULL-terminated) for @bridge. What is not understood is passed over: QEMU itself refuses what is wrong.
 * A NIC without a MAC has the one that QEMU gives it, which is the same in every machine.
 */
void bridge_args_read(char *const *argv, const char *bridge, struct bridge_nics *ret_nics);

#endif
