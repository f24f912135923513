/* SPDX-License-Identifier: Apache-2.0 */
/* What `vmnet capture` needs of its system beside libpcap. Only for src/cli. */
#ifndef OPENVMNET_CLI_CAPTURE_H
#define OPENVMNET_CLI_CAPTURE_H

#include "base/err.h"
#include "base/netspec.h"

/* The device that sees what passes between all ports of a network, each frame once. */
extern const char capture_whole_network[];

/* Goes where the network's devices are, with the right to capture. No way back. 0 or -errno. */
int capture_enter(const struct net_spec *spec, struct err *err);

/* A descriptor that is readable when this program is asked to end (SIGINT, SIGTERM), or -errno. */
int capture_watch_signals(void);

#endif
