/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_FDS_MAX 16

union control {
    char bytes[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int channel_send(int fd, const struct message *message, const int *fds, unsigned fds_len)
{
    struct iovec part = {.iov_base = (void *)message, .iov_len = sizeof(*message)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    union control control = {0};
    struct cmsghdr *cmsg;

    if (fds_len > CHANNEL_FDS_MAX)
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
    while (sendmsg(fd, &header, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static void take_descriptors(struct msghdr *header, int *ret_fds, unsigned fds_max,
                             unsigned *ret_fds_len)
{
    unsigned taken = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
        size_t len;
        int fd;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        len = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < len; i++) {
            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (taken < fds_max)
                ret_fds[taken++] = fd;
            else
                close(fd);
        }
    }
    if (ret_fds_len)
        *ret_fds_len = taken;
}

int channel_receive(int fd, struct message *ret_message, int *ret_fds, unsigned fds_max,
                    unsigned *ret_fds_len)
{
    struct iovec part = {.iov_base = ret_message, .iov_len = sizeof(*ret_message)};
    union control control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    struct plane_port *port = &ret_message->port;
    ssize_t len;

    do {
        len = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    } while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    take_descriptors(&header, ret_fds, fds_max, ret_fds_len);
    if (len != sizeof(*ret_message)) {
        for (unsigned i = 0; ret_fds_len && i < *ret_fds_len; i++)
            close(ret_fds[i]);
        if (ret_fds_len)
            *ret_fds_len = 0;
        return len == 0 ? -ECONNRESET : -EBADMSG;
    }
    port->interface[sizeof(port->interface) - 1] = '\0';
    port->name[sizeof(port->name) - 1] = '\0';
    port->interface_id[sizeof(port->interface_id) - 1] = '\0';
    ret_message->err.text[sizeof(ret_message->err.text) - 1] = '\0';
    return 0;
}
