/* SPDX-License-Identifier: Apache-2.0 */
#include "base/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int peer_identity(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return -errno;
    *ret_uid = peer.uid;
    if (ret_pid)
        *ret_pid = peer.pid;
    return 0;
}

int peer_groups(int fd, gid_t **ret_groups)
{
    struct ucred peer;
    socklen_t peer_len = sizeof(peer), len = 0;
    gid_t *groups;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0)
        return -errno;
    /* Says how many bytes it takes; the peer's groups are those of one moment and do not change. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) < 0 && errno != ERANGE)
        return -errno;
    groups = malloc(len + sizeof(*groups));
    if (!groups)
        return -ENOMEM;
    groups[0] = peer.gid;
    if (len && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups + 1, &len) < 0) {
        int error = -errno;

        free(groups);
        return error;
    }
    *ret_groups = groups;
    return (int)(1 + len / sizeof(*groups));
}
