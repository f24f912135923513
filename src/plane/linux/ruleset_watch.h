/* SPDX-License-Identifier: Apache-2.0 */
/* Tells when another program changes the rules of this namespace, and whether ours were among them. */
#ifndef OPENVMNET_PLANE_LINUX_RULESET_WATCH_H
#define OPENVMNET_PLANE_LINUX_RULESET_WATCH_H

#include <stdbool.h>

#include "base/loop.h"

struct ruleset_watch;

/* In the namespace whose rules are to be watched, wherever the caller goes then. 0 or -errno. */
int ruleset_watch_new(const char *table, struct ruleset_watch **ret_watch);
/*
 * Calls @on_change from @loop after each change that is not this process's. @lost: something of a table named @table
 * was removed. @program did it, "" where that is not known, because messages were lost: then all may be. 0 or -errno.
 */
int ruleset_watch_run(struct ruleset_watch *watch, struct loop *loop,
                      void (*on_change)(void *context, bool lost, const char *program),
                      void *context);
void ruleset_watch_free(struct ruleset_watch *watch);

#endif
