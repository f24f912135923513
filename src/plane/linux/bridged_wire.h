/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of bridged.c: what is at the two links of the host (bridged_wire.c), and the test of it (bridged_test.c). */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_WIRE_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_WIRE_H

#include "base/err.h"
#include "plane/linux/bridged_frames.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/bridged_shortcut.h"
#include "plane/linux/ruleset.h"
#include "plane/linux/tc.h"

struct wire {
    struct netlink *host;    /* in the host's namespace */
    struct bridged_link nic; /* ifindex 0: not there */
    int leg;                 /* ifindex of the link to the network's namespace; 0: not there */
    int inside;              /* of its other end, there */
    char leg_name[16];
    struct tc_owner owner;
    struct nft_ctx *nft;      /* in the host's namespace */
    bool by_hooks;            /* nftables' at the interface (bridged_hooks.h), instead of filters */
    bool mac_nat;             /* with these, machines have the interface's MAC (bridged_macnat.h) */
    struct mnl_socket *rules; /* for it, to nftables in the host's namespace */
    struct shortcut *shortcut; /* beside filters, or NULL */
    unsigned mtu_max;          /* what machines have where the interface has more; 0: no bound */
    uint16_t priority;         /* of the filters at the interface */
    int packet_fd;             /* holds the memberships; in the host's namespace */
    struct mac_addr macs[FRAMES_MACS_MAX];
    size_t macs_len;
};

/*
 * Finds a priority for filters at the interface and removes those of networks that are gone. -EADDRINUSE where it is another
 * network's that lives.
 */
int wire_prepare(struct wire *wire, struct err *err);
/* All filters, as they have to be, at both links, and those of the shortcut. */
int wire_set_filters(struct wire *wire);
/*
 * The same for a test: what machines send to @host is received by the interface, what they send to a group is not let
 * out of it.
 */
int wire_set_test_filters(struct wire *wire, const struct mac_addr *host);
/* Those at the interface, after @macs have changed. -ENOSPC: too many; nothing has changed then. */
int wire_set_macs(struct wire *wire);
/*
 * The interface takes frames for @mac, and with NULL those for all groups, from its hardware (packet(7)). Without
 * IFF_UNICAST_FLT that is promiscuity, which the kernel counts, and it ends with the descriptor.
 */
int wire_listen(const struct wire *wire, const struct mac_addr *mac, bool on);
/* Takes the filters away, and the qdisc where it was made for them and nobody else has filters there. */
void wire_clear(struct wire *wire);
/* Does so for those of networks that are gone. The number of filters. */
int wire_clear_dead(struct netlink *host, int ifindex);

/*
 * Whether frames pass (bridged_test.c), before there is a machine. @test_fd is a packet socket in the host's namespace
 * and @inside_fd one in the network's; neither is bound. -EPROTO with the way that fails.
 */
int wire_test(struct wire *wire, int test_fd, int inside_fd, struct err *err);
/* Whether they do over the shortcut, which is closed before and after; after that, with the same @inside_fd. -EPROTO: not. */
int wire_test_shortcut(struct wire *wire, int inside_fd);

#endif
