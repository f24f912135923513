/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One valid packet of each kind, made by scapy so that the checksums are another program's, is read
 * and then broken a field at a time. Packets that are built are compared with scapy's byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/packet.h"

/* clang-format off */
static const uint8_t udp4[] = {
    0x45, 0x10, 0x00, 0x21, 0x12, 0x34, 0x00, 0x00, 0x3f, 0x11, 0x3e, 0xa3, 0xc0, 0xa8, 0x40, 0x02,
    0xc6, 0x33, 0x64, 0x07, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x0d, 0xe8, 0x90, 0x71, 0x75, 0x65, 0x72,
    0x79,
};

static const uint8_t tcp4[] = {
    0x45, 0x00, 0x00, 0x31, 0x00, 0x07, 0x40, 0x00, 0x40, 0x06, 0x0f, 0xdb, 0xc0, 0xa8, 0x40, 0x02,
    0xc6, 0x33, 0x64, 0x07, 0x9c, 0x41, 0x01, 0xbb, 0x01, 0x02, 0x03, 0x04, 0x0a, 0x0b, 0x0c, 0x0d,
    0x60, 0x18, 0x20, 0x00, 0x51, 0x39, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x68, 0x65, 0x6c, 0x6c,
    0x6f,
};

static const uint8_t echo4[] = {
    0x45, 0x00, 0x00, 0x21, 0x00, 0x09, 0x00, 0x00, 0x40, 0x01, 0x4f, 0xee, 0xc0, 0xa8, 0x40, 0x02,
    0xc6, 0x33, 0x64, 0x07, 0x08, 0x00, 0x39, 0x3c, 0xbe, 0xef, 0x00, 0x03, 0x70, 0x69, 0x6e, 0x67,
    0x21,
};

static const uint8_t udp6[] = {
    0x62, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x0d, 0xe8, 0x4f,
    0x71, 0x75, 0x65, 0x72, 0x79,
};

static const uint8_t tcp6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x14, 0x06, 0x40, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x9c, 0x41, 0x01, 0xbb, 0x01, 0x02, 0x03, 0x04,
    0x00, 0x00, 0x00, 0x00, 0x50, 0x02, 0x20, 0x00, 0xc2, 0xb9, 0x00, 0x00,
};

static const uint8_t echo6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x3a, 0x40, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x80, 0x00, 0x95, 0xcd, 0xbe, 0xef, 0x00, 0x03,
    0x70, 0x69, 0x6e, 0x67, 0x21,
};

static const uint8_t built_udp4[] = {
    0x45, 0x00, 0x00, 0x22, 0x43, 0x21, 0x00, 0x00, 0x3c, 0x11, 0x10, 0xc5, 0xc6, 0x33, 0x64, 0x07,
    0xc0, 0xa8, 0x40, 0x02, 0x00, 0x35, 0x9c, 0x40, 0x00, 0x0e, 0xfe, 0x1e, 0x61, 0x6e, 0x73, 0x77,
    0x65, 0x72,
};

static const uint8_t built_udp6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x11, 0x3c, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x35, 0x9c, 0x40, 0x00, 0x0e, 0xfd, 0xdd,
    0x61, 0x6e, 0x73, 0x77, 0x65, 0x72,
};

static const uint8_t built_echo4[] = {
    0x45, 0x00, 0x00, 0x21, 0x43, 0x21, 0x00, 0x00, 0x3c, 0x01, 0x10, 0xd6, 0xc6, 0x33, 0x64, 0x07,
    0xc0, 0xa8, 0x40, 0x02, 0x00, 0x00, 0x41, 0x3c, 0xbe, 0xef, 0x00, 0x03, 0x70, 0x69, 0x6e, 0x67,
    0x21,
};

static const uint8_t built_echo6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x3a, 0x3c, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x81, 0x00, 0x94, 0xcd, 0xbe, 0xef, 0x00, 0x03,
    0x70, 0x69, 0x6e, 0x67, 0x21,
};

static const uint8_t rst_of_tcp4[] = {
    0x45, 0x00, 0x00, 0x28, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x0f, 0xeb, 0xc6, 0x33, 0x64, 0x07,
    0xc0, 0xa8, 0x40, 0x02, 0x01, 0xbb, 0x9c, 0x41, 0x0a, 0x0b, 0x0c, 0x0d, 0x00, 0x00, 0x00, 0x00,
    0x50, 0x04, 0x00, 0x00, 0xd0, 0xe6, 0x00, 0x00,
};

static const uint8_t rst_of_tcp6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x14, 0x06, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x01, 0xbb, 0x9c, 0x41, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x02, 0x03, 0x05, 0x50, 0x14, 0x00, 0x00, 0xe2, 0xa6, 0x00, 0x00,
};

static const uint8_t port_error4[] = {
    0x45, 0xc0, 0x00, 0x3d, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x38, 0xac, 0xc0, 0xa8, 0x40, 0x01,
    0xc0, 0xa8, 0x40, 0x02, 0x03, 0x03, 0x28, 0x01, 0x00, 0x00, 0x00, 0x00, 0x45, 0x10, 0x00, 0x21,
    0x12, 0x34, 0x00, 0x00, 0x3f, 0x11, 0x3e, 0xa3, 0xc0, 0xa8, 0x40, 0x02, 0xc6, 0x33, 0x64, 0x07,
    0x9c, 0x40, 0x00, 0x35, 0x00, 0x0d, 0xe8, 0x90, 0x71, 0x75, 0x65, 0x72, 0x79,
};

static const uint8_t too_big_error6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x3d, 0x3a, 0x40, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, 0x8a, 0x8d, 0x00, 0x00, 0x05, 0x00,
    0x62, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x9c, 0x40, 0x00, 0x35, 0x00, 0x0d, 0xe8, 0x4f,
    0x71, 0x75, 0x65, 0x72, 0x79,
};

static const uint8_t ext6[] = {
    0x60, 0x00, 0x00, 0x00, 0x00, 0x21, 0x00, 0x40, 0xfd, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x3c, 0x00, 0x05, 0x02, 0x00, 0x00, 0x01, 0x00,
    0x2c, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05,
    0x00, 0x01, 0x00, 0x02, 0x00, 0x09, 0x5c, 0xb2, 0x78,
};

