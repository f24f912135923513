/* SPDX-License-Identifier: Apache-2.0 */
#include "base/descriptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    struct cmsghdr align;
};

ssize_t descriptor_send(int socket_fd, const void *data, size_t len_bytes, const int *fds,
                        unsigned fds_len, int flags)
{
    struct iovec part = {.iov_base = (void *)data, .iov_len = len_bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    union control control = {0};
    struct cmsghdr *cmsg;
    ssize_t sent;

    if (fds_len > DESCRIPTORS_MAX)
        return -EINVAL;
    if (fds_len) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(fds_len * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fds_len * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fds_len * sizeof(int));
    }
    do {
        sent = sendmsg(socket_fd, &header, flags);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static void take(struct msghdr *header, int *ret_fds, unsigned fds_max, unsigned *ret_fds_len)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
        size_t len;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        len = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < len; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (*ret_fds_len < fds_max)
                ret_fds[(*ret_fds_len)++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t descriptor_receive(int socket_fd, void *data, size_t size_bytes, int *ret_fds,
                           unsigned fds_max, unsigned *ret_fds_len)
{
    struct iovec part = {.iov_base = data, .iov_len = size_bytes};
    union control control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t len;

    *ret_fds_len = 0;
    do {
        len = descriptor_receive_message(socket_fd, &header);
    } while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    take(&header, ret_fds, fds_max, ret_fds_len);
    return len;
}
