/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet connect`: standard input and output as a TCP connection to a machine of a network.
 *
 * The end of one direction is passed on and the other goes on, as TCP has it. Nobody's descriptor is set
 * to non-blocking, for standard input and output are shared with other programs: a direction reads or
 * writes when poll() says that it can, and writes no more than what then fits surely.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "client/client.h"

#define BUFFER_BYTES 65536
#define WRITE_BYTES 4096 /* PIPE_BUF on Linux: a pipe that can be written takes so many at once */
#define SUFFIX ".vmnet"
#define DEFAULT_NETWORK "shared"

/* ---- the two directions */

struct direction {
    int from_fd, to_fd; /* -1: ended */
    bool to_socket;     /* else from it */
    size_t start, end;  /* what of the buffer waits to be written */
    char buf[BUFFER_BYTES];
};

static bool is_waiting(int error)
{
    return error == EINTR || error == EAGAIN;
}

/* The end is told to who reads. The socket still serves the other direction. */
static void end_direction(struct direction *direction)
{
    if (direction->to_socket)
        shutdown(direction->to_fd, SHUT_WR);
    else
        close(direction->to_fd);
    direction->from_fd = direction->to_fd = -1;
}

/* 0, or -errno where the connection is lost. */
static int read_some(struct direction *direction)
{
    ssize_t len = read(direction->from_fd, direction->buf, sizeof(direction->buf));

    if (len > 0) {
        direction->start = 0;
        direction->end = (size_t)len;
    } else if (len == 0) {
        end_direction(direction);
    } else if (!is_waiting(errno)) {
        return -errno;
    }
    return 0;
}

static int write_some(struct direction *direction)
{
    const char *data = direction->buf + direction->start;
    size_t len = direction->end - direction->start;
    ssize_t written;

    /* What is written to standard output that nobody reads ends this program, as any other. */
    if (direction->to_socket)
        written = send(direction->to_fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        written = write(direction->to_fd, data, len < WRITE_BYTES ? len : WRITE_BYTES);
    if (written < 0)
        return is_waiting(errno) ? 0 : -errno;
    direction->start += (size_t)written;
    return 0;
}

static struct pollfd direction_poll(const struct direction *direction)
{
    bool has_data = direction->start < direction->end;

    return (struct pollfd){.fd = has_data ? direction->to_fd : direction->from_fd,
                           .events = has_data ? POLLOUT : POLLIN};
}

static int move_some(struct direction *direction)
{
    return direction->start < direction->end ? write_some(direction) : read_some(direction);
}

/* Until both directions have ended. 0 or -errno. */
static int relay(struct direction *up, struct direction *down)
{
    /* A person who sees the other side end need not end the input as well. */
    bool is_person = isatty(STDIN_FILENO);
    int rc = 0;

    while (rc == 0 && (down->to_fd >= 0 || (up->to_fd >= 0 && !is_person))) {
        struct pollfd fds[2] = {direction_poll(up), direction_poll(down)};

        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR)
                return -errno;
            continue;
        }
        if (fds[0].revents)
            rc = move_some(up);
        if (rc == 0 && fds[1].revents)
            rc = move_some(down);
        /* The other side has gone altogether: it does not read any more. */
        if (rc == -EPIPE && down->to_fd < 0)
            return 0;
    }
    return rc;
}

static int relay_standard_streams(int socket_fd)
{
    struct direction *both = calloc(2, sizeof(*both));
    int rc;

    if (!both)
        return -ENOMEM;
    both[0].from_fd = STDIN_FILENO;
    both[0].to_fd = socket_fd;
    both[0].to_socket = true;
    both[1].from_fd = socket_fd;
    both[1].to_fd = STDOUT_FILENO;
    rc = relay(&both[0], &both[1]);
    free(both);
    return rc;
}

/* ---- where to */

struct target {
    char network[NET_NAME_MAX + 1];
    char host[NET_HOSTNAME_MAX + 1 + IP_TEXT_MAX];
    unsigned port;
};

/* "HOST.vmnet" is on the default network, "HOST.NET.vmnet" on NET, which may have dots itself. */
static int split_name(const char *name, struct target *target, struct err *err)
{
    size_t len = strlen(name), host_len = strcspn(name, ".");
    size_t rest_len = len - host_len, suffix_len = strlen(SUFFIX);

    if (rest_len < suffix_len || strcasecmp(name + len - suffix_len, SUFFIX) != 0 || !host_len)
        return err_set(err, -EINVAL,
                       "'%s' names no network: write NET HOST PORT, or HOST.NET" SUFFIX " PORT",
                       name);
    rest_len -= suffix_len;
    if (host_len >= sizeof(target->host) || rest_len >= sizeof(target->network) + 1)
        return err_set(err, -EINVAL, "'%s' is too long", name);
    memcpy(target->host, name, host_len);
    target->host[host_len] = '\0';
    if (rest_len)
        snprintf(target->network, sizeof(target->network), "%.*s", (int)rest_len - 1,
                 name + host_len + 1);
    else
        snprintf(target->network, sizeof(target->network), DEFAULT_NETWORK);
    return 0;
}

static int read_target(const struct cli_args *args, struct target *ret_target, struct err *err)
{
    const char *port = args->argv[args->argc - 1];
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    int rc = 0;

    if (*port < '0' || *port > '9' || *end || number < 1 || number > UINT16_MAX)
        return err_set(err, -EINVAL, "'%s' is not a port: write a number from 1 to 65535", port);
    ret_target->port = (unsigned)number;
    if (args->argc == 2) {
        rc = split_name(args->argv[0], ret_target, err);
    } else {
        if (strlen(args->argv[1]) >= sizeof(ret_target->host))
            return err_set(err, -EINVAL, "'%s' is too long for a host", args->argv[1]);
        rc = net_name_check(args->argv[0], err);
        snprintf(ret_target->network, sizeof(ret_target->network), "%s", args->argv[0]);
        snprintf(ret_target->host, sizeof(ret_target->host), "%s", args->argv[1]);
    }
    return rc < 0 ? rc : net_name_check(ret_target->network, err);
}

enum cli_exit cmd_connect(const struct cli_args *args)
{
    struct target target = {0};
    struct err err = {0};
    int fd, rc;

    if (read_target(args, &target, &err) < 0)
        return cli_fail(CLI_USAGE, "connect: %s", err.text);
    if (client_connect(target.network, target.host, target.port, &fd, &err) < 0)
        return cli_fail(CLI_FAILED, "connect: network '%s': %s", target.network, err.text);
    rc = relay_standard_streams(fd);
    close(fd);
    if (rc < 0)
        return cli_fail(CLI_FAILED, "connect: %s port %u: %s", target.host, target.port,
                        strerror(-rc));
    return CLI_DONE;
}
