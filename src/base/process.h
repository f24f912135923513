/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_PROCESS_H
#define OPENVMNET_BASE_PROCESS_H

#include "base/netconfig.h"

/* The name that ps and top show; cut where the system's limit is shorter (Linux: 15 bytes). */
void process_set_name(const char *name);

/*
 * Goes on as nobody's child and in a session of its own: returns in the process that does, 0 or -errno; the one that
 * called has ended. Before anything is started or threads are made. @argv is main()'s: where a process that was
 * forked may not do everything (macOS), the program begins anew with it, and gets here again.
 */
int process_leave_parent(char **argv);

/* Closes all descriptors from @lowest on. */
void process_close_from(int lowest);

/*
 * While it is on, each allocation from 64 KiB on has pages of its own: of a table that stays nearly empty only
 * those count that were written. For tables that are made once; otherwise it would be slow.
 */
void process_map_large(bool on);

/* How many CPUs the calling process may use; at least 1. */
unsigned process_cpus(void);

/* Path of the running program, "" where it is not known. */
void process_path(char ret_path[NET_PATH_MAX]);

#endif
