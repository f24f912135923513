/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of the uplink's workers has what a guest sends. All TCP and UDP from one address and port goes to one
 * worker, whatever the destination: to the outside a guest's endpoint is one endpoint (RFC 4787 REQ-1).
 *
 * The kernel chooses for the packets of guests (plane/linux/policy.c), by the expression
 *
 *   jhash ADDRESS . PORT mod WORKERS seed SPREAD_SEED
 *
 * of nft(8), and so does this function where a forward must be with the worker that gets the guest's answers.
 */
#ifndef OPENVMNET_BASE_SPREAD_H
#define OPENVMNET_BASE_SPREAD_H

#include "base/addr.h"

/*
 * Any number. A guest that knows it can bring all of its flows to one worker, as it can with one large flow; what
 * it could gain by that is bounded by the limits of one worker.
 */
#define SPREAD_SEED 0x766d6e65u

/* Index of the worker, below @workers. */
unsigned spread_worker(const struct ip_endpoint *guest, unsigned workers);

#endif
