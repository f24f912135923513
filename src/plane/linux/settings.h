/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of the host's interfaces that networks of the system plane need and put back. Several networks need the same
 * ones, so what was there before and who needs it is written down beside the networks' runtime directories: the last
 * one puts it back, also what networks have left that were killed. The file goes away when nothing is held.
 */
#ifndef OPENVMNET_PLANE_LINUX_SETTINGS_H
#define OPENVMNET_PLANE_LINUX_SETTINGS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/netconfig.h"

#define SETTING_NAME_MAX (sizeof("ipv6/conf//force_forwarding") + IFNAMSIZ)
#define SETTING_VALUE_MAX 16
/* Held by all networks of a host together. */
#define SETTINGS_MAX 512

struct setting {
    char name[SETTING_NAME_MAX]; /* below /proc/sys/net */
    char value[SETTING_VALUE_MAX];
    bool changed; /* set by settings_hold(): it is not what the host had without us */
};

/*
 * Makes @settings, in this order, all that the network holds; what nobody holds any more is put back, in reverse order.
 * One that has the value already is not ours to put back. Nor is one that the host's administrator has changed since, or
 * that was off and is on for all interfaces now. 0, or -errno with the reason; then some may not be as they should.
 */
int settings_hold(const struct net_config *config, struct setting *settings, size_t len,
                  struct err *err);

/* Whether a setting of IPv6 of @interface is there and not 0. */
bool settings_is_on(const char *interface, const char *setting);

#endif
