/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnetsocket FD MODE OPTION...: frames between an interface of vmnet.h and a socket with a frame a packet, as programs do that
 * serve VM monitors without vmnet. It knows vmnet.h, dispatch and XPC alone.
 *
 * MODE is shared, host or bridged:INTERFACE; OPTIONs are own-mac, tso, checksum, isolated, one (a packet an event, instead of all that
 * there are), no-nat44 and no-nat66 (on a network object of its own, which is without). It prints
 * "MAC START END MTU" when it is up, "-" for what there is not (a MAC that is the guest's own), and ends when the socket's other end does, without stopping the interface: that is part of the test.
 * Where a write fails, and reading does too, the interface is gone: it ends with ENDED_STATUS.
 */
#include <vmnet/vmnet.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 32
#define FRAME_MAX 65550
#define BRIDGED "bridged:"
#define ENDED_STATUS 3

static interface_ref interface;
static int socket_fd;
static size_t packet_bytes;
static bool one_an_event;
static vmnet_network_configuration_ref configuration; /* or NULL: the mode's network */
static uint8_t frames[BATCH][FRAME_MAX];

/* On the interface's queue. */
static void on_packets(void)
{
    int count;

    do {
        struct vmpktdesc packets[BATCH];
        struct iovec iov[BATCH];
        int wanted = one_an_event ? 1 : BATCH;

        for (int i = 0; i < wanted; i++) {
            iov[i] = (struct iovec){frames[i], packet_bytes};
            packets[i] = (struct vmpktdesc){packet_bytes, &iov[i], 1, 0};
        }
        count = wanted;
        if (vmnet_read(interface, packets, &count) != VMNET_SUCCESS)
            return;
        for (int i = 0; i < count; i++)
            (void)!send(socket_fd, frames[i], packets[i].vm_pkt_size, MSG_NOSIGNAL);
    } while (count == BATCH && !one_an_event);
}

static bool is_gone(void)
{
    static uint8_t frame[FRAME_MAX];
    struct iovec iov = {frame, packet_bytes};
    struct vmpktdesc packet = {packet_bytes, &iov, 1, 0};
    int count = 1;

    return vmnet_read(interface, &packet, &count) == VMNET_FAILURE;
}

/* On the socket's queue: what has come goes in one call. */
static void on_socket(void)
{
    static uint8_t buffers[BATCH][FRAME_MAX];
    struct vmpktdesc packets[BATCH];
    struct iovec iov[BATCH];
    int count = 0;

    while (count < BATCH) {
        ssize_t len = recv(socket_fd, buffers[count], FRAME_MAX, MSG_DONTWAIT);

        if (len == 0)
            _exit(0); /* without vmnet_stop_interface() */
        if (len < 14)
            break;
        iov[count] = (struct iovec){buffers[count], (size_t)len};
        packets[count] = (struct vmpktdesc){(size_t)len, &iov[count], 1, 0};
        count++;
    }
    if (count && vmnet_write(interface, packets, &count) == VMNET_FAILURE && is_gone())
        _exit(ENDED_STATUS);
}

static xpc_object_t read_options(char **argv)
{
    static const struct {
        const char *name;
        const char *const *key;
        bool value;
    } switches[] = {
        {"own-mac", &vmnet_allocate_mac_address_key, false},
        {"tso", &vmnet_enable_tso_key, true},
        {"checksum", &vmnet_enable_checksum_offload_key, true},
        {"isolated", &vmnet_enable_isolation_key, true},
    };
    static const struct {
        const char *name;
        void (*disable)(vmnet_network_configuration_ref configuration);
    } nats[] = {
        {"no-nat44", vmnet_network_configuration_disable_nat44},
        {"no-nat66", vmnet_network_configuration_disable_nat66},
    };
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);

    if (strncmp(argv[0], BRIDGED, strlen(BRIDGED)) == 0) {
        xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, VMNET_BRIDGED_MODE);
        xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, argv[0] + strlen(BRIDGED));
    } else {
        xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key,
                                  strcmp(argv[0], "host") == 0 ? VMNET_HOST_MODE
                                                               : VMNET_SHARED_MODE);
    }
    for (argv++; *argv; argv++) {
        for (size_t i = 0; i < sizeof(nats) / sizeof(nats[0]); i++) {
            if (strcmp(*argv, nats[i].name) != 0)
                continue;
            if (!configuration)
                configuration = vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
            nats[i].disable(configuration);
        }
        one_an_event = one_an_event || strcmp(*argv, "one") == 0;
        for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
            if (strcmp(*argv, switches[i].name) == 0)
                xpc_dictionary_set_bool(desc, *switches[i].key, switches[i].value);
    }
    return desc;
}

static const char *text_of(xpc_object_t params, const char *key)
{
    const char *text = xpc_dictionary_get_string(params, key);

    return text ? text : "-";
}

static void print_parameters(xpc_object_t params)
{
    packet_bytes = xpc_dictionary_get_uint64(params, vmnet_max_packet_size_key);
    printf("%s %s %s %d\n", text_of(params, vmnet_mac_address_key),
           text_of(params, vmnet_start_address_key), text_of(params, vmnet_end_address_key),
           (int)xpc_dictionary_get_uint64(params, vmnet_mtu_key));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    dispatch_queue_t queue = dispatch_queue_create("vmnetsocket.interface", DISPATCH_QUEUE_SERIAL);
    dispatch_queue_t socket_queue = dispatch_queue_create("vmnetsocket.socket", NULL);
    vmnet_start_interface_completion_handler_t started;
    dispatch_source_t source;
    xpc_object_t desc;

    if (argc < 3) {
        fprintf(stderr, "usage: vmnetsocket FD shared|host|bridged:INTERFACE OPTION...\n");
        return 2;
    }
    socket_fd = atoi(argv[1]);
    desc = read_options(argv + 2);
    source =
        dispatch_source_create(DISPATCH_SOURCE_TYPE_READ, (uintptr_t)socket_fd, 0, socket_queue);
    dispatch_source_set_event_handler(source, ^{
      on_socket();
    });
    dispatch_suspend(queue); /* the completion waits until there is an interface */
    started = ^(vmnet_return_t status, xpc_object_t params) {
      if (status != VMNET_SUCCESS) {
          fprintf(stderr, "vmnetsocket: status %d\n", status);
          exit(1);
      }
      print_parameters(params);
      vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, queue,
                                         ^(interface_event_t event, xpc_object_t facts) {
                                           (void)event;
                                           (void)facts;
                                           on_packets();
                                         });
      dispatch_resume(source);
    };
    interface = configuration ? vmnet_interface_start_with_network(
                                    vmnet_network_create(configuration, NULL), desc, queue, started)
                              : vmnet_start_interface(desc, queue, started);
    dispatch_resume(queue);
    xpc_release(desc);
    dispatch_main();
}
