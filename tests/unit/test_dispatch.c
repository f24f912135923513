/* SPDX-License-Identifier: Apache-2.0 */
/* Queues, timers, semaphores, groups and sources, from many threads: `make tsan` runs this too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dispatch/dispatch.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hand_block.h"

#define BOUND (10 * (int64_t)NSEC_PER_SEC) /* nothing here takes so long */

static dispatch_time_t in_ms(int64_t ms)
{
    return dispatch_time(DISPATCH_TIME_NOW, ms * (int64_t)NSEC_PER_MSEC);
}

static void wait_for(dispatch_semaphore_t semaphore)
{
    assert_int_equal(dispatch_semaphore_wait(semaphore, dispatch_time(DISPATCH_TIME_NOW, BOUND)),
                     0);
}

static void signal_it(void *semaphore)
{
    dispatch_semaphore_signal(semaphore);
}

static void nothing(void *context)
{
    (void)context;
}

/* ---- queues */

struct order {
    int next, wrong;
    atomic_int inside, most;
};

struct step {
    struct order *order;
    int number;
};

static void take_step(void *context)
{
    struct step *step = context;
    struct order *order = step->order;
    int inside = atomic_fetch_add(&order->inside, 1) + 1;

    /* No lock: the serial queue is one. */
    if (order->next++ != step->number || inside != 1)
        order->wrong++;
    atomic_fetch_sub(&order->inside, 1);
}

static void test_serial_queue_keeps_order(void **state)
{
    enum {
        STEPS = 2000
    };
    static struct step steps[STEPS];
    dispatch_queue_t queue = dispatch_queue_create("serial", DISPATCH_QUEUE_SERIAL);
    struct order order = {0};

    for (int i = 0; i < STEPS; i++) {
        steps[i] = (struct step){&order, i};
        if (i % 100 == 99)
            dispatch_sync_f(queue, &steps[i], take_step);
        else
            dispatch_async_f(queue, &steps[i], take_step);
    }
    dispatch_sync_f(queue, NULL, nothing);
    assert_int_equal(order.next, STEPS);
    assert_int_equal(order.wrong, 0);
    dispatch_release(queue);
}

struct sums {
    dispatch_queue_t queue;
    long sum;
};

static void add_one(void *sum)
{
    ++*(long *)sum;
}

static void *sync_many(void *context)
{
    struct sums *sums = context;

    for (int i = 0; i < 2000; i++)
        dispatch_sync_f(sums->queue, &sums->sum, add_one);
    return NULL;
}

static void test_sync_from_threads(void **state)
{
    struct sums sums = {dispatch_queue_create("sums", NULL), 0};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, sync_many, &sums);
    for (int i = 0; i < 2000; i++)
        dispatch_async_f(sums.queue, &sums.sum, add_one);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    dispatch_sync_f(sums.queue, NULL, nothing);
    assert_int_equal(sums.sum, 10000);
    dispatch_release(sums.queue);
}

struct meeting {
    dispatch_semaphore_t here, go, gone;
};

static void meet(void *context)
{
    struct meeting *meeting = context;

    dispatch_semaphore_signal(meeting->here);
    wait_for(meeting->go);
    dispatch_semaphore_signal(meeting->gone);
}

static struct meeting meeting_new(void)
{
    return (struct meeting){dispatch_semaphore_create(0), dispatch_semaphore_create(0),
                            dispatch_semaphore_create(0)};
}

static void meeting_free(struct meeting *meeting)
{
    dispatch_release(meeting->here);
    dispatch_release(meeting->go);
    dispatch_release(meeting->gone);
}