/* clang-format on */

#define V4_BYTES 20
#define V6_BYTES 40

/*
 * A copy of @len_bytes of memory that ends where the packet does, so that valgrind and the address
 * sanitizer see a read past it.
 */
static uint8_t *copy(const uint8_t *packet, size_t len_bytes)
{
    uint8_t *bytes = malloc(len_bytes ? len_bytes : 1);

    assert_non_null(bytes);
    if (len_bytes)
        memcpy(bytes, packet, len_bytes);
    return bytes;
}

/* Makes an IPv4 header's checksum right again, by the plain sum of RFC 1071 4.1. */
static void mend_v4(uint8_t *packet)
{
    size_t header_bytes = (packet[0] & 15u) * 4;
    uint32_t sum = 0;

    packet[10] = packet[11] = 0;
    for (size_t i = 0; i < header_bytes; i += 2)
        sum += (uint32_t)(packet[i] << 8 | packet[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    packet[10] = (uint8_t)(~sum >> 8);
    packet[11] = (uint8_t)~sum;
}

static struct wire_packet parsed(const uint8_t *packet, size_t len_bytes)
{
    struct wire_packet result;

    assert_int_equal(wire_parse(packet, len_bytes, &result), WIRE_PARSE_OK);
    return result;
}
#define PARSED(packet) parsed(packet, sizeof(packet))

static struct ip_addr ip(const char *text)
{
    struct ip_addr addr;

    assert_int_equal(ip_parse(text, &addr), 0);
    return addr;
}

static void test_reads_udp(void **state)
{
    struct wire_packet v4 = PARSED(udp4), v6 = PARSED(udp6);
    struct ip_addr src4 = ip("192.168.64.2"), dst4 = ip("198.51.100.7");
    struct ip_addr src6 = ip("fd00:64::2"), dst6 = ip("2001:db8::7");

    (void)state;
    assert_true(ip_equal(&v4.src, &src4) && ip_equal(&v4.dst, &dst4));
    assert_true(ip_equal(&v6.src, &src6) && ip_equal(&v6.dst, &dst6));
    assert_int_equal(v4.tos, 0x10);
    assert_int_equal(v6.tos, 0x20);
    assert_ptr_equal(v4.l4, udp4 + V4_BYTES);
    assert_ptr_equal(v6.l4, udp6 + V6_BYTES);
    for (int i = 0; i < 2; i++) {
        const struct wire_packet *packet = i ? &v6 : &v4;

        assert_int_equal(packet->len_bytes, i ? sizeof(udp6) : sizeof(udp4));
        assert_int_equal(packet->protocol, WIRE_PROTO_UDP);
        assert_int_equal(packet->ttl, 63);
        assert_int_equal(packet->src_port, 40000);
        assert_int_equal(packet->dst_port, 53);
        assert_int_equal(packet->l4_len_bytes, 13);
        assert_int_equal(packet->payload_len_bytes, 5);
        assert_memory_equal(packet->payload, "query", 5);
        assert_false(packet->is_fragment);
        assert_int_equal(packet->tcp_flags | packet->icmp_type | packet->echo_id, 0);
    }
}

static void test_reads_tcp(void **state)
{
    struct wire_packet v4 = PARSED(tcp4), v6 = PARSED(tcp6);

    (void)state;
    assert_true(v4.dont_fragment);
    assert_true(v6.dont_fragment);
    assert_int_equal(v4.src_port, 40001);
    assert_int_equal(v4.dst_port, 443);
    assert_int_equal(v4.tcp_seq, 0x01020304);
    assert_int_equal(v4.tcp_ack, 0x0a0b0c0d);
    assert_int_equal(v4.tcp_flags, 0x18);
    assert_int_equal(v4.payload_len_bytes, 5); /* behind an option of four bytes */
    assert_memory_equal(v4.payload, "hello", 5);
    assert_int_equal(v6.tcp_flags, WIRE_TCP_SYN);
    assert_int_equal(v6.payload_len_bytes, 0);
}

static void test_reads_icmp(void **state)
{
    struct wire_packet v4 = PARSED(echo4), v6 = PARSED(echo6), error = PARSED(port_error4);

    (void)state;
    assert_int_equal(v4.icmp_type, 8);
    assert_int_equal(v6.icmp_type, 128);
    assert_int_equal(v4.echo_id, 0xbeef);
    assert_int_equal(v6.echo_id, 0xbeef);
    assert_int_equal(v4.echo_seq, 3);
    assert_int_equal(v6.echo_seq, 3);
    assert_memory_equal(v4.payload, "ping!", 5);
    assert_memory_equal(v6.payload, "ping!", 5);
    assert_int_equal(error.icmp_type, 3);
    assert_int_equal(error.icmp_code, 3);
    assert_int_equal(error.echo_id | error.payload_len_bytes, 0);
    assert_null(error.payload);
}

static void test_passes_over_extensions(void **state)
{
    struct wire_packet packet = PARSED(ext6);

    (void)state;
    /* Hop-by-hop, destination options and an atomic fragment header. */
    assert_int_equal(packet.protocol, WIRE_PROTO_UDP);
    assert_false(packet.is_fragment);
    assert_int_equal(packet.fragment_id, 0);
    assert_int_equal(packet.src_port, 1);
    assert_int_equal(packet.dst_port, 2);
    assert_memory_equal(packet.payload, "x", 1);
    assert_true(wire_checksum_ok(&packet));
}

/* Every length short of the whole is refused, whatever header it cuts. */
static void test_refuses_every_cut(void **state)
{
    static const struct {
        const uint8_t *packet;
        size_t len_bytes;
    } all[] = {{udp4, sizeof(udp4)}, {tcp4, sizeof(tcp4)}, {echo4, sizeof(echo4)},
               {udp6, sizeof(udp6)}, {tcp6, sizeof(tcp6)}, {echo6, sizeof(echo6)},
               {ext6, sizeof(ext6)}};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (size_t len = 0; len < all[i].len_bytes; len++) {
            uint8_t *bytes = copy(all[i].packet, len);
            struct wire_packet packet;

            assert_int_equal(wire_parse(bytes, len, &packet), WIRE_PARSE_SHORT);
            /* Again, with an IP length that agrees: whatever is left must not be read past. */
            if (len >= V6_BYTES || (bytes[0] >> 4 == 4 && len >= V4_BYTES)) {
                size_t told = bytes[0] >> 4 == 4 ? len : len - V6_BYTES;

                bytes[bytes[0] >> 4 == 4 ? 3 : 5] = (uint8_t)told;
                if (bytes[0] >> 4 == 4)
                    mend_v4(bytes);
                (void)wire_parse(bytes, len, &packet);
            }
            free(bytes);
        }
    }
}

static void test_ignores_what_follows(void **state)
{
    uint8_t bytes[sizeof(udp4) + 20] = {0};
    struct wire_packet packet;

    (void)state;
    memcpy(bytes, udp4, sizeof(udp4));
    packet = PARSED(bytes);
    assert_int_equal(packet.len_bytes, sizeof(udp4));
    assert_int_equal(packet.l4_len_bytes, 13);
    assert_true(wire_checksum_ok(&packet));

    /* The same within the packet, behind the UDP datagram. */
    memset(bytes + sizeof(udp4), 0x5a, sizeof(bytes) - sizeof(udp4));
    bytes[3] = sizeof(bytes);
    mend_v4(bytes);
    packet = PARSED(bytes);
    assert_int_equal(packet.l4_len_bytes, 33);
    assert_int_equal(packet.payload_len_bytes, 5);
    assert_true(wire_checksum_ok(&packet));
}

/* One byte of a valid packet changed, the IPv4 header checksum mended unless it is the point. */
static const struct broken {
    const char *title;
    const uint8_t *packet;
    size_t len_bytes, at;
    uint8_t value;
    bool keep_checksum;
    enum wire_parse_result result;
} broken[] = {
#define BREAK(title, packet, at, value, result)                                                    \
    {                                                                                              \
        title, packet, sizeof(packet), at, value, false, WIRE_PARSE_##result                       \
    }
    BREAK("nothing", udp4, 0, 0x45, OK),
    BREAK("version 0", udp4, 0, 0x05, VERSION),
    BREAK("version 5", udp6, 0, 0x50, VERSION),
    BREAK("header length 16", udp4, 0, 0x44, HEADER),
    BREAK("header length beyond total length", udp4, 0, 0x4f, HEADER),
    BREAK("total length 19", udp4, 3, 19, HEADER),
    BREAK("total length 0", udp4, 3, 0, HEADER),
    BREAK("total length one too many", udp4, 3, sizeof(udp4) + 1, SHORT),
    BREAK("total length 64K", udp4, 2, 0xff, SHORT),
    {"checksum", udp4, sizeof(udp4), 10, 0x3f, true, WIRE_PARSE_CHECKSUM},
    {"ttl without its checksum", udp4, sizeof(udp4), 8, 1, true, WIRE_PARSE_CHECKSUM},
    BREAK("UDP length 7", udp4, 25, 7, HEADER),
    BREAK("UDP length 8", udp4, 25, 8, OK),
    BREAK("UDP length one too many", udp4, 25, 14, SHORT),
    BREAK("UDP length 64K", udp6, 44, 0xff, SHORT),
    BREAK("TCP offset 16", tcp4, 32, 0x40, HEADER),
    BREAK("TCP offset 0", tcp6, 52, 0x00, HEADER),
    BREAK("TCP offset beyond the packet", tcp4, 32, 0xf0, SHORT),
    BREAK("payload length one too many", udp6, 5, 14, SHORT),
    BREAK("payload length 0", udp6, 5, 0, SHORT),
    BREAK("ICMPv6 in IPv4 is no echo", echo4, 9, WIRE_PROTO_ICMPV6, OK),
    BREAK("unknown protocol", udp4, 9, 253, OK),
    BREAK("authentication header", udp6, 6, 51, EXTENSION),
    BREAK("mobility header", udp6, 6, 135, EXTENSION),
    BREAK("UDP taken for hop-by-hop: too long", udp6, 6, 0, SHORT),
    BREAK("no next header", udp6, 6, 59, OK),
    BREAK("hop-by-hop after another", ext6, 40, 0, EXTENSION),
    BREAK("hop-by-hop beyond the packet", ext6, 41, 200, SHORT),
    BREAK("option that fills its header", ext6, 43, 4, OK),
    BREAK("option beyond its header", ext6, 43, 5, HEADER),
    BREAK("option that must be recognised", ext6, 42, 0xc2, EXTENSION),
    BREAK("option that may be passed over", ext6, 42, 0x1e, OK),
    BREAK("routing header, no segments left", ext6, 40, 43, EXTENSION), /* byte 51 says 4 */
    BREAK("odd piece with more to come", ext6, 59, 1, FRAGMENT),
    BREAK("last piece", ext6, 59, 8, OK),
    BREAK("piece beyond 65535", ext6, 58, 0xff, OK), /* 65280 + 9 */
#undef BREAK
};

static void test_broken_fields(void **state)
{
    (void)state;
    for (const struct broken *test = broken; test < broken + sizeof(broken) / sizeof(*test);
         test++) {
        uint8_t *bytes = copy(test->packet, test->len_bytes);
        enum wire_parse_result result;
        struct wire_packet packet;

        bytes[test->at] = test->value;
        if (bytes[0] >> 4 == 4 && !test->keep_checksum && (bytes[0] & 15u) * 4 <= test->len_bytes)
            mend_v4(bytes);
        result = wire_parse(bytes, test->len_bytes, &packet);
        if (result != test->result)
            fail_msg("%s: %s, not %s", test->title, wire_parse_name(result),
                     wire_parse_name(test->result));
        free(bytes);
    }
}

/* A packet of UDP, its header grown by @options. */
static enum wire_parse_result with_options(const uint8_t options[4])
{
    uint8_t bytes[sizeof(udp4) + 4];
    struct wire_packet packet;

    memcpy(bytes, udp4, V4_BYTES);
    memcpy(bytes + V4_BYTES, options, 4);
    memcpy(bytes + V4_BYTES + 4, udp4 + V4_BYTES, sizeof(udp4) - V4_BYTES);
    bytes[0] = 0x46;
    bytes[3] = sizeof(bytes);
    mend_v4(bytes);
    return wire_parse(bytes, sizeof(bytes), &packet);
}

static void test_ipv4_options(void **state)
{
    (void)state;
    assert_int_equal(with_options((uint8_t[]){1, 1, 1, 0}), WIRE_PARSE_OK);
    assert_int_equal(with_options((uint8_t[]){0, 9, 9, 9}), WIRE_PARSE_OK);
    assert_int_equal(with_options((uint8_t[]){148, 4, 0, 0}), WIRE_PARSE_OK);
    assert_int_equal(with_options((uint8_t[]){148, 5, 0, 0}), WIRE_PARSE_HEADER);
    assert_int_equal(with_options((uint8_t[]){148, 1, 0, 0}), WIRE_PARSE_HEADER);
    assert_int_equal(with_options((uint8_t[]){148, 0, 0, 0}), WIRE_PARSE_HEADER);
    assert_int_equal(with_options((uint8_t[]){1, 1, 1, 148}), WIRE_PARSE_HEADER);
    assert_int_equal(with_options((uint8_t[]){131, 3, 4, 0}), WIRE_PARSE_HEADER);
    assert_int_equal(with_options((uint8_t[]){137, 3, 4, 0}), WIRE_PARSE_HEADER);
}

/* @count destination options headers, then UDP. */
static enum wire_parse_result with_extensions(unsigned count)
{
    uint8_t bytes[V6_BYTES + 16 * 8 + 13];
    size_t len = V6_BYTES + count * 8u + 13;
    struct wire_packet packet;

    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, udp6, V6_BYTES);
    bytes[5] = (uint8_t)(len - V6_BYTES);
    bytes[6] = count ? 60 : 17;
    for (unsigned i = 0; i < count; i++)
        bytes[V6_BYTES + i * 8] = i + 1 < count ? 60 : 17;
    memcpy(bytes + V6_BYTES + count * 8, udp6 + V6_BYTES, 13);
    return wire_parse(bytes, len, &packet);
}

