/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What loop.c, which has the timers, and the loop's back ends share: loop_linux.c on epoll(7), loop_kqueue.c on
 * kqueue(2). A back end also defines loop_add(), loop_change() and loop_remove().
 */
#ifndef OPENVMNET_BASE_LOOP_PRIVATE_H
#define OPENVMNET_BASE_LOOP_PRIVATE_H

#include "base/loop.h"

#define LOOP_EVENTS_A_ROUND 256

/* The system's queue, and the round that is being handled. */
struct loop_queue;

struct loop {
    struct loop_queue *queue;
    bool running;
    uint64_t (*clock_ms)(void);
    uint64_t now_ms;
    struct loop_timer *timers; /* unordered: there are only a few */
};

/* 0 or -errno. */
int loop_queue_new(struct loop_queue **ret_queue);
void loop_queue_free(struct loop_queue *queue);
/* Waits for a round of events, @timeout_ms at most (-1: for ever). A signal is a round without any. 0 or -errno. */
int loop_queue_wait(struct loop_queue *queue, int timeout_ms);
/* Calls the sources of the round, while @loop runs. */
void loop_queue_dispatch(struct loop *loop);

#endif
