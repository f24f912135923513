/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impair NETNS_FD DEVICE OTHER [NAME=VALUE...]: a wire that is as bad as it is told to be.
 *
 * What netem does, for kernels without it. DEVICE is a new tap device in this network namespace, OTHER
 * one in that of NETNS_FD; what leaves one enters the other, both ways alike. Frames are of an MTU at
 * most: the kernel cuts and sums what it would leave to a network card.
 *
 *   loss, duplicate   per cent of the frames that do not arrive, or arrive twice
 *   delay_ms          how long each frame is under way; fractions are fine here and above
 *   jitter_ms         up to so much more, evenly
 *   reorder           per cent of the frames that are held back for reorder_ms more: others overtake them
 *   rate_kbit         what the wire carries each way (0: anything); queue_ms: how long a frame waits for its
 *                     turn at most, else it is lost
 *   seed              of the dice: the same frames meet the same fate
 *
 * Settings come as arguments, and later as lines on standard input; each line, also an empty one, is answered
 * by one with the counts so far. The first line on standard output says that the devices are there. The end of
 * standard input is the end of the wire.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "interface.h"

#define FRAME_BYTES 2048
#define FRAMES_MAX 8192 /* under way at once, both ways: 50 ms of 1 Gbit/s and more */
#define FRAMES_A_TURN 64
#define LINE_BYTES 512
#define NS_A_MS 1000000.0

#define SETTINGS(X)                                                                                \
    X(loss)                                                                                        \
    X(duplicate) X(delay_ms) X(jitter_ms) X(reorder) X(reorder_ms) X(rate_kbit) X(queue_ms) X(seed)
#define COUNTS(X) X(passed) X(lost) X(duplicated) X(reordered) X(overrun)

#define FIELD(name) double name;
static struct {
    SETTINGS(FIELD)
} settings = {.reorder_ms = 2, .queue_ms = 50};

#define COUNT_FIELD(name) unsigned long name;
static struct {
    COUNTS(COUNT_FIELD)
} counts;

/* Under way: in a ring that is ordered by the time when they are due. */
struct frame {
    struct frame *previous, *next;
    uint64_t due_ns;
    int to_fd;
    size_t len_bytes;
    uint8_t data[FRAME_BYTES];
};

static struct frame pool[FRAMES_MAX];
static struct frame under_way = {&under_way, &under_way};
static struct frame *unused;
static uint64_t free_at_ns[2]; /* when the wire has sent what waits, each way */
static uint64_t dice;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* From 0 to 1, without 1: splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators). */
static double roll(void)
{
    uint64_t value = dice += 0x9e3779b97f4a7c15;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return (double)((value ^ value >> 31) >> 11) / (double)(1ULL << 53);
}

static bool happens(double per_cent)
{
    return roll() * 100 < per_cent;
}

static void send_later(const uint8_t *data, size_t len_bytes, int to_fd, uint64_t due_ns)
{
    struct frame *frame = unused, *after = under_way.previous;

    if (!frame) {
        counts.overrun++;
        return;
    }
    unused = frame->next;
    memcpy(frame->data, data, len_bytes);
    frame->len_bytes = len_bytes;
    frame->to_fd = to_fd;
    frame->due_ns = due_ns;
    while (after != &under_way && after->due_ns > due_ns)
        after = after->previous;
    frame->previous = after;
    frame->next = after->next;
    after->next->previous = frame;
    after->next = frame;
}

static void send_due(uint64_t now)
{
    while (under_way.next != &under_way && under_way.next->due_ns <= now) {
        struct frame *frame = under_way.next;

        /* A device that is down takes nothing: a frame that is not taken is lost, as on a wire. */
        if (write(frame->to_fd, frame->data, frame->len_bytes) > 0)
            counts.passed++;
        under_way.next = frame->next;
        frame->next->previous = &under_way;
        frame->next = unused;
        unused = frame;
    }
}

