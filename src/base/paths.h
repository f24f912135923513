/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are kept.
 *
 * A user's networks: what runs in $XDG_RUNTIME_DIR/openvmnet, what lasts in $XDG_STATE_HOME/openvmnet,
 * files in $XDG_CONFIG_HOME/openvmnet. Without a runtime directory: /run/user/UID, else
 * /tmp/openvmnet-UID, which must then belong to the user and be closed to others. Root without these
 * variables has what is the system's.
 *
 * The system's: /run/openvmnet, /var/lib/openvmnet and /etc/openvmnet, below $OPENVMNET_ROOT where that is
 * set, which is for tests. Whose network a name means: client/connection.h.
 */
#ifndef OPENVMNET_BASE_PATHS_H
#define OPENVMNET_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/netconfig.h"

/* The directory above all networks. @create: makes it where it is missing. 0 or -errno with reason. */
int path_runtime(enum net_scope scope, bool create, char ret_path[NET_PATH_MAX], struct err *err);
/* The directory of one network; not created. */
int path_network(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX],
                 struct err *err);
/* A socket in @directory, a network's. -ENAMETOOLONG where it does not fit sun_path, with a way out. */
#define PATH_CONTROL "control"
#define PATH_STREAM "stream"
#define PATH_SUBNET "network.json" /* a file that is there while the network runs */
int path_socket(const char *directory, const char *name, char ret_path[NET_PATH_MAX],
                struct err *err);
/* Makes the state directory of a network. -errno with the reason where it can't be written. */
int path_state(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX],
               struct err *err);
/*
 * The configuration file of a network, there or not. -ENOENT where this user can have none (neither of the
 * variables that it follows from is set); -ENAMETOOLONG.
 */
int path_config(enum net_scope scope, const char *network, char ret_path[NET_PATH_MAX]);
/* Whether it is there, readable or not. False also where this user may not look into its directory. */
bool path_config_exists(enum net_scope scope, const char *network);

/* mkdir -p, each new part with @mode. 0 or -errno. */
int path_make(const char *path, unsigned mode);
/* Removes a directory and all below it; symbolic links are removed, never followed. 0 or -errno. */
int path_remove_tree(const char *path);
/* The same for what is in a directory, which stays, but for the names in @kept (NULL: none), which NULL ends. */
int path_empty_directory(const char *path, const char *const *kept);
/*
 * Replaces a file at once: a reader sees the old content or the new, never a half (write to a
 * temporary file, fsync where @durable, rename). 0 or -errno.
 */
int path_write_file(const char *path, const char *content, size_t len_bytes, unsigned mode,
                    bool durable);

/*
 * Finds a program in PATH and then in the sbin directories, which an ordinary user's PATH often lacks.
 * -ENOENT where there is none.
 */
int path_find_program(const char *name, char ret_path[NET_PATH_MAX]);

#endif
