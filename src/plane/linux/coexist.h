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
#include "plane/linux/uplinks.h"

/*
 * Looks at all rules of the namespace, for what @uplinks leads out over. *ret_warning gets what the network's administrator
 * should know and do, or "". Nothing is told of what may pass, nor of a drop that names the network's bridge: that is meant.
 * @forwards: there are ports of the host that lead to guests.
 */
void coexist_look(struct nft_ctx *nft, const struct place *place, const struct uplinks *uplinks,
                  bool forwards, struct err *ret_warning);

#endif
