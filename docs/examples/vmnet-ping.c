/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnet-ping: the smallest client of vmnet.h. It starts an interface in shared mode, pings the gateway with raw
 * Ethernet frames, and stops. Nothing in it is Linux's own: it is for libvmnet, and for macOS.
 *
 *   clang -fblocks vmnet-ping.c $(pkg-config --cflags --libs libvmnet) -o vmnet-ping
 *   clang vmnet-ping.c -framework vmnet -o vmnet-ping           (macOS, run as root)
 *
 * What happens in which thread: the completions and the callback run on the queue; the callback reads until
 * nothing is left and keeps what main() waits for.
 */
#include <vmnet/vmnet.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PINGS 3
#define ANSWER_S 2
#define ECHO_BYTES 56 /* after the ICMP header, as ping(8) has it */

/* Network order and no padding: every field is at a multiple of its size. */
struct arp_frame {
    uint8_t to[6], from[6];
    uint16_t type, hardware, protocol;
    uint8_t hardware_len, protocol_len;
    uint16_t operation;
    uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
};

struct echo_frame {
    uint8_t to[6], from[6];
    uint16_t type;
    uint8_t version_len, service;
    uint16_t len, id, fragment;
    uint8_t ttl, protocol;
    uint16_t checksum;
    uint8_t source[4], target[4];
    uint8_t icmp_type, code; /* from here ICMP */
    uint16_t icmp_checksum, icmp_id, sequence;
    uint8_t data[ECHO_BYTES];
};

static interface_ref interface;
static uint8_t mac[6], ip[4], gateway_mac[6], gateway_ip[4];
static size_t max_packet_bytes;
static uint8_t *buffer;
static dispatch_semaphore_t answered;

