/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entering the network's namespaces, and saying what is in the way where that is not allowed.
 */
#ifndef OPENVMNET_PLANE_LINUX_NAMESPACE_H
#define OPENVMNET_PLANE_LINUX_NAMESPACE_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Moves the calling process, which must have one thread, into a new network namespace. With @user it moves into a new
 * user namespace first, which maps its own user and group to themselves (user_namespaces(7)): there it has all rights,
 * and none any more over what is outside. Without, it needs CAP_SYS_ADMIN, keeps what rights it has, and *ret_user_fd is
 * -1. Both descriptors are owned by the caller.
 */
int namespace_create(bool user, int *ret_user_fd, int *ret_net_fd, struct err *err);

/* Moves the calling process into namespaces that it made earlier. @user_fd may be -1. */
int namespace_join(int user_fd, int net_fd, struct err *err);

/*
 * Finds out why user namespaces are refused with @error and names the setting. @root is "" but for
 * tests, which give it a directory with a made-up /proc below.
 */
int namespace_explain(int error, const char *root, struct err *err);

#endif
