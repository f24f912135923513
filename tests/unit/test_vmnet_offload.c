/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvmnet's offloads: frames of guests, whole and broken field by field, in pieces of every size. What the
 * kernel would do with the header is done here, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "compat/vmnet/iov.h"
#include "compat/vmnet/offload.h"

#define FRAME_MAX 66000
#define PIECES_MAX 64

static const struct offload checksums = {.checksum = true, .mtu = 1500};
static const struct offload segments = {.tso = true, .mtu = 1500};

struct frame {
    uint8_t bytes[FRAME_MAX];
    size_t len_bytes, ip, l4;
};

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* RFC 1071 as the RFC has it: the reference for the code under test. */
static uint32_t plain_sum(uint32_t sum, const uint8_t *bytes, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* A whole frame of IPv4 or IPv6 with TCP or UDP; all checksums are wrong. @tags: VLAN tags. */
static void make(struct frame *frame, int version, uint8_t protocol, size_t payload_bytes, int tags)
{
    size_t l4_bytes = (protocol == 6 ? 20 : 8) + payload_bytes;
    uint8_t *at = frame->bytes, *ip;

    memset(at, 0, sizeof(frame->bytes));
    memset(at, 2, 12);
    at += 12;
    for (int i = 0; i < tags; i++, at += 4)
        put16(at, i ? 0x8100 : 0x88a8);
    if (tags == 1)
        put16(at - 4, 0x8100);
    put16(at, version == 4 ? 0x0800 : 0x86dd);
    ip = at + 2;
    frame->ip = (size_t)(ip - frame->bytes);
    if (version == 4) {
        ip[0] = 0x45;
        put16(ip + 2, 20 + l4_bytes);
        ip[8] = 64;
        ip[9] = protocol;
        put16(ip + 10, 0xdead);
        memcpy(ip + 12, "\300\250\100\002\300\250\100\003", 8);
        frame->l4 = frame->ip + 20;
    } else {
        ip[0] = 0x60;
        put16(ip + 4, l4_bytes);
        ip[6] = protocol;
        ip[7] = 64;
        memset(ip + 8, 0xfd, 32);
        frame->l4 = frame->ip + 40;
    }
    at = frame->bytes + frame->l4;
    put16(at, 1000);
    put16(at + 2, 2000);
    if (protocol == 6)
        at[12] = 0x50;
    else
        put16(at + 4, l4_bytes);
    put16(at + (protocol == 6 ? 16 : 6), 0xbeef);
    for (size_t i = 0; i < payload_bytes; i++)
        at[l4_bytes - payload_bytes + i] = (uint8_t)(i * 3 + 1);
    frame->len_bytes = frame->l4 + l4_bytes;
}

/* The frame in pieces of @piece_bytes, the last of which has the rest. */
static unsigned split(struct frame *frame, size_t piece_bytes, struct iovec iov[PIECES_MAX])
{
    unsigned len = 0;
    size_t at = 0;

    while (at < frame->len_bytes) {
        size_t bytes = len + 1 < PIECES_MAX ? piece_bytes : frame->len_bytes;

        if (bytes > frame->len_bytes - at)
            bytes = frame->len_bytes - at;
        iov[len++] = (struct iovec){frame->bytes + at, bytes};
        at += bytes;
    }
    return len;
}

/* What the kernel makes of it: the bytes that it gets, and the checksum that is left to it. */
static bool write_out(const struct offload *offload, struct frame *frame, size_t piece_bytes,
                      struct frame *ret_out, struct virtio_net_hdr *ret_header)
{
    static struct frame before;
    struct iovec iov[PIECES_MAX];
    struct offload_frame done;
    unsigned len = split(frame, piece_bytes, iov);
    bool taken;

    before = *frame;
    taken = offload_write(offload, iov, len, frame->len_bytes, &done);
    assert_true(!taken || done.head_bytes <= OFFLOAD_HEAD_MAX);
    assert_memory_equal(before.bytes, frame->bytes,
                        frame->len_bytes); /* never the caller's memory */
    if (!taken)
        return false;
    *ret_out = *frame;
    memcpy(ret_out->bytes, done.head, done.head_bytes);
    *ret_header = done.header;
    if (done.header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        size_t start = done.header.csum_start;
        uint32_t sum = plain_sum(0, ret_out->bytes + start, frame->len_bytes - start);

        put16(ret_out->bytes + start + done.header.csum_offset, ~sum & 0xffff);
    }
    return true;
}

static bool is_right(const struct frame *frame, int version, uint8_t protocol)
{
    const uint8_t *ip = frame->bytes + frame->ip;
    size_t l4_bytes = frame->len_bytes - frame->l4;
    uint32_t sum = version == 4 ? plain_sum(0, ip + 12, 8) : plain_sum(0, ip + 8, 32);

    sum += protocol + (uint32_t)l4_bytes;
    return plain_sum(sum, frame->bytes + frame->l4, l4_bytes) == 0xffff &&
           (version == 6 || plain_sum(0, ip, 20) == 0xffff);
}

static void test_checksums_are_filled_in(void **state)
{
    static const size_t payloads[] = {0, 1, 2, 63, 1400}, pieces[] = {1, 3, 14, 37, 2000};
    static struct frame frame, out;
    struct virtio_net_hdr header;

    for (int version = 4; version <= 6; version += 2)
        for (uint8_t protocol = 6; protocol <= 17; protocol += 11)
            for (size_t i = 0; i < 5; i++)
                for (size_t k = 0; k < 5; k++)
                    for (int tags = 0; tags <= 2; tags++) {
                        make(&frame, version, protocol, payloads[i], tags);
                        assert_true(write_out(&checksums, &frame, pieces[k], &out, &header));
                        assert_true(is_right(&out, version, protocol));
                        assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
                    }
}

/* What is behind the packet, as short frames have it, is no part of its sums; a large frame has nothing there. */
static void test_padding_is_not_summed(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header;

    (void)state;
    for (int version = 4; version <= 6; version += 2) {
        for (uint8_t protocol = 6; protocol <= 17; protocol += 11) {
            for (size_t bytes = 0; bytes < 4; bytes++) {
                make(&frame, version, protocol, bytes, 0);
                memset(frame.bytes + frame.len_bytes, 0xa5, 9);
                frame.len_bytes += 9;
                assert_true(write_out(&checksums, &frame, 16, &out, &header));
                out.len_bytes -= 9;
                assert_true(is_right(&out, version, protocol));
            }
        }
        make(&frame, version, 6, 5000, 0);
        assert_true(write_out(&segments, &frame, 100, &out, &header));
        frame.len_bytes += 9;
        assert_false(write_out(&segments, &frame, 100, &out, &header));
    }
}

/* Without the key nothing is looked at. */
static void test_plain_frames_are_left_alone(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header, none = {0};

    make(&frame, 4, 6, 1400, 0);
    frame.bytes[frame.ip + 3] = 0;
    assert_true(write_out(&segments, &frame, 100, &out, &header));
    assert_memory_equal(out.bytes, frame.bytes, frame.len_bytes);
    assert_memory_equal(&header, &none, sizeof(none));
}

static void test_large_segments(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header;

    make(&frame, 4, 6, 60000, 0);
    assert_true(write_out(&segments, &frame, 1460, &out, &header));
    assert_true(is_right(&out, 4, 6));
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    assert_int_equal(header.gso_size, 1460);
    assert_int_equal(header.hdr_len, 54);
    make(&frame, 6, 6, 60000, 1);
    assert_true(write_out(&segments, &frame, 1460, &out, &header));
    assert_int_equal(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV6);
    assert_int_equal(header.gso_size, 1440);
    assert_int_equal(header.hdr_len, 78);
    /* What cannot be cut is dropped: datagrams, fragments, frames that are no IP. */
    make(&frame, 4, 17, 3000, 0);
    assert_false(write_out(&segments, &frame, 1460, &out, &header));
    make(&frame, 4, 6, 3000, 0);
    frame.bytes[frame.ip + 6] = 0x20;
    assert_false(write_out(&segments, &frame, 1460, &out, &header));
    make(&frame, 4, 6, 3000, 0);
    put16(frame.bytes + 12, 0x88b5);
    assert_false(write_out(&segments, &frame, 1460, &out, &header));
    /* And all that is large where there is no segmentation. */
    make(&frame, 4, 6, 3000, 0);
    assert_false(write_out(&checksums, &frame, 1460, &out, &header));
}

static void test_fragments_keep_their_checksum(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header;

    make(&frame, 4, 17, 100, 0);
    frame.bytes[frame.ip + 6] = 0x20; /* more fragments */
    assert_true(write_out(&checksums, &frame, 2000, &out, &header));
    assert_int_equal(header.flags, 0);
    assert_int_equal(out.bytes[frame.l4 + 6], 0xbe);
    assert_int_equal(plain_sum(0, out.bytes + frame.ip, 20),
                     0xffff); /* its header's is filled in */
}

/* RFC 8200 4.3: an extension of up to 2 KiB, which is longer than what is looked at. */
static void test_long_extensions(void **state)
{
    static const uint8_t last[] = {58 /* ICMPv6 */, 44 /* a fragment */, 59 /* nothing */};
    static struct frame frame, out;
    struct virtio_net_hdr header, none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(last); i++) {
        make(&frame, 6, 17, 1000, 0);
        frame.bytes[frame.ip + 6] = 0;   /* hop-by-hop options */
        frame.bytes[frame.l4] = last[i]; /* behind which comes this */
        frame.bytes[frame.l4 + 1] = 99;  /* 800 bytes */
        assert_true(write_out(&checksums, &frame, 100, &out, &header));
        assert_memory_equal(out.bytes, frame.bytes, frame.len_bytes);
        assert_memory_equal(&header, &none, sizeof(none));
        frame.bytes[frame.l4] = 17; /* whose checksum cannot be left open then */
        assert_false(write_out(&checksums, &frame, 100, &out, &header));
    }
}

