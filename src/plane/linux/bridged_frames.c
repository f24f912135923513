/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC addresses are compared in two steps: the first two bytes once for all that share them, which nearly all machines
 * of a network do, then the other four, one instruction each.
 */
#include "plane/linux/bridged_frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Offsets within a frame. */
#define TO 0
#define FROM 6

#define NO 0U
#define YES UINT32_MAX

/* The bit of an address's first byte that makes it a group's. */
#define GROUP_BIT 1
/* 01-80-C2-00-00-00 to -0F in two parts. */
#define RESERVED_HIGH 0x0180c200U
#define RESERVED_LOW_MASK 0xfff0U

/* A conditional jump is by a byte. */
#define RUN_MAX 255

/* Also counts what has no room. */
static void put(struct frames_program *program, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    if (program->len < FRAMES_PROGRAM_MAX)
        program->code[program->len] = (struct sock_filter){code, jt, jf, k};
    program->len++;
}

static void put_load(struct frames_program *program, uint16_t size, unsigned offset)
{
    put(program, BPF_LD | BPF_ABS | size, 0, 0, offset);
}

static void put_return(struct frames_program *program, uint32_t value)
{
    put(program, BPF_RET | BPF_K, 0, 0, value);
}

static uint16_t high(const struct mac_addr *mac)
{
    return (uint16_t)(mac->bytes[0] << 8 | mac->bytes[1]);
}

static uint32_t low(const struct mac_addr *mac)
{
    const uint8_t *b = mac->bytes;

    return (uint32_t)b[2] << 24 | (uint32_t)b[3] << 16 | (uint32_t)b[4] << 8 | b[5];
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct mac_addr));
}

static void sort(struct mac_addr *ret_sorted, const struct mac_addr *macs, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ret_sorted[i] = macs[i];
    qsort(ret_sorted, len, sizeof(*ret_sorted), compare);
}

/* Returns @value where the accumulator is the low part of one of @macs; else goes on. */
static void put_run(struct frames_program *program, const struct mac_addr *macs, size_t len,
                    uint32_t value)
{
    for (size_t i = 0; i < len; i++)
        put(program, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)(len - i), 0, low(&macs[i]));
    put(program, BPF_JMP | BPF_JA, 0, 0, 1);
    put_return(program, value);
}

/* Returns @value where the address at @offset is one of @macs, which are sorted; else goes on. */
static void put_lookup(struct frames_program *program, unsigned offset, const struct mac_addr *macs,
                       size_t len, uint32_t value)
{
    for (size_t first = 0, end; first < len; first = end) {
        unsigned skip;

        for (end = first; end < len && high(&macs[end]) == high(&macs[first]); end++)
            ;
        put_load(program, BPF_H, offset);
        put(program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, high(&macs[first]));
        skip = program->len;
        put(program, BPF_JMP | BPF_JA, 0, 0, 0);
        put_load(program, BPF_W, offset + 2);
        for (size_t at = first; at < end; at += RUN_MAX)
            put_run(program, &macs[at], end - at < RUN_MAX ? end - at : RUN_MAX, value);
        if (skip < FRAMES_PROGRAM_MAX)
            program->code[skip].k = program->len - skip - 1;
    }
}

static int finish(const struct frames_program *program)
{
    return program->len > FRAMES_PROGRAM_MAX ? -ENOSPC : 0;
}

int frames_to(struct frames_program *ret_program, const struct mac_addr *macs, size_t len)
{
    struct mac_addr sorted[FRAMES_MACS_MAX];

    ret_program->len = 0;
    if (len > FRAMES_MACS_MAX)
        return -ENOSPC;
    sort(sorted, macs, len);
    put_lookup(ret_program, TO, sorted, len, YES);
    put_return(ret_program, NO);
    return finish(ret_program);
}

int frames_to_group(struct frames_program *ret_program, const struct mac_addr *macs, size_t len)
{
    struct mac_addr sorted[FRAMES_MACS_MAX];

    ret_program->len = 0;
    if (len > FRAMES_MACS_MAX)
        return -ENOSPC;
    sort(sorted, macs, len);
    put_load(ret_program, BPF_B, TO);
    put(ret_program, BPF_JMP | BPF_JSET | BPF_K, 1, 0, GROUP_BIT);
    put_return(ret_program, NO);
    put_load(ret_program, BPF_W, TO);
    put(ret_program, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, RESERVED_HIGH);
    put_load(ret_program, BPF_H, TO + 4);
    put(ret_program, BPF_ALU | BPF_AND | BPF_K, 0, 0, RESERVED_LOW_MASK);
    put(ret_program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
    put_return(ret_program, NO);
    put_lookup(ret_program, FROM, sorted, len, NO);
    put_return(ret_program, YES);
    return finish(ret_program);
}

void frames_to_one(struct frames_program *ret_program, const struct mac_addr *but)
{
    ret_program->len = 0;
    put_load(ret_program, BPF_B, TO);
    put(ret_program, BPF_JMP | BPF_JSET | BPF_K, 0, 1, GROUP_BIT);
    put_return(ret_program, NO);
    put_lookup(ret_program, TO, but, 1, NO);
    put_return(ret_program, YES);
}
