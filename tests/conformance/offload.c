/* SPDX-License-Identifier: Apache-2.0 */
/* enable_tso, enable_checksum_offload, enable_virtio_header: sizes, and what arrives at a plain client. */
#include <string.h>

#include "suite.h"

#define IP_AT 14
#define TCP_AT 34
#define HEADERS 54
#define VIRTIO 12

/* Whether both checksums of an IPv4 TCP frame are right (RFC 791, RFC 9293). */
static bool is_right(const uint8_t *frame, size_t len_bytes)
{
    size_t tcp_bytes = len_bytes - TCP_AT;
    uint32_t sum = sum_of(0, frame + IP_AT + 12, 8) + 6 + (uint32_t)tcp_bytes;

    return sum_of(0, frame + IP_AT, 20) == 0xffff &&
           sum_of(sum, frame + TCP_AT, tcp_bytes) == 0xffff;
}

/* A TCP segment with @payload_bytes whose checksums are wrong. */
static size_t make_tcp(uint8_t *frame, const struct net *from, const struct net *to,
                       size_t payload_bytes)
{
    static const uint8_t ip[20] = {0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0xde, 0xad};
    static const uint8_t tcp[20] = {0x11, 0x51, 0x11, 0x52, 0,    0, 0,    1,    0, 0,
                                    0,    0,    0x50, 0x10, 0x10, 0, 0xbe, 0xef, 0, 0};

    memcpy(frame, to->mac, 6);
    memcpy(frame + 6, from->mac, 6);
    put16(frame + 12, 0x0800);
    memcpy(frame + IP_AT, ip, 20);
    put16(frame + IP_AT + 2, 40 + payload_bytes);
    memcpy(frame + IP_AT + 12, from->ip, 4);
    memcpy(frame + IP_AT + 16, to->ip, 4);
    frame[IP_AT + 19] = (uint8_t)(from->ip[3] - 1);
    memcpy(frame + TCP_AT, tcp, 20);
    for (size_t i = 0; i < payload_bytes; i++)
        frame[HEADERS + i] = (uint8_t)(i * 7);
    return HEADERS + payload_bytes;
}

static bool is_ours(const uint8_t *frame, size_t len_bytes)
{
    return len_bytes >= HEADERS && get16(frame + 12) == 0x0800 && frame[IP_AT + 9] == 6 &&
           get16(frame + TCP_AT) == 0x1151;
}

/* The next of our segments into @frame; 0: none within a second. */
static size_t next_tcp(struct net *net, uint8_t *frame, size_t skip_bytes)
{
    dispatch_semaphore_t never = dispatch_semaphore_create(0);
    size_t found = 0;

    for (int tries = 0; !found && tries < 1000; tries++) {
        size_t len_bytes = net_read(net, frame);

        if (len_bytes > skip_bytes && is_ours(frame + skip_bytes, len_bytes - skip_bytes))
            found = len_bytes;
        else if (!len_bytes)
            wait_ms(never, 1);
    }
    dispatch_release(never);
    return found;
}

/* An interface with some of the keys, and a plain one; both known to the network. */
static bool start_pair(struct net nets[2], const char *first, const char *second)
{
    xpc_object_t desc = describe(VMNET_SHARED_MODE);
    uint8_t frame[VIRTIO + TEST_BYTES] = {0}, got[FRAME_MAX];
    bool virtio = strcmp(first, vmnet_enable_virtio_header_key) == 0 ||
                  (second && strcmp(second, vmnet_enable_virtio_header_key) == 0);
    size_t skip_bytes = virtio ? VIRTIO : 0;
    uint32_t number = 0;
    bool heard = false;

    xpc_dictionary_set_bool(desc, first, true);
    if (second)
        xpc_dictionary_set_bool(desc, second, true);
    if (!check(net_start(&nets[0], desc), "start with %s%s%s: %s", first, second ? " and " : "",
               second ? second : "", status_name(nets[0].status)) ||
        !check(net_start(&nets[1], describe(VMNET_SHARED_MODE)), "start a plain one"))
        return false;
    frame_make(frame + skip_bytes, TEST_BYTES, nets[1].mac, nets[0].mac, 1);
    for (int tries = 0; !heard && tries < 100; tries++) {
        net_write(&nets[0], frame, skip_bytes + TEST_BYTES);
        for (int i = 0; !heard && i < 100; i++) {
            size_t len_bytes = net_read(&nets[1], got);

            heard = len_bytes && frame_number(got, len_bytes, &number);
        }
    }
    frame_make(frame, TEST_BYTES, nets[0].mac, nets[1].mac, 2);
    net_write(&nets[1], frame, TEST_BYTES);
    return check(heard, "the plain one hears it");
}

