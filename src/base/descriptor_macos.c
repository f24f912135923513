/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without pipe2(2), SOCK_CLOEXEC and MSG_CMSG_CLOEXEC. Programs that are started here with posix_spawn(2) get
 * what is open in the moment between; those who start programs close what they do not hand on.
 */
#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Of @len descriptors, which are closed on error. 0 or -errno. */
static int finish(int *fds, int len, bool nonblocking, bool sockets)
{
    const int on = 1;
    int error = 0;

    for (int i = 0; i < len && error == 0; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0 ||
            (nonblocking && fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0) ||
            (sockets && setsockopt(fds[i], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) < 0))
            error = -errno;
    for (int i = 0; i < len && error < 0; i++)
        close(fds[i]);
    return error;
}

int descriptor_pipe(bool nonblocking, int ret_fds[2])
{
    return pipe(ret_fds) < 0 ? -errno : finish(ret_fds, 2, nonblocking, false);
}

int descriptor_socket(int domain, int type, bool nonblocking)
{
    int fd = socket(domain, type, 0), error = fd < 0 ? -errno : finish(&fd, 1, nonblocking, true);

    return error < 0 ? error : fd;
}

int descriptor_accept(int listen_fd)
{
    int fd = accept(listen_fd, NULL, NULL), error = fd < 0 ? -errno : finish(&fd, 1, true, true);

    return error < 0 ? error : fd;
}

int descriptor_socket_pair(int type, int ret_fds[2])
{
    return socketpair(AF_UNIX, type, 0, ret_fds) < 0 ? -errno : finish(ret_fds, 2, false, true);
}

ssize_t descriptor_receive_message(int socket_fd, struct msghdr *header)
{
    ssize_t len = recvmsg(socket_fd, header, 0);

    if (len < 0)
        return len;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= cmsg->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (const char *)cmsg + at, sizeof(fd));
            fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    return len;
}
