/* SPDX-License-Identifier: Apache-2.0 */
/* Starting vmnetd. Only for src/client. */
#ifndef OPENVMNET_CLIENT_START_H
#define OPENVMNET_CLIENT_START_H

#include <stdbool.h>

#include "base/err.h"
#include "base/netspec.h"

/*
 * Starts vmnetd and waits until its network is ready: 0, with a text in @warning where the user should
 * know something all the same. Only what @spec asks for is said to vmnetd, which reads the network's
 * configuration file itself and refuses what contradicts it. -EBUSY where another process is that
 * network by now; or -errno with the reason.
 */
int start_daemon(const struct net_spec *spec, bool lasting, struct err *warning, struct err *err);

/*
 * Has vmnetd remove what a network of the system has left whose processes were killed. -EBUSY where machines are attached and
 * @force is false; or -errno with the reason.
 */
int start_removal(const char *network, bool force, struct err *err);

#endif
