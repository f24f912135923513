/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for packets that the host routes for a network of the system plane, in nftables' words. */
#ifndef OPENVMNET_PLANE_LINUX_SYSTEM_RULES_H
#define OPENVMNET_PLANE_LINUX_SYSTEM_RULES_H

#include <stdio.h>

#include "plane/linux/place.h"
#include "plane/plane.h"

/* Writes the table, in place of one that is there. */
void system_rules_write(FILE *text, const struct place *place);
/* Writes that these forwards are all; those that the kernel cannot do it leaves to the sockets. */
void system_rules_write_forwards(FILE *text, const struct place *place,
                                 const struct plane_forward *forwards, size_t len);
/* Writes that it is removed, and the guard's with it, also where neither is there. */
void system_rules_remove(FILE *text, const struct place *place);

#endif
