/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge of a network of the system plane: an interface of the host's, with the gateway's addresses. */
#ifndef OPENVMNET_PLANE_LINUX_SYSTEM_BRIDGE_H
#define OPENVMNET_PLANE_LINUX_SYSTEM_BRIDGE_H

#include <stdbool.h>

#include "base/err.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"

/* Makes it. 0, or -errno with the reason. */
int system_bridge_make(const struct place *place, struct netlink *netlink, struct err *err);
/*
 * Puts right what of it others have changed: addresses, settings, that it is up; each is logged. @ret_new: it was gone, and
 * is made anew, without ports. 0, or -errno with the reason: -EEXIST where another's has its name.
 */
int system_bridge_mend(const struct place *place, struct netlink *netlink, bool *ret_new,
                       struct err *err);
/* Also one of an earlier life, and where there is none. 0, or -errno with the reason: -EEXIST where it is not ours. */
int system_bridge_remove(const struct place *place, struct netlink *netlink, struct err *err);

#endif
