/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams that a program behind a veth sends one by one, put together before they are bridged and routed. */
#ifndef OPENVMNET_PLANE_LINUX_AGGREGATE_H
#define OPENVMNET_PLANE_LINUX_AGGREGATE_H

/*
 * The devices of the caller's network namespace in sysfs, mounted nowhere. -errno where the caller may not,
 * as nobody may who needed a user namespace. The caller closes it.
 */
int aggregate_open(void);

/* Turns it on for the veth @interface; @devices_fd is that of aggregate_open(). 0 or -errno. */
int aggregate_enable(int devices_fd, const char *interface);

#endif
