/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/dns.h"

#include <string.h>

/* Byte 2 of the header, then byte 3. */
#define FLAG_RESPONSE 0x80
#define FLAGS_OPCODE 0x78
#define FLAG_RECURSION_DESIRED 0x01
#define FLAG_RECURSION_AVAILABLE 0x80
#define CODE_MASK 0x0f

#define LABEL_MAX 63

static unsigned read_u16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint8_t small(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* A first name cannot be compressed: there is nothing before it to point at. */
static bool parse_question(const uint8_t *message, size_t len_bytes,
                           struct wire_dns_question *ret_question)
{
    struct wire_dns_question *question = ret_question;
    size_t at = WIRE_DNS_HEADER_BYTES, text = 0;

    question->labels = 0;
    while (at < len_bytes && message[at]) {
        size_t label_len = message[at++];

        if (label_len > LABEL_MAX || label_len >= len_bytes - at ||
            at - WIRE_DNS_HEADER_BYTES + label_len >= WIRE_DNS_NAME_MAX)
            return false;
        if (question->labels++)
            question->name[text++] = '.';
        for (; label_len; label_len--, at++)
            question->name[text++] =
                (char)(message[at] > ' ' && message[at] < 0x7f ? small(message[at]) : '?');
    }
    question->name[text] = '\0';
    if (at + 5 > len_bytes)
        return false;
    question->type = (uint16_t)read_u16(message + at + 1);
    question->len_bytes = at + 5 - WIRE_DNS_HEADER_BYTES;
    return true;
}

bool wire_dns_parse_query(const uint8_t *message, size_t len_bytes,
                          struct wire_dns_question *ret_question)
{
    return len_bytes >= WIRE_DNS_HEADER_BYTES && !(message[2] & FLAG_RESPONSE) &&
           read_u16(message + 4) == 1 && parse_question(message, len_bytes, ret_question);
}

/* Lengths of labels are below 'A', so the whole section is compared without regard to case at once. */
static bool same_question(const uint8_t *a, const uint8_t *b, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++)
        if (i < len_bytes - 4 ? small(a[i]) != small(b[i]) : a[i] != b[i])
            return false;
    return true;
}

bool wire_dns_is_answer(const uint8_t *query, const struct wire_dns_question *question,
                        const uint8_t *answer, size_t len_bytes)
{
    if (len_bytes < WIRE_DNS_HEADER_BYTES || memcmp(query, answer, 2) != 0 ||
        !(answer[2] & FLAG_RESPONSE) || ((query[2] ^ answer[2]) & FLAGS_OPCODE))
        return false;
    if (read_u16(answer + 4) == 0)
        return (answer[3] & CODE_MASK) != WIRE_DNS_NOERROR;
    return read_u16(answer + 4) == 1 && len_bytes >= WIRE_DNS_HEADER_BYTES + question->len_bytes &&
           same_question(query + WIRE_DNS_HEADER_BYTES, answer + WIRE_DNS_HEADER_BYTES,
                         question->len_bytes);
}

enum wire_dns_code wire_dns_answer_code(const uint8_t *answer)
{
    return (enum wire_dns_code)(answer[3] & CODE_MASK);
}

size_t wire_dns_build_empty(const uint8_t *query, const struct wire_dns_question *question,
                            enum wire_dns_code code, uint8_t ret_answer[WIRE_DNS_EMPTY_MAX])
{
    size_t len_bytes = WIRE_DNS_HEADER_BYTES + question->len_bytes;

    memcpy(ret_answer, query, len_bytes);
    ret_answer[2] = (uint8_t)(FLAG_RESPONSE | (query[2] & (FLAGS_OPCODE | FLAG_RECURSION_DESIRED)));
    ret_answer[3] = (uint8_t)(FLAG_RECURSION_AVAILABLE | code);
    memset(ret_answer + 6, 0, 6); /* no answer, authority or additional records */
    return len_bytes;
}
