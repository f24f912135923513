/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzzers share. */
#ifndef OPENVMNET_TESTS_FUZZ_H
#define OPENVMNET_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

/* Unlike assert(), not to be compiled out. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* The input, from its front on. */
struct input {
    const uint8_t *data;
    size_t len_bytes;
};

/* The next byte, or 0. */
static inline uint8_t input_byte(struct input *input)
{
    if (!input->len_bytes)
        return 0;
    input->len_bytes--;
    return *input->data++;
}

/* A number of two bytes, big endian. */
static inline unsigned input_u16(struct input *input)
{
    unsigned high = input_byte(input);

    return high << 8 | input_byte(input);
}

/* The next @len_bytes, or as many as there are, in memory of their own, so that reading behind them is noticed. */
static inline uint8_t *input_copy(struct input *input, size_t len_bytes, size_t *ret_len_bytes)
{
    uint8_t *copy;

    if (len_bytes > input->len_bytes)
        len_bytes = input->len_bytes;
    copy = malloc(len_bytes ? len_bytes : 1);
    REQUIRE(copy);
    memcpy(copy, input->data, len_bytes);
    input->data += len_bytes;
    input->len_bytes -= len_bytes;
    *ret_len_bytes = len_bytes;
    return copy;
}

/* All up to the next NUL or line end, or the rest, as a string: free(3)'s. NULL at the end of the input. */
static inline char *input_line(struct input *input)
{
    size_t len = 0;
    char *line;

    if (!input->len_bytes)
        return NULL;
    while (len < input->len_bytes && input->data[len] != '\n' && input->data[len])
        len++;
    line = malloc(len + 1);
    REQUIRE(line);
    memcpy(line, input->data, len);
    line[len] = '\0';
    if (len < input->len_bytes)
        len++;
    input->data += len;
    input->len_bytes -= len;
    return line;
}

#endif
