/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's interfaces that lead out for a network of the system plane, and what the host needs to forward there:
 * settings of these interfaces alone, where the kernel has such.
 */
#ifndef OPENVMNET_PLANE_LINUX_UPLINKS_H
#define OPENVMNET_PLANE_LINUX_UPLINKS_H

#include "base/err.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/settings.h"

#define UPLINKS_MAX 64
#define UPLINKS_ADDRESSES_MAX 64

struct uplink {
    unsigned ifindex;
    char name[IFNAMSIZ];
    bool ipv4, ipv6;
    bool default4, default6; /* by a default route */
};

struct uplinks {
    uint32_t
        own4[UPLINKS_ADDRESSES_MAX]; /* the host's own IPv4 addresses, host order, but for 127/8 */
    unsigned own4_len, len;
    struct uplink each[UPLINKS_MAX];
};

/*
 * All interfaces that have a route, but for lo, networks of ours, and what is of the link alone; and the host's addresses.
 * 0 or -errno. What is more than UPLINKS_MAX or UPLINKS_ADDRESSES_MAX is left out.
 */
int uplinks_read(struct netlink *netlink, struct uplinks *ret_uplinks);

/* Of each uplink three, of interfaces beside them one, and those that are for all. */
#define UPLINKS_SETTINGS_MAX (4 * UPLINKS_MAX + 2)

struct uplinks_settings {
    struct setting each[UPLINKS_SETTINGS_MAX];
    size_t len;
};

/*
 * Claims what the host needs to forward from and to @uplinks (none: puts all back), and writes to @text (NULL: no) the
 * rules by which it forwards nothing more than without us: of the interfaces that were closed, from nowhere but networks
 * of ours to these. They are to be loaded before settings_apply() opens the interfaces. 0, or -errno with the reason.
 */
int uplinks_claim(const struct place *place, const struct uplinks *uplinks, FILE *text,
                  struct uplinks_settings *ret_settings, struct err *err);

#endif
