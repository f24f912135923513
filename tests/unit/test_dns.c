/* SPDX-License-Identifier: Apache-2.0 */
/* DNS messages: one valid query, and what is wrong with others; which answers are to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/dns.h"

/* www.Example A, with an EDNS record behind the question. */
static const uint8_t query[] = {
    0x12, 0x34, 0x01, 0x20, 0, 1,   0,   0,   0,   0,   0,   1,                  /* header */
    3,    'w',  'w',  'w',  7, 'E', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1, /* question */
    0,    0,    41,   0x10, 0, 0,   0,   0,   0,   0,   0,
};
#define QUESTION_BYTES 17

static struct wire_dns_question parse(void)
{
    struct wire_dns_question question;

    assert_true(wire_dns_parse_query(query, sizeof(query), &question));
    return question;
}

static void test_query(void **state)
{
    struct wire_dns_question question = parse();

    (void)state;
    assert_string_equal(question.name, "www.example");
    assert_int_equal(question.labels, 2);
    assert_int_equal(question.type, 1);
    assert_int_equal(question.len_bytes, QUESTION_BYTES);
}

static void test_cut_query(void **state)
{
    struct wire_dns_question question;

    (void)state;
    for (size_t len = 0; len < WIRE_DNS_HEADER_BYTES + QUESTION_BYTES; len++) {
        uint8_t *cut = malloc(len ? len : 1); /* sanitizers see what is read behind it */

        memcpy(cut, query, len);
        if (wire_dns_parse_query(cut, len, &question))
            fail_msg("%zu bytes are taken", len);
        free(cut);
    }
}

static void test_bad_queries(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } cases[] = {
        {"an answer", 2, 0x81},       {"no question", 5, 0},
        {"two questions", 5, 2},      {"many questions", 4, 1},
        {"a pointer", 12, 0xc0},      {"a label of a reserved kind", 12, 0x40},
        {"a label too long", 12, 64}, {"a label beyond the end", 16, 60},
    };
    struct wire_dns_question question;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bad[sizeof(query)];

        memcpy(bad, query, sizeof(query));
        bad[cases[i].at] = cases[i].value;
        if (wire_dns_parse_query(bad, sizeof(bad), &question))
            fail_msg("%s is taken", cases[i].name);
    }
}

/* 255 bytes with the root's are the longest name (RFC 1035 2.3.4). */
static void test_longest_name(void **state)
{
    uint8_t message[512] = {0, 1, 1, 0, 0, 1};
    struct wire_dns_question question;
    size_t at = WIRE_DNS_HEADER_BYTES;

    (void)state;
    for (int i = 0; i < 4; i++) {
        uint8_t len = i < 3 ? 63 : 61;

        message[at] = len;
        memset(message + at + 1, 'a' + i, len);
        at += len + 1u;
    }
    assert_int_equal(at - WIRE_DNS_HEADER_BYTES, 254);
    assert_true(wire_dns_parse_query(message, at + 5, &question));
    assert_int_equal(strlen(question.name), 253);
    message[at - 62] = 62;
    assert_false(wire_dns_parse_query(message, sizeof(message), &question));
}

/* No byte of a name can be taken for something else than itself, but for a dot. */
static void test_odd_names(void **state)
{
    static const uint8_t odd[] = {0, 1, 1,   0,    0,    1, 0,   0, 0, 0, 0, 0,
                                  4, 0, 'A', 0xff, '\n', 1, '.', 0, 0, 1, 0, 1};
    static const uint8_t root[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1};
    struct wire_dns_question question;

    (void)state;
    assert_true(wire_dns_parse_query(odd, sizeof(odd), &question));
    assert_string_equal(question.name, "?a??..");
    assert_true(wire_dns_parse_query(root, sizeof(root), &question));
    assert_string_equal(question.name, "");
    assert_int_equal(question.labels, 0);
}

static void test_answers(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
        bool taken;
    } cases[] = {
        {"the answer", 2, 0x81, true},
        {"with another case", 13, 'W', true},
        {"a failure", 3, 0x82, true},
        {"another id", 0, 0x13, false},
        {"another id", 1, 0x35, false},
        {"a query", 2, 0x01, false},
        {"another opcode", 2, 0x91, false},
        {"another name", 13, 'v', false},
        {"another type", 26, 28, false},
        {"another class", 28, 3, false},
        {"no question, and no error", 5, 0, false},
        {"two questions", 5, 2, false},
        {"a label of another length", 12, 4, false},
    };
    struct wire_dns_question question = parse();
    uint8_t answer[sizeof(query)];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memcpy(answer, query, sizeof(query));
        answer[2] |= 0x80;
        answer[3] = 0x80;
        answer[cases[i].at] = cases[i].value;
        if (wire_dns_is_answer(query, &question, answer, sizeof(answer)) != cases[i].taken)
            fail_msg("%s", cases[i].name);
    }
}

static void test_cut_answers(void **state)
{
    struct wire_dns_question question = parse();
    uint8_t whole[sizeof(query)];

    (void)state;
    memcpy(whole, query, sizeof(query));
    whole[2] |= 0x80;
    for (size_t len = 0; len <= sizeof(query); len++) {
        uint8_t *answer = malloc(len ? len : 1);

        memcpy(answer, whole, len);
        assert_int_equal(wire_dns_is_answer(query, &question, answer, len),
                         len >= WIRE_DNS_HEADER_BYTES + QUESTION_BYTES);
        free(answer);
    }
    /* A server that did not understand the query may not know what was asked. */
    whole[3] = 1;
    whole[5] = 0;
    assert_true(wire_dns_is_answer(query, &question, whole, WIRE_DNS_HEADER_BYTES));
}

static void test_empty(void **state)
{
    struct wire_dns_question question = parse();
    uint8_t answer[WIRE_DNS_EMPTY_MAX];
    size_t len = wire_dns_build_empty(query, &question, WIRE_DNS_SERVFAIL, answer);

    (void)state;
    assert_int_equal(len, WIRE_DNS_HEADER_BYTES + QUESTION_BYTES);
    assert_true(wire_dns_is_answer(query, &question, answer, len));
    assert_int_equal(wire_dns_answer_code(answer), WIRE_DNS_SERVFAIL);
    assert_int_equal(answer[2], 0x81);
    assert_int_equal(answer[3], 0x82);
    for (int i = 6; i < 12; i++)
        assert_int_equal(answer[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),       cmocka_unit_test(test_cut_query),
        cmocka_unit_test(test_bad_queries), cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_odd_names),   cmocka_unit_test(test_answers),
        cmocka_unit_test(test_cut_answers), cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
