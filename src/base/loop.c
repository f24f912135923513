/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/loop_private.h"

int loop_new_with_clock(uint64_t (*now_ms)(void), struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    int result;

    if (!loop)
        return -ENOMEM;
    result = loop_queue_new(&loop->queue);
    if (result < 0) {
        free(loop);
        return result;
    }
    loop->clock_ms = now_ms;
    loop->now_ms = now_ms();
    *ret_loop = loop;
    return 0;
}

int loop_new(struct loop **ret_loop)
{
    return loop_new_with_clock(clock_now_ms, ret_loop);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    loop_queue_free(loop->queue);
    free(loop);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    timer->due_ms = loop->clock_ms() + delay_ms;
    if (timer->listed)
        return;
    timer->listed = true;
    timer->next = loop->timers;
    loop->timers = timer;
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    for (struct loop_timer **at = &loop->timers; *at; at = &(*at)->next) {
        if (*at != timer)
            continue;
        *at = timer->next;
        break;
    }
    timer->listed = false;
    timer->due_ms = 0;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

/* Milliseconds until the first timer is due, -1 where there is none. */
static int loop_timeout_ms(const struct loop *loop)
{
    uint64_t first_ms = UINT64_MAX, now_ms = loop->clock_ms();

    for (const struct loop_timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->due_ms < first_ms)
            first_ms = timer->due_ms;
    if (first_ms == UINT64_MAX)
        return -1;
    if (first_ms <= now_ms)
        return 0;
    return first_ms - now_ms > INT_MAX ? INT_MAX : (int)(first_ms - now_ms);
}

static void loop_fire_timers(struct loop *loop)
{
    struct loop_timer *timer;

    /* A callback may set or clear any timer, so the search starts anew after each. */
    do {
        for (timer = loop->timers; timer; timer = timer->next)
            if (timer->due_ms <= loop->now_ms)
                break;
        if (timer) {
            loop_timer_clear(loop, timer);
            timer->on_timer(timer);
        }
    } while (timer && loop->running);
}

int loop_run(struct loop *loop)
{
    loop->running = true;
    while (loop->running) {
        int result = loop_queue_wait(loop->queue, loop_timeout_ms(loop));

        if (result < 0)
            return result;
        loop->now_ms = loop->clock_ms();
        loop_queue_dispatch(loop);
        if (loop->running)
            loop_fire_timers(loop);
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->running = false;
}