static void test_extension_count(void **state)
{
    (void)state;
    assert_int_equal(with_extensions(0), WIRE_PARSE_OK);
    assert_int_equal(with_extensions(8), WIRE_PARSE_OK);
    assert_int_equal(with_extensions(9), WIRE_PARSE_EXTENSION);
}

static void test_routing_header(void **state)
{
    uint8_t bytes[sizeof(ext6)];
    struct wire_packet packet;

    (void)state;
    memcpy(bytes, ext6, sizeof(bytes));
    bytes[40] = 43; /* the destination options header becomes a routing header */
    bytes[51] = 0;
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    assert_int_equal(packet.dst_port, 2);
    bytes[51] = 1;
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_EXTENSION);
}

static void test_second_fragment_header(void **state)
{
    uint8_t bytes[sizeof(ext6)];
    struct wire_packet packet;

    (void)state;
    memcpy(bytes, ext6, sizeof(bytes));
    memset(bytes + 64, 0, 8); /* the UDP header becomes an atomic fragment header */
    bytes[64] = 59;
    bytes[56] = 59;
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    bytes[56] = 44;
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_EXTENSION);
}

static void test_fragments(void **state)
{
    uint8_t bytes[sizeof(udp4)];
    struct wire_packet packet;

    (void)state;
    memcpy(bytes, udp4, sizeof(bytes));
    bytes[6] = 0x00, bytes[7] = 2; /* the last piece, at 16 */
    mend_v4(bytes);
    packet = PARSED(bytes);
    assert_true(packet.is_fragment);
    assert_false(packet.more_fragments);
    assert_int_equal(packet.fragment_offset_bytes, 16);
    assert_int_equal(packet.fragment_id, 0x1234);
    assert_int_equal(packet.protocol, WIRE_PROTO_UDP);
    assert_int_equal(packet.l4_len_bytes, 13);
    assert_int_equal(packet.src_port | packet.dst_port | packet.payload_len_bytes, 0);

    bytes[6] = 0x20, bytes[7] = 0; /* thirteen bytes, and more to come */
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_FRAGMENT);
    bytes[3] = V4_BYTES + 8;
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    assert_true(packet.more_fragments);
    bytes[3] = V4_BYTES; /* nothing */
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_FRAGMENT);

    bytes[3] = V4_BYTES + 13;
    bytes[6] = 0x1f, bytes[7] = 0xfb; /* 65496 + 20 + 13 */
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    bytes[7] = 0xfc;
    bytes[3] = V4_BYTES + 11; /* 65535 in all */
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    bytes[3] = V4_BYTES + 12;
    mend_v4(bytes);
    assert_int_equal(wire_parse(bytes, sizeof(bytes), &packet), WIRE_PARSE_FRAGMENT);
}

