/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's jhash (include/linux/jhash.h), which is Bob Jenkins' lookup3 (2006, public domain), over what
 * nftables puts into its registers: the address, the port in network order, two bytes of zero. Then the high part
 * of the product with the number of workers is the index (nft_hash.c; reciprocal_scale()).
 */
#include "base/spread.h"

#include <arpa/inet.h>
#include <string.h>

struct state {
    uint32_t a, b, c;
};

static uint32_t rotate(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

static void mix(struct state *s)
{
    s->a = (s->a - s->c) ^ rotate(s->c, 4);
    s->c += s->b;
    s->b = (s->b - s->a) ^ rotate(s->a, 6);
    s->a += s->c;
    s->c = (s->c - s->b) ^ rotate(s->b, 8);
    s->b += s->a;
    s->a = (s->a - s->c) ^ rotate(s->c, 16);
    s->c += s->b;
    s->b = (s->b - s->a) ^ rotate(s->a, 19);
    s->a += s->c;
    s->c = (s->c - s->b) ^ rotate(s->b, 4);
    s->b += s->a;
}

static void finish(struct state *s)
{
    s->c = (s->c ^ s->b) - rotate(s->b, 14);
    s->a = (s->a ^ s->c) - rotate(s->c, 11);
    s->b = (s->b ^ s->a) - rotate(s->a, 25);
    s->c = (s->c ^ s->b) - rotate(s->b, 16);
    s->a = (s->a ^ s->c) - rotate(s->c, 4);
    s->b = (s->b ^ s->a) - rotate(s->a, 14);
    s->c = (s->c ^ s->b) - rotate(s->b, 24);
}

/* The end of the key is read byte by byte, lowest first; all before it in the machine's own order. */
static uint32_t tail_word(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* @len_bytes is a multiple of 4, from 4 to 24. */
static uint32_t jhash(const uint8_t *key, size_t len_bytes, uint32_t seed)
{
    uint32_t start = 0xdeadbeef + (uint32_t)len_bytes + seed, word[3];
    struct state s = {start, start, start};

    for (; len_bytes > 12; len_bytes -= 12, key += 12) {
        memcpy(word, key, sizeof(word));
        s.a += word[0];
        s.b += word[1];
        s.c += word[2];
        mix(&s);
    }
    s.a += tail_word(key);
    if (len_bytes > 4)
        s.b += tail_word(key + 4);
    if (len_bytes > 8)
        s.c += tail_word(key + 8);
    finish(&s);
    return s.c;
}

unsigned spread_worker(const struct ip_endpoint *guest, unsigned workers)
{
    size_t address_bytes = ip_len_bytes(&guest->addr);
    uint16_t port = htons(guest->port);
    uint8_t key[20] = {0};

    memcpy(key, guest->addr.bytes, address_bytes);
    memcpy(key + address_bytes, &port, sizeof(port));
    return (unsigned)((uint64_t)jhash(key, address_bytes + 4, SPREAD_SEED) * workers >> 32);
}
