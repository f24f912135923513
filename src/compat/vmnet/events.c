/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events. One thread waits for the descriptors of all interfaces that have a callback, and puts what can be
 * read into the callback's queue, once (EPOLLONESHOT). There:
 *
 * - it is looked whether there is still something to read: others may have been there, and an event without a
 *   packet would be a lie;
 * - the callback is called;
 * - where packets remain it is put into the queue again, else the descriptor is waited for again.
 *
 * A callback that does not read, but tells another thread to, is called again not before somebody has read, or
 * after REFIRE_MS, for a client that has lost it: an event is not to become a busy loop, nor to get lost.
 *
 * A callback is a sink. It has a reference from its interface and one from each piece on its way through a
 * queue; one that was replaced or cleared is not live and is not called any more.
 *
 * A tap does not tell how many packets wait. The estimate is twice what was read since the last event while
 * that was all that had been promised, and otherwise what was read.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "compat/block.h"
#include "compat/vmnet/interface.h"

#define REFIRE_MS 20

struct sink {
    atomic_uint refs;
    atomic_bool live;
    atomic_bool queued; /* a piece is on its way, or the callback runs */
    uint64_t id;        /* in epoll */
    interface_ref ref;
    dispatch_queue_t queue; /* a reference */
    void *callback;         /* a copy of a block */
    unsigned estimate;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t started = PTHREAD_ONCE_INIT;
static int epoll_fd = -1; /* -1: there is no thread */
static uint64_t last_id;
static struct sink *sinks[INTERFACES_MAX]; /* the live ones, by their interface's place */

static void sink_fire(void *context);

static void sink_release(struct sink *sink)
{
    if (!sink || atomic_fetch_sub(&sink->refs, 1) != 1)
        return;
    dispatch_release(sink->queue);
    block_release(sink->callback);
    free(sink);
}

/* Has sink_fire() run, with a reference of its own. */
static void sink_enqueue(struct sink *sink)
{
    if (atomic_exchange(&sink->queued, true))
        return;
    atomic_fetch_add(&sink->refs, 1);
    dispatch_async_f(sink->queue, sink, sink_fire);
}

static void *run_events(void *argument)
{
    struct epoll_event events[INTERFACES_MAX];

    (void)argument;
    for (;;) {
        int len = epoll_wait(epoll_fd, events, INTERFACES_MAX, -1);

        pthread_mutex_lock(&lock);
        for (int i = 0; i < len; i++)
            for (unsigned place = 0; place < INTERFACES_MAX; place++)
                if (sinks[place] && sinks[place]->id == events[i].data.u64)
                    sink_enqueue(sinks[place]);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void start_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    epoll_fd = fd;
    if (fd >= 0 && pthread_create(&thread, NULL, run_events, NULL) == 0) {
        pthread_detach(thread);
    } else if (fd >= 0) {
        close(fd);
        epoll_fd = -1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* With the lock held: waits for packets of @interface, if there is somebody to tell. */
static void arm(struct interface *interface)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};

    if (!interface->sink || !interface->has_events)
        return;
    event.data.u64 = interface->sink->id;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, interface->fd, &event) < 0 && errno == ENOENT)
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, interface->fd, &event);
}

static void rearm(struct interface *interface)
{
    pthread_mutex_lock(&lock);
    arm(interface);
    pthread_mutex_unlock(&lock);
}

/* > 0: packets; 0: none; < 0: there will be none any more. */
static int is_readable(const struct interface *interface)
{
    struct pollfd ready = {.fd = interface->fd, .events = POLLIN};

    if (poll(&ready, 1, 0) < 1)
        return 0;
    return ready.revents & POLLIN ? 1 : -1;
}

static xpc_object_t make_event(struct sink *sink, struct interface *interface)
{
    unsigned packets = atomic_exchange(&interface->packets_read, 0);
    xpc_object_t event = xpc_dictionary_create(NULL, NULL, 0);

    if (packets >= sink->estimate)
        sink->estimate = packets < PACKETS_MAX / 2 ? 2 * packets : PACKETS_MAX;
    else
        sink->estimate = packets;
    if (!sink->estimate)
        sink->estimate = 1;
    xpc_dictionary_set_uint64(event, vmnet_estimated_packets_available_key, sink->estimate);
    return event;
}

/* The interface of a sink that is live, pinned; or NULL. */
static struct interface *sink_pin(const struct sink *sink)
{
    vmnet_return_t status;

    return sink->live ? interface_pin(sink->ref, &status) : NULL;
}

/* On the sink's queue, REFIRE_MS after a callback that did not read. */
static void sink_fire_late(void *context)
{
    struct sink *sink = context;
    struct interface *interface = sink_pin(sink);

    if (interface) {
        if (atomic_exchange(&interface->refire, false))
            sink_enqueue(sink);
        interface_unpin(interface);
    }
    sink_release(sink);
}