/* ---- one field is wrong */

static const struct broken {
    const char *what;
    int version;
    uint8_t protocol;
    bool of_ip;
    size_t offset;
    uint8_t value;
} broken[] = {
    {"version 5", 4, 6, true, 0, 0x55},
    {"IPv4 header of 16 bytes", 4, 6, true, 0, 0x44},
    {"IPv4 header longer than the packet", 4, 6, true, 0, 0x4f},
    {"IPv4 total length below the header", 4, 6, true, 3, 10},
    {"IPv4 total length beyond the frame", 4, 6, true, 2, 40},
    {"IPv6 with version 4", 6, 6, true, 0, 0x40},
    {"IPv6 payload beyond the frame", 6, 6, true, 4, 40},
    {"IPv6 hop-by-hop options beyond the payload", 6, 0, true, 6, 0},
    {"TCP header of 16 bytes", 4, 6, false, 12, 0x40},
    {"TCP header longer than the segment", 4, 6, false, 12, 0xf0},
    {"UDP length of 7", 4, 17, false, 5, 7},
    {"UDP length beyond the packet", 4, 17, false, 4, 9},
};

static void test_broken_fields(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header;

    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        const struct broken *b = &broken[i];

        for (size_t piece = 1; piece < 100; piece += 13) {
            make(&frame, b->version, b->protocol ? b->protocol : 6, 10, 0);
            assert_true(write_out(&checksums, &frame, piece, &out, &header));
            frame.bytes[(b->of_ip ? frame.ip : frame.l4) + b->offset] = b->value;
            /* The first payload byte is the length of what is taken for an extension. */
            if (b->protocol == 0)
                frame.bytes[frame.l4 + 1] = 200;
            if (write_out(&checksums, &frame, piece, &out, &header))
                fail_msg("%s is taken", b->what);
        }
    }
}

