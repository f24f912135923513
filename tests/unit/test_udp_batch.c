/* SPDX-License-Identifier: Apache-2.0 */
/* Which datagrams become one message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "uplink/udp_batch.h"

static const uint8_t bytes[UDP_DATAGRAM_MAX];

struct fixture {
    struct udp_batch batch;
    struct udp_socket socket, other;
    struct udp_target target;
    struct wire_packet packet;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 99};

    memset(&fixture, 0, sizeof(fixture));
    fixture.socket = fixture.other = (struct udp_socket){
        .segment_max = UDP_DATAGRAM_MAX, .first_message = -1, .last_message = -1};
    memcpy(&fixture.target.to, &to, sizeof(to));
    fixture.target.to_len = sizeof(to);
    fixture.packet.ttl = 63;
    *state = &fixture;
    return 0;
}

static void add(struct fixture *fixture, struct udp_socket *socket, size_t len_bytes,
                size_t segment_bytes)
{
    assert_int_equal(udp_batch_piece_bytes(socket, len_bytes, segment_bytes), len_bytes);
    assert_true(udp_batch_add(&fixture->batch, socket, &fixture->target, &fixture->packet, bytes,
                              len_bytes, segment_bytes));
}

/* The messages of a socket: how many datagrams each has. */
static void expect(const struct fixture *fixture, const struct udp_socket *socket,
                   const unsigned *segments, unsigned len)
{
    int index = socket->first_message;

    for (unsigned i = 0; i < len; i++) {
        const struct udp_message *message = &fixture->batch.messages[index];
        unsigned pieces = 0;
        size_t len_bytes = 0;

        assert_true(index >= 0);
        assert_int_equal(message->segments, segments[i]);
        for (int at = message->first_piece; at >= 0; at = fixture->batch.pieces[at].next) {
            pieces++;
            len_bytes += fixture->batch.pieces[at].len_bytes;
        }
        assert_true(pieces >= 1 && pieces <= message->segments);
        assert_int_equal(len_bytes, message->len_bytes);
        assert_true(len_bytes <= UDP_DATAGRAM_MAX);
        if (i == len - 1)
            assert_int_equal(index, socket->last_message);
        index = message->next;
    }
    assert_int_equal(index, -1);
}
#define EXPECT(socket, ...)                                                                        \
    expect(fixture, socket, (const unsigned[]){__VA_ARGS__},                                       \
           sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void test_equal_sizes_join(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 5; i++)
        add(fixture, &fixture->socket, 1400, 1400);
    EXPECT(&fixture->socket, 5);
}

static void test_a_shorter_one_is_the_last(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, &fixture->socket, 1400, 1400);
    add(fixture, &fixture->socket, 1000, 1000);
    add(fixture, &fixture->socket, 1000, 1000); /* would be cut at 1400 */
    add(fixture, &fixture->socket, 1400, 1400);
    EXPECT(&fixture->socket, 2, 1, 1);
}

static void test_empty_datagrams_stay_alone(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, &fixture->socket, 0, 0);
    add(fixture, &fixture->socket, 0, 0);
    add(fixture, &fixture->socket, 100, 100);
    add(fixture, &fixture->socket, 0, 0);
    EXPECT(&fixture->socket, 1, 1, 1, 1);
}

static void test_what_came_as_one(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, &fixture->socket, 10 * 1000, 1000);
    add(fixture, &fixture->socket, 1000, 1000);
    add(fixture, &fixture->socket, 4500, 1000); /* the last one is shorter */
    add(fixture, &fixture->socket, 1000, 1000);
    add(fixture, &fixture->socket, 3000, 1500);
    EXPECT(&fixture->socket, 16, 1, 2);
}

static void test_limits(void **state)
{
    struct fixture *fixture = *state;
    const struct udp_socket *socket = &fixture->socket;

    for (int i = 0; i < 3; i++)
        add(fixture, &fixture->socket, 30000, 30000); /* two are 60000 bytes */
    EXPECT(&fixture->socket, 2, 1);
    for (int i = 0; i < 2; i++)
        add(fixture, &fixture->other, 40 * 100, 100);
    EXPECT(&fixture->other, 40, 40);

    assert_int_equal(udp_batch_piece_bytes(socket, 128 * 100, 100), 64 * 100);
    assert_int_equal(udp_batch_piece_bytes(socket, 65000, 1400), 46 * 1400);
    assert_int_equal(udp_batch_piece_bytes(socket, 700, 1400), 700);
    assert_int_equal(udp_batch_piece_bytes(socket, 0, 0), 0);
}

static void test_a_socket_without_segments(void **state)
{
    struct fixture *fixture = *state;

    fixture->socket.segment_max = 1399;
    add(fixture, &fixture->socket, 1400, 1400);
    add(fixture, &fixture->socket, 1400, 1400);
    add(fixture, &fixture->socket, 1399, 1399);
    add(fixture, &fixture->socket, 1399, 1399);
    EXPECT(&fixture->socket, 1, 1, 2);
    assert_int_equal(udp_batch_piece_bytes(&fixture->socket, 14000, 1400), 1400);
}

static void test_what_differs_does_not_join(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, &fixture->socket, 100, 100);
    ((struct sockaddr_in *)&fixture->target.to)->sin_port++;
    add(fixture, &fixture->socket, 100, 100);
    fixture->target.has_local = true;
    add(fixture, &fixture->socket, 100, 100);
    fixture->target.local.ipi6_addr.s6_addr[0]++;
    add(fixture, &fixture->socket, 100, 100);
    fixture->packet.ttl--;
    add(fixture, &fixture->socket, 100, 100);
    fixture->packet.tos++;
    add(fixture, &fixture->socket, 100, 100);
    fixture->packet.dont_fragment = true;
    add(fixture, &fixture->socket, 100, 100);
    add(fixture, &fixture->socket, 100, 100);
    EXPECT(&fixture->socket, 1, 1, 1, 1, 1, 1, 2);
}

static void test_sockets_side_by_side(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 8; i++) {
        add(fixture, &fixture->socket, 500, 500);
        add(fixture, &fixture->other, 600, 600);
    }
    EXPECT(&fixture->socket, 8);
    EXPECT(&fixture->other, 8);
}

static void test_full(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < UDP_BATCH_PIECES; i++)
        add(fixture, &fixture->socket, (size_t)i + 1, (size_t)i + 1); /* none joins */
    assert_int_equal(fixture->batch.messages_len, UDP_BATCH_PIECES);
    assert_false(udp_batch_add(&fixture->batch, &fixture->other, &fixture->target, &fixture->packet,
                               bytes, 1, 1));
    assert_int_equal(fixture->other.first_message, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_equal_sizes_join, setup),
        cmocka_unit_test_setup(test_a_shorter_one_is_the_last, setup),
        cmocka_unit_test_setup(test_empty_datagrams_stay_alone, setup),
        cmocka_unit_test_setup(test_what_came_as_one, setup),
        cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_a_socket_without_segments, setup),
        cmocka_unit_test_setup(test_what_differs_does_not_join, setup),
        cmocka_unit_test_setup(test_sockets_side_by_side, setup),
        cmocka_unit_test_setup(test_full, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
