/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_CLOCK_H
#define OPENVMNET_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of a clock that never jumps. Its origin means nothing. */
static inline uint64_t clock_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
