/* SPDX-License-Identifier: Apache-2.0 */
/* What of a network is in Open vSwitch's database, read and changed. Functions return as ovsdb_transact(). */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_OVS_ROWS_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_OVS_ROWS_H

#include "base/ovsdb.h"
#include "plane/linux/place.h"
#include "plane/plane.h"

struct ovs_rows {
    json_t *results;          /* of the question; owns the rest */
    const json_t *bridge;     /* its row, or NULL: there is none */
    const json_t *ports;      /* rows of the network's ports, on whichever bridge */
    const json_t *interfaces; /* of their interfaces */
    bool userspace;
};

/* ovs_rows_free() ends what is found. */
int ovs_rows_read(struct ovsdb *db, const char *bridge, const char *network,
                  struct ovs_rows *ret_rows, char ret_reason[256]);
void ovs_rows_free(struct ovs_rows *rows);
/* The row of the port @name on the bridge, or NULL. */
const json_t *ovs_rows_port(const struct ovs_rows *rows, const char *name);
/* Whether ovs-vswitchd has taken that port: 1; not yet: 0; -EIO with its reason. */
int ovs_rows_state(const struct ovs_rows *rows, const char *name, char ret_reason[256]);

/*
 * A transaction of @operations, which are stolen, and then waits until ovs-vswitchd has done what it says, at most @wait_ms: it
 * looks at the last of several changes only (next_cfg and cur_cfg, ovs-vswitchd.conf.db(5)).
 */
int ovs_rows_settle(struct ovsdb *db, json_t *operations, int wait_ms, char ret_reason[256]);

/* Operations for a transaction: what there is and @ports have not, and the other way round. True: of the former there is some. */
bool ovs_rows_compare(const struct ovs_rows *rows, const struct place *place, const char *bridge,
                      const struct plane_port *ports, size_t len, json_t *operations);
void ovs_rows_put_remove(json_t *operations, const json_t *port);

#endif
