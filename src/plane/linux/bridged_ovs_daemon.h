/* SPDX-License-Identifier: Apache-2.0 */
/* Whether ovs-vswitchd runs, without which Open vSwitch's database has nobody that does what stands in it. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_OVS_DAEMON_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_OVS_DAEMON_H

#include <stdbool.h>

#include "base/loop.h"

struct ovs_daemon {
    bool away; /* it has been there, and has ended */
    int fd;    /* of its process (pidfd_open(2)); -1: not known */
    struct loop *loop;
    struct loop_source source;
    void (*on_end)(void *context);
    void *context;
};

/* Before the others. @on_end is called from @loop when it has ended. */
void ovs_daemon_open(struct ovs_daemon *daemon, struct loop *loop, void (*on_end)(void *context),
                     void *context);
/* Looks for it, unless it is known. Where it writes no file with its process id it is never known. */
void ovs_daemon_look(struct ovs_daemon *daemon);
/* Also of what is all zero. */
void ovs_daemon_close(struct ovs_daemon *daemon);

#endif