/* After the callback: how it goes on. @reads: as it was before. */
static void sink_continue(struct sink *sink, struct interface *interface, unsigned reads)
{
    int readable = is_readable(interface);

    atomic_store(&sink->queued, false);
    if (readable < 0)
        return;
    if (!readable || atomic_load(&interface->reads) != reads) {
        if (readable)
            sink_enqueue(sink);
        else
            rearm(interface);
        return;
    }
    atomic_fetch_add(&sink->refs, 1);
    atomic_store(&interface->refire, true);
    dispatch_after_f(dispatch_time(DISPATCH_TIME_NOW, REFIRE_MS * (int64_t)NSEC_PER_MSEC),
                     sink->queue, sink, sink_fire_late);
    /* Who has read meanwhile may not have seen it. */
    if (atomic_load(&interface->reads) != reads && atomic_exchange(&interface->refire, false))
        rearm(interface);
}

/* On the sink's queue, with a reference. The interface is not pinned while the callback runs: it may stop it. */
static void sink_fire(void *context)
{
    struct sink *sink = context;
    struct interface *interface = sink_pin(sink);
    int readable = interface ? is_readable(interface) : 0;

    if (readable > 0) {
        unsigned reads = atomic_load(&interface->reads);
        xpc_object_t event = make_event(sink, interface);

        interface_unpin(interface);
        BLOCK_CALL(void (*)(void *, interface_event_t, xpc_object_t), sink->callback,
                   VMNET_INTERFACE_PACKETS_AVAILABLE, event);
        xpc_release(event);
        interface = sink_pin(sink);
        if (interface)
            sink_continue(sink, interface, reads);
    } else if (interface) {
        atomic_store(&sink->queued, false);
        if (readable == 0)
            rearm(interface);
    }
    if (interface)
        interface_unpin(interface);
    sink_release(sink);
}

void events_on_read(struct interface *interface, unsigned packets)
{
    atomic_fetch_add_explicit(&interface->packets_read, packets, memory_order_relaxed);
    atomic_fetch_add(&interface->reads, 1);
    if (atomic_load(&interface->refire) && atomic_exchange(&interface->refire, false))
        rearm(interface);
}

/* The interface's callback is @sink, whose reference is taken over, or nobody; and what was before ends. */
static void replace(struct interface *interface, struct sink *sink)
{
    struct sink *old;

    pthread_mutex_lock(&lock);
    old = interface->sink;
    if (old) {
        old->live = false;
        if (interface->has_events)
            epoll_ctl(epoll_fd, EPOLL_CTL_DEL, interface->fd, NULL);
    }
    interface->sink = sinks[interface->place] = sink;
    if (sink) {
        sink->id = ++last_id;
        atomic_store(&interface->refire, false);
        arm(interface);
    }
    pthread_mutex_unlock(&lock);
    sink_release(old);
}

void events_begin(struct interface *interface)
{
    pthread_mutex_lock(&lock);
    interface->has_events = true;
    arm(interface);
    pthread_mutex_unlock(&lock);
}

void events_end(struct interface *interface)
{
    replace(interface, NULL);
}

vmnet_return_t vmnet_interface_set_event_callback(interface_ref ref, interface_event_t event_mask,
                                                  dispatch_queue_t queue,
                                                  vmnet_interface_event_callback_t callback)
{
    static const char call[] = "vmnet_interface_set_event_callback";
    struct interface *interface;
    struct sink *sink = NULL;
    vmnet_return_t status;

    if (!queue != !callback || (queue && event_mask != VMNET_INTERFACE_PACKETS_AVAILABLE))
        return hint(
            call, VMNET_INVALID_ARGUMENT,
            "the one event is VMNET_INTERFACE_PACKETS_AVAILABLE; queue and callback are both "
            "there, or both NULL for no more events");
    interface = interface_pin_any(ref, &status);
    if (!interface)
        return hint(call, status, "there is no such interface, or it was stopped");
    pthread_once(&started, start_thread);
    if (queue)
        sink = calloc(1, sizeof(*sink));
    if (epoll_fd < 0 || (queue && !sink)) {
        free(sink);
        interface_unpin(interface);
        return hint(call, VMNET_MEM_FAILURE, "no memory, thread or descriptor is left");
    }
    if (sink) {
        dispatch_retain(queue);
        *sink = (struct sink){
            .refs = 1, .live = true, .ref = ref, .queue = queue, .callback = block_copy(callback)};
    }
    replace(interface, sink);
    interface_unpin(interface);
    return VMNET_SUCCESS;
}
