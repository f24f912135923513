/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that are open and idle. Each has carried a byte there and back, so that whatever relays it
 * has set up all that it needs for it. One thread and one process at either end, whatever the number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netbench.h"

#define EVENTS 64
#define STEP_S 10 /* to open the flows of one step; some peers would take a minute and more */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void accept_flows(int epoll_fd, int listener_fd)
{
    int fd;

    while ((fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            close(fd);
    }
}

/* Sends back what comes, until the other side ends. */
static void answer_flow(int fd)
{
    char data[MESSAGE_BYTES];
    ssize_t len = recv(fd, data, sizeof(data), 0);

    if (len < 0 && errno == EAGAIN)
        return;
    if (len <= 0 || !write_all(fd, data, (size_t)len))
        close(fd);
}

_Noreturn void serve_flows(int listener_fd)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.fd = listener_fd};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    raise_descriptor_limit();
    fcntl(listener_fd, F_SETFL, O_NONBLOCK);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener_fd, &event) < 0)
        fail("epoll");
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener_fd)
                accept_flows(epoll_fd, listener_fd);
            else
                answer_flow(events[i].data.fd);
        }
    }
}

/* One more, which has carried a byte. False with errno where that does not work. */
static bool open_flow(const struct sockaddr_in *server)
{
    char byte = 0;
    int error, fd = open_stream(server, &error);

    if (fd < 0) {
        errno = error;
        return false;
    }
    return write_all(fd, &byte, 1) && read_all(fd, &byte, 1);
}

/*
 * Opens flows up to each of @counts in turn. A line says how many are open, then it waits for a line that
 * lets it go on; the end of standard input ends them all. Where one does not open, or the time is over, it
 * says so behind the number of those that are open, and holds these.
 */
int run_flows(const struct sockaddr_in *server, char **counts)
{
    char line[16];
    const char *why = "";
    int open_flows = 0;

    raise_descriptor_limit();
    for (; *counts && !*why; counts++) {
        uint64_t end_ns = now_ns() + (uint64_t)STEP_S * 1000000000;

        while (open_flows < atoi(*counts) && !*why) {
            if (now_ns() > end_ns)
                why = "the time is over";
            else if (!open_flow(server))
                why = strerror(errno);
            else
                open_flows++;
        }
        printf("%d %s\n", open_flows, why);
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin))
            break;
    }
    return 0;
}
