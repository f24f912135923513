/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's datagrams to a guest through a socket of the host's, where there is no packet device to write them to in the
 * client's name. Only for src/uplink.
 */
#ifndef OPENVMNET_UPLINK_FORWARD_WAY_H
#define OPENVMNET_UPLINK_FORWARD_WAY_H

#include <sys/uio.h>

#include "uplink/udp_socket.h"

struct forward_way;

/* Calls @on_answer for each datagram that @guest sends to it; that must not free it. 0 or -errno. */
int forward_way_new(struct worker *worker, const struct ip_endpoint *guest,
                    void (*on_answer)(void *context, const struct iovec *payload), void *context,
                    struct forward_way **ret_way);
/* NULL is allowed. */
void forward_way_free(struct forward_way *way);
/* Each datagram of @received on its own. Adds to @counter those that went out; what does not is lost. */
void forward_way_send(struct forward_way *way, const struct udp_received *received,
                      atomic_uint_fast64_t *counter);

#endif