static void test_checksums(void **state)
{
    static const struct {
        const uint8_t *packet;
        size_t len_bytes, checksum_at;
    } all[] = {{udp4, sizeof(udp4), 26}, {tcp4, sizeof(tcp4), 36}, {echo4, sizeof(echo4), 22},
               {udp6, sizeof(udp6), 46}, {tcp6, sizeof(tcp6), 56}, {echo6, sizeof(echo6), 42}};
    struct wire_packet packet;

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        uint8_t *bytes = copy(all[i].packet, all[i].len_bytes);

        packet = parsed(bytes, all[i].len_bytes);
        assert_true(wire_checksum_ok(&packet));
        bytes[all[i].checksum_at] ^= 1;
        assert_false(wire_checksum_ok(&packet));
        bytes[all[i].checksum_at] ^= 1;
        bytes[all[i].len_bytes - 1] ^= 0x80;
        assert_false(wire_checksum_ok(&packet));
        bytes[all[i].len_bytes - 1] ^= 0x80;
        bytes[all[i].checksum_at] = bytes[all[i].checksum_at + 1] = 0;
        assert_int_equal(wire_checksum_ok(&packet), all[i].packet == udp4);
        free(bytes);
    }
}

/* Any length, any place, any cut into parts of even length give the plain sum of RFC 1071 4.1. */
static void test_checksum_sum(void **state)
{
    static uint8_t bytes[65536];
    uint32_t whole = 0, seed = 1;

    (void)state;
    /* The example of RFC 1071 3. */
    assert_int_equal(
        wire_checksum_fold(wire_checksum_add(0, "\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8)),
        (uint16_t)~0xddf2);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
    for (size_t from = 0; from < 4; from++) {
        for (size_t len = 0; len < 70; len++) {
            uint32_t sum = 0;

            for (size_t i = 0; i < len; i++)
                sum += i % 2 ? bytes[from + i] : (uint32_t)bytes[from + i] << 8;
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            assert_int_equal(wire_checksum_fold(wire_checksum_add(0, bytes + from, len)),
                             (uint16_t)~sum);
        }
    }
    for (size_t at = 0; at < sizeof(bytes); at += 2)
        whole = wire_checksum_add(whole, bytes + at, 2);
    assert_int_equal(wire_checksum_fold(whole),
                     wire_checksum_fold(wire_checksum_add(0, bytes, sizeof(bytes))));
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(wire_checksum_fold(wire_checksum_add(0, bytes, sizeof(bytes))), 0);
}

static void assert_built(const uint8_t *built, const uint8_t *end, const uint8_t *expected,
                         size_t expected_bytes)
{
    assert_int_equal(end - built, expected_bytes);
    assert_memory_equal(built, expected, expected_bytes);
}

static void test_prepends(void **state)
{
    struct ip_endpoint from4 = {ip("198.51.100.7"), 53}, to4 = {ip("192.168.64.2"), 40000};
    struct ip_endpoint from6 = {ip("2001:db8::7"), 53}, to6 = {ip("fd00:64::2"), 40000};
    uint8_t buf[WIRE_HEADROOM + 6], *payload = buf + WIRE_HEADROOM, *packet;

    (void)state;
    memcpy(payload, "answer", 6);
    packet = wire_prepend_udp(payload, 6, &from4, &to4,
                              &(struct wire_ip_fields){.ttl = 60, .id = 0x4321});
    assert_built(packet, payload + 6, built_udp4, sizeof(built_udp4));
    packet = wire_prepend_udp(payload, 6, &from6, &to6,
                              &(struct wire_ip_fields){.ttl = 60, .id = 0x4321});
    assert_built(packet, payload + 6, built_udp6, sizeof(built_udp6));

    memcpy(payload, "ping!", 5);
    packet = wire_prepend_echo(payload, 5, &from4.addr, &to4.addr, false, 0xbeef, 3, 0, 60, 0x4321);
    assert_built(packet, payload + 5, built_echo4, sizeof(built_echo4));
    packet = wire_prepend_echo(payload, 5, &from6.addr, &to6.addr, false, 0xbeef, 3, 0, 60, 0x4321);
    assert_built(packet, payload + 5, built_echo6, sizeof(built_echo6));
    packet = wire_prepend_echo(payload, 5, &to6.addr, &from6.addr, true, 0xbeef, 3, 0, 64, 0);
    assert_built(packet, payload + 5, echo6, sizeof(echo6));

    /* A payload whose checksum comes out as zero, found with scapy. */
    memcpy(payload, "\x38\x7f", 2);
    packet = wire_prepend_udp(payload, 2, &from4, &to4,
                              &(struct wire_ip_fields){.ttl = 60, .id = 0x4321});
    assert_int_equal(packet[26] << 8 | packet[27], 0xffff);
}

static void test_prepends_the_largest(void **state)
{
    struct ip_endpoint v4 = {ip("198.51.100.7"), 53}, v6 = {ip("2001:db8::7"), 53};
    uint8_t *buf = calloc(1, WIRE_HEADROOM + WIRE_PACKET_MAX), *payload = buf + WIRE_HEADROOM;
    struct wire_packet packet;
    uint8_t *built;

    (void)state;
    built = wire_prepend_udp(payload, WIRE_PACKET_MAX - 28, &v4, &v4,
                             &(struct wire_ip_fields){.ttl = 64, .id = 0});
    packet = parsed(built, WIRE_PACKET_MAX);
    assert_true(wire_checksum_ok(&packet));
    built = wire_prepend_udp(payload, WIRE_PACKET_MAX - 8, &v6, &v6,
                             &(struct wire_ip_fields){.ttl = 64, .id = 0});
    packet = parsed(built, WIRE_PACKET_MAX + V6_BYTES);
    assert_int_equal(packet.payload_len_bytes, WIRE_PACKET_MAX - 8);
    assert_true(wire_checksum_ok(&packet));
    free(buf);
}

static void test_rst(void **state)
{
    struct wire_packet cause = PARSED(tcp4), answer;
    uint8_t buf[WIRE_RST_MAX];

    (void)state;
    assert_int_equal(wire_build_rst(buf, &cause), sizeof(rst_of_tcp4));
    assert_memory_equal(buf, rst_of_tcp4, sizeof(rst_of_tcp4));

    /* Without ACK it acknowledges the five bytes, SYN and FIN. */
    cause.tcp_flags = WIRE_TCP_SYN | WIRE_TCP_FIN;
    answer = parsed(buf, wire_build_rst(buf, &cause));
    assert_int_equal(answer.tcp_flags, WIRE_TCP_RST | WIRE_TCP_ACK);
    assert_int_equal(answer.tcp_seq, 0);
    assert_int_equal(answer.tcp_ack, 0x01020304 + 5 + 2);
    assert_true(wire_checksum_ok(&answer));
    cause.tcp_seq = UINT32_MAX;
    answer = parsed(buf, wire_build_rst(buf, &cause));
    assert_int_equal(answer.tcp_ack, 6);

    cause = PARSED(tcp6);
    assert_int_equal(wire_build_rst(buf, &cause), sizeof(rst_of_tcp6));
    assert_memory_equal(buf, rst_of_tcp6, sizeof(rst_of_tcp6));

    cause.tcp_flags |= WIRE_TCP_RST;
    assert_int_equal(wire_build_rst(buf, &cause), 0);
    cause = PARSED(udp4);
    assert_int_equal(wire_build_rst(buf, &cause), 0);
    cause = PARSED(tcp4);
    cause.dst = ip("224.0.0.1");
    assert_int_equal(wire_build_rst(buf, &cause), 0);
}

static void test_icmp_errors(void **state)
{
    static const struct {
        enum wire_unreachable why;
        uint8_t v4_type, v4_code, v6_type, v6_code;
    } all[] = {{WIRE_UNREACHABLE_NET, 3, 0, 1, 0},     {WIRE_UNREACHABLE_HOST, 3, 1, 1, 3},
               {WIRE_UNREACHABLE_PORT, 3, 3, 1, 4},    {WIRE_UNREACHABLE_PROHIBITED, 3, 13, 1, 1},
               {WIRE_UNREACHABLE_TOO_BIG, 3, 4, 2, 0}, {WIRE_UNREACHABLE_TTL, 11, 0, 3, 0}};
    struct ip_addr from4 = ip("192.168.64.1"), from6 = ip("fd00:64::1");
    struct wire_packet cause4 = PARSED(udp4), cause6 = PARSED(udp6), error;
    uint8_t buf[WIRE_ICMP_ERROR_MAX];

    (void)state;
    assert_int_equal(wire_build_icmp_error(buf, &from4, &cause4, WIRE_UNREACHABLE_PORT, 1280),
                     sizeof(port_error4));
    assert_memory_equal(buf, port_error4, sizeof(port_error4));
    assert_int_equal(wire_build_icmp_error(buf, &from6, &cause6, WIRE_UNREACHABLE_TOO_BIG, 1280),
                     sizeof(too_big_error6));
    assert_memory_equal(buf, too_big_error6, sizeof(too_big_error6));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        error = parsed(buf, wire_build_icmp_error(buf, &from4, &cause4, all[i].why, 1400));
        assert_int_equal(error.icmp_type, all[i].v4_type);
        assert_int_equal(error.icmp_code, all[i].v4_code);
        assert_true(wire_checksum_ok(&error));
        assert_int_equal(error.l4[6] << 8 | error.l4[7],
                         all[i].why == WIRE_UNREACHABLE_TOO_BIG ? 1400 : 0);
        error = parsed(buf, wire_build_icmp_error(buf, &from6, &cause6, all[i].why, 1400));
        assert_int_equal(error.icmp_type, all[i].v6_type);
        assert_int_equal(error.icmp_code, all[i].v6_code);
        assert_true(wire_checksum_ok(&error));
    }
}

static void test_icmp_errors_as_they_came(void **state)
{
    static const struct {
        uint8_t type, code;
        uint32_t info, rest;
    } all4[] = {{3, 10, 7, 0},
                {3, 4, 1400, 1400},
                {3, 4, 70000, 65535},
                {11, 1, 9, 0},
                {12, 0, 20, 20u << 24}},
      all6[] = {{1, 5, 7, 0}, {2, 0, 70000, 70000}, {3, 1, 9, 0}, {4, 2, 40, 40}};
    static const uint8_t never4[] = {0, 4, 5, 8, 13}, never6[] = {0, 5, 128, 137};
    struct ip_addr from4 = ip("192.168.64.1"), from6 = ip("fd00:64::1");
    struct wire_packet cause4 = PARSED(udp4), cause6 = PARSED(udp6), error;
    uint8_t buf[WIRE_ICMP_ERROR_MAX];
    size_t len_bytes;

    (void)state;
    for (size_t i = 0; i < sizeof(all4) / sizeof(all4[0]) + sizeof(all6) / sizeof(all6[0]); i++) {
        bool v4 = i < sizeof(all4) / sizeof(all4[0]);
        size_t at = v4 ? i : i - sizeof(all4) / sizeof(all4[0]);
        uint8_t type = v4 ? all4[at].type : all6[at].type,
                code = v4 ? all4[at].code : all6[at].code;
        uint32_t info = v4 ? all4[at].info : all6[at].info,
                 rest = v4 ? all4[at].rest : all6[at].rest;

        len_bytes = wire_build_icmp_error_as(buf, v4 ? &from4 : &from6, v4 ? &cause4 : &cause6,
                                             type, code, info);
        error = parsed(buf, len_bytes);
        assert_int_equal(error.icmp_type, type);
        assert_int_equal(error.icmp_code, code);
        assert_true(wire_checksum_ok(&error));
        assert_int_equal((uint32_t)error.l4[4] << 24 | (uint32_t)error.l4[5] << 16 |
                             (uint32_t)error.l4[6] << 8 | error.l4[7],
                         rest);
    }
    for (size_t i = 0; i < sizeof(never4); i++)
        assert_int_equal(wire_build_icmp_error_as(buf, &from4, &cause4, never4[i], 0, 0), 0);
    for (size_t i = 0; i < sizeof(never6); i++)
        assert_int_equal(wire_build_icmp_error_as(buf, &from6, &cause6, never6[i], 0, 0), 0);
}

static enum wire_parse_result quoted(const uint8_t *data, size_t len_bytes,
                                     struct wire_packet *ret_packet)
{
    uint8_t *copy = malloc(len_bytes ? len_bytes : 1); /* so that a sanitizer knows its end */
    enum wire_parse_result result;

    memcpy(copy, data, len_bytes);
    result = wire_parse_quoted(copy, len_bytes, ret_packet);
    free(copy);
    return result;
}

static void test_quoted_packets(void **state)
{
    static const struct {
        const uint8_t *data;
        size_t header_bytes, len_bytes;
        uint8_t protocol;
    } all[] = {{udp4, V4_BYTES, sizeof(udp4), WIRE_PROTO_UDP},
               {tcp4, V4_BYTES, sizeof(tcp4), WIRE_PROTO_TCP},
               {echo4, V4_BYTES, sizeof(echo4), WIRE_PROTO_ICMP},
               {udp6, V6_BYTES, sizeof(udp6), WIRE_PROTO_UDP},
               {tcp6, V6_BYTES, sizeof(tcp6), WIRE_PROTO_TCP},
               {echo6, V6_BYTES, sizeof(echo6), WIRE_PROTO_ICMPV6}};
    uint8_t bytes[sizeof(echo6) + 8];
    struct wire_packet packet, whole;

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        whole = parsed(all[i].data, all[i].len_bytes);
        for (size_t len = 0; len <= all[i].len_bytes; len++) {
            if (len < all[i].header_bytes + 8) {
                assert_int_equal(quoted(all[i].data, len, &packet), WIRE_PARSE_SHORT);
                continue;
            }
            assert_int_equal(quoted(all[i].data, len, &packet), WIRE_PARSE_OK);
            assert_true(ip_equal(&packet.src, &whole.src) && ip_equal(&packet.dst, &whole.dst));
            assert_int_equal(packet.protocol, all[i].protocol);
            assert_int_equal(packet.src_port, whole.src_port);
            assert_int_equal(packet.dst_port, whole.dst_port);
            assert_int_equal(packet.tcp_seq, whole.tcp_seq);
            assert_int_equal(packet.echo_id, whole.echo_id);
            assert_int_equal(packet.echo_seq, whole.echo_seq);
            assert_int_equal(packet.ttl, whole.ttl);
            assert_int_equal(packet.tos, whole.tos);
            assert_int_equal(packet.l4_len_bytes, len - all[i].header_bytes);
        }
    }

    /* A router has cut it: the first piece tells, a later one does not. */
    memcpy(bytes, echo4, sizeof(echo4));
    bytes[6] = 0x20;
    assert_int_equal(quoted(bytes, sizeof(echo4), &packet), WIRE_PARSE_OK);
    bytes[7] = 1;
    assert_int_equal(quoted(bytes, sizeof(echo4), &packet), WIRE_PARSE_FRAGMENT);
    memcpy(bytes, echo6, V6_BYTES);
    memcpy(bytes + V6_BYTES, "\x3a\0\0\1\0\0\0\1", 8);
    memcpy(bytes + V6_BYTES + 8, echo6 + V6_BYTES, sizeof(echo6) - V6_BYTES);
    bytes[6] = 44;
    assert_int_equal(quoted(bytes, sizeof(bytes), &packet), WIRE_PARSE_OK);
    assert_int_equal(packet.protocol, WIRE_PROTO_ICMPV6);
    assert_int_equal(packet.echo_id, 0xbeef);
    assert_int_equal(quoted(bytes, V6_BYTES + 8 + 7, &packet), WIRE_PARSE_SHORT);
    bytes[V6_BYTES + 3] = 9;
    assert_int_equal(quoted(bytes, sizeof(bytes), &packet), WIRE_PARSE_FRAGMENT);
    bytes[0] = 0x50;
    assert_int_equal(quoted(bytes, sizeof(bytes), &packet), WIRE_PARSE_VERSION);
    memcpy(bytes, echo4, sizeof(echo4));
    bytes[0] = 0x44;
    assert_int_equal(quoted(bytes, sizeof(echo4), &packet), WIRE_PARSE_SHORT);
    bytes[0] = 0x4f;
    assert_int_equal(quoted(bytes, sizeof(echo4), &packet), WIRE_PARSE_SHORT);
}

