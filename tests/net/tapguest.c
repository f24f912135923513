/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tapguest FD INTERFACE MAC: makes the kernel of this network namespace the guest of a port.
 *
 * FD is a port's packet descriptor, as a VM monitor gets it. INTERFACE is a new tap device, with the
 * same virtio-net header and offloads as a virtio device has, so that frames of 64 KiB pass as they do
 * to a real guest. Each direction has a thread, which moves one frame after the other. The first byte
 * on standard output says that the interface is there; the end of the port ends the program (status 3).
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "interface.h"

#define FRAME_BYTES (65536 + 256)
#define EXIT_PORT_GONE 3

/* <linux/if_tun.h> has them since Linux 6.2; what is older refuses them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct direction {
    int from_fd, to_fd;
};

static void *pump(void *context)
{
    const struct direction *direction = context;
    char *frame = malloc(FRAME_BYTES);

    for (;;) {
        ssize_t len = read(direction->from_fd, frame, FRAME_BYTES);

        if (len < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (len < 0)
            _exit(EXIT_PORT_GONE);
        /* A device that is down takes nothing: a frame that is not taken is lost, as on a wire. */
        if (write(direction->to_fd, frame, (size_t)len) < 0 && errno == EBADFD)
            _exit(EXIT_PORT_GONE);
    }
    return NULL;
}

static void set_offloads(int fd)
{
    const unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    int header_bytes = 10;

    if (ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
        (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 &&
         ioctl(fd, TUNSETOFFLOAD, offloads) < 0))
        fail("offloads");
}

int main(int argc, char **argv)
{
    struct direction up, down;
    pthread_t thread;
    int port_fd, interface_fd;

    if (argc != 4) {
        fprintf(stderr, "usage: tapguest FD INTERFACE MAC\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    port_fd = atoi(argv[1]);
    interface_fd = open_interface(argv[2], argv[3], IFF_VNET_HDR);
    set_offloads(port_fd);
    set_offloads(interface_fd);
    if (fcntl(port_fd, F_SETFL, 0) < 0)
        fail("the port");
    up = (struct direction){interface_fd, port_fd};
    down = (struct direction){port_fd, interface_fd};
    if (pthread_create(&thread, NULL, pump, &up) != 0)
        fail("a thread");
    if (write(STDOUT_FILENO, "\n", 1) != 1)
        fail("standard output");
    close(STDOUT_FILENO);
    pump(&down);
    return 0;
}