/* Cut short anywhere: dropped, and nothing is read behind the end (the sanitizers look). */
static void test_cut_short(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header;

    for (int version = 4; version <= 6; version += 2) {
        make(&frame, version, 6, 30, 1);
        for (size_t len = frame.len_bytes - 1; len >= 14; len--) {
            uint8_t *copy = malloc(len);
            struct iovec iov = {copy, len};
            struct offload_frame done;

            memcpy(copy, frame.bytes, len);
            assert_false(offload_write(&checksums, &iov, 1, len, &done));
            free(copy);
        }
    }
    make(&frame, 4, 6, 30, 0);
    assert_true(write_out(&checksums, &frame, 20, &out, &header));
}

/* Whatever the bytes are. */
static void test_random_frames(void **state)
{
    uint32_t seed = 1;

    for (int round = 0; round < 20000; round++) {
        static struct frame frame;
        struct iovec iov[PIECES_MAX];
        struct offload_frame done;
        struct virtio_net_hdr header = {0};
        unsigned len;

        make(&frame, round & 1 ? 4 : 6, round & 2 ? 6 : 17, (size_t)(round % 200), round % 3);
        for (int i = 0; i < 4; i++) {
            seed = seed * 1103515245 + 12345;
            frame.bytes[12 + (seed >> 16) % 70] = (uint8_t)(seed >> 8);
        }
        len = split(&frame, (size_t)(round % 61) + 1, iov);
        offload_write(&checksums, iov, len, frame.len_bytes, &done);
        assert_true(done.head_bytes <= sizeof(done.head) && done.head_bytes <= frame.len_bytes);
        header.flags = (uint8_t)(round & 3);
        header.csum_start = (uint16_t)(seed >> 20);
        header.csum_offset = (uint16_t)(seed & 63);
        offload_read(&checksums, &header, iov, len, frame.len_bytes);
    }
}

