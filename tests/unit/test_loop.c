/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing sleeps: descriptors are made ready before the loop runs, and a timer far away ends a loop
 * that would otherwise wait for ever.
 */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"

#define GUARD_MS 10000

struct end {
    struct loop_source source; /* first: a source is its end */
    struct fixture *fixture;
    struct end *victim; /* removed when this one is called */
    int peer_fd;
    unsigned calls, events;
    unsigned stop_after;
};

struct fixture {
    struct loop *loop;
    struct loop_timer guard;
    bool guard_fired;
    struct end ends[2];
};

/* The timers have no pointer of their own to what they serve. */
static struct fixture *current;

static void on_guard(struct loop_timer *timer)
{
    (void)timer;
    current->guard_fired = true;
    loop_stop(current->loop);
}

static void on_event(struct loop_source *source, unsigned events)
{
    struct end *end = (struct end *)source;

    end->calls++;
    end->events |= events;
    if (end->victim)
        loop_remove(end->fixture->loop, &end->victim->source);
    if (end->calls >= end->stop_after)
        loop_stop(end->fixture->loop);
}

static int setup(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){.guard = {.on_timer = on_guard}};
    for (int i = 0; i < 2; i++) {
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
            return -1;
        fixture.ends[i] = (struct end){
            .source = {.on_event = on_event, .fd = fds[0]},
            .fixture = &fixture,
            .peer_fd = fds[1],
            .stop_after = 1,
        };
    }
    current = &fixture;
    *state = &fixture;
    if (loop_new(&fixture.loop) < 0)
        return -1;
    loop_timer_set(fixture.loop, &fixture.guard, GUARD_MS);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    /* A test that had a source removed has closed its descriptor itself. */
    for (int i = 0; i < 2; i++) {
        int fd = fixture->ends[i].source.fd;

        loop_remove(fixture->loop, &fixture->ends[i].source);
        if (fd >= 0)
            close(fd);
        if (fixture->ends[i].peer_fd >= 0)
            close(fixture->ends[i].peer_fd);
    }
    loop_timer_clear(fixture->loop, &fixture->guard);
    loop_free(fixture->loop);
    return 0;
}

static void add(struct fixture *fixture, int i, unsigned events)
{
    struct end *end = &fixture->ends[i];

    assert_int_equal(loop_add(fixture->loop, &end->source, end->source.fd, events), 0);
}

static void run(struct fixture *fixture)
{
    assert_int_equal(loop_run(fixture->loop), 0);
    assert_false(fixture->guard_fired);
}

static void test_in_and_out(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(write(fixture->ends[0].peer_fd, "x", 1), 1);
    add(fixture, 0, LOOP_IN);
    run(fixture);
    assert_int_equal(fixture->ends[0].events, LOOP_IN);

    fixture->ends[0].events = 0;
    assert_int_equal(loop_change(fixture->loop, &fixture->ends[0].source, LOOP_OUT), 0);
    run(fixture);
    assert_int_equal(fixture->ends[0].events, LOOP_OUT);

    fixture->ends[0].events = 0;
    assert_int_equal(loop_change(fixture->loop, &fixture->ends[0].source, LOOP_IN | LOOP_OUT), 0);
    run(fixture);
    assert_int_equal(fixture->ends[0].events, LOOP_IN | LOOP_OUT);
}

static void test_hangup_is_always_told(void **state)
{
    struct fixture *fixture = *state;

    close(fixture->ends[0].peer_fd);
    fixture->ends[0].peer_fd = -1;
    add(fixture, 0, 0);
    run(fixture);
    assert_true(fixture->ends[0].events & LOOP_HANGUP);
}

/* What nobody asked for is not told, and is when somebody does, however long it has been there. */
static void test_unasked_is_silent(void **state)
{
    struct fixture *fixture = *state;
    struct end *ends = fixture->ends;

    assert_int_equal(write(ends[0].peer_fd, "x", 1), 1);
    assert_int_equal(write(ends[1].peer_fd, "x", 1), 1);
    ends[1].stop_after = 5;
    add(fixture, 0, 0);
    add(fixture, 1, LOOP_IN);
    run(fixture);
    assert_int_equal(ends[0].calls, 0);
    assert_int_equal(ends[1].events, LOOP_IN);

    ends[1].stop_after = 100;
    assert_int_equal(loop_change(fixture->loop, &ends[1].source, 0), 0);
    assert_int_equal(loop_change(fixture->loop, &ends[0].source, LOOP_IN), 0);
    run(fixture);
    assert_int_equal(ends[0].events, LOOP_IN);
    assert_int_equal(ends[1].calls, 5);
}

/* The ends become those of a TCP connection, the only streams that have such data everywhere. */
static void connect_by_tcp(struct end *end)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    close(end->source.fd);
    close(end->peer_fd);
    end->peer_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(end->peer_fd, (struct sockaddr *)&address, len), 0);
    end->source.fd = accept(listener, NULL, NULL);
    assert_true(end->source.fd >= 0);
    close(listener);
}

