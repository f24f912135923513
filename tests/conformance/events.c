/* SPDX-License-Identifier: Apache-2.0 */
/* Event callbacks, as clients use them. */
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define FRAMES 40

/* What a callback has seen; on its queue alone. */
struct seen {
    struct net *net;
    dispatch_semaphore_t frame;
    int events, empty, frames, wrong_queue, bad_facts;
    int each; /* packets to read an event; 0: until there are none */
};

static void on_event(struct seen *seen, interface_event_t event, xpc_object_t facts)
{
    static uint8_t frame[FRAME_MAX];
    int read = 0;
    size_t len_bytes;
    uint32_t number;

    seen->events++;
    if (strcmp(dispatch_queue_get_label(DISPATCH_CURRENT_QUEUE_LABEL), "conformance.net") != 0)
        seen->wrong_queue++;
    if (event != VMNET_INTERFACE_PACKETS_AVAILABLE ||
        xpc_dictionary_get_uint64(facts, vmnet_estimated_packets_available_key) < 1)
        seen->bad_facts++;
    while ((!seen->each || read < seen->each) && (len_bytes = net_read(seen->net, frame))) {
        read++;
        if (frame_number(frame, len_bytes, &number)) {
            seen->frames++;
            dispatch_semaphore_signal(seen->frame);
        }
    }
    if (!read)
        seen->empty++;
}

static vmnet_return_t set_callback(struct net *net, struct seen *seen)
{
    return vmnet_interface_set_event_callback(net->ref, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                              net->queue,
                                              ^(interface_event_t event, xpc_object_t facts) {
                                                on_event(seen, event, facts);
                                              });
}

static vmnet_return_t clear_callback(struct net *net)
{
    return vmnet_interface_set_event_callback(net->ref, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL,
                                              NULL);
}

static void send_frames(struct net nets[2], int len)
{
    uint8_t frame[TEST_BYTES];

    for (int i = 0; i < len; i++) {
        frame_make(frame, sizeof(frame), nets[1].mac, nets[0].mac, (uint32_t)i);
        net_write(&nets[0], frame, sizeof(frame));
    }
}

static bool wait_frames(struct seen *seen, int len)
{
    for (int i = 0; i < len; i++)
        if (!wait_for(seen->frame))
            return false;
    return true;
}

/* After what is on the queue now. */
static void settle(struct net *net)
{
    dispatch_sync(net->queue, ^{
                  });
}

static void read_by_events(int each)
{
    struct net nets[2];
    struct seen seen = {&nets[1], dispatch_semaphore_create(0), 0, 0, 0, 0, 0, each};

    if (nets_start(nets)) {
        check_status(set_callback(&nets[1], &seen), VMNET_SUCCESS, "set a callback");
        for (int round = 0; round < 3; round++) {
            send_frames(nets, FRAMES);
            if (!check(wait_frames(&seen, FRAMES), "all frames come, round %d", round + 1))
                break;
        }
        check(!wait_ms(seen.frame, 30), "and none twice");
        settle(&nets[1]);
        check(seen.empty == 0, "no event without a packet (%d of %d)", seen.empty, seen.events);
        check(seen.wrong_queue == 0, "all on the queue");
        check(seen.bad_facts == 0, "with an estimate of at least 1");
        check_status(clear_callback(&nets[1]), VMNET_SUCCESS, "clear the callback");
        settle(&nets[1]);
    }
    nets_stop(nets);
    dispatch_release(seen.frame);
}

static void test_one_packet_an_event(void)
{
    read_by_events(1);
}

static void test_drain(void)
{
    read_by_events(0);
}

static void test_clear_and_replace(void)
{
    struct net nets[2];
    struct seen first = {&nets[1], dispatch_semaphore_create(0), 0, 0, 0, 0, 0, 0};
    struct seen second = {&nets[1], dispatch_semaphore_create(0), 0, 0, 0, 0, 0, 0};
    int events;

    if (nets_start(nets)) {
        set_callback(&nets[1], &first);
        send_frames(nets, 1);
        check(wait_frames(&first, 1), "the first callback is called");
        set_callback(&nets[1], &second);
        settle(&nets[1]);
        events = first.events;
        send_frames(nets, 1);
        check(wait_frames(&second, 1), "then the one that replaces it");
        settle(&nets[1]);
        check(first.events == events, "and the first no more");
        clear_callback(&nets[1]);
        settle(&nets[1]);
        events = second.events;
        send_frames(nets, 3);
        check(!wait_ms(second.frame, 50), "none when it is cleared");
        settle(&nets[1]);
        check(second.events == events, "not once");
        clear_callback(&nets[1]);
        set_callback(&nets[1], &second);
        check(wait_frames(&second, 3), "set again, it is called for what has waited");
        settle(&nets[1]);
    }
    nets_stop(nets);
    dispatch_release(first.frame);
    dispatch_release(second.frame);
}