static void test_checksum(void)
{
    struct net nets[2] = {{0}};
    static uint8_t frame[FRAME_MAX], got[FRAME_MAX];
    size_t len_bytes;

    if (start_pair(nets, vmnet_enable_checksum_offload_key, NULL)) {
        check(nets[0].packet_bytes == 1514, "frames of 1514 bytes");
        for (size_t payload = 0; payload <= 1460; payload += 365) {
            len_bytes = make_tcp(frame, &nets[0], &nets[1], payload);
            check_status(net_write(&nets[0], frame, len_bytes), VMNET_SUCCESS,
                         "write a segment without checksums");
            check(get16(frame + TCP_AT + 16) == 0xbeef, "the caller's memory stays as it is");
            check(next_tcp(&nets[1], got, 0) == len_bytes && is_right(got, len_bytes),
                  "it arrives with them");
        }
        /* What is malformed is dropped: a total length that is longer than the frame. */
        len_bytes = make_tcp(frame, &nets[0], &nets[1], 100);
        put16(frame + IP_AT + 2, 1000);
        check_status(net_write(&nets[0], frame, len_bytes), VMNET_SUCCESS,
                     "write a malformed packet");
        len_bytes = make_tcp(frame, &nets[0], &nets[1], 10);
        net_write(&nets[0], frame, len_bytes);
        check(next_tcp(&nets[1], got, 0) == len_bytes, "it does not arrive");
        /* And the other way: wrong ones do not get to the client. */
        len_bytes = make_tcp(frame, &nets[1], &nets[0], 200);
        net_write(&nets[1], frame, len_bytes);
        check(next_tcp(&nets[0], got, 0) == 0, "a wrong checksum is not passed on");
    }
    nets_stop(nets);
}

static void test_tso(void)
{
    struct net nets[2] = {{0}};
    static uint8_t frame[FRAME_MAX], got[FRAME_MAX];
    size_t len_bytes, bytes = 0;
    bool right = true;
    int segments = 0;

    if (start_pair(nets, vmnet_enable_tso_key, NULL)) {
        check(nets[0].packet_bytes > 60000, "frames of up to %zu bytes", nets[0].packet_bytes);
        len_bytes = make_tcp(frame, &nets[0], &nets[1], 30000);
        /* Segmentation without checksum offload still needs the header's own. */
        put16(frame + IP_AT + 10, 0);
        put16(frame + IP_AT + 10, ~sum_of(0, frame + IP_AT, 20) & 0xffff);
        check_status(net_write(&nets[0], frame, len_bytes), VMNET_SUCCESS,
                     "write 30000 bytes at once");
        while (bytes < 30000 && (len_bytes = next_tcp(&nets[1], got, 0))) {
            right = right && len_bytes <= 1514 && is_right(got, len_bytes) &&
                    memcmp(got + HEADERS, frame + HEADERS + bytes, len_bytes - HEADERS) == 0;
            bytes += len_bytes - HEADERS;
            segments++;
        }
        check(bytes == 30000, "a plain client gets all of it: %zu bytes in %d segments", bytes,
              segments);
        check(right, "cut, with right checksums, in order");
        memset(frame + 12, 0, 2);
        check(net_write(&nets[0], frame, 30054) == VMNET_SUCCESS, "what is no TCP is written");
        len_bytes = make_tcp(frame, &nets[0], &nets[1], 5);
        put16(frame + IP_AT + 10, 0);
        put16(frame + IP_AT + 10, ~sum_of(0, frame + IP_AT, 20) & 0xffff);
        net_write(&nets[0], frame, len_bytes);
        check(next_tcp(&nets[1], got, 0) == len_bytes, "and lost, as it is too large");
    }
    nets_stop(nets);
}

static void test_virtio_header(void)
{
    struct net nets[2] = {{0}};
    static uint8_t frame[FRAME_MAX], got[FRAME_MAX];
    size_t len_bytes, bytes = 0;
    bool right = true;

    if (start_pair(nets, vmnet_enable_virtio_header_key, vmnet_enable_tso_key)) {
        uint8_t *header = frame;

        check(nets[0].packet_bytes > 60000 + VIRTIO, "buffers have room for the header");
        len_bytes = make_tcp(frame + VIRTIO, &nets[0], &nets[1], 20000);
        memset(header, 0, VIRTIO);
        put16(frame + VIRTIO + IP_AT + 10, 0);
        put16(frame + VIRTIO + IP_AT + 10, ~sum_of(0, frame + VIRTIO + IP_AT, 20) & 0xffff);
        /* NEEDS_CSUM, TCPV4; lengths are little-endian (virtio 1.2, 5.1.6). */
        header[0] = 1;
        header[1] = 1;
        header[2] = HEADERS;
        header[4] = 1460 & 0xff;
        header[5] = 1460 >> 8;
        header[6] = TCP_AT;
        header[8] = 16;
        put16(frame + VIRTIO + TCP_AT + 16,
              sum_of(sum_of(0, frame + VIRTIO + IP_AT + 12, 8) + 6 + 20020, NULL, 0));
        check_status(net_write(&nets[0], frame, VIRTIO + len_bytes), VMNET_SUCCESS,
                     "write 20000 bytes with a header");
        while (bytes < 20000 && (len_bytes = next_tcp(&nets[1], got, 0))) {
            right = right && len_bytes <= 1514 && is_right(got, len_bytes);
            bytes += len_bytes - HEADERS;
        }
        check(bytes == 20000 && right,
              "a plain client gets segments with right checksums: %zu bytes", bytes);
        len_bytes = make_tcp(frame, &nets[1], &nets[0], 100);
        net_write(&nets[1], frame, len_bytes);
        check(next_tcp(&nets[0], got, VIRTIO) == VIRTIO + len_bytes && got[10] == 1 && got[11] == 0,
              "what is read has a header, of one buffer");
        header[0] = 0xff;
        header[1] = 0x77;
        check(net_write(&nets[0], frame, 100) != VMNET_SUCCESS,
              "a header that cannot be is refused");
        check_status(net_write(&nets[0], frame, VIRTIO + 13), VMNET_INVALID_ARGUMENT,
                     "and a frame that is too short behind it");
    }
    nets_stop(nets);
}

const struct test offload_tests[] = {
    {"checksum offload", test_checksum},
    {"tso", test_tso},
    {"virtio header", test_virtio_header},
    {NULL, NULL},
};
