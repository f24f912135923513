/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_PEER_H
#define OPENVMNET_BASE_PEER_H

#include <sys/types.h>

/*
 * Who is at the other end of a connected unix socket, as the kernel knows it. 0 or -errno. *ret_pid (NULL:
 * not wanted) is 0 where the system does not tell, and may be another process's by the time it is read.
 */
int peer_identity(int fd, uid_t *ret_uid, pid_t *ret_pid);

/*
 * The groups that it was in when it connected, as the kernel knows them: no list of users is read. Their number,
 * and *ret_groups is free(3)'s; or -errno.
 */
int peer_groups(int fd, gid_t **ret_groups);

#endif
