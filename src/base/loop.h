/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop: descriptors and timers, one thread. Its back ends are loop_linux.c and loop_kqueue.c.
 *
 * A source is embedded in the object that it serves, so adding one allocates nothing. Sources are
 * level-triggered unless LOOP_EDGE is asked. A source may delete itself or any other source from
 * within a callback: events already fetched for it are forgotten.
 */
#ifndef OPENVMNET_BASE_LOOP_H
#define OPENVMNET_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LOOP_IN = 1 << 0,
    LOOP_OUT = 1 << 1,
    LOOP_HANGUP = 1 << 2, /* the other side is gone, or an error waits; always reported */
    LOOP_EDGE = 1 << 3,
    LOOP_URGENT = 1 << 4, /* a TCP stream has urgent data (tcp(7)) */
    LOOP_END = 1 << 5,    /* the other side sends no more; told with LOOP_IN where that was asked */
};

struct loop;

struct loop_source {
    void (*on_event)(struct loop_source *source, unsigned events);
    int fd;         /* not owned; -1: not in a loop */
    unsigned state; /* the back end's own */
};

struct loop_timer {
    void (*on_timer)(struct loop_timer *timer);
    uint64_t due_ms; /* 0: not armed */
    struct loop_timer *next;
    bool listed;
};

/*
 * 0 or -errno. @now_ms is the clock of the loop's timers. It may jump ahead (clock_world_ms() after a suspend): what is due
 * by then fires with the next wake-up, which comes no later than it would have come without the jump.
 */
int loop_new_with_clock(uint64_t (*now_ms)(void), struct loop **ret_loop);
/* With clock_now_ms(). */
int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);

/* Adds @fd; @source->on_event must be set. 0 or -errno. The caller keeps owning the descriptor. */
int loop_add(struct loop *loop, struct loop_source *source, int fd, unsigned events);
int loop_change(struct loop *loop, struct loop_source *source, unsigned events);
/* Must come before the descriptor is closed. Does nothing for a source that is in no loop. */
void loop_remove(struct loop *loop, struct loop_source *source);

/*
 * Arms (or re-arms) a timer to fire once, @delay_ms from now. Meant for a few timers a loop: each
 * subsystem has one and keeps its own order of what is due. A timer must be cleared before it is freed.
 */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer);

/* The time of the last wake-up: cheap, and the same for all that is done in one round. */
uint64_t loop_now_ms(const struct loop *loop);

/* Runs until loop_stop(). 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
