/* SPDX-License-Identifier: Apache-2.0 */
#include "base/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/ucred.h>
#include <sys/un.h>
#include <unistd.h>

int peer_identity(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    socklen_t len = sizeof(pid_t);
    uid_t uid;
    gid_t gid;

    if (getpeereid(fd, &uid, &gid) < 0)
        return -errno;
    *ret_uid = uid;
    /* A peer that has ended has no number any more. */
    if (ret_pid && getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, ret_pid, &len) < 0)
        *ret_pid = 0;
    return 0;
}

int peer_groups(int fd, gid_t **ret_groups)
{
    struct xucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERCRED, &peer, &len) < 0)
        return -errno;
    if (peer.cr_version != XUCRED_VERSION || peer.cr_ngroups < 0 || peer.cr_ngroups > NGROUPS)
        return -EPROTO;
    /* The first of them is the group that it acts as. */
    *ret_groups = malloc(sizeof(peer.cr_groups));
    if (!*ret_groups)
        return -ENOMEM;
    memcpy(*ret_groups, peer.cr_groups, sizeof(peer.cr_groups));
    return peer.cr_ngroups;
}