static void test_icmp_error_size(void **state)
{
    struct ip_endpoint v4 = {ip("198.51.100.7"), 53}, v6 = {ip("2001:db8::7"), 53};
    uint8_t big[WIRE_HEADROOM + 4000] = {0}, buf[WIRE_ICMP_ERROR_MAX], *start;
    struct wire_packet cause;

    (void)state;
    start = wire_prepend_udp(big + WIRE_HEADROOM, 4000, &v4, &v4,
                             &(struct wire_ip_fields){.ttl = 64, .id = 0});
    cause = parsed(start, 4028);
    assert_int_equal(wire_build_icmp_error(buf, &v4.addr, &cause, WIRE_UNREACHABLE_PORT, 0), 576);
    start = wire_prepend_udp(big + WIRE_HEADROOM, 4000, &v6, &v6,
                             &(struct wire_ip_fields){.ttl = 64, .id = 0});
    cause = parsed(start, 4048);
    assert_int_equal(wire_build_icmp_error(buf, &v6.addr, &cause, WIRE_UNREACHABLE_PORT, 0), 1280);
}

static size_t error_about(const struct wire_packet *cause)
{
    struct ip_addr from = ip(cause->src.family == AF_INET ? "192.168.64.1" : "fd00:64::1");
    uint8_t buf[WIRE_ICMP_ERROR_MAX];

    return wire_build_icmp_error(buf, &from, cause, WIRE_UNREACHABLE_HOST, 0);
}