/* Three wait in it at once, and a barrier waits for them. */
static void test_concurrent_queue_and_barrier(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("concurrent", DISPATCH_QUEUE_CONCURRENT);
    dispatch_semaphore_t barrier = dispatch_semaphore_create(0);
    struct meeting meeting = meeting_new();

    for (int i = 0; i < 3; i++)
        dispatch_async_f(queue, &meeting, meet);
    for (int i = 0; i < 3; i++)
        wait_for(meeting.here);
    dispatch_barrier_async_f(queue, barrier, signal_it);
    dispatch_async_f(queue, &meeting, meet); /* behind the barrier */
    assert_int_not_equal(dispatch_semaphore_wait(barrier, in_ms(30)), 0);
    assert_int_not_equal(dispatch_semaphore_wait(meeting.here, DISPATCH_TIME_NOW), 0);
    for (int i = 0; i < 4; i++)
        dispatch_semaphore_signal(meeting.go);
    wait_for(barrier);
    wait_for(meeting.here);
    for (int i = 0; i < 4; i++)
        wait_for(meeting.gone);
    dispatch_barrier_sync_f(queue, NULL, nothing);
    dispatch_release(barrier);
    meeting_free(&meeting);
    dispatch_release(queue);
}

static void test_suspended_queue(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("suspended", NULL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);

    dispatch_suspend(queue);
    dispatch_async_f(queue, done, signal_it);
    assert_int_not_equal(dispatch_semaphore_wait(done, in_ms(20)), 0);
    dispatch_resume(queue);
    wait_for(done);
    dispatch_release(done);
    dispatch_release(queue);
}

static void copy_label(void *to)
{
    snprintf(to, 32, "%s", dispatch_queue_get_label(DISPATCH_CURRENT_QUEUE_LABEL));
}

static void test_labels(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("org.example.q", NULL);
    dispatch_queue_t nameless = dispatch_queue_create(NULL, NULL);
    char label[32] = "";

    dispatch_sync_f(queue, label, copy_label);
    assert_string_equal(label, "org.example.q");
    assert_string_equal(dispatch_queue_get_label(nameless), "");
    assert_string_equal(dispatch_queue_get_label(DISPATCH_CURRENT_QUEUE_LABEL), "");
    assert_null(dispatch_get_global_queue(DISPATCH_QUEUE_PRIORITY_DEFAULT, 1));
    dispatch_release(queue);
    dispatch_release(nameless);
}

/* Whoever releases a queue right away still gets the work done, and the finalizer with the context. */
static void test_context_and_finalizer(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("short", NULL);
    dispatch_semaphore_t finalized = dispatch_semaphore_create(0);

    dispatch_set_context(queue, finalized);
    dispatch_set_finalizer_f(queue, signal_it);
    assert_ptr_equal(dispatch_get_context(queue), finalized);
    dispatch_async_f(queue, NULL, nothing);
    dispatch_release(queue);
    wait_for(finalized);
    dispatch_release(finalized);
}

/* More pieces that wait than threads: the rest go on when there is room. */
static void test_pool_is_bounded(void **state)
{
    enum {
        PIECES = 80
    };
    struct meeting meeting = meeting_new();

    for (int i = 0; i < PIECES; i++)
        dispatch_async_f(dispatch_get_global_queue(0, 0), &meeting, meet);
    for (int i = 0; i < 64; i++)
        wait_for(meeting.here);
    assert_int_not_equal(dispatch_semaphore_wait(meeting.here, in_ms(30)), 0);
    for (int i = 0; i < PIECES; i++)
        dispatch_semaphore_signal(meeting.go);
    for (int i = 0; i < PIECES; i++)
        wait_for(meeting.gone);
    meeting_free(&meeting);
}

static void run_hand_block(struct hand_block *block)
{
    dispatch_semaphore_signal(block->context);
}

