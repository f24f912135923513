/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as events of a loop. One set a process. */
#ifndef OPENVMNET_DAEMON_SIGNALS_H
#define OPENVMNET_DAEMON_SIGNALS_H

#include "base/loop.h"

/*
 * From now on @on_signal is called from @loop for SIGTERM, SIGINT and SIGCHLD; SIGHUP and SIGPIPE are
 * ignored. Unblocks what the parent had blocked. 0 or -errno.
 */
int signals_watch(struct loop *loop, void (*on_signal)(void *context, int signal), void *context);

#endif
