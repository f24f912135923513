/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for packets that the host routes for a network of the system plane, in nftables' words. */
#ifndef OPENVMNET_PLANE_LINUX_SYSTEM_RULES_H
#define OPENVMNET_PLANE_LINUX_SYSTEM_RULES_H

#include <stdint.h>
#include <stdio.h>

#include "plane/linux/place.h"
#include "plane/plane.h"

/* Writes the table, in place of one that is there. */
void system_rules_write(FILE *text, const struct place *place);
/* Writes that these forwards are all; those that the kernel cannot do it leaves to the sockets. */
void system_rules_write_forwards(FILE *text, const struct place *place,
                                 const struct plane_forward *forwards, size_t len);
/* Writes which the host's own IPv4 addresses are (host order), that are not reached as a part of IPv6 addresses either. */
void system_rules_write_own(FILE *text, const struct place *place, const uint32_t *own4,
                            size_t len);
/* Writes that it is removed, and the guard's with it, also where neither is there. */
void system_rules_remove(FILE *text, const struct place *place);

#endif
