/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_CLOCK_H
#define OPENVMNET_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* What each system calls a clock that stands still while the machine sleeps, and one that goes on: clock_gettime(2). */
#ifdef CLOCK_UPTIME_RAW /* macOS */
#define CLOCK_AWAKE CLOCK_UPTIME_RAW
#define CLOCK_WORLD CLOCK_MONOTONIC
#else
#define CLOCK_AWAKE CLOCK_MONOTONIC
#define CLOCK_WORLD CLOCK_BOOTTIME
#endif

static inline uint64_t clock_read_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Milliseconds of a clock that is never set. Its origin means nothing. It stands still while the machine is
 * suspended: for how long a process may take, or the host may need to be back on its network.
 */
static inline uint64_t clock_now_ms(void)
{
    return clock_read_ms(CLOCK_AWAKE);
}

/* The same for what passes in the world outside: it goes on during a suspend. */
static inline uint64_t clock_world_ms(void)
{
    return clock_read_ms(CLOCK_WORLD);
}

#endif
