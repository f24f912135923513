/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a network is asked to be: its mode, its name, its addresses. The same text values come from
 * QEMU's command line, from `vmnet up` and to vmnetd, and are checked here, once.
 */
#ifndef OPENVMNET_BASE_NETSPEC_H
#define OPENVMNET_BASE_NETSPEC_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"

/* A directory name, part of a socket's path; the longest net_spec_complete() makes just fits. */
#define NET_NAME_MAX 41
#define NET_HOSTNAME_MAX 63 /* a DNS label, RFC 1035 2.3.4 */
#define NET_DOMAIN_MAX 80
#define NET_UUID_LEN 36

enum net_mode {
    NET_MODE_SHARED,
};

struct net_spec {
    char name[NET_NAME_MAX + 1]; /* empty until net_spec_complete() */
    enum net_mode mode;
    /* All three or none (family 0): then the network picks a subnet itself. */
    struct ip_addr start_address; /* the gateway's */
    struct ip_addr end_address;   /* last of the pool */
    struct ip_addr subnet_mask;
};

/* "shared". */
const char *net_mode_name(enum net_mode mode);

/*
 * Sets one option by its name as QEMU's vmnet netdevs spell it: "mode", "start-address",
 * "end-address", "subnet-mask", "network"; underscores are dashes, and the origin's "dhcp-"
 * prefix is accepted. -ENOENT: no such option (the text lists those there are); -EINVAL with the
 * reason.
 */
int net_spec_set(struct net_spec *spec, const char *option, const char *value, struct err *err);

/*
 * Checks the options together and gives the network its name where none was asked: that of the
 * mode for a network without addresses, else one made of mode and addresses, so that the same
 * addresses always mean the same network. -EINVAL with the reason.
 */
int net_spec_complete(struct net_spec *spec, struct err *err);

/* 0, or -EINVAL with the reason: letters, digits, '.', '_', '-'; starts with a letter or digit. */
int net_name_check(const char *name, struct err *err);

/* 0, or -EINVAL with the reason: a DNS label (letters, digits, inner hyphens; RFC 1123 2.1). */
int net_hostname_check(const char *name, struct err *err);

/* 0, or -EINVAL with the reason: 8-4-4-4-12 hex digits. */
int net_uuid_check(const char *uuid, struct err *err);

#endif
