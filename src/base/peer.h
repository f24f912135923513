/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_PEER_H
#define OPENVMNET_BASE_PEER_H

#include <sys/types.h>

/* Who is at the other end of a connected unix socket, as the kernel knows it. 0 or -errno. */
int peer_uid(int fd, uid_t *ret_uid);

#endif
