/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"

int channel_send(int fd, const struct message *message, const int *fds, unsigned fds_len)
{
    ssize_t sent = descriptor_send(fd, message, sizeof(*message), fds, fds_len, MSG_NOSIGNAL);

    return sent < 0 ? (int)sent : 0;
}

int channel_receive(int fd, struct message *ret_message, int *ret_fds, unsigned fds_max,
                    unsigned *ret_fds_len)
{
    struct plane_port *port = &ret_message->port;
    ssize_t len =
        descriptor_receive(fd, ret_message, sizeof(*ret_message), ret_fds, fds_max, ret_fds_len);

    if (len != sizeof(*ret_message)) {
        for (; *ret_fds_len; --*ret_fds_len)
            close(ret_fds[*ret_fds_len - 1]);
        return len < 0 ? (int)len : len == 0 ? -ECONNRESET : -EBADMSG;
    }
    port->interface[sizeof(port->interface) - 1] = '\0';
    port->name[sizeof(port->name) - 1] = '\0';
    port->interface_id[sizeof(port->interface_id) - 1] = '\0';
    ret_message->outside.search[sizeof(ret_message->outside.search) - 1] = '\0';
    ret_message->err.text[sizeof(ret_message->err.text) - 1] = '\0';
    return 0;
}

unsigned channel_put_handles(const struct plane_handles *handles, struct message *message,
                             int ret_fds[PLANE_HANDLES])
{
    unsigned len = 0;

    message->handles = 0;
    for (unsigned i = 0; i < PLANE_HANDLES; i++) {
        if (handles->fd[i] < 0)
            continue;
        message->handles |= 1u << i;
        ret_fds[len++] = handles->fd[i];
    }
    return len;
}

void channel_take_handles(const struct message *message, const int *fds, unsigned fds_len,
                          struct plane_handles *ret_handles)
{
    unsigned next = 0;

    for (unsigned i = 0; i < PLANE_HANDLES; i++)
        ret_handles->fd[i] = (message->handles & (1u << i)) && next < fds_len ? fds[next++] : -1;
}