/* A block is copied for as long as it is needed, and not where it runs at once. */
static void test_blocks(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("blocks", NULL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    dispatch_group_t group = dispatch_group_create();
    static dispatch_once_t once;

    dispatch_sync(queue, HAND_BLOCK(run_hand_block, done));
    wait_for(done);
    dispatch_once(&once, HAND_BLOCK(run_hand_block, done));
    wait_for(done);
    assert_int_equal(hand_blocks, 0);
    dispatch_suspend(queue);
    dispatch_async(queue, HAND_BLOCK(run_hand_block, done));
    dispatch_group_async(group, queue, HAND_BLOCK(run_hand_block, done));
    dispatch_group_notify(group, queue, HAND_BLOCK(run_hand_block, done));
    dispatch_after(in_ms(1), queue, HAND_BLOCK(run_hand_block, done));
    assert_int_equal(hand_blocks, 4);
    dispatch_resume(queue);
    for (int i = 0; i < 4; i++)
        wait_for(done);
    dispatch_sync_f(queue, NULL, nothing);
    assert_int_equal(hand_blocks, 0);
    dispatch_release(group);
    dispatch_release(done);
    dispatch_release(queue);
}

/* ---- time */

static void test_time_arithmetic(void **state)
{
    dispatch_time_t now = dispatch_time(DISPATCH_TIME_NOW, 0);
    struct timespec day = {86400, 0};

    assert_true(dispatch_time(now, 5) == now + 5);
    assert_true(dispatch_time(now, -5) == now - 5);
    assert_true(dispatch_time(now, INT64_MAX) == DISPATCH_TIME_FOREVER);
    assert_true(dispatch_time(now, INT64_MIN) == 1); /* long ago, which is not "now" */
    assert_true(dispatch_time(DISPATCH_TIME_FOREVER, -1) == DISPATCH_TIME_FOREVER);
    assert_true(dispatch_walltime(&day, 7) == dispatch_time(dispatch_walltime(&day, 0), 7));
    assert_true(dispatch_walltime(&day, 0) != dispatch_walltime(NULL, 0));
}

struct mark {
    dispatch_semaphore_t done;
    atomic_int *count;
    int place;
};

static void set_place(void *context)
{
    struct mark *mark = context;

    mark->place = atomic_fetch_add(mark->count, 1);
    dispatch_semaphore_signal(mark->done);
}

static void test_after(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("after", NULL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    dispatch_time_t start = dispatch_time(DISPATCH_TIME_NOW, 0);
    atomic_int count = 0;
    struct mark late = {done, &count, -1}, soon = {done, &count, -1}, wall = {done, &count, -1};

    dispatch_after_f(in_ms(60), queue, &late, set_place);
    dispatch_after_f(in_ms(20), queue, &soon, set_place);
    dispatch_after_f(dispatch_walltime(NULL, 40 * (int64_t)NSEC_PER_MSEC), queue, &wall, set_place);
    dispatch_after_f(DISPATCH_TIME_FOREVER, queue, NULL, nothing);
    for (int i = 0; i < 3; i++)
        wait_for(done);
    assert_true(dispatch_time(DISPATCH_TIME_NOW, 0) >= dispatch_time(start, 60000000));
    assert_int_equal(soon.place, 0);
    assert_int_equal(wall.place, 1);
    assert_int_equal(late.place, 2);
    dispatch_release(done);
    dispatch_release(queue);
}

static void test_semaphore(void **state)
{
    dispatch_semaphore_t semaphore = dispatch_semaphore_create(1);

    assert_null(dispatch_semaphore_create(-1));
    assert_int_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_NOW), 0);
    assert_int_not_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_NOW), 0);
    assert_int_not_equal(dispatch_semaphore_wait(semaphore, in_ms(10)), 0);
    assert_int_not_equal(dispatch_semaphore_wait(semaphore, dispatch_walltime(NULL, 10000000)), 0);
    assert_int_equal(dispatch_semaphore_signal(semaphore), 0); /* nobody waits */
    assert_int_equal(dispatch_semaphore_wait(semaphore, DISPATCH_TIME_FOREVER), 0);
    dispatch_release(semaphore);
}

/* ---- once, groups, apply */

static dispatch_once_t predicate;
static int once_runs;

static void run_once(void *context)
{
    usleep(20000); /* the others arrive meanwhile */
    once_runs++;
}

static void *call_once(void *seen)
{
    dispatch_once_f(&predicate, NULL, run_once);
    *(int *)seen = once_runs;
    return NULL;
}