static void test_icmp_errors_that_must_not_be(void **state)
{
    static const char *const nobody4[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"};
    static const char *const nobody6[] = {"::", "::1", "ff02::1"};
    static const uint8_t errors4[] = {3, 4, 5, 11, 12, 19, 255}, errors6[] = {1, 2, 3, 4, 127, 137};
    uint8_t bytes4[sizeof(echo4)], bytes6[sizeof(echo6)];
    struct wire_packet packet;

    (void)state;
    packet = PARSED(echo4);
    assert_int_not_equal(error_about(&packet), 0);
    packet = PARSED(echo6);
    assert_int_not_equal(error_about(&packet), 0);
    packet = PARSED(port_error4);
    assert_int_equal(error_about(&packet), 0);
    packet = PARSED(too_big_error6);
    assert_int_equal(error_about(&packet), 0);

    for (size_t i = 0; i < sizeof(nobody4) / sizeof(nobody4[0]); i++) {
        packet = PARSED(udp4);
        packet.src = ip(nobody4[i]);
        assert_int_equal(error_about(&packet), 0);
    }
    for (size_t i = 0; i < sizeof(nobody6) / sizeof(nobody6[0]); i++) {
        packet = PARSED(udp6);
        packet.src = ip(nobody6[i]);
        assert_int_equal(error_about(&packet), 0);
    }
    packet = PARSED(udp4);
    packet.dst = ip("255.255.255.255");
    assert_int_equal(error_about(&packet), 0);
    packet = PARSED(udp6);
    packet.dst = ip("ff02::1");
    assert_int_equal(error_about(&packet), 0);

    memcpy(bytes4, echo4, sizeof(bytes4));
    for (size_t i = 0; i < sizeof(errors4); i++) {
        bytes4[V4_BYTES] = errors4[i];
        packet = PARSED(bytes4);
        assert_int_equal(error_about(&packet), 0);
    }
    memcpy(bytes6, echo6, sizeof(bytes6));
    for (size_t i = 0; i < sizeof(errors6); i++) {
        bytes6[V6_BYTES] = errors6[i];
        packet = PARSED(bytes6);
        assert_int_equal(error_about(&packet), 0);
    }

    /* A first fragment may be reported, but not where it is of an ICMP error; a later one never. */
    memcpy(bytes4, echo4, sizeof(bytes4));
    bytes4[3] = V4_BYTES + 8;
    bytes4[6] = 0x20;
    mend_v4(bytes4);
    packet = PARSED(bytes4);
    assert_true(packet.is_fragment);
    assert_int_not_equal(error_about(&packet), 0);
    bytes4[V4_BYTES] = 3;
    assert_int_equal(error_about(&packet), 0);
    bytes4[V4_BYTES] = 8;
    bytes4[7] = 1;
    mend_v4(bytes4);
    packet = PARSED(bytes4);
    assert_int_equal(error_about(&packet), 0);
}

struct pieces {
    uint8_t bytes[WIRE_PACKET_MAX];
    size_t len_bytes, mtu_bytes;
    unsigned count, stop_at;
    bool last_seen;
};

static int take_piece(void *context, const uint8_t *fragment, size_t len_bytes)
{
    struct pieces *pieces = context;
    struct wire_packet packet = parsed(fragment, len_bytes);

    if (++pieces->count == pieces->stop_at)
        return -7;
    assert_true(len_bytes <= pieces->mtu_bytes);
    assert_false(pieces->last_seen);
    if (packet.is_fragment) {
        assert_int_equal(packet.fragment_id, 0xcafe1234);
        assert_int_equal(packet.protocol, WIRE_PROTO_UDP);
    }
    assert_int_equal(packet.fragment_offset_bytes, pieces->len_bytes);
    memcpy(pieces->bytes + pieces->len_bytes, packet.l4, packet.l4_len_bytes);
    pieces->len_bytes += packet.l4_len_bytes;
    pieces->last_seen = !packet.more_fragments;
    return 0;
}

static void test_fragments_v6(void **state)
{
    static const struct {
        size_t payload_bytes, mtu_bytes;
        unsigned count;
    } all[] = {{100, 1280, 1},  {1280 - 48, 1280, 1}, {1281 - 48, 1280, 2}, {4000, 1280, 4},
               {4000, 1500, 3}, {65527, 1280, 54},    {65527, 65535, 2},    {65527, 1 << 20, 1}};
    static uint8_t buf[WIRE_HEADROOM + WIRE_PACKET_MAX];
    struct ip_endpoint v6 = {ip("2001:db8::7"), 53};
    struct pieces *pieces = malloc(sizeof(*pieces));

    (void)state;
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        uint8_t *packet = wire_prepend_udp(buf + WIRE_HEADROOM, all[i].payload_bytes, &v6, &v6,
                                           &(struct wire_ip_fields){.ttl = 64, .id = 0});
        size_t len_bytes = V6_BYTES + 8 + all[i].payload_bytes;

        memset(pieces, 0, sizeof(*pieces));
        pieces->mtu_bytes = all[i].mtu_bytes;
        assert_int_equal(
            wire_fragment_v6(packet, len_bytes, all[i].mtu_bytes, 0xcafe1234, take_piece, pieces),
            0);
        assert_int_equal(pieces->count, all[i].count);
        assert_true(pieces->last_seen);
        assert_int_equal(pieces->len_bytes, len_bytes - V6_BYTES);
        assert_memory_equal(pieces->bytes, packet + V6_BYTES, pieces->len_bytes);
        if (pieces->count < 2)
            continue;

        memset(pieces, 0, sizeof(*pieces));
        pieces->mtu_bytes = all[i].mtu_bytes;
        pieces->stop_at = 2;
        assert_int_equal(
            wire_fragment_v6(packet, len_bytes, all[i].mtu_bytes, 0xcafe1234, take_piece, pieces),
            -7);
        assert_int_equal(pieces->count, 2);
    }
    free(pieces);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < WIRE_PARSE_RESULTS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(wire_parse_name((enum wire_parse_result)i),
                                    wire_parse_name((enum wire_parse_result)j));
    assert_string_equal(wire_parse_name(WIRE_PARSE_SHORT), "short");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_udp),
        cmocka_unit_test(test_reads_tcp),
        cmocka_unit_test(test_reads_icmp),
        cmocka_unit_test(test_passes_over_extensions),
        cmocka_unit_test(test_refuses_every_cut),
        cmocka_unit_test(test_ignores_what_follows),
        cmocka_unit_test(test_broken_fields),
        cmocka_unit_test(test_ipv4_options),
        cmocka_unit_test(test_extension_count),
        cmocka_unit_test(test_routing_header),
        cmocka_unit_test(test_second_fragment_header),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_checksum_sum),
        cmocka_unit_test(test_prepends),
        cmocka_unit_test(test_prepends_the_largest),
        cmocka_unit_test(test_rst),
        cmocka_unit_test(test_icmp_errors),
        cmocka_unit_test(test_icmp_errors_as_they_came),
        cmocka_unit_test(test_quoted_packets),
        cmocka_unit_test(test_icmp_error_size),
        cmocka_unit_test(test_icmp_errors_that_must_not_be),
        cmocka_unit_test(test_fragments_v6),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