static void test_urgent_data(void **state)
{
    struct fixture *fixture = *state;
    struct end *end = &fixture->ends[0];

    connect_by_tcp(end);
    add(fixture, 0, LOOP_URGENT);
    assert_int_equal(send(end->peer_fd, "x", 1, MSG_OOB), 1);
    run(fixture);
    assert_int_equal(end->events, LOOP_URGENT);
}

/* The other side sends no more, but still takes: an end. When nothing goes either way it is a hang-up. */
static void test_an_end_is_no_hangup(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(shutdown(fixture->ends[0].peer_fd, SHUT_WR), 0);
    add(fixture, 0, LOOP_IN);
    run(fixture);
    assert_int_equal(fixture->ends[0].events, LOOP_IN | LOOP_END);
    close(fixture->ends[0].peer_fd);
    fixture->ends[0].peer_fd = -1;
    fixture->ends[0].events = 0;
    fixture->ends[0].stop_after = 3;
    run(fixture);
    assert_true(fixture->ends[0].events & LOOP_HANGUP);
}

/* A pipe has one direction: its end is a hang-up, for who reads and for who writes. */
static void test_ends_of_pipes(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 2; i++) {
        struct end *end = &fixture->ends[i];
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        close(end->source.fd);
        close(end->peer_fd);
        end->source.fd = fds[i];
        end->peer_fd = fds[1 - i];
        add(fixture, i, i == 0 ? LOOP_IN : LOOP_OUT);
        close(end->peer_fd);
        end->peer_fd = -1;
        run(fixture);
        assert_true(end->events & LOOP_HANGUP);
        loop_remove(fixture->loop, &end->source);
        close(fds[i]);
    }
}

static void test_add_of_a_bad_descriptor(void **state)
{
    struct fixture *fixture = *state;
    struct loop_source source = {.on_event = on_event, .fd = -1};

    assert_true(loop_add(fixture->loop, &source, -1, LOOP_IN) < 0);
    assert_int_equal(source.fd, -1);
    loop_remove(fixture->loop, &source); /* in no loop: nothing happens */
}

/* Both are ready in one round; the one called first removes the other, which must stay silent. */
static void test_remove_other_in_the_same_round(void **state)
{
    struct fixture *fixture = *state;
    struct end *ends = fixture->ends;
    const int fds[2] = {ends[0].source.fd, ends[1].source.fd};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(ends[i].peer_fd, "x", 1), 1);
        ends[i].victim = &ends[1 - i];
        ends[i].stop_after = 3; /* rounds that follow do not bring it back either */
        add(fixture, i, LOOP_IN);
    }
    run(fixture);
    assert_true((ends[0].calls == 3 && ends[1].calls == 0) ||
                (ends[0].calls == 0 && ends[1].calls == 3));
    for (int i = 0; i < 2; i++)
        if (ends[i].source.fd < 0)
            close(fds[i]);
}

static void test_remove_itself(void **state)
{
    struct fixture *fixture = *state;
    struct end *ends = fixture->ends;
    int fd = ends[0].source.fd;

    assert_int_equal(write(ends[0].peer_fd, "x", 1), 1);
    assert_int_equal(write(ends[1].peer_fd, "x", 1), 1);
    ends[0].victim = &ends[0];
    ends[0].stop_after = 100;
    ends[1].stop_after = 5;
    add(fixture, 0, LOOP_IN);
    add(fixture, 1, LOOP_IN);
    run(fixture);
    assert_int_equal(ends[0].calls, 1);
    assert_int_equal(ends[1].calls, 5);
    assert_int_equal(ends[0].source.fd, -1);
    close(fd);
}

/* What is not read is told again, but with LOOP_EDGE only once for each arrival. */
static void test_level_and_edge(void **state)
{
    struct fixture *fixture = *state;
    struct end *ends = fixture->ends;

    assert_int_equal(write(ends[0].peer_fd, "x", 1), 1);
    assert_int_equal(write(ends[1].peer_fd, "x", 1), 1);
    ends[0].stop_after = 100;
    ends[1].stop_after = 5;
    add(fixture, 0, LOOP_IN | LOOP_EDGE);
    add(fixture, 1, LOOP_IN);
    run(fixture);
    assert_int_equal(ends[0].calls, 1);
    assert_int_equal(ends[1].calls, 5);

    assert_int_equal(write(ends[0].peer_fd, "x", 1), 1);
    ends[1].stop_after = 10;
    run(fixture);
    assert_int_equal(ends[0].calls, 2);
}

struct order {
    struct loop_timer timer; /* first */
    int place;
};
static int timers_fired;

static void on_order(struct loop_timer *timer)
{
    ((struct order *)timer)->place = ++timers_fired;
}

static void on_last(struct loop_timer *timer)
{
    on_order(timer);
    loop_stop(current->loop);
}