/* ---- reading */

static void test_what_is_read_is_complete(void **state)
{
    static struct frame frame, out;
    struct virtio_net_hdr header, valid = {.flags = VIRTIO_NET_HDR_F_DATA_VALID}, none = {0};
    struct iovec iov[PIECES_MAX];

    for (size_t piece = 1; piece < 1500; piece += 97) {
        struct offload_frame done;
        unsigned len;

        make(&frame, 4, 6, 1401, 0);
        len = split(&frame, piece, iov);
        /* As the kernel has it: what offload_write() leaves to it. */
        assert_true(offload_write(&checksums, iov, len, frame.len_bytes, &done));
        memcpy(frame.bytes, done.head, done.head_bytes);
        assert_true(offload_read(&segments, &done.header, iov, len, frame.len_bytes));
        assert_true(is_right(&frame, 4, 6));
        /* Right ones pass, wrong ones do not, unless the kernel has looked. */
        assert_true(offload_read(&checksums, &none, iov, len, frame.len_bytes));
        frame.bytes[frame.len_bytes - 1] ^= 1;
        assert_false(offload_read(&checksums, &none, iov, len, frame.len_bytes));
        assert_true(offload_read(&checksums, &valid, iov, len, frame.len_bytes));
        assert_true(offload_read(&segments, &none, iov, len, frame.len_bytes));
    }
    /* UDP over IPv4 without a checksum is right (RFC 768), over IPv6 it is not (RFC 8200 8.1). */
    for (int version = 4; version <= 6; version += 2) {
        make(&frame, version, 17, 20, 0);
        assert_true(write_out(&checksums, &frame, 2000, &out, &header));
        put16(out.bytes + out.l4 + 6, 0);
        assert_int_equal(offload_read(&checksums, &none, iov, split(&out, 50, iov), out.len_bytes),
                         version == 4);
    }
    /* A place for the checksum that is outside of the frame. */
    header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                     .csum_start = (uint16_t)(out.len_bytes - 1)};
    assert_false(offload_read(&segments, &header, iov, split(&out, 50, iov), out.len_bytes));
}

static void test_iov(void **state)
{
    uint8_t a[3] = {1, 2, 3}, b[4] = {4, 5, 6, 7}, got[8] = {0};
    struct iovec iov[] = {{a, 3}, {NULL, 0}, {b, 4}}, part[3];

    assert_int_equal(iov_read(iov, 3, 2, got, 4), 4);
    assert_memory_equal(got, "\3\4\5\6", 4);
    assert_int_equal(iov_read(iov, 3, 6, got, 4), 1);
    assert_int_equal(iov_read(iov, 3, 7, got, 4), 0);
    assert_int_equal(iov_write(iov, 3, 1, "\11\11\11", 3), 3);
    assert_int_equal(a[2], 9);
    assert_int_equal(b[0], 9);
    assert_int_equal(iov_slice(iov, 3, 2, 3, part), 2);
    assert_ptr_equal(part[0].iov_base, a + 2);
    assert_int_equal(part[1].iov_len, 2);
    assert_int_equal(iov_slice(iov, 3, 0, 0, part), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksums_are_filled_in),
        cmocka_unit_test(test_padding_is_not_summed),
        cmocka_unit_test(test_plain_frames_are_left_alone),
        cmocka_unit_test(test_large_segments),
        cmocka_unit_test(test_fragments_keep_their_checksum),
        cmocka_unit_test(test_long_extensions),
        cmocka_unit_test(test_broken_fields),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_random_frames),
        cmocka_unit_test(test_what_is_read_is_complete),
        cmocka_unit_test(test_iov),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