/* Set at once, while the interface starts: here without waiting, there within the completion. */
static void set_early(bool within)
{
    dispatch_semaphore_t started = dispatch_semaphore_create(0);
    dispatch_queue_t queue = dispatch_queue_create("conformance.net", DISPATCH_QUEUE_SERIAL);
    dispatch_semaphore_t frame = dispatch_semaphore_create(0);
    struct net nets[2], *receiver = &nets[1];
    xpc_object_t desc = describe(VMNET_SHARED_MODE);
    __block vmnet_return_t status = VMNET_FAILURE;
    __block interface_ref ref;

    vmnet_interface_event_callback_t callback = ^(interface_event_t event, xpc_object_t facts) {
      uint8_t buffer[1514];
      struct iovec iov = {buffer, sizeof(buffer)};
      struct vmpktdesc packet = {sizeof(buffer), &iov, 1, 0};
      uint32_t number;
      int count = 1;

      (void)event;
      (void)facts;
      if (vmnet_read(ref, &packet, &count) == VMNET_SUCCESS && count == 1 &&
          frame_number(buffer, packet.vm_pkt_size, &number))
          dispatch_semaphore_signal(frame);
    };
    if (!check(net_start(&nets[0], describe(VMNET_SHARED_MODE)), "start"))
        return;
    memset(receiver, 0, sizeof(*receiver));
    dispatch_suspend(queue); /* the completion waits until ref is set */
    ref = vmnet_start_interface(desc, queue, ^(vmnet_return_t start_status, xpc_object_t params) {
      status = start_status;
      if (params)
          receiver->params = xpc_copy(params);
      if (within && status == VMNET_SUCCESS)
          status = vmnet_interface_set_event_callback(ref, VMNET_INTERFACE_PACKETS_AVAILABLE, queue,
                                                      callback);
      dispatch_semaphore_signal(started);
    });
    if (!within)
        check_status(vmnet_interface_set_event_callback(ref, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                                        queue, callback),
                     VMNET_SUCCESS, "set a callback before the completion");
    dispatch_resume(queue);
    xpc_release(desc);
    check(wait_for(started) && status == VMNET_SUCCESS, "the interface is up");
    memset(receiver->mac, 0xff, 6);
    for (int i = 0; i < 100 && !wait_ms(frame, 50); i++)
        send_frames(nets, 1);
    send_frames(nets, 1);
    check(wait_for(frame), "events come");
    vmnet_stop_interface(ref, queue, ^(vmnet_return_t stopped) {
      (void)stopped;
      dispatch_semaphore_signal(started);
    });
    check(wait_for(started), "stop");
    if (receiver->params)
        xpc_release(receiver->params);
    net_stop(&nets[0]);
    dispatch_release(queue);
    dispatch_release(started);
    dispatch_release(frame);
}

static void test_within_completion(void)
{
    set_early(true);
}

static void test_before_completion(void)
{
    set_early(false);
}

/* The callback only wakes another thread, which reads one packet: as QEMU does. */
static void test_read_elsewhere(void)
{
    dispatch_semaphore_t wake = dispatch_semaphore_create(0);
    static uint8_t frame[FRAME_MAX];
    struct net nets[2];
    int frames = 0;
    uint32_t number;

    if (nets_start(nets)) {
        vmnet_interface_set_event_callback(nets[1].ref, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                           nets[1].queue,
                                           ^(interface_event_t event, xpc_object_t facts) {
                                             (void)event;
                                             (void)facts;
                                             dispatch_semaphore_signal(wake);
                                           });
        send_frames(nets, FRAMES);
        while (frames < FRAMES && wait_for(wake)) {
            size_t len_bytes = net_read(&nets[1], frame);

            frames += len_bytes && frame_number(frame, len_bytes, &number);
        }
        check(frames == FRAMES, "a thread that reads one packet a wake-up gets all: %d", frames);
    }
    nets_stop(nets);
    dispatch_release(wake);
}

/* Nobody reads: it is called again, but not as fast as it can. */
static void test_nobody_reads(void)
{
    dispatch_semaphore_t wake = dispatch_semaphore_create(0), never = dispatch_semaphore_create(0);
    struct net nets[2];
    __block int events = 0;

    if (nets_start(nets)) {
        vmnet_interface_set_event_callback(nets[1].ref, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                           nets[1].queue,
                                           ^(interface_event_t event, xpc_object_t facts) {
                                             (void)event;
                                             (void)facts;
                                             events++;
                                             dispatch_semaphore_signal(wake);
                                           });
        send_frames(nets, 1);
        check(wait_for(wake) && wait_for(wake), "an event that is disregarded comes again");
        wait_ms(never, 300);
        clear_callback(&nets[1]);
        settle(&nets[1]);
        check(events < 100, "but does not keep a processor busy: %d in 300 ms", events);
    }
    nets_stop(nets);
    dispatch_release(wake);
    dispatch_release(never);
}

static void test_stop_within_callback(void)
{
    dispatch_semaphore_t stopped = dispatch_semaphore_create(0);
    struct net nets[2];
    __block vmnet_return_t status = VMNET_FAILURE;
    __block int events = 0;

    if (nets_start(nets)) {
        interface_ref ref = nets[1].ref;
        dispatch_queue_t queue = nets[1].queue;

        vmnet_interface_set_event_callback(ref, VMNET_INTERFACE_PACKETS_AVAILABLE, queue,
                                           ^(interface_event_t event, xpc_object_t facts) {
                                             (void)event;
                                             (void)facts;
                                             events++;
                                             vmnet_stop_interface(
                                                 ref, queue, ^(vmnet_return_t stop_status) {
                                                   status = stop_status;
                                                   dispatch_semaphore_signal(stopped);
                                                 });
                                           });
        send_frames(nets, 5);
        check(wait_for(stopped) && status == VMNET_SUCCESS, "stop within a callback");
        settle(&nets[1]);
        check(events == 1, "and no event after it");
        nets[1].ref = NULL;
    }
    nets_stop(nets);
    dispatch_release(stopped);
}

const struct test event_tests[] = {
    {"one packet an event", test_one_packet_an_event},
    {"drain to zero", test_drain},
    {"clear and replace", test_clear_and_replace},
    {"callback in the completion", test_within_completion},
    {"callback before it", test_before_completion},
    {"read in another thread", test_read_elsewhere},
    {"nobody reads", test_nobody_reads},
    {"stop within a callback", test_stop_within_callback},
    {NULL, NULL},
};
