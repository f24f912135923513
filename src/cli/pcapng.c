/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pcapng.h"

#include <string.h>

#define BLOCK_SECTION 0x0a0d0d0a
#define BLOCK_INTERFACE 1
#define BLOCK_STATISTICS 5
#define BLOCK_PACKET 6

#define BYTE_ORDER_MAGIC 0x1a2b3c4d
#define SECTION_LENGTH_UNKNOWN UINT64_MAX

#define OPTION_END 0
#define SECTION_USER_APPLICATION 4
#define INTERFACE_NAME 2
#define INTERFACE_DESCRIPTION 3
#define INTERFACE_TIME_RESOLUTION 9
#define INTERFACE_FILTER 11
#define STATISTICS_START 2
#define STATISTICS_END 3
#define STATISTICS_RECEIVED 4
#define STATISTICS_DROPPED 5

#define NANOSECONDS 9    /* 10^-9 s */
#define FILTER_AS_TEXT 0 /* the first byte of a filter's option */
/* Type and length in front, the length once more behind, and what an EPB has between. */
#define BLOCK_BYTES 12
#define PACKET_FIXED_BYTES 20

struct cursor {
    uint8_t *start, *at;
};

static void put(struct cursor *cursor, const void *data, size_t len)
{
    memcpy(cursor->at, data, len);
    cursor->at += len;
}

static void put_u16(struct cursor *cursor, uint16_t value)
{
    put(cursor, &value, sizeof(value));
}

static void put_u32(struct cursor *cursor, uint32_t value)
{
    put(cursor, &value, sizeof(value));
}

static void pad(struct cursor *cursor)
{
    while ((cursor->at - cursor->start) % 4)
        *cursor->at++ = 0;
}

static struct cursor block_begin(uint8_t *buf, uint32_t type)
{
    struct cursor cursor = {buf, buf};

    put_u32(&cursor, type);
    put_u32(&cursor, 0); /* its length, known at its end */
    return cursor;
}

static size_t block_end(struct cursor *cursor)
{
    uint32_t len = (uint32_t)(cursor->at - cursor->start) + sizeof(uint32_t);

    put_u32(cursor, len);
    memcpy(cursor->start + sizeof(uint32_t), &len, sizeof(len));
    return len;
}

static void put_option(struct cursor *cursor, uint16_t code, const void *data, size_t len)
{
    put_u16(cursor, code);
    put_u16(cursor, (uint16_t)len);
    put(cursor, data, len);
    pad(cursor);
}

static void put_text(struct cursor *cursor, uint16_t code, const char *text)
{
    if (*text)
        put_option(cursor, code, text, strnlen(text, PCAPNG_TEXT_MAX));
}

static void put_filter(struct cursor *cursor, const char *filter)
{
    char option[1 + PCAPNG_TEXT_MAX] = {FILTER_AS_TEXT};
    size_t len = strnlen(filter, PCAPNG_TEXT_MAX);

    if (!len)
        return;
    memcpy(option + 1, filter, len);
    put_option(cursor, INTERFACE_FILTER, option, 1 + len);
}

/* Times are two words, the high one first, whatever the byte order is. */
static void put_time(struct cursor *cursor, uint64_t time_ns)
{
    put_u32(cursor, (uint32_t)(time_ns >> 32));
    put_u32(cursor, (uint32_t)time_ns);
}

static void put_time_option(struct cursor *cursor, uint16_t code, uint64_t time_ns)
{
    put_u16(cursor, code);
    put_u16(cursor, sizeof(time_ns));
    put_time(cursor, time_ns);
}

size_t pcapng_put_header(uint8_t *buf, const char *program,
                         const struct pcapng_interface *interface)
{
    static const uint8_t resolution = NANOSECONDS;
    const uint64_t section_len = SECTION_LENGTH_UNKNOWN;
    struct cursor cursor = block_begin(buf, BLOCK_SECTION);
    size_t len;

    put_u32(&cursor, BYTE_ORDER_MAGIC);
    put_u16(&cursor, 1); /* version 1.0 */
    put_u16(&cursor, 0);
    put(&cursor, &section_len, sizeof(section_len));
    put_text(&cursor, SECTION_USER_APPLICATION, program);
    put_option(&cursor, OPTION_END, "", 0);
    len = block_end(&cursor);

    cursor = block_begin(buf + len, BLOCK_INTERFACE);
    put_u16(&cursor, interface->link_type);
    put_u16(&cursor, 0);
    put_u32(&cursor, interface->snaplen);
    put_text(&cursor, INTERFACE_NAME, interface->name);
    put_text(&cursor, INTERFACE_DESCRIPTION, interface->description);
    put_option(&cursor, INTERFACE_TIME_RESOLUTION, &resolution, sizeof(resolution));
    put_filter(&cursor, interface->filter);
    put_option(&cursor, OPTION_END, "", 0);
    return len + block_end(&cursor);
}

size_t pcapng_packet_bytes(uint32_t captured_len)
{
    return BLOCK_BYTES + PACKET_FIXED_BYTES + (((size_t)captured_len + 3) & ~(size_t)3);
}

size_t pcapng_put_packet(uint8_t *buf, const struct pcapng_packet *packet)
{
    struct cursor cursor = block_begin(buf, BLOCK_PACKET);

    put_u32(&cursor, 0); /* the one interface */
    put_time(&cursor, packet->time_ns);
    put_u32(&cursor, packet->captured_len);
    put_u32(&cursor, packet->original_len);
    put(&cursor, packet->data, packet->captured_len);
    pad(&cursor);
    return block_end(&cursor);
}

size_t pcapng_put_statistics(uint8_t *buf, const struct pcapng_statistics *statistics)
{
    struct cursor cursor = block_begin(buf, BLOCK_STATISTICS);

    put_u32(&cursor, 0); /* the one interface */
    put_time(&cursor, statistics->end_ns);
    put_time_option(&cursor, STATISTICS_START, statistics->start_ns);
    put_time_option(&cursor, STATISTICS_END, statistics->end_ns);
    put_option(&cursor, STATISTICS_RECEIVED, &statistics->received, sizeof(uint64_t));
    put_option(&cursor, STATISTICS_DROPPED, &statistics->dropped, sizeof(uint64_t));
    put_option(&cursor, OPTION_END, "", 0);
    return block_end(&cursor);
}
