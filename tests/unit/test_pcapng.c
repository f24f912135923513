/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks are read back here by the format's own rules, with none of the writer's code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/pcapng.h"

static uint16_t get_u16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

/* Checks the frame of a block and returns its length. */
static size_t check_block(const uint8_t *block, size_t room, uint32_t type)
{
    uint32_t len = get_u32(block + 4);

    assert_int_equal(get_u32(block), type);
    assert_true(len <= room);
    assert_int_equal(len % 4, 0);
    assert_int_equal(get_u32(block + len - 4), len);
    return len;
}

/* The value of an option among those from @at to the block's end; NULL where it has none. */
static const uint8_t *find_option(const uint8_t *at, const uint8_t *end, uint16_t code,
                                  size_t *ret_len)
{
    while (at < end) {
        uint16_t len = get_u16(at + 2);

        if (get_u16(at) == 0) {
            assert_int_equal(len, 0);
            assert_ptr_equal(at + 4, end);
            return NULL;
        }
        if (get_u16(at) == code) {
            *ret_len = len;
            return at + 4;
        }
        at += 4 + (len + 3u) / 4 * 4;
    }
    fail_msg("the options have no end");
    return NULL;
}

static void check_text(const uint8_t *at, const uint8_t *end, uint16_t code, const char *text)
{
    size_t len;
    const uint8_t *value = find_option(at, end, code, &len);

    if (!*text) {
        assert_null(value);
        return;
    }
    assert_non_null(value);
    assert_int_equal(len, strlen(text));
    assert_memory_equal(value, text, len);
}

static void test_header(void **state)
{
    static const struct {
        const char *name, *description, *filter;
    } all[] = {
        {"br0", "network lab", ""}, {"t", "", "tcp port 80"}, {"ta", "a", "ip"},
        {"tap", "ab", "ip6"},       {"tap3", "abc", "icmp"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct pcapng_interface interface = {.link_type = 1,
                                                   .snaplen = 262144,
                                                   .name = all[i].name,
                                                   .description = all[i].description,
                                                   .filter = all[i].filter};
        uint8_t buf[PCAPNG_HEADER_MAX];
        const uint8_t *value;
        size_t len, section, option_len;

        memset(buf, 0xee, sizeof(buf));
        len = pcapng_put_header(buf, "program 1", &interface);
        section = check_block(buf, len, 0x0a0d0d0a);
        assert_int_equal(get_u32(buf + 8), 0x1a2b3c4d);
        assert_int_equal(get_u16(buf + 12), 1);
        assert_int_equal(get_u16(buf + 14), 0);
        assert_true(get_u64(buf + 16) == UINT64_MAX);
        check_text(buf + 24, buf + section - 4, 4, "program 1");

        const uint8_t *idb = buf + section, *end = buf + len - 4;

        assert_int_equal(section + check_block(idb, len - section, 1), len);
        assert_int_equal(get_u16(idb + 8), 1);
        assert_int_equal(get_u32(idb + 12), 262144);
        check_text(idb + 16, end, 2, all[i].name);
        check_text(idb + 16, end, 3, all[i].description);
        value = find_option(idb + 16, end, 9, &option_len);
        assert_non_null(value);
        assert_int_equal(option_len, 1);
        assert_int_equal(*value, 9);
        value = find_option(idb + 16, end, 11, &option_len);
        assert_int_equal(value != NULL, *all[i].filter != '\0');
        if (value) {
            assert_int_equal(*value, 0);
            assert_int_equal(option_len, 1 + strlen(all[i].filter));
            assert_memory_equal(value + 1, all[i].filter, option_len - 1);
        }
    }
}

/* Texts of any length leave the header within its bound. */
static void test_header_bound(void **state)
{
    char text[4 * PCAPNG_TEXT_MAX];
    uint8_t buf[PCAPNG_HEADER_MAX + 1];
    struct pcapng_interface interface = {
        .link_type = 1, .name = text, .description = text, .filter = text};
    size_t len;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    buf[PCAPNG_HEADER_MAX] = 0x5a;
    len = pcapng_put_header(buf, text, &interface);
    assert_true(len <= PCAPNG_HEADER_MAX);
    assert_int_equal(buf[PCAPNG_HEADER_MAX], 0x5a);
}

/* Every remainder of the padding, and the two words of a time. */
static void test_packet(void **state)
{
    uint8_t data[64], buf[256];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i + 1);
    for (uint32_t captured = 0; captured <= sizeof(data); captured++) {
        const struct pcapng_packet packet = {.time_ns = 0x0123456789abcdef,
                                             .captured_len = captured,
                                             .original_len = 1514,
                                             .data = data};
        size_t len;

        memset(buf, 0xee, sizeof(buf));
        len = pcapng_put_packet(buf, &packet);
        assert_int_equal(len, pcapng_packet_bytes(captured));
        assert_int_equal(check_block(buf, len, 6), len);
        assert_int_equal(get_u32(buf + 8), 0);
        assert_int_equal(get_u32(buf + 12), 0x01234567);
        assert_int_equal(get_u32(buf + 16), 0x89abcdef);
        assert_int_equal(get_u32(buf + 20), captured);
        assert_int_equal(get_u32(buf + 24), 1514);
        assert_memory_equal(buf + 28, data, captured);
        for (size_t i = 28 + captured; i < len - 4; i++)
            assert_int_equal(buf[i], 0);
        assert_int_equal(buf[len], 0xee);
    }
}

static void test_statistics(void **state)
{
    const struct pcapng_statistics statistics = {
        .start_ns = 5, .end_ns = (7ull << 32) + 6, .received = 1ull << 40, .dropped = 3};
    static const uint32_t start[] = {0, 5}, end[] = {7, 6};
    static const uint64_t received = 1ull << 40, dropped = 3;
    static const struct {
        uint16_t code;
        const void *value;
    } all[] = {{2, start}, {3, end}, {4, &received}, {5, &dropped}};
    uint8_t buf[PCAPNG_STATISTICS_MAX];
    size_t len = pcapng_put_statistics(buf, &statistics);

    (void)state;
    assert_true(len <= sizeof(buf));
    assert_int_equal(check_block(buf, sizeof(buf), 5), len);
    assert_memory_equal(buf + 12, end, sizeof(end));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t option_len;
        const uint8_t *value = find_option(buf + 20, buf + len - 4, all[i].code, &option_len);

        assert_non_null(value);
        assert_int_equal(option_len, 8);
        assert_memory_equal(value, all[i].value, 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_bound),
        cmocka_unit_test(test_packet),
        cmocka_unit_test(test_statistics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
