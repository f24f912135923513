/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What unix(7) does not say, seen on Linux 6.1 to 6.18:
 * - A datagram socket gets no event when its peer is closed: not EPOLLHUP, not EPOLLERR, and reading just
 *   finds nothing. Sending once gives ECONNREFUSED and disconnects, from then on it is ENOTCONN; a peer that
 *   was shut down gives EPIPE. A probe that the peer would not notice is dgram_probe().
 * - Between two sockets that are connected to each other only SO_SNDBUF bounds the queue. Where the client
 *   sends without being connected it is net.unix.max_dgram_qlen. EPOLLOUT comes again in both cases, with
 *   SO_SNDBUF once three quarters are free.
 * - Connecting a bound socket makes the kernel refuse others (EPERM), also one who takes the dead peer's
 *   place. So the peer that is gone must be noticed.
 */
#include "pump/dgram.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "pump/client.h"

int dgram_receive(int socket_fd, struct iovec *parts, unsigned len, struct sockaddr_un *ret_name,
                  socklen_t *ret_name_len)
{
    struct mmsghdr messages[PUMP_FRAMES_A_TURN];
    int got;

    for (unsigned i = 0; i < len; i++)
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    if (ret_name) {
        messages[0].msg_hdr.msg_name = ret_name;
        messages[0].msg_hdr.msg_namelen = sizeof(*ret_name);
    }
    got = recvmmsg(socket_fd, messages, len, MSG_DONTWAIT, NULL);
    if (got < 0)
        return -errno;
    for (int i = 0; i < got; i++)
        parts[i].iov_len = messages[i].msg_len;
    *ret_name_len = messages[0].msg_hdr.msg_namelen;
    return got;
}

int dgram_send(int socket_fd, struct iovec *parts, unsigned len)
{
    struct mmsghdr messages[PUMP_FRAMES_A_TURN];
    int sent;

    for (unsigned i = 0; i < len; i++)
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    sent = sendmmsg(socket_fd, messages, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int dgram_make_findable(int socket_fd)
{
    const sa_family_t any_name = AF_UNIX;

    return bind(socket_fd, (const struct sockaddr *)&any_name, sizeof(any_name)) < 0 ? -errno : 0;
}

int dgram_probe(int socket_fd, bool has_lifeline)
{
    struct sockaddr_un name;
    socklen_t len = sizeof(name);
    int probe_fd, result = 0;

    if (getpeername(socket_fd, (struct sockaddr *)&name, &len) < 0 ||
        len <= offsetof(struct sockaddr_un, sun_path))
        return 0;
    /*
     * Another socket tries to connect to the peer's name. Where the peer is there, and connected to ours,
     * that is refused with EPERM; without a peer it is ECONNREFUSED. Our own socket could try, too, but would
     * then be connected to whoever took the name. Success is a peer that only sends to us, or, as the ends
     * of a pair are connected, a stranger. ENOENT says nothing: a peer may have removed its path.
     */
    probe_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe_fd < 0)
        return 0;
    if (connect(probe_fd, (const struct sockaddr *)&name, len) == 0)
        result = has_lifeline ? 0 : -ECONNREFUSED;
    else if (errno == ECONNREFUSED)
        result = -ECONNREFUSED;
    close(probe_fd);
    return result;
}
