/* SPDX-License-Identifier: Apache-2.0 */
/* What a port is asked to be: its identity and what it may do. The counterpart of netspec.h. */
#ifndef OPENVMNET_BASE_PORTSPEC_H
#define OPENVMNET_BASE_PORTSPEC_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/forward.h"
#include "base/netspec.h"

#define PORT_FORWARDS_MAX 64 /* options of one port; a range is one */

/* How frames get from a port to what is attached there. */
enum port_kind {
    PORT_TAP,    /* a tap descriptor */
    PORT_STREAM, /* a stream socket: 4 byte length, big-endian, then the frame */
    PORT_DGRAM,  /* a datagram socket, a frame each */
    PORT_VETH,   /* an interface in another network namespace */
    PORT_KINDS
};

/* Whether frames of a port have to be in the name of its machine. */
enum anti_spoof {
    ANTI_SPOOF_ON,
    ANTI_SPOOF_OFF,
    ANTI_SPOOF_AUTO, /* off where the one who asks may have that, else on */
};

/* An empty string, or mac_given false, leaves the choice to the network. */
struct port_spec {
    char name[NET_HOSTNAME_MAX + 1];     /* host name within the network's domain */
    char interface_id[NET_UUID_LEN + 1]; /* lower case; the same id always gets the same MAC */
    bool mac_given;
    struct mac_addr mac;
    bool learn_mac; /* in place of it: that of the machine's first frame */
    bool
        arriving; /* the machine is migrated here, and runs elsewhere until its monitor announces it */
    bool isolated; /* no frame passes between this port and another */
    enum anti_spoof anti_spoof;
    struct forward_spec forwards[PORT_FORWARDS_MAX];
    unsigned forwards_len;
};

/*
 * What a port is where nobody says: for a QEMU whose options are written for it, or for another program. A tap, where the system
 * has them.
 */
enum port_kind port_kind_default(bool qemu);

/* "tap", "stream", "dgram", "veth". */
const char *port_kind_name(enum port_kind kind);
/* 0 or -EINVAL. */
int port_kind_parse(const char *name, enum port_kind *ret_kind);

/*
 * Sets one option by its name: "hostname", "interface-id", "mac", "isolated" (on|off, yes|no, true|false),
 * "anti-spoof" (these and auto), "forward" (may repeat); underscores are dashes. -ENOENT: no such option (the text lists
 * those there are); -EINVAL with the reason.
 */
int port_spec_set(struct port_spec *spec, const char *option, const char *value, struct err *err);

/* The checks of two of these, for others that read them: 0 or -EINVAL with the reason. An id is given back
 * in lower case. */
int port_mac_parse(const char *value, struct mac_addr *ret_mac, struct err *err);
int port_id_parse(const char *value, char ret_id[NET_UUID_LEN + 1], struct err *err);

/* For switches of others too: on|off, yes|no, true|false. 0 or -EINVAL with the reason. */
int spec_parse_switch(const char *option, const char *value, bool *ret_value, struct err *err);

#endif
