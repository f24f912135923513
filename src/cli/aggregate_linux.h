/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams that a program behind a veth sends one by one, put together before they are bridged and routed. */
#ifndef OPENVMNET_CLI_AGGREGATE_LINUX_H
#define OPENVMNET_CLI_AGGREGATE_LINUX_H

/*
 * Turns it on for @interface, a port of the network in namespaces @user_fd (-1: root's) and @net_fd. The other
 * end has to have a queueing discipline then. 0 or -errno, where it stays off: before Linux 6.16, in a
 * container that hides parts of /sys.
 */
int aggregate_enable(int user_fd, int net_fd, const char *interface);

#endif
