/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame by frame: macOS has no recvmmsg(2), and sendmsg_x(2) is not in its SDK.
 *
 * Of its unix datagram sockets, as the BSDs have them (unix(4)):
 * - When a socket is closed, those that are connected to it get an error, which makes them readable: receiving gives
 *   ECONNRESET. So nobody has to be asked.
 * - A peer whose queue is full is ENOBUFS, while kqueue(2) goes on to say that one can write. Such a frame is
 *   dropped, as dgram.c does: waiting would be a busy loop.
 */
#include "pump/dgram.h"

#include <errno.h>

int dgram_receive(int socket_fd, struct iovec *parts, unsigned len, struct sockaddr_un *ret_name,
                  socklen_t *ret_name_len)
{
    unsigned got = 0;

    while (got < len) {
        struct msghdr message = {.msg_iov = &parts[got], .msg_iovlen = 1};
        ssize_t size;

        if (ret_name && got == 0) {
            message.msg_name = ret_name;
            message.msg_namelen = sizeof(*ret_name);
        }
        size = recvmsg(socket_fd, &message, MSG_DONTWAIT);
        if (size < 0)
            return got > 0 ? (int)got : -errno;
        if (got == 0)
            *ret_name_len = message.msg_namelen;
        parts[got++].iov_len = (size_t)size;
    }
    return (int)got;
}

int dgram_send(int socket_fd, struct iovec *parts, unsigned len)
{
    unsigned sent = 0;

    for (; sent < len; sent++) {
        const struct msghdr message = {.msg_iov = &parts[sent], .msg_iovlen = 1};

        if (sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return sent > 0 ? (int)sent : -errno;
    }
    return (int)sent;
}

int dgram_make_findable(int socket_fd)
{
    (void)socket_fd;
    return 0;
}

int dgram_probe(int socket_fd, bool has_lifeline)
{
    (void)socket_fd;
    (void)has_lifeline;
    return 0;
}
