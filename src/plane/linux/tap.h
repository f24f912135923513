/* SPDX-License-Identifier: Apache-2.0 */
/* TUN and TAP devices (Documentation/networking/tuntap.rst) in the caller's network namespace. */
#ifndef OPENVMNET_PLANE_LINUX_TAP_H
#define OPENVMNET_PLANE_LINUX_TAP_H

#include <stdbool.h>

#include "base/err.h"

/* 0 where /dev/net/tun can be opened; else -errno with the reason and the way out. */
int tap_check(struct err *err);

/*
 * Makes a device with a virtio-net header on each packet: a TAP (frames) for a port, or with @tun a TUN
 * (IP packets, checksums may be partial, not blocking) for the uplink. @name is a name or a pattern with
 * %d; *ret_name gets the real one. The device lives as long as the descriptor or a copy of it is open.
 */
int tap_open(const char *name, bool tun, char ret_name[16], int *ret_fd, struct err *err);

#endif