static void take_frame(int direction, const uint8_t *data, size_t len_bytes, int to_fd)
{
    uint64_t now = now_ns(), sent_ns = now;
    /* Always as many dice: one setting does not change what another one meets. */
    bool is_lost = happens(settings.loss), is_late = happens(settings.reorder);
    bool is_twice = happens(settings.duplicate);
    double delay_ms = settings.delay_ms + roll() * settings.jitter_ms;

    if (settings.rate_kbit > 0) {
        uint64_t *free_ns = &free_at_ns[direction];

        if (*free_ns < now)
            *free_ns = now;
        if ((double)(*free_ns - now) > settings.queue_ms * NS_A_MS) {
            counts.overrun++;
            return;
        }
        *free_ns += (uint64_t)((double)len_bytes * 8 / settings.rate_kbit * NS_A_MS);
        sent_ns = *free_ns;
    }
    if (is_lost) {
        counts.lost++;
        return;
    }
    if (is_late) {
        counts.reordered++;
        delay_ms += settings.reorder_ms;
    }
    send_later(data, len_bytes, to_fd, sent_ns + (uint64_t)(delay_ms * NS_A_MS));
    if (is_twice) {
        counts.duplicated++;
        send_later(data, len_bytes, to_fd, sent_ns + (uint64_t)(delay_ms * NS_A_MS));
    }
}

static void take_frames(int direction, int from_fd, int to_fd)
{
    uint8_t data[FRAME_BYTES];

    for (int i = 0; i < FRAMES_A_TURN; i++) {
        ssize_t len = read(from_fd, data, sizeof(data));

        if (len <= 0)
            return;
        take_frame(direction, data, (size_t)len, to_fd);
    }
}

static void set(const char *setting)
{
#define SET(name)                                                                                  \
    if (strncmp(setting, #name "=", sizeof(#name)) == 0) {                                         \
        settings.name = atof(setting + sizeof(#name));                                             \
        if (strcmp(#name, "seed") == 0)                                                            \
            dice = (uint64_t)settings.seed;                                                        \
        return;                                                                                    \
    }
    SETTINGS(SET)
    errno = EINVAL;
    fail(setting);
}

static void report(void)
{
#define REPORT(name) printf(#name "=%lu ", counts.name);
    COUNTS(REPORT)
    printf("\n");
    fflush(stdout);
}

/* One write(2) of the other side is one or more whole lines. */
static void obey(void)
{
    char text[LINE_BYTES], *rest = text, *line;
    ssize_t len = read(STDIN_FILENO, text, sizeof(text) - 1);

    if (len <= 0)
        exit(0);
    text[len] = '\0';
    while ((line = strsep(&rest, "\n")) && rest) {
        for (char *word; (word = strsep(&line, " "));)
            if (*word)
                set(word);
        report();
    }
}

int main(int argc, char **argv)
{
    struct pollfd polls[3] = {{.events = POLLIN}, {.events = POLLIN}, {.events = POLLIN}};

    if (argc < 4) {
        fprintf(stderr, "usage: impair NETNS_FD DEVICE OTHER [NAME=VALUE...]\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 4; i < argc; i++)
        set(argv[i]);
    polls[0].fd = open_interface(argv[2], "02:00:00:00:00:01", 0);
    if (setns(atoi(argv[1]), CLONE_NEWNET) < 0)
        fail("the other namespace");
    polls[1].fd = open_interface(argv[3], "02:00:00:00:00:02", 0);
    polls[2].fd = STDIN_FILENO;
    for (int i = 0; i < 2; i++)
        if (fcntl(polls[i].fd, F_SETFL, O_NONBLOCK) < 0)
            fail("a device");
    for (size_t i = 0; i < FRAMES_MAX; i++) {
        pool[i].next = unused;
        unused = &pool[i];
    }
    report();
    for (;;) {
        uint64_t now = now_ns(), due = under_way.next->due_ns;
        uint64_t wait_ns = due > now ? due - now : 0;
        struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000),
                                .tv_nsec = (long)(wait_ns % 1000000000)};

        if (ppoll(polls, 3, under_way.next == &under_way ? NULL : &wait, NULL) < 0)
            fail("ppoll");
        send_due(now_ns());
        if (polls[2].revents)
            obey();
        for (int i = 0; i < 2; i++)
            if (polls[i].revents)
                take_frames(i, polls[i].fd, polls[!i].fd);
    }
}
