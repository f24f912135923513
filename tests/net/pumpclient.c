/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pumpclient KIND FD INTERFACE MAC: makes the kernel of this network namespace the guest of a socket port.
 *
 * tapguest.c for VM monitors that have no taps: FD is the client's end of a port of KIND "stream" (frames
 * with their length in 4 bytes, big-endian, in front) or "dgram" (a frame each). INTERFACE is a new tap
 * device. Each direction has a thread, which moves one frame after the other, as such monitors do. The first
 * byte on standard output says that the interface is there; the end of the port ends the program (status 3).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "interface.h"

#define FRAME_BYTES 65550
#define LENGTH_BYTES 4
#define EXIT_PORT_GONE 3

struct port {
    bool stream;
    int socket_fd, interface_fd;
};

static void *run_up(void *context)
{
    const struct port *port = context;
    uint8_t *data = malloc(LENGTH_BYTES + FRAME_BYTES);

    for (;;) {
        ssize_t len = read(port->interface_fd, data + LENGTH_BYTES, FRAME_BYTES), sent;
        const uint8_t *start = port->stream ? data : data + LENGTH_BYTES;

        if (len < 0)
            fail("the interface");
        for (int i = 0; i < LENGTH_BYTES; i++)
            data[i] = (uint8_t)(len >> (24 - 8 * i));
        len += port->stream ? LENGTH_BYTES : 0;
        for (; len > 0; len -= sent, start += sent) {
            sent = send(port->socket_fd, start, (size_t)len, MSG_NOSIGNAL);
            if (sent <= 0)
                _exit(EXIT_PORT_GONE);
        }
    }
    return NULL;
}

static void receive(const struct port *port, uint8_t *data, size_t len)
{
    if (recv(port->socket_fd, data, len, MSG_WAITALL) != (ssize_t)len)
        _exit(EXIT_PORT_GONE);
}

static void run_down(const struct port *port)
{
    static uint8_t data[FRAME_BYTES];

    for (;;) {
        ssize_t len;

        if (port->stream) {
            receive(port, data, LENGTH_BYTES);
            len = (ssize_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
            if (len < 14 || len > FRAME_BYTES)
                errno = EPROTO, fail("the length of a frame");
            receive(port, data, (size_t)len);
        } else {
            len = recv(port->socket_fd, data, sizeof(data), 0);
            if (len <= 0)
                _exit(EXIT_PORT_GONE);
        }
        /* A device that is down takes nothing: a frame that is not taken is lost, as on a wire. */
        (void)!write(port->interface_fd, data, (size_t)len);
    }
}

int main(int argc, char **argv)
{
    struct port port;
    pthread_t thread;

    if (argc != 5) {
        fprintf(stderr, "usage: pumpclient stream|dgram FD INTERFACE MAC\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    port.stream = strcmp(argv[1], "stream") == 0;
    port.socket_fd = atoi(argv[2]);
    port.interface_fd = open_interface(argv[3], argv[4], 0);
    if (fcntl(port.socket_fd, F_SETFL, 0) < 0)
        fail("the port");
    if (pthread_create(&thread, NULL, run_up, &port) != 0)
        fail("a thread");
    if (write(STDOUT_FILENO, "\n", 1) != 1)
        fail("standard output");
    close(STDOUT_FILENO);
    run_down(&port);
    return 0;
}
