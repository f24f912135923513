/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times. A dispatch_time_t of the monotonic clock is its nanoseconds; one of the wall clock has the highest bit
 * set, and the rest are nanoseconds since 1970. Neither clock reaches that bit before the year 2262.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "compat/dispatch/internal.h"

#define WALL_BIT (UINT64_C(1) << 63)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t time_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* @time + @delta_ns, within 1 to the last time below WALL_BIT; past that it is DISPATCH_TIME_FOREVER. */
static uint64_t time_add(uint64_t time, int64_t delta_ns, uint64_t flag)
{
    uint64_t sum;

    if (delta_ns >= 0)
        sum = time + (uint64_t)delta_ns; /* both are below 1 << 63 */
    else
        sum = time > -(uint64_t)delta_ns ? time + (uint64_t)delta_ns : 1;
    return sum >= WALL_BIT - 1 ? DISPATCH_TIME_FOREVER : sum | flag;
}

dispatch_time_t dispatch_time(dispatch_time_t when, int64_t delta_ns)
{
    if (when == DISPATCH_TIME_FOREVER)
        return when;
    if (when & WALL_BIT)
        return time_add(when & ~WALL_BIT, delta_ns, WALL_BIT);
    return time_add(when == DISPATCH_TIME_NOW ? time_now_ns() : when, delta_ns, 0);
}

dispatch_time_t dispatch_walltime(const struct timespec *when, int64_t delta_ns)
{
    uint64_t time = when ? (uint64_t)when->tv_sec * NSEC_PER_SEC + (uint64_t)when->tv_nsec
                         : clock_ns(CLOCK_REALTIME);

    return time_add(time & ~WALL_BIT, delta_ns, WALL_BIT);
}

uint64_t time_deadline_ns(dispatch_time_t when)
{
    if (when == DISPATCH_TIME_FOREVER || when == DISPATCH_TIME_NOW)
        return when;
    if (when & WALL_BIT) {
        uint64_t wall = when & ~WALL_BIT, now = clock_ns(CLOCK_REALTIME);

        return wall > now ? time_now_ns() + (wall - now) : DISPATCH_TIME_NOW;
    }
    return when;
}

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns)
{
    struct timespec until = {(time_t)(deadline_ns / NSEC_PER_SEC),
                             (long)(deadline_ns % NSEC_PER_SEC)};

    if (deadline_ns == DISPATCH_TIME_NOW)
        return false;
    if (deadline_ns == DISPATCH_TIME_FOREVER)
        return pthread_cond_wait(cond, lock) == 0;
    return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}
