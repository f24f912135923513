/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnet-batch [SECONDS [ADDRESS]]: a VM monitor's network device in small, with batches both ways. Each packet that comes is
 * answered as a machine would that knows ARP and ping and nothing else, in batches: what one vmnet_read() got is
 * answered by one vmnet_write(). It prints its address; ping it from another machine of the network, or from a
 * program (`vmnet exec shared -- ping ADDRESS`).
 *
 *   clang -fblocks vmnet-batch.c $(pkg-config --cflags --libs libvmnet) -o vmnet-batch
 *
 * The frames stay where they were read: the answers are written from the same buffers. A frame's headers and the
 * rest are two pieces of a buffer, as a virtio ring's descriptors are, so there are two iovecs a packet.
 */
#include <vmnet/vmnet.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64
#define HEAD_BYTES 64 /* the first piece of each packet */

struct batch {
    struct vmpktdesc packets[BATCH];
    struct iovec iov[BATCH][2];
    uint8_t *memory; /* BATCH times packet_bytes */
};

static interface_ref interface;
static size_t packet_bytes;
static uint8_t mac[6], ip[4];
static unsigned long received, answered, batches;

static uint8_t *frame_of(const struct batch *batch, int i)
{
    return batch->memory + (size_t)i * packet_bytes;
}

/* Describes packet @i as @len_bytes in two pieces. */
static void describe(struct batch *batch, int i, uint8_t *frame, size_t len_bytes)
{
    size_t head_bytes = len_bytes < HEAD_BYTES ? len_bytes : HEAD_BYTES;

    batch->iov[i][0] = (struct iovec){frame, head_bytes};
    batch->iov[i][1] = (struct iovec){frame + head_bytes, len_bytes - head_bytes};
    batch->packets[i] = (struct vmpktdesc){
        .vm_pkt_size = len_bytes, .vm_pkt_iov = batch->iov[i], .vm_pkt_iovcnt = 2};
}

static void swap(uint8_t *a, uint8_t *b, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++) {
        uint8_t byte = a[i];

        a[i] = b[i];
        b[i] = byte;
    }
}

/* Turns @frame into its answer: 1, or 0 where it has none. */
static int answer(uint8_t *frame, size_t len_bytes)
{
    if (len_bytes >= 42 && frame[12] == 0x08 && frame[13] == 0x06 && frame[21] == 1 &&
        memcmp(frame + 38, ip, 4) == 0) {
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, mac, 6);
        frame[21] = 2;
        memcpy(frame + 32, frame + 22, 10); /* who asked is the target */
        memcpy(frame + 22, mac, 6);
        memcpy(frame + 28, ip, 4);
        return 1;
    }
    if (len_bytes >= 42 && frame[12] == 0x08 && frame[13] == 0x00 && frame[14] == 0x45 &&
        frame[23] == 1 && frame[34] == 8 && memcmp(frame + 30, ip, 4) == 0) {
        uint32_t sum = (uint32_t)(frame[36] << 8 | frame[37]) + 0x0800;

        swap(frame, frame + 6, 6);
        swap(frame + 26, frame + 30, 4);
        frame[34] = 0;
        /* The type was 8 and is 0: the checksum grows by as much (RFC 1624). */
        sum = (sum & 0xffff) + (sum >> 16);
        frame[36] = (uint8_t)(sum >> 8);
        frame[37] = (uint8_t)sum;
        return 1;
    }
    return 0;
}

static void write_all(struct batch *batch, int len)
{
    int count = len;

    if (len == 0)
        return;
    if (vmnet_write(interface, batch->packets, &count) != VMNET_SUCCESS)
        fprintf(stderr, "vmnet-batch: %d of %d packets were written\n", count, len);
    else
        answered += (unsigned long)count;
}

/* The event: until a batch is not full. */
static void on_packets(struct batch *in, struct batch *out)
{
    int count;

    do {
        int answers = 0;

        for (int i = 0; i < BATCH; i++)
            describe(in, i, frame_of(in, i), packet_bytes);
        count = BATCH;
        if (vmnet_read(interface, in->packets, &count) != VMNET_SUCCESS)
            return;
        for (int i = 0; i < count; i++) {
            size_t len_bytes = in->packets[i].vm_pkt_size;

            if (answer(frame_of(in, i), len_bytes))
                describe(out, answers++, frame_of(in, i), len_bytes);
        }
        write_all(out, answers);
        received += (unsigned long)count;
        batches += count > 0;
    } while (count == BATCH);
}

/* @address NULL: the last of the range, which others get last. */
static int take_parameters(xpc_object_t parameters, const char *address)
{
    const char *text = xpc_dictionary_get_string(parameters, vmnet_mac_address_key);

    if (!address)
        address = xpc_dictionary_get_string(parameters, vmnet_end_address_key);

    packet_bytes = xpc_dictionary_get_uint64(parameters, vmnet_max_packet_size_key);
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5]) != 6 ||
        inet_pton(AF_INET, address, ip) != 1)
        return -1;
    printf("%s answers\n", address);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    dispatch_queue_t queue = dispatch_queue_create("vmnet-batch", DISPATCH_QUEUE_SERIAL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    xpc_object_t description = xpc_dictionary_create(NULL, NULL, 0);
    struct batch *in = calloc(1, sizeof(*in)), *out = calloc(1, sizeof(*out));
    int64_t seconds = argc > 1 ? atoi(argv[1]) : 10;
    const char *address = argc > 2 ? argv[2] : NULL;
    __block int result = -1;

    xpc_dictionary_set_uint64(description, vmnet_operation_mode_key, VMNET_SHARED_MODE);
    interface = vmnet_start_interface(description, queue,
                                      ^(vmnet_return_t status, xpc_object_t parameters) {
                                        if (status == VMNET_SUCCESS)
                                            result = take_parameters(parameters, address);
                                        dispatch_semaphore_signal(done);
                                      });
    xpc_release(description);
    dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER);
    if (!interface || result < 0 || !in || !out) {
        fprintf(stderr, "vmnet-batch: the interface does not start\n");
        return 1;
    }
    in->memory = calloc(BATCH, packet_bytes);
    vmnet_interface_set_event_callback(interface, VMNET_INTERFACE_PACKETS_AVAILABLE, queue,
                                       ^(interface_event_t event, xpc_object_t facts) {
                                         (void)event;
                                         (void)facts;
                                         on_packets(in, out);
                                       });
    dispatch_semaphore_wait(done,
                            dispatch_time(DISPATCH_TIME_NOW, seconds * (int64_t)NSEC_PER_SEC));
    vmnet_stop_interface(interface, queue, ^(vmnet_return_t status) {
      (void)status;
      dispatch_semaphore_signal(done);
    });
    dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER);
    printf("%lu packets in %lu batches, %lu answers\n", received, batches, answered);
    return 0;
}
