/* SPDX-License-Identifier: Apache-2.0 */
/* Read and write: counts, pieces, sizes, errors; two clients that exchange traffic. */
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define BATCH 200

/* Descriptions of @len packets of @packet_bytes each, one piece a packet. */
struct batch {
    struct vmpktdesc packets[BATCH];
    struct iovec iov[BATCH];
    uint8_t *memory;
};

static void batch_init(struct batch *batch, size_t packet_bytes)
{
    batch->memory = calloc(BATCH, packet_bytes);
    for (int i = 0; i < BATCH; i++) {
        batch->iov[i] = (struct iovec){batch->memory + (size_t)i * packet_bytes, packet_bytes};
        batch->packets[i] = (struct vmpktdesc){packet_bytes, &batch->iov[i], 1, 0};
    }
}

static void test_batches(void)
{
    static struct batch out, in;
    uint32_t expected = 0;
    struct net nets[2];
    int count = BATCH, got = 0, sizes = 0;

    if (nets_start(nets)) {
        batch_init(&out, 1514);
        batch_init(&in, 1514);
        for (int i = 0; i < BATCH; i++) {
            size_t len_bytes = i % 2 ? 1514 : 60;

            frame_make(out.iov[i].iov_base, len_bytes, nets[1].mac, nets[0].mac, (uint32_t)i);
            out.iov[i].iov_len = out.packets[i].vm_pkt_size = len_bytes;
        }
        check_status(vmnet_write(nets[0].ref, out.packets, &count), VMNET_SUCCESS,
                     "write of 200 packets");
        check(count == BATCH, "all are written");
        for (int tries = 0; tries < 100 && got < BATCH; tries++) {
            uint32_t number;

            for (int i = 0; i < BATCH; i++)
                in.packets[i].vm_pkt_size = 1514;
            count = BATCH;
            if (vmnet_read(nets[1].ref, in.packets, &count) != VMNET_SUCCESS)
                break;
            for (int i = 0; i < count; i++) {
                size_t len_bytes = in.packets[i].vm_pkt_size;

                if (!frame_number(in.iov[i].iov_base, len_bytes, &number))
                    continue;
                got++;
                expected += number == (uint32_t)got - 1;
                sizes += len_bytes == (number % 2 ? 1514U : 60U) && in.packets[i].vm_flags == 0 &&
                         in.iov[i].iov_len == 1514;
            }
        }
        check(got == BATCH, "all are read: %d", got);
        check(expected == BATCH, "in order, and unchanged");
        check(sizes == BATCH, "vm_pkt_size is the frame's, iov_len the buffer's, vm_flags 0");
        count = BATCH;
        for (int i = 0; i < BATCH; i++)
            in.packets[i].vm_pkt_size = 1514;
        net_drain(&nets[1]);
        check_status(vmnet_read(nets[1].ref, in.packets, &count), VMNET_SUCCESS,
                     "read when there is nothing");
        check(count == 0, "has a count of 0");
        free(out.memory);
        free(in.memory);
    }
    nets_stop(nets);
}

/* Writes in @pieces pieces, reads in as many. */
static bool exchange_in_pieces(struct net nets[2], unsigned pieces)
{
    uint8_t out[1514], in[1514];
    struct iovec out_iov[16], in_iov[16];
    struct vmpktdesc packet = {1514, out_iov, pieces, 0};
    int count = 1;

    frame_make(out, sizeof(out), nets[1].mac, nets[0].mac, pieces);
    memset(in, 0, sizeof(in));
    for (unsigned i = 0; i < pieces; i++) {
        size_t from = i ? 7 * i : 0, to = i + 1 < pieces ? 7 * (i + 1) : sizeof(out);

        out_iov[i] = (struct iovec){out + from, to - from};
        in_iov[i] = (struct iovec){in + from, to - from};
    }
    if (vmnet_write(nets[0].ref, &packet, &count) != VMNET_SUCCESS || count != 1)
        return false;
    for (int tries = 0; tries < 2000; tries++) {
        packet = (struct vmpktdesc){1514, in_iov, pieces, 0};
        count = 1;
        if (vmnet_read(nets[1].ref, &packet, &count) != VMNET_SUCCESS)
            return false;
        if (count == 1 && packet.vm_pkt_size == 1514 && memcmp(in, out, 1514) == 0)
            return true;
    }
    return false;
}

static void test_pieces(void)
{
    struct net nets[2];

    if (nets_start(nets))
        for (unsigned pieces = 1; pieces <= 16; pieces *= 2)
            check(exchange_in_pieces(nets, pieces), "a frame in %u pieces", pieces);
    nets_stop(nets);
}