static void test_timers_in_order(void **state)
{
    struct fixture *fixture = *state;
    struct order first = {.timer = {.on_timer = on_order}}, cleared = first;
    struct order moved = first, last = {.timer = {.on_timer = on_last}};
    uint64_t start_ms = loop_now_ms(fixture->loop);

    timers_fired = 0;
    loop_timer_set(fixture->loop, &last.timer, 30);
    loop_timer_set(fixture->loop, &moved.timer, GUARD_MS);
    loop_timer_set(fixture->loop, &cleared.timer, 1);
    loop_timer_set(fixture->loop, &first.timer, 1);
    loop_timer_set(fixture->loop, &moved.timer, 15); /* re-armed: the last word counts */
    loop_timer_clear(fixture->loop, &cleared.timer);
    loop_timer_clear(fixture->loop, &cleared.timer); /* twice is once */
    run(fixture);
    assert_int_equal(first.place, 1);
    assert_int_equal(moved.place, 2);
    assert_int_equal(last.place, 3);
    assert_int_equal(cleared.place, 0);
    assert_true(loop_now_ms(fixture->loop) - start_ms >= 30);
    assert_int_equal(first.timer.due_ms, 0); /* fired once, then not armed */
}

static struct order other_timer;

static void on_clearing(struct loop_timer *timer)
{
    on_order(timer);
    loop_timer_clear(current->loop, &other_timer.timer);
}

static void on_again(struct loop_timer *timer)
{
    on_order(timer);
    if (timers_fired < 3)
        loop_timer_set(current->loop, timer, 1);
    else
        loop_stop(current->loop);
}

static void test_timer_from_a_timer(void **state)
{
    struct fixture *fixture = *state;
    struct order again = {.timer = {.on_timer = on_again}};
    struct order clearing = {.timer = {.on_timer = on_clearing}};

    /* Re-arms itself; fires three times. */
    timers_fired = 0;
    loop_timer_set(fixture->loop, &again.timer, 0);
    run(fixture);
    assert_int_equal(again.place, 3);

    /* It is due in the same round at the latest, and cleared before. */
    other_timer = (struct order){.timer = {.on_timer = on_order}};
    timers_fired = 0;
    loop_timer_set(fixture->loop, &again.timer, 2);
    again.timer.on_timer = on_last;
    loop_timer_set(fixture->loop, &other_timer.timer, 1);
    loop_timer_set(fixture->loop, &clearing.timer, 0); /* newest: looked at first */
    run(fixture);
    assert_int_equal(clearing.place, 1);
    assert_int_equal(other_timer.place, 0);
    assert_int_equal(other_timer.timer.due_ms, 0);
    assert_int_equal(again.place, 2);
}

/* A clock that the test sets: the machine is suspended. */
static uint64_t world_ms;
static struct loop *world_loop;

static uint64_t read_world_ms(void)
{
    return world_ms;
}

static void on_world_timer(struct loop_timer *timer)
{
    timer->due_ms = world_ms; /* when it has fired */
}

static void on_wake_up(struct loop_source *source, unsigned events)
{
    struct end *end = (struct end *)source;

    (void)events;
    if (++end->calls == 3)
        loop_stop(world_loop);
    /* The machine sleeps for a night between one event and the next. */
    world_ms += 8 * 3600 * 1000;
}

/* What has become due during a suspend fires when the loop wakes up, whatever has woken it. */
static void test_a_clock_that_jumps(void **state)
{
    struct fixture *fixture = *state;
    struct loop_timer idle = {.on_timer = on_world_timer}, later = {.on_timer = on_world_timer};
    struct loop_source *source = &fixture->ends[0].source;
    struct loop *loop;

    world_ms = 1000;
    assert_int_equal(loop_new_with_clock(read_world_ms, &loop), 0);
    world_loop = loop;
    source->on_event = on_wake_up;
    assert_int_equal(loop_add(loop, source, source->fd, LOOP_IN), 0);
    loop_timer_set(loop, &idle, 120000);
    loop_timer_set(loop, &later, 24 * 3600 * 1000);
    assert_int_equal(write(fixture->ends[0].peer_fd, "x", 1), 1);
    assert_int_equal(loop_run(loop), 0);
    assert_false(idle.listed);
    assert_true(idle.due_ms >= 1000 + 8 * 3600 * 1000);
    assert_true(later.listed);
    loop_timer_clear(loop, &later);
    close(fixture->ends[0].peer_fd);
    fixture->ends[0].peer_fd = source->fd; /* for teardown: it is in no loop there */
    loop_remove(loop, source);
    loop_free(loop);
}

static void test_free_of_nothing(void **state)
{
    (void)state;
    loop_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_and_out),
        TEST(test_hangup_is_always_told),
        TEST(test_unasked_is_silent),
        TEST(test_urgent_data),
        TEST(test_an_end_is_no_hangup),
        TEST(test_ends_of_pipes),
        TEST(test_add_of_a_bad_descriptor),
        TEST(test_remove_other_in_the_same_round),
        TEST(test_remove_itself),
        TEST(test_level_and_edge),
        TEST(test_timers_in_order),
        TEST(test_timer_from_a_timer),
        TEST(test_a_clock_that_jumps),
        cmocka_unit_test(test_free_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
