/* SPDX-License-Identifier: Apache-2.0 */
/* In place of bridged_shortcut.c, where there is no libbpf or no compiler for its programs: there is never a shortcut. */
#include <errno.h>

#include "plane/linux/bridged_shortcut.h"

int shortcut_new(struct netlink *inside, const struct tc_owner *owner,
                 struct shortcut **ret_shortcut)
{
    return -EOPNOTSUPP;
}

void shortcut_free(struct shortcut *shortcut)
{
}

int shortcut_from_outside(const struct shortcut *shortcut)
{
    return -EOPNOTSUPP;
}

int shortcut_set_ends(struct shortcut *shortcut, const struct shortcut_ends *ends)
{
    return -EOPNOTSUPP;
}

int shortcut_open(struct shortcut *shortcut, bool open)
{
    return -EOPNOTSUPP;
}

int shortcut_add(struct shortcut *shortcut, const struct mac_addr *mac, int port_ifindex)
{
    return -EOPNOTSUPP;
}

void shortcut_remove(struct shortcut *shortcut, const struct mac_addr *mac)
{
}
