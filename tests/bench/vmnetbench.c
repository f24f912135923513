/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnetbench [SECONDS]: what libvmnet costs. Frames go from one port of a network to another, a batch written, a
 * batch read, by vmnet_write() and vmnet_read() on two interfaces, and by writev() and readv() on two bare taps of
 * the same network. The two take turns in slices of 20 ms, and what counts is the thread's own time, in which the
 * kernel's work for the frames is: so what else the machine does hardly matters. It prints a JSON array with an object for each size of frames and of batches.
 */
#include <openvmnet.h>
#include <vmnet/vmnet.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#define BATCH_MAX 256
#define FRAME_MAX 1514
#define HEADER_BYTES 10
#define SLICE_NS 20000000
#define SLICES_MAX 1000

struct way {
    const char *name;
    /* Writes a batch of out[] to one and reads from the other: how many frames came. */
    int (*exchange)(int from, int to, int batch, size_t frame_bytes);
    uint8_t macs[2][6];
    double slices[SLICES_MAX];
    int slices_len;
};

static uint8_t out[BATCH_MAX][FRAME_MAX], in[BATCH_MAX][FRAME_MAX];

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "vmnetbench: %s\n", what);
    exit(1);
}

static void parse_mac(const char *text, uint8_t mac[6])
{
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5]) != 6)
        die("a MAC address");
}

/* ---- by libvmnet */

static interface_ref interfaces[2];

static void start_interface(int i, uint8_t mac[6])
{
    dispatch_queue_t queue = dispatch_queue_create("vmnetbench", NULL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    __block vmnet_return_t started = VMNET_FAILURE;

    xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, VMNET_HOST_MODE);
    interfaces[i] =
        vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t params) {
          started = status;
          if (status == VMNET_SUCCESS)
              parse_mac(xpc_dictionary_get_string(params, vmnet_mac_address_key), mac);
          dispatch_semaphore_signal(done);
        });
    dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER);
    if (started != VMNET_SUCCESS)
        die("an interface does not start: set VMNET_DEBUG");
}

static int exchange_vmnet(int from, int to, int batch, size_t frame_bytes)
{
    static struct vmpktdesc packets[BATCH_MAX];
    static struct iovec iov[BATCH_MAX];
    int count = batch;

    for (int i = 0; i < batch; i++) {
        iov[i] = (struct iovec){out[i], frame_bytes};
        packets[i] = (struct vmpktdesc){frame_bytes, &iov[i], 1, 0};
    }
    if (vmnet_write(interfaces[from], packets, &count) != VMNET_SUCCESS || count != batch)
        die("vmnet_write");
    for (int i = 0; i < batch; i++) {
        iov[i] = (struct iovec){in[i], FRAME_MAX};
        packets[i] = (struct vmpktdesc){FRAME_MAX, &iov[i], 1, 0};
    }
    if (vmnet_read(interfaces[to], packets, &count) != VMNET_SUCCESS)
        die("vmnet_read");
    return count;
}

/* ---- by bare taps */

static int taps[2];

static void open_tap(int i, uint8_t mac[6])
{
    const char *options[] = {"mode=host", "anti-spoof=off", NULL};
    struct openvmnet_error error;
    struct openvmnet_port *port = openvmnet_attach(options, &error);

    if (!port)
        die(error.text);
    parse_mac(openvmnet_port_get(port, "mac"), mac);
    taps[i] = openvmnet_port_take_fd(port);
    if (fcntl(taps[i], F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        die("O_NONBLOCK");
    openvmnet_port_free(&port);
}

static int exchange_taps(int from, int to, int batch, size_t frame_bytes)
{
    static uint8_t header[HEADER_BYTES];
    int count = 0;

    for (int i = 0; i < batch; i++) {
        struct iovec iov[2] = {{memset(header, 0, HEADER_BYTES), HEADER_BYTES},
                               {out[i], frame_bytes}};

        if (writev(taps[from], iov, 2) < 0)
            die("writev");
    }
    for (; count < batch; count++) {
        struct iovec iov[2] = {{header, HEADER_BYTES}, {in[count], FRAME_MAX}};

        if (readv(taps[to], iov, 2) < 0)
            break;
    }
    return count;
}

/* ---- the measurement */

static void make_frames(const struct way *way, int from, int to, int batch)
{
    for (int i = 0; i < batch; i++) {
        memcpy(out[i], way->macs[to], 6);
        memcpy(out[i] + 6, way->macs[from], 6);
        out[i][12] = 0x88; /* local experiments (IEEE 802) */
        out[i][13] = 0xb5;
    }
}

static void measure(struct way *way, int batch, size_t frame_bytes)
{
    uint64_t start_ns = now_ns(CLOCK_THREAD_CPUTIME_ID), end_ns;
    long frames = 0;

    make_frames(way, 0, 1, batch);
    do {
        frames += way->exchange(0, 1, batch, frame_bytes);
        end_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    } while (end_ns - start_ns < SLICE_NS);
    way->slices[way->slices_len++] = (double)frames * 1e9 / (double)(end_ns - start_ns);
}

/* The bridge has to know where each is, or it sends frames to all. */
static void warm_up(struct way *way)
{
    make_frames(way, 1, 0, 1);
    way->exchange(1, 0, 1, 60);
    measure(way, 1, 60);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(struct way *way)
{
    qsort(way->slices, (size_t)way->slices_len, sizeof(double), compare);
    return way->slices[way->slices_len / 2];
}

int main(int argc, char **argv)
{
    static const int batches[] = {1, 64};
    static const size_t sizes[] = {60, 1514};
    static struct way vmnet = {.name = "vmnet", .exchange = exchange_vmnet};
    static struct way tap = {.name = "tap", .exchange = exchange_taps};
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    bool first = true;

    for (int i = 0; i < 2; i++) {
        start_interface(i, vmnet.macs[i]);
        open_tap(i, tap.macs[i]);
    }
    warm_up(&vmnet);
    warm_up(&tap);
    for (size_t b = 0; b < sizeof(batches) / sizeof(batches[0]); b++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            uint64_t end_ns = now_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);

            vmnet.slices_len = tap.slices_len = 0;
            while (now_ns(CLOCK_MONOTONIC) < end_ns && vmnet.slices_len < SLICES_MAX) {
                measure(&vmnet, batches[b], sizes[s]);
                measure(&tap, batches[b], sizes[s]);
            }
            printf("%s{\"batch\": %d, \"bytes\": %zu, \"vmnet\": %.0f, \"tap\": %.0f, "
                   "\"ratio\": %.3f}",
                   first ? "[" : ",\n ", batches[b], sizes[s], median(&vmnet), median(&tap),
                   median(&vmnet) / median(&tap));
            first = false;
        }
    }
    puts("]");
    return 0;
}
