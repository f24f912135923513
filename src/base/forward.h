/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port forward as it is written: QEMU's hostfwd syntax, with ranges.
 *
 *   PROTO:[HOSTADDR]:HOSTPORT[-LASTPORT]-[GUEST]:GUESTPORT
 *
 * PROTO is tcp or udp. HOSTADDR is an address of the host, IPv6 in brackets; left out: 127.0.0.1. GUEST is
 * an address on the network, IPv6 in brackets, or a host name; left out: the port that the forward is an
 * option of. A range maps HOSTPORT to GUESTPORT, HOSTPORT + 1 to GUESTPORT + 1 and so on; digits between
 * two hyphens always are the end of a range.
 */
#ifndef OPENVMNET_BASE_FORWARD_H
#define OPENVMNET_BASE_FORWARD_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/netspec.h"

#define FORWARD_TEXT_MAX 192

struct forward_spec {
    bool udp;
    struct ip_endpoint host;               /* the first port */
    unsigned ports;                        /* in the range, at least 1 */
    struct ip_addr guest_addr;             /* family 0: see guest_name */
    char guest_name[NET_HOSTNAME_MAX + 1]; /* empty and no guest_addr: the port itself */
    uint16_t guest_port;
};

/* 0, or -EINVAL with the reason. */
int forward_parse(const char *text, struct forward_spec *ret_spec, struct err *err);
/* The canonical text: every part that has a default is written out but for GUEST. Returns @buf. */
const char *forward_format(const struct forward_spec *spec, char buf[FORWARD_TEXT_MAX]);

#endif
