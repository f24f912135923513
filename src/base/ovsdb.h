/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of Open vSwitch's database: JSON-RPC over a stream socket (RFC 7047; ovs-vswitchd.conf.db(5) for what is in
 * the tables). One question at a time; what the server says by itself is told between them.
 */
#ifndef OPENVMNET_BASE_OVSDB_H
#define OPENVMNET_BASE_OVSDB_H

#include <jansson.h>
#include <stdbool.h>

/* All rows that a "monitor" of some columns begins with. A row of an interface is some 300 bytes. */
#define OVSDB_MESSAGE_MAX (16u << 20)
#define OVSDB_ANSWER_MS 2000

struct ovsdb;

/* The directory of its sockets: $OVS_RUNDIR, as for its own tools, or /run/openvswitch. */
const char *ovsdb_directory(void);
/*
 * Connects to the server of this host. 0, or -errno: -ENOENT or -ECONNREFUSED (none runs), -EACCES (it is root's, or its own
 * user's). @on_update is called, from within ovsdb_call() and ovsdb_receive(), after what is monitored has changed.
 */
int ovsdb_open(void (*on_update)(void *context), void *context, struct ovsdb **ret_db);
void ovsdb_close(struct ovsdb *db);
/* To be watched for what it has to say. */
int ovsdb_fd(const struct ovsdb *db);
/* Reads what there is, without waiting. -errno: the connection is of no use any more. */
int ovsdb_receive(struct ovsdb *db);
/* Waits at most @wait_ms for something to read, and reads it. */
int ovsdb_wait(struct ovsdb *db, int wait_ms);
/*
 * Asks, and waits for the answer. @params is stolen. 0 and the "result", the caller's, where @ret_result is not NULL; -EPROTO:
 * the server has refused; others: the connection is of no use any more.
 */
int ovsdb_call(struct ovsdb *db, const char *method, json_t *params, json_t **ret_result);

/*
 * Operations (RFC 7047 5.2) on database Open_vSwitch in one transaction; @operations (an array) is stolen. 0, and in
 * *@ret_results (may be NULL) the caller's array with a result for each. -EPROTO with the server's reason in @ret_reason where one
 * has failed: then none was done.
 */
int ovsdb_transact(struct ovsdb *db, json_t *operations, json_t **ret_results,
                   char ret_reason[256]);
/* All strings or all UUIDs of a column's value, which is a set or one atom: the @i-th; NULL: there is none. */
const char *ovsdb_atom(const json_t *value, size_t i);

/* What Open vSwitch has to do with an interface of the host. */
struct ovsdb_role {
    bool bridge;      /* it is a bridge's own interface */
    bool userspace;   /* whose frames ovs-vswitchd moves itself (datapath_type=netdev) */
    char port_of[64]; /* a port of that bridge, or "" */
};
/* 0, or -errno as ovsdb_call(). */
int ovsdb_find_role(struct ovsdb *db, const char *interface, struct ovsdb_role *ret_role);

#endif
