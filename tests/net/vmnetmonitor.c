/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnetmonitor FD MODE: the same as vmnetsocket, as VM monitors do it that have an event loop of their own. One thread, the main
 * one, does all work and waits in poll(2). The interface is started and stopped with a semaphore; its event callback
 * does no more than to wake the loop, which reads as many packets as one call gives, and no further ones while the socket is full; a
 * packet of the guest's is written by itself, from two pieces. It knows vmnet.h, dispatch and XPC alone.
 *
 * When the socket's other end is gone, it stops the interface and ends with 0.
 */
#include <vmnet/vmnet.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKETS 200
#define FRAME_MAX 65550
#define HEADER_BYTES 14

struct monitor {
    int socket_fd, wake_fd[2];
    interface_ref interface;
    dispatch_queue_t queue;
    size_t packet_bytes;
    uint8_t *buffers;
    struct vmpktdesc packets[PACKETS];
    struct iovec iov[PACKETS];
    int first, end; /* those that were read and are still to be sent */
};

static void fail(const char *what, int status)
{
    fprintf(stderr, "vmnetmonitor: %s: status %d\n", what, status);
    exit(1);
}

static const char *text_of(xpc_object_t params, const char *key)
{
    const char *text = xpc_dictionary_get_string(params, key);

    return text ? text : "-";
}

static void start(struct monitor *monitor, const char *mode)
{
    dispatch_semaphore_t started = dispatch_semaphore_create(0);
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    __block vmnet_return_t result = VMNET_FAILURE;

    xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key,
                              strcmp(mode, "host") == 0 ? VMNET_HOST_MODE : VMNET_SHARED_MODE);
    monitor->interface =
        vmnet_start_interface(desc, monitor->queue, ^(vmnet_return_t status, xpc_object_t params) {
          result = status;
          if (status == VMNET_SUCCESS) {
              monitor->packet_bytes = xpc_dictionary_get_uint64(params, vmnet_max_packet_size_key);
              printf("%s %s %s %d\n", text_of(params, vmnet_mac_address_key),
                     text_of(params, vmnet_start_address_key),
                     text_of(params, vmnet_end_address_key),
                     (int)xpc_dictionary_get_uint64(params, vmnet_mtu_key));
              fflush(stdout);
          }
          dispatch_semaphore_signal(started);
        });
    dispatch_semaphore_wait(started, DISPATCH_TIME_FOREVER);
    dispatch_release(started);
    xpc_release(desc);
    if (!monitor->interface || result != VMNET_SUCCESS)
        fail("vmnet_start_interface", (int)result);
    monitor->buffers = calloc(PACKETS, monitor->packet_bytes);
    if (!monitor->buffers)
        fail("calloc", VMNET_MEM_FAILURE);
    result = vmnet_interface_set_event_callback(monitor->interface,
                                                VMNET_INTERFACE_PACKETS_AVAILABLE, monitor->queue,
                                                ^(interface_event_t event, xpc_object_t facts) {
                                                  (void)facts;
                                                  if (event == VMNET_INTERFACE_PACKETS_AVAILABLE)
                                                      (void)!write(monitor->wake_fd[1], "", 1);
                                                });
    if (result != VMNET_SUCCESS)
        fail("vmnet_interface_set_event_callback", (int)result);
}

/* Sends what was read. False where the socket is full: the rest waits. */
static bool send_packets(struct monitor *monitor)
{
    for (; monitor->first < monitor->end; monitor->first++) {
        const struct vmpktdesc *packet = &monitor->packets[monitor->first];

        if (send(monitor->socket_fd, packet->vm_pkt_iov->iov_base, packet->vm_pkt_size,
                 MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            (errno == EAGAIN || errno == ENOBUFS))
            return false;
    }
    return true;
}

static void read_packets(struct monitor *monitor)
{
    vmnet_return_t status;

    do {
        monitor->first = monitor->end = 0;
        for (int i = 0; i < PACKETS; i++) {
            monitor->iov[i] = (struct iovec){monitor->buffers + (size_t)i * monitor->packet_bytes,
                                             monitor->packet_bytes};
            monitor->packets[i] = (struct vmpktdesc){monitor->packet_bytes, &monitor->iov[i], 1, 0};
        }
        monitor->end = PACKETS;
        status = vmnet_read(monitor->interface, monitor->packets, &monitor->end);
        if (status != VMNET_SUCCESS)
            fail("vmnet_read", (int)status);
    } while (monitor->end > 0 && send_packets(monitor));
}

/* False at the socket's end. */
static bool write_packet(struct monitor *monitor)
{
    static uint8_t frame[FRAME_MAX];
    ssize_t len = recv(monitor->socket_fd, frame, sizeof(frame), MSG_DONTWAIT);
    struct iovec iov[2] = {{frame, HEADER_BYTES}, {frame + HEADER_BYTES, 0}};
    struct vmpktdesc packet = {(size_t)len, iov, 2, 0};
    int count = 1;

    if (len == 0 || (len < 0 && errno != EAGAIN))
        return false;
    if (len <= HEADER_BYTES)
        return true;
    iov[1].iov_len = (size_t)len - HEADER_BYTES;
    vmnet_write(monitor->interface, &packet, &count);
    return true;
}

static void stop(struct monitor *monitor)
{
    dispatch_semaphore_t stopped = dispatch_semaphore_create(0);
    __block vmnet_return_t result = VMNET_FAILURE;
    vmnet_return_t status;

    vmnet_interface_set_event_callback(monitor->interface, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL,
                                       NULL);
    status = vmnet_stop_interface(monitor->interface, monitor->queue, ^(vmnet_return_t ended) {
      result = ended;
      dispatch_semaphore_signal(stopped);
    });
    if (status != VMNET_SUCCESS)
        fail("vmnet_stop_interface", (int)status);
    dispatch_semaphore_wait(stopped, DISPATCH_TIME_FOREVER);
    dispatch_release(stopped);
    dispatch_release(monitor->queue);
    free(monitor->buffers);
    if (result != VMNET_SUCCESS)
        fail("the end of the interface", (int)result);
}

int main(int argc, char **argv)
{
    struct monitor monitor = {0};
    bool connected = true;

    if (argc != 3 || pipe(monitor.wake_fd) < 0) {
        fprintf(stderr, "usage: vmnetmonitor FD shared|host\n");
        return 2;
    }
    monitor.socket_fd = atoi(argv[1]);
    monitor.queue = dispatch_queue_create("vmnetmonitor", DISPATCH_QUEUE_SERIAL);
    start(&monitor, argv[2]);
    while (connected) {
        bool waits = monitor.first < monitor.end;
        struct pollfd polled[] = {
            {monitor.socket_fd, (short)(POLLIN | (waits ? POLLOUT : 0)), 0},
            {waits ? -1 : monitor.wake_fd[0], POLLIN, 0},
        };
        char bytes[64];

        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[1].revents & POLLIN)
            (void)!read(monitor.wake_fd[0], bytes, sizeof(bytes));
        if (polled[1].revents || (polled[0].revents & POLLOUT && send_packets(&monitor)))
            read_packets(&monitor);
        if (polled[0].revents & ~POLLOUT)
            connected = write_packet(&monitor);
    }
    stop(&monitor);
    return 0;
}
