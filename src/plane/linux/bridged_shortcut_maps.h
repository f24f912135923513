/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of the short way read and the router writes. For both compilers, so of the kernel's types alone. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_SHORTCUT_MAPS_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_SHORTCUT_MAPS_H

#include <linux/types.h>

#define SHORTCUT_MACHINES_MAX 512

/* As it is in a frame. In parts of two bytes, for not every processor can read four where a frame has them. */
struct shortcut_mac {
    __u16 parts[4]; /* the last one is 0 */
};

struct shortcut_links {
    struct shortcut_mac host; /* the MAC of the interface, and so of its host */
    __u32 leg;       /* the host's end of the link to the network's namespace: its index there */
    __u32 inside;    /* the other end's, in that namespace */
    __u32 frame_max; /* bytes with the Ethernet header */
    __u32 open;      /* 0: all frames go the long way */
};

#endif
