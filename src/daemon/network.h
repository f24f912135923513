/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network as the engine knows it: which ports are attached, and which address belongs to which MAC.
 *
 * Identity: a port's interface id gives its MAC, its MAC its IPv4 address. Where no id is asked for, it
 * follows from the names of network and port; where no name is asked for, the port gets the first of
 * vm1, vm2, … that is free. So the same VM finds the same address each time.
 *
 * A reservation of the network's file goes before: it is meant by its MAC or id, or by its name where
 * neither was asked for.
 *
 * Addresses once allotted are kept (leases.json in the state directory) until the pool is used up; then
 * the one that was unused the longest goes to the new MAC.
 */
#ifndef OPENVMNET_DAEMON_NETWORK_H
#define OPENVMNET_DAEMON_NETWORK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/netconfig.h"
#include "base/table.h"
#include "plane/plane.h"

/* Remembered addresses; a pool can be larger, then the oldest are forgotten. */
#define NETWORK_LEASES_MAX 4096

struct network_port {
    struct list list;
    struct plane_port port;
    bool attached;                 /* false: the router has not made it yet */
    bool seen;                     /* during a listing */
    bool refused;                  /* the log has why it does not get the MAC that it sends from */
    struct plane_port_stats stats; /* as the router last reported them */
    char socket[NET_PATH_MAX];     /* path of its socket, or "" */
};

struct network_lease {
    struct mac_addr mac;
    uint32_t ipv4;
    uint64_t used; /* a count of attachments, not a time: clocks jump */
};

struct network {
    const struct net_config *config;
    unsigned mtu; /* now: that of @config at the start */
    struct list ports;
    unsigned ports_len;
    struct network_lease leases[NETWORK_LEASES_MAX];
    unsigned leases_len;
    uint64_t uses;
    bool told_unsaved;
};

/* What is not the network's own, for its description. */
struct network_state {
    const char *plane, *bridge; /* @bridge: or "" */
    bool lasting;
    bool has_ipv6;       /* a way out, now */
    const char *warning; /* or "" */
};

struct network_request {
    const char *name;           /* or "" */
    const char *interface_id;   /* or "" */
    const struct mac_addr *mac; /* or NULL */
    enum port_kind kind;
    bool learn_mac; /* it is that of the first frame: network_learn() */
    bool isolated, anti_spoof_off, arriving;
    int owner_pid; /* or 0 */
    uid_t owner_uid;
};

/* Reads what was remembered; what is unreadable is told and forgotten. */
void network_init(struct network *network, const struct net_config *config);
void network_done(struct network *network);

/*
 * Gives a new port its identity and adds it, not yet attached; the caller calls network_save() once it is. -EINVAL; -EEXIST where name, id, MAC or address is
 * taken, with both owners named; -ENOSPC where the pool is used up; -EDQUOT where the user has as many as the
 * file of a network of the system lets them have; -ENOMEM.
 */
int network_allot(struct network *network, const struct network_request *request,
                  struct network_port **ret_port, struct err *err);
/*
 * Gives a port without a MAC the one that its machine sends from, and the name and the address that follow: the caller
 * calls network_save(), or network_unlearn() where it comes to nothing. Errors are those of network_allot(); the port is
 * as it was then.
 */
int network_learn(struct network *network, struct network_port *port, const struct mac_addr *mac,
                  struct err *err);
void network_unlearn(struct network_port *port);
/* A port that the router reports and that may not be known yet (the engine was started anew). */
void network_adopt(struct network *network, const struct plane_port *port);
void network_remove(struct network *network, struct network_port *port);
struct network_port *network_find(struct network *network, const char *interface);
/* Attached ports by host name (with or without the network's domain) and by address; or NULL. */
struct network_port *network_find_name(struct network *network, const char *name);
struct network_port *network_find_ipv4(struct network *network, uint32_t ipv4);
/* Writes the leases; says once where that fails. */
void network_save(struct network *network);

/* As in replies of the control socket: new references. */
json_t *network_describe(const struct network *network, const struct network_state *state);
json_t *network_describe_port(const struct network *network, const struct network_port *port,
                              bool has_ipv6);

#endif