/* A piece that is longer than what is left of the packet: only the packet is written. */
static void test_long_piece(void)
{
    struct net nets[2];
    uint8_t frame[1514], got[FRAME_MAX];
    struct iovec iov = {frame, sizeof(frame)};
    struct vmpktdesc packet = {100, &iov, 1, 0};
    size_t len_bytes = 0;
    uint32_t number;
    int count = 1;

    if (nets_start(nets)) {
        frame_make(frame, sizeof(frame), nets[1].mac, nets[0].mac, 9);
        check_status(vmnet_write(nets[0].ref, &packet, &count), VMNET_SUCCESS,
                     "100 bytes of a piece of 1514");
        for (int tries = 0; tries < 2000 && len_bytes != 100; tries++) {
            len_bytes = net_read(&nets[1], got);
            if (len_bytes && !frame_number(got, len_bytes, &number))
                len_bytes = 0;
        }
        check(len_bytes == 100, "arrive as 100 bytes");
    }
    nets_stop(nets);
}

/* A client that never sets a callback, and asks again and again. */
static void test_polling(void)
{
    uint8_t frame[TEST_BYTES], got[FRAME_MAX];
    struct net nets[2];
    uint32_t number = 0;
    int idle = 0;

    if (nets_start(nets)) {
        bool in_order = true;

        for (uint32_t i = 0; i < BATCH; i++) {
            frame_make(frame, sizeof(frame), nets[1].mac, nets[0].mac, i);
            in_order = in_order && net_write(&nets[0], frame, sizeof(frame)) == VMNET_SUCCESS &&
                       net_read_number(&nets[1], &number) && number == i;
        }
        check(in_order, "each frame is there when it is asked for");
        net_drain(&nets[1]);
        for (int i = 0; i < BATCH; i++)
            idle += net_read(&nets[1], got) == 0 || !frame_number(got, TEST_BYTES, &number);
        check(idle == BATCH, "and none between");
    }
    nets_stop(nets);
}

static void test_errors(void)
{
    static struct vmpktdesc many[300];
    static uint8_t frame[FRAME_MAX];
    struct iovec iov = {frame, sizeof(frame)};
    struct vmpktdesc packet = {1515, &iov, 1, 0};
    struct net net;
    int count = 1;

    if (!check(net_start(&net, describe(VMNET_SHARED_MODE)), "start"))
        return;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_PACKET_TOO_BIG,
                 "a frame of max_packet_size + 1");
    check(count == 0, "nothing is written");
    for (int i = 0; i < 300; i++)
        many[i] = (struct vmpktdesc){1514, &iov, 1, 0};
    count = 300;
    check_status(vmnet_write(net.ref, many, &count), VMNET_TOO_MANY_PACKETS,
                 "write of 300 packets");
    count = 300;
    check_status(vmnet_read(net.ref, many, &count), VMNET_TOO_MANY_PACKETS, "read of 300 packets");
    count = -1;
    check_status(vmnet_read(net.ref, many, &count), VMNET_INVALID_ARGUMENT, "read of -1 packets");
    count = -1;
    check_status(vmnet_write(net.ref, many, &count), VMNET_INVALID_ARGUMENT, "write of -1 packets");
    check_status(vmnet_read(net.ref, many, NULL), VMNET_INVALID_ARGUMENT, "read without a count");
    check_status(vmnet_write(net.ref, many, NULL), VMNET_INVALID_ARGUMENT, "write without a count");
    count = 1;
    check_status(vmnet_read(net.ref, NULL, &count), VMNET_INVALID_ARGUMENT, "read without packets");
    count = 1;
    check_status(vmnet_write(net.ref, NULL, &count), VMNET_INVALID_ARGUMENT,
                 "write without packets");
    packet = (struct vmpktdesc){13, &iov, 1, 0};
    count = 1;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "a frame of 13 bytes");
    packet = (struct vmpktdesc){60, NULL, 1, 0};
    count = 1;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "a frame without pieces");
    packet = (struct vmpktdesc){60, &iov, 0, 0};
    count = 1;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "a frame of 0 pieces");
    iov.iov_len = 59;
    packet = (struct vmpktdesc){60, &iov, 1, 0};
    count = 1;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "pieces that are shorter than the frame");
    iov = (struct iovec){NULL, 60};
    count = 1;
    check_status(vmnet_write(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "a piece that is NULL");
    iov = (struct iovec){frame, 100};
    packet = (struct vmpktdesc){1514, &iov, 1, 0};
    count = 1;
    check_status(vmnet_read(net.ref, &packet, &count), VMNET_INVALID_ARGUMENT,
                 "a buffer that is smaller than it says");
    net_stop(&net);
}

const struct test packet_tests[] = {
    {"batches", test_batches},
    {"several pieces", test_pieces},
    {"a long piece", test_long_piece},
    {"poll without a callback", test_polling},
    {"errors of read and write", test_errors},
    {NULL, NULL},
};
