/* SPDX-License-Identifier: Apache-2.0 */
/* Which interface of the host machines are to be bridged to, and by which way. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_WAY_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_WAY_H

#include "base/bridging.h"
#include "base/err.h"
#include "plane/linux/bridged_link.h"

struct bridged_interface {
    enum bridging_way way; /* never BRIDGING_NONE */
    struct bridged_link link;
    char reason[96]; /* for that way */
};

/*
 * Looks in the caller's namespace. @ifname "": the interface of the default route. 0, or with the reason -ENODEV (there is
 * none) or -EOPNOTSUPP (machines cannot get onto it).
 */
int bridged_look(const char *ifname, struct bridged_interface *ret_interface, struct err *err);

#endif
