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

#define SETTINGS_FILE ".settings" /* in the directory above */
#define SETTING_NAME_MAX (sizeof("ipv6/conf//force_forwarding") + IFNAMSIZ)
#define SETTING_VALUE_MAX 16
/* Held by all networks of a host together. */
#define SETTINGS_MAX 512

struct setting {
    char name[SETTING_NAME_MAX]; /* below /proc/sys/net */
    char value[SETTING_VALUE_MAX];
    bool changed; /* set by settings_claim(): it is not what the host had without us */
};

/*
 * Notes that @settings are all that the network needs, and puts back what nobody needs any more, the last one first.
 * One that has the value already is not ours to put back. Nor is one that the host's administrator has changed since, or
 * that was off and is on for all interfaces now. 0, or -errno with the reason.
 */
int settings_claim(const struct net_config *config, struct setting *settings, size_t len,
                   struct err *err);
/* Makes those of them that are ours what they are to be, in this order. 0, or -errno with the reason of the first that
 * cannot be. */
int settings_apply(const struct setting *settings, size_t len, struct err *err);

/* Whether there is such a setting, and what number it is. */
bool settings_read(const char *name, long *ret_value);

#endif
