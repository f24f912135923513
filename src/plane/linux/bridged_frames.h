/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which frames are for whom between an interface of the host and the machines that are bridged to it, as programs
 * for cls_bpf (tc.h): classic BPF over a frame from its Ethernet header on, which returns 0 for "not this one".
 *
 * A program has all machines in it. So an interface has the same few filters however many there are, a change is
 * one replacement, and a frame of the host's own pays a comparison for each.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_FRAMES_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_FRAMES_H

#include <linux/filter.h>
#include <stddef.h>

#include "base/addr.h"

/*
 * Instructions of a program. Before Linux 6.12 the kernel describes a filter that is deleted in a message of one page,
 * and does not delete what has no room there. With MAC addresses that we choose it is room for FRAMES_MACS_MAX.
 */
#define FRAMES_PROGRAM_MAX 400
#define FRAMES_MACS_MAX 380

struct frames_program {
    struct sock_filter code[FRAMES_PROGRAM_MAX];
    unsigned len;
};

/* What is sent to one of @macs. 0, or -ENOSPC: the program has no room for as many. */
int frames_to(struct frames_program *ret_program, const struct mac_addr *macs, size_t len);
/*
 * What is sent to a group, by anybody but @macs. Never frames to the addresses that a bridge has to keep to itself (IEEE
 * 802.1Q-2018 8.6.3, 01-80-C2-00-00-0x: spanning tree, LACP, LLDP, pause): they are about one wire. 0 or -ENOSPC.
 */
int frames_to_group(struct frames_program *ret_program, const struct mac_addr *macs, size_t len);
/* What is sent to neither a group nor @but. */
void frames_to_one(struct frames_program *ret_program, const struct mac_addr *but);

#endif
