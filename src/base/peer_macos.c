/* SPDX-License-Identifier: Apache-2.0 */
#include "base/peer.h"

#include <errno.h>
#include <sys/socket.h>
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
