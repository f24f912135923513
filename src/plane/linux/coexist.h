/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of other programs that are in the way of a network of the system. A drop is final, whichever table has it: what
 * another program drops cannot be let through from ours. So it is found and named, with the command that mends it.
 */
#ifndef OPENVMNET_PLANE_LINUX_COEXIST_H
#define OPENVMNET_PLANE_LINUX_COEXIST_H

#include "base/err.h"
#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"

/*
 * Looks at all rules of the namespace. *ret_warning gets what its administrator should know and do, or "". A table that
 * names the network's bridge has been told of it, whatever it says.
 */
void coexist_look(struct nft_ctx *nft, const struct place *place, struct err *ret_warning);

#endif