static void test_once(void **state)
{
    pthread_t threads[4];
    int seen[4] = {0};

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, call_once, &seen[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(seen[i], 1); /* nobody goes on before it has run */
    }
}

static void test_group(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("group", DISPATCH_QUEUE_CONCURRENT);
    dispatch_semaphore_t notified = dispatch_semaphore_create(0);
    dispatch_group_t group = dispatch_group_create();
    struct meeting meeting = meeting_new();

    assert_int_equal(dispatch_group_wait(group, DISPATCH_TIME_NOW), 0);
    for (int i = 0; i < 3; i++)
        dispatch_group_async_f(group, queue, &meeting, meet);
    dispatch_group_enter(group);
    dispatch_group_notify_f(group, queue, notified, signal_it);
    for (int i = 0; i < 3; i++)
        dispatch_semaphore_signal(meeting.go);
    for (int i = 0; i < 3; i++)
        wait_for(meeting.gone);
    assert_int_not_equal(dispatch_group_wait(group, in_ms(20)), 0);
    assert_int_not_equal(dispatch_semaphore_wait(notified, DISPATCH_TIME_NOW), 0);
    dispatch_group_leave(group);
    assert_int_equal(dispatch_group_wait(group, DISPATCH_TIME_FOREVER), 0);
    wait_for(notified);
    dispatch_group_notify_f(group, queue, notified, signal_it); /* of an empty one: at once */
    wait_for(notified);
    dispatch_release(group);
    dispatch_release(notified);
    meeting_free(&meeting);
    dispatch_release(queue);
}

static void count_iteration(void *context, size_t iteration)
{
    atomic_int *counts = context;

    atomic_fetch_add(&counts[iteration], 1);
}

static void test_apply(void **state)
{
    dispatch_queue_t serial = dispatch_queue_create("apply", NULL);
    atomic_int counts[500] = {0};

    dispatch_apply_f(500, DISPATCH_APPLY_AUTO, counts, count_iteration);
    dispatch_apply_f(500, serial, counts, count_iteration);
    dispatch_apply_f(1, dispatch_get_global_queue(0, 0), counts, count_iteration);
    dispatch_apply_f(0, serial, counts, count_iteration);
    for (int i = 1; i < 500; i++)
        assert_int_equal(counts[i], 2);
    assert_int_equal(counts[0], 3);
    dispatch_release(serial);
}

/* ---- sources */

struct reader {
    dispatch_source_t source;
    int fd;
    dispatch_semaphore_t events, cancelled;
    atomic_int calls, bytes;
};

/* One byte an event: what is left has to come again. */
static void read_one(void *context)
{
    struct reader *reader = context;
    char byte;

    atomic_fetch_add(&reader->calls, 1);
    assert_true(dispatch_source_get_data(reader->source) >= 1);
    if (read(reader->fd, &byte, 1) == 1)
        atomic_fetch_add(&reader->bytes, 1);
    dispatch_semaphore_signal(reader->events);
}

static void on_cancelled(void *context)
{
    struct reader *reader = context;

    close(reader->fd);
    dispatch_semaphore_signal(reader->cancelled);
}