/* RFC 1071; in network order, as the data. */
static uint16_t checksum(const void *data, size_t len_bytes)
{
    const uint8_t *bytes = data;
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < len_bytes; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static int send_frame(void *frame, size_t len_bytes)
{
    struct iovec iov = {frame, len_bytes};
    struct vmpktdesc packet = {.vm_pkt_size = len_bytes, .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
    int count = 1;

    return vmnet_write(interface, &packet, &count) == VMNET_SUCCESS && count == 1 ? 0 : -1;
}

static void take_frame(size_t len_bytes)
{
    const struct arp_frame *arp = (const void *)buffer;
    const struct echo_frame *echo = (const void *)buffer;

    if (len_bytes >= sizeof(*arp) && arp->type == htons(0x0806) && arp->operation == htons(2) &&
        memcmp(arp->sender_ip, gateway_ip, 4) == 0) {
        memcpy(gateway_mac, arp->sender_mac, 6);
        dispatch_semaphore_signal(answered);
    } else if (len_bytes >= sizeof(*echo) && echo->type == htons(0x0800) && echo->protocol == 1 &&
               echo->icmp_type == 0 && memcmp(echo->source, gateway_ip, 4) == 0) {
        dispatch_semaphore_signal(answered);
    }
}

/* On the queue: an event comes again while packets are left, so one a time would do as well. */
static void read_all(void)
{
    for (;;) {
        struct iovec iov = {buffer, max_packet_bytes};
        struct vmpktdesc packet = {
            .vm_pkt_size = max_packet_bytes, .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
        int count = 1;

        if (vmnet_read(interface, &packet, &count) != VMNET_SUCCESS || count < 1)
            return;
        take_frame(packet.vm_pkt_size);
    }
}

static int wait_for_answer(void)
{
    dispatch_time_t deadline = dispatch_time(DISPATCH_TIME_NOW, ANSWER_S * (int64_t)NSEC_PER_SEC);

    return dispatch_semaphore_wait(answered, deadline) == 0 ? 0 : -1;
}

/* Who has the gateway's address? */
static int find_gateway(void)
{
    struct arp_frame ask = {.type = htons(0x0806),
                            .hardware = htons(1),
                            .protocol = htons(0x0800),
                            .hardware_len = 6,
                            .protocol_len = 4,
                            .operation = htons(1)};

    memset(ask.to, 0xff, 6);
    memcpy(ask.from, mac, 6);
    memcpy(ask.sender_mac, mac, 6);
    memcpy(ask.sender_ip, ip, 4);
    memcpy(ask.target_ip, gateway_ip, 4);
    return send_frame(&ask, sizeof(ask)) < 0 ? -1 : wait_for_answer();
}

static int ping(uint16_t sequence)
{
    struct echo_frame ask = {.type = htons(0x0800),
                             .version_len = 0x45,
                             .len = htons(sizeof(ask) - 14),
                             .ttl = 64,
                             .protocol = 1,
                             .icmp_type = 8,
                             .sequence = htons(sequence)};
    struct timespec before, after;

    memcpy(ask.to, gateway_mac, 6);
    memcpy(ask.from, mac, 6);
    memcpy(ask.source, ip, 4);
    memcpy(ask.target, gateway_ip, 4);
    ask.checksum = checksum(&ask.version_len, 20);
    ask.icmp_checksum = checksum(&ask.icmp_type, sizeof(ask) - 34);
    clock_gettime(CLOCK_MONOTONIC, &before);
    if (send_frame(&ask, sizeof(ask)) < 0 || wait_for_answer() < 0)
        return -1;
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("ping %d: %.3f ms\n", sequence,
           (double)(after.tv_sec - before.tv_sec) * 1e3 +
               (double)(after.tv_nsec - before.tv_nsec) / 1e6);
    return 0;
}

/* Without a DHCP client: the last address of the range is one that others get last. */
static int take_parameters(xpc_object_t parameters)
{
    const char *text = xpc_dictionary_get_string(parameters, vmnet_mac_address_key);
    const char *start = xpc_dictionary_get_string(parameters, vmnet_start_address_key);
    const char *end = xpc_dictionary_get_string(parameters, vmnet_end_address_key);

    max_packet_bytes = xpc_dictionary_get_uint64(parameters, vmnet_max_packet_size_key);
    printf("MAC %s, MTU %d, gateway %s, address %s\n", text,
           (int)xpc_dictionary_get_uint64(parameters, vmnet_mtu_key), start, end);
    return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
                  &mac[4], &mac[5]) == 6 &&
                   inet_pton(AF_INET, start, gateway_ip) == 1 && inet_pton(AF_INET, end, ip) == 1
               ? 0
               : -1;
}

int main(void)
{
    dispatch_queue_t queue = dispatch_queue_create("vmnet-ping", DISPATCH_QUEUE_SERIAL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    xpc_object_t description = xpc_dictionary_create(NULL, NULL, 0);
    __block vmnet_return_t status = VMNET_FAILURE;
    __block int result = -1, answers = 0;

    xpc_dictionary_set_uint64(description, vmnet_operation_mode_key, VMNET_SHARED_MODE);
    interface = vmnet_start_interface(description, queue,
                                      ^(vmnet_return_t start_status, xpc_object_t parameters) {
                                        status = start_status;
                                        if (status == VMNET_SUCCESS)
                                            result = take_parameters(parameters);
                                        dispatch_semaphore_signal(done);
                                      });
    xpc_release(description);
    dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER);
    if (!interface || result < 0) {
        fprintf(stderr, "vmnet-ping: the interface does not start: status %d\n", status);
        dispatch_release(done);
        dispatch_release(queue);
        return 1;
    }
    answered = dispatch_semaphore_create(0);
    buffer = malloc(max_packet_bytes);
    vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, queue,
                                       ^(interface_event_t event, xpc_object_t facts) {
                                         (void)event;
                                         (void)facts;
                                         read_all();
                                       });
    if (find_gateway() == 0)
        for (uint16_t i = 1; i <= PINGS; i++)
            answers += ping(i) == 0;
    else
        fprintf(stderr, "vmnet-ping: the gateway does not answer\n");
    vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL, NULL);
    vmnet_stop_interface(interface, queue, ^(vmnet_return_t stop_status) {
      (void)stop_status;
      dispatch_semaphore_signal(done);
    });
    dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER);
    free(buffer);
    dispatch_release(answered);
    dispatch_release(done);
    dispatch_release(queue);
    return answers == PINGS ? 0 : 1;
}
