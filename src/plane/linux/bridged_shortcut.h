/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short way between machines and the interface that they are bridged to (bridged.h), for nearly all of their frames:
 * past the network's bridge and guard, and over the link to the host without its queue (bpf-helpers(7), bpf_redirect_peer).
 *
 *     tap0 ─ from_machine ───────────╮                                    to outside: the filters of vmnet-NAME
 *                                    up0 ════ vmnet-NAME                             (bridged.h), as ever
 *     tap0 ◂ to_machine ─────────────╯             ╰───── from_outside ─ eth0
 *
 * It is a shortcut and no more: all works without it, and what its programs (bridged_shortcut.bpf.c) are not certain of
 * goes the long way. They are extended BPF, which takes Linux 5.19, CAP_BPF or CAP_SYS_ADMIN while a network starts,
 * libbpf, and a program that was built with it.
 *
 * The router writes two maps: where each machine is, and which links there are. Nobody else has them, and they end with
 * the filters that use them. Frames of machines that are not in the map go the long way; but those for one go outside, so each
 * machine has to be there.
 *
 * Functions return 0 or -errno.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_SHORTCUT_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_SHORTCUT_H

#include "base/addr.h"
#include "plane/linux/tc.h"

struct shortcut;

/* What it leads past; indexes are those of the namespace that each is in. */
struct shortcut_ends {
    struct mac_addr host; /* of the interface */
    int leg, inside;
    unsigned mtu;
};

/*
 * Loads programs and maps, without machines and closed. @inside, borrowed for good, is a socket in the network's namespace.
 * -EOPNOTSUPP: not built with it; -ELIBACC: libbpf is not installed; -EPERM: no right, or not in a user namespace; else the kernel's word.
 */
int shortcut_new(struct netlink *inside, const struct tc_owner *owner,
                 struct shortcut **ret_shortcut);
/* Forgets it; what is attached stays as it is. NULL is allowed. */
void shortcut_free(struct shortcut *shortcut);

/* The program for the interface, for a filter there. */
int shortcut_from_outside(const struct shortcut *shortcut);
/* The ends, at first or after a change. */
int shortcut_set_ends(struct shortcut *shortcut, const struct shortcut_ends *ends);
/* Whether frames go this way. -EPERM: the rights to say so have gone (before Linux 5.19). */
int shortcut_open(struct shortcut *shortcut, bool open);
/* A machine and its port. With 0 its frames get as far as the link in the network's namespace: for a test. */
int shortcut_add(struct shortcut *shortcut, const struct mac_addr *mac, int port_ifindex);
void shortcut_remove(struct shortcut *shortcut, const struct mac_addr *mac);

#endif
