/* SPDX-License-Identifier: Apache-2.0 */
#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int descriptor_pipe(bool nonblocking, int ret_fds[2])
{
    return pipe2(ret_fds, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0)) < 0 ? -errno : 0;
}

int descriptor_socket(int domain, int type, bool nonblocking)
{
    int fd = socket(domain, type | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

    return fd < 0 ? -errno : fd;
}

int descriptor_socket_pair(int type, int ret_fds[2])
{
    return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

int descriptor_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    return fd < 0 ? -errno : fd;
}

ssize_t descriptor_receive_message(int socket_fd, struct msghdr *header)
{
    return recvmsg(socket_fd, header, MSG_CMSG_CLOEXEC);
}