static void test_read_source(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("source", NULL);
    struct reader reader = {.events = dispatch_semaphore_create(0),
                            .cancelled = dispatch_semaphore_create(0)};
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    reader.fd = ends[0];
    reader.source = dispatch_source_create(DISPATCH_SOURCE_TYPE_READ, (uintptr_t)ends[0], 0, queue);
    dispatch_set_context(reader.source, &reader);
    dispatch_source_set_event_handler_f(reader.source, read_one);
    dispatch_source_set_cancel_handler_f(reader.source, on_cancelled);
    assert_int_equal(write(ends[1], "abc", 3), 3);
    /* Not before it is resumed. */
    assert_int_not_equal(dispatch_semaphore_wait(reader.events, in_ms(20)), 0);
    dispatch_resume(reader.source);
    for (int i = 0; i < 3; i++)
        wait_for(reader.events);
    dispatch_sync_f(queue, NULL, nothing);
    assert_int_equal(reader.bytes, 3);
    assert_int_not_equal(dispatch_semaphore_wait(reader.events, in_ms(20)), 0);
    assert_int_equal(reader.calls, 3); /* and none without a byte */
    dispatch_suspend(reader.source);
    assert_int_equal(write(ends[1], "d", 1), 1);
    assert_int_not_equal(dispatch_semaphore_wait(reader.events, in_ms(20)), 0);
    dispatch_resume(reader.source);
    wait_for(reader.events);
    dispatch_source_cancel(reader.source);
    dispatch_source_cancel(reader.source);
    assert_int_not_equal(dispatch_source_testcancel(reader.source), 0);
    wait_for(reader.cancelled);
    assert_int_not_equal(dispatch_semaphore_wait(reader.cancelled, in_ms(10)), 0);
    assert_int_equal(fcntl(ends[0], F_GETFD), -1);
    close(ends[1]);
    dispatch_release(reader.source);
    dispatch_release(reader.events);
    dispatch_release(reader.cancelled);
    dispatch_release(queue);
}

/* A handler that cancels its own source, while more comes, many times over. */
static void cancel_it(void *context)
{
    struct reader *reader = context;

    atomic_fetch_add(&reader->calls, 1);
    dispatch_source_cancel(reader->source);
}

static void test_cancel_within_handler(void **state)
{
    dispatch_queue_t queue = dispatch_queue_create("cancel", DISPATCH_QUEUE_CONCURRENT);

    for (int i = 0; i < 200; i++) {
        struct reader reader = {.cancelled = dispatch_semaphore_create(0)};
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(write(ends[1], "ab", 2), 2);
        reader.fd = ends[0];
        reader.source =
            dispatch_source_create(DISPATCH_SOURCE_TYPE_READ, (uintptr_t)ends[0], 0, queue);
        dispatch_set_context(reader.source, &reader);
        dispatch_source_set_event_handler_f(reader.source, cancel_it);
        dispatch_source_set_cancel_handler_f(reader.source, on_cancelled);
        dispatch_activate(reader.source);
        wait_for(reader.cancelled);
        assert_int_equal(reader.calls, 1);
        close(ends[1]);
        dispatch_barrier_sync_f(queue, NULL, nothing);
        dispatch_release(reader.source);
        dispatch_release(reader.cancelled);
    }
    dispatch_release(queue);
}

/* ---- what ends the program: in a child */

static void exit_well(void *context)
{
    _exit(dispatch_get_main_queue() == context ? 7 : 1);
}

static void sync_on_self(void *queue)
{
    dispatch_sync_f(queue, NULL, nothing);
}

static int child_status(void (*run)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        close(STDERR_FILENO);
        run();
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void run_main(void)
{
    dispatch_async_f(dispatch_get_main_queue(), dispatch_get_main_queue(), exit_well);
    dispatch_main();
}

static void run_deadlock(void)
{
    dispatch_queue_t queue = dispatch_queue_create("self", NULL);

    dispatch_async_f(queue, queue, sync_on_self);
    pause();
}

static void test_main_queue_and_deadlock(void **state)
{
    int status = child_status(run_main);

    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = child_status(run_deadlock);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: a child of a process with threads has none of them. */
        cmocka_unit_test(test_main_queue_and_deadlock),
        cmocka_unit_test(test_serial_queue_keeps_order),
        cmocka_unit_test(test_sync_from_threads),
        cmocka_unit_test(test_concurrent_queue_and_barrier),
        cmocka_unit_test(test_suspended_queue),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_context_and_finalizer),
        cmocka_unit_test(test_pool_is_bounded),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_time_arithmetic),
        cmocka_unit_test(test_after),
        cmocka_unit_test(test_semaphore),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_read_source),
        cmocka_unit_test(test_cancel_within_handler),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
