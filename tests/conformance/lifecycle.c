/* SPDX-License-Identifier: Apache-2.0 */
/* Start and stop: completions, statuses, threads, bad arguments. */
#include <pthread.h>
#include <string.h>

#include "suite.h"

static void test_modes(void)
{
    static const struct {
        operating_modes_t mode;
        const char *name;
    } modes[] = {{VMNET_SHARED_MODE, "shared"}, {VMNET_HOST_MODE, "host"}};

    for (size_t i = 0; i < 2; i++) {
        struct net net;

        check(net_start(&net, describe(modes[i].mode)), "%s mode starts: %s", modes[i].name,
              status_name(net.status));
        check(net.completions == 1, "its completion is called once");
        net_stop(&net);
    }
}

/* The status of a start that fails. */
static vmnet_return_t start_status(xpc_object_t desc)
{
    struct net net;
    vmnet_return_t status;

    net_start(&net, desc);
    status = net.status;
    net_stop(&net);
    return status;
}

static void test_bad_descriptions(void)
{
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);

    check_status(start_status(xpc_retain(desc)), VMNET_INVALID_ARGUMENT, "no mode");
    xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, 7);
    check_status(start_status(xpc_retain(desc)), VMNET_INVALID_ARGUMENT, "mode 7");
    xpc_dictionary_set_string(desc, vmnet_operation_mode_key, "shared");
    check_status(start_status(desc), VMNET_INVALID_ARGUMENT, "a mode that is a string");
    check_status(start_status(describe(VMNET_BRIDGED_MODE)), VMNET_INVALID_ARGUMENT,
                 "bridged mode without an interface");
}

static void test_bridged(void)
{
    xpc_object_t names = vmnet_copy_shared_interface_list(), desc;
    struct net net;

    check(!names || xpc_get_type(names) == XPC_TYPE_ARRAY, "the interface list is an array");
    desc = describe(VMNET_BRIDGED_MODE);
    xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key,
                              names && xpc_array_get_count(names) ? xpc_array_get_string(names, 0)
                                                                  : "en0");
    if (names) {
        for (size_t i = 0; i < xpc_array_get_count(names); i++)
            check(xpc_array_get_string(names, i) != NULL, "with a name: %s",
                  xpc_array_get_string(names, i) ?: "none");
        xpc_release(names);
    }
    if (!net_start(&net, desc))
        check(net.status == VMNET_NOT_AUTHORIZED || net.status == VMNET_FAILURE,
              "bridged mode without rights: %s", status_name(net.status));
    else
        check(net.completions == 1, "bridged mode starts");
    net_stop(&net);
}

static void test_queue_of_completion(void)
{
    dispatch_queue_t queue = dispatch_queue_create("conformance.mine", DISPATCH_QUEUE_SERIAL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    __block bool right = false, has_params = false;
    xpc_object_t desc = describe(VMNET_HOST_MODE);
    interface_ref ref;

    ref = vmnet_start_interface(desc, queue, ^(vmnet_return_t status, xpc_object_t params) {
      right =
          strcmp(dispatch_queue_get_label(DISPATCH_CURRENT_QUEUE_LABEL), "conformance.mine") == 0;
      has_params = status == VMNET_SUCCESS && xpc_get_type(params) == XPC_TYPE_DICTIONARY;
      dispatch_semaphore_signal(done);
    });
    xpc_release(desc);
    check(ref && wait_for(done) && has_params, "start");
    check(right, "its completion runs on the caller's queue");
    right = false;
    vmnet_stop_interface(ref, queue, ^(vmnet_return_t status) {
      right =
          status == VMNET_SUCCESS &&
          strcmp(dispatch_queue_get_label(DISPATCH_CURRENT_QUEUE_LABEL), "conformance.mine") == 0;
      dispatch_semaphore_signal(done);
    });
    check(wait_for(done) && right, "and that of stop");
    dispatch_release(done);
    dispatch_release(queue);
}

static void test_stop_twice(void)
{
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    uint8_t frame[FRAME_MAX];
    interface_ref ref;
    struct net net;

    if (!check(net_start(&net, describe(VMNET_HOST_MODE)), "start"))
        return;
    ref = net.ref;
    vmnet_stop_interface(ref, net.queue, ^(vmnet_return_t status) {
      (void)status;
      dispatch_semaphore_signal(done);
    });
    check(vmnet_stop_interface(ref, net.queue,
                               ^(vmnet_return_t status) {
                                 (void)status;
                               }) != VMNET_SUCCESS,
          "a second stop is refused");
    check(wait_for(done), "the first one is completed");
    check(net_read(&net, frame) == 0, "and nothing is read");
    check(net_write(&net, frame, 60) != VMNET_SUCCESS, "or written after it");
    check(vmnet_interface_set_event_callback(ref, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL, NULL) !=
              VMNET_SUCCESS,
          "nor is a callback set");
    net.ref = NULL;
    net_stop(&net);
    dispatch_release(done);
}

static void *stop_it(void *context)
{
    struct net *net = context;

    return vmnet_stop_interface(net->ref, net->queue,
                                ^(vmnet_return_t status) {
                                  net->completions += status == VMNET_SUCCESS;
                                }) == VMNET_SUCCESS
               ? net
               : NULL;
}

/* Four threads stop while two read and write. */
static void *use_it(void *context)
{
    struct net *net = context;
    uint8_t frame[FRAME_MAX];

    frame_make(frame, TEST_BYTES, net->mac, net->mac, 1);
    for (int i = 0; i < 20000; i++) {
        net_read(net, frame);
        if (net_write(net, frame, TEST_BYTES) == VMNET_INVALID_ARGUMENT)
            break;
    }
    return NULL;
}

static void test_stop_from_threads(void)
{
    struct net net, *shared = &net;
    pthread_t users[2], stoppers[4];
    int stops = 0;

    if (!check(net_start(&net, describe(VMNET_HOST_MODE)), "start"))
        return;
    for (int i = 0; i < 2; i++)
        pthread_create(&users[i], NULL, use_it, &net);
    for (int i = 0; i < 4; i++)
        pthread_create(&stoppers[i], NULL, stop_it, &net);
    for (int i = 0; i < 4; i++) {
        void *stopped;

        pthread_join(stoppers[i], &stopped);
        stops += stopped != NULL;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(users[i], NULL);
    check(stops == 1, "of four threads that stop one does");
    for (int i = 0; i < BOUND_S * 100; i++) {
        dispatch_semaphore_t never = dispatch_semaphore_create(0);
        __block int completions = 0;

        dispatch_sync(net.queue, ^{
          completions = shared->completions;
        });
        if (completions < 2)
            wait_ms(never, 10);
        dispatch_release(never);
        if (completions == 2)
            break;
    }
    check(net.completions == 2, "and is completed once");
    net.ref = NULL;
    net_stop(&net);
}

static void test_setup_incomplete(void)
{
    dispatch_queue_t queue = dispatch_queue_create("conformance.suspended", DISPATCH_QUEUE_SERIAL);
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    xpc_object_t desc = describe(VMNET_HOST_MODE);
    __block vmnet_return_t started = VMNET_FAILURE;
    vmnet_return_t status;
    interface_ref ref;
    int count = 0;

    ref = vmnet_start_interface(desc, queue, ^(vmnet_return_t start_status_, xpc_object_t params) {
      (void)params;
      started = start_status_;
      dispatch_semaphore_signal(done);
    });
    xpc_release(desc);
    status = vmnet_read(ref, NULL, &count);
    check(status == VMNET_SETUP_INCOMPLETE || status == VMNET_SUCCESS,
          "read before the completion: %s", status_name(status));
    check(wait_for(done) && started == VMNET_SUCCESS, "start");
    vmnet_stop_interface(ref, queue, ^(vmnet_return_t stopped) {
      (void)stopped;
      dispatch_semaphore_signal(done);
    });
    check(wait_for(done), "stop");
    dispatch_release(queue);
    dispatch_release(done);
}

static void test_bad_arguments(void)
{
    dispatch_queue_t queue = dispatch_queue_create("conformance.bad", DISPATCH_QUEUE_SERIAL);
    xpc_object_t desc = describe(VMNET_HOST_MODE), text = xpc_string_create("shared");
    int count = 1;
    struct vmpktdesc packet = {0};
    struct net net;

    vmnet_interface_completion_handler_t nothing = ^(vmnet_return_t status) {
      (void)status;
    };
    check(!vmnet_start_interface(desc, NULL,
                                 ^(vmnet_return_t status, xpc_object_t params) {
                                   (void)status;
                                   (void)params;
                                 }),
          "start without a queue");
    check(!vmnet_start_interface(desc, queue, NULL), "start without a handler");
    check_status(start_status(text), VMNET_INVALID_ARGUMENT, "a description that is a string");
    check_status(vmnet_stop_interface(NULL, queue, nothing), VMNET_INVALID_ARGUMENT, "stop NULL");
    check_status(vmnet_read(NULL, &packet, &count), VMNET_INVALID_ARGUMENT, "read from NULL");
    check_status(vmnet_write(NULL, &packet, &count), VMNET_INVALID_ARGUMENT, "write to NULL");
    check_status(
        vmnet_interface_set_event_callback(NULL, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL, NULL),
        VMNET_INVALID_ARGUMENT, "a callback for NULL");
    xpc_release(desc);
    if (check(net_start(&net, describe(VMNET_HOST_MODE)), "start")) {
        check_status(vmnet_stop_interface(net.ref, NULL, nothing), VMNET_INVALID_ARGUMENT,
                     "stop without a queue");
        check_status(vmnet_stop_interface(net.ref, queue, NULL), VMNET_INVALID_ARGUMENT,
                     "stop without a handler");
        check_status(vmnet_interface_set_event_callback(net.ref, VMNET_INTERFACE_PACKETS_AVAILABLE,
                                                        queue, NULL),
                     VMNET_INVALID_ARGUMENT, "a queue without a callback");
        check_status(
            vmnet_interface_set_event_callback(net.ref, (interface_event_t)0, queue,
                                               ^(interface_event_t event, xpc_object_t facts) {
                                                 (void)event;
                                                 (void)facts;
                                               }),
            VMNET_INVALID_ARGUMENT, "no event");
    }
    net_stop(&net);
    dispatch_release(queue);
}

static void test_many_starts(void)
{
    bool all = true;

    for (int i = 0; i < 10 && all; i++) {
        struct net net;

        all = net_start(&net, describe(VMNET_HOST_MODE));
        net_stop(&net);
    }
    check(all, "ten starts and stops, one after the other");
}

#define MOST 64 /* more than there can be */

/* A machine has up to four; at some number there is an end, with a status, and the others go on. */
static void test_many_at_once(void)
{
    static struct net nets[MOST];
    uint8_t frame[TEST_BYTES];
    vmnet_return_t status;
    int len = 0;

    while (len < MOST && net_start(&nets[len], describe(VMNET_HOST_MODE)))
        len++;
    check(len >= 4, "%d interfaces at once", len);
    if (len < MOST) {
        status = nets[len].status;
        check(status != VMNET_SUCCESS && !nets[len].ref, "one more is refused: %s",
              status_name(status));
        net_stop(&nets[len]);
    }
    if (len >= 2) {
        frame_make(frame, sizeof(frame), nets[1].mac, nets[0].mac, 1);
        check_status(net_write(&nets[0], frame, sizeof(frame)), VMNET_SUCCESS, "the others go on");
    }
    while (len > 0)
        net_stop(&nets[--len]);
    check(net_start(&nets[0], describe(VMNET_HOST_MODE)),
          "when they have ended there is room again");
    net_stop(&nets[0]);
}

const struct test lifecycle_tests[] = {
    {"modes", test_modes},
    {"bad descriptions", test_bad_descriptions},
    {"bridged", test_bridged},
    {"queues of completions", test_queue_of_completion},
    {"stop twice", test_stop_twice},
    {"stop from threads", test_stop_from_threads},
    {"before the completion", test_setup_incomplete},
    {"bad arguments", test_bad_arguments},
    {"many starts", test_many_starts},
    {"many at once", test_many_at_once},
    {NULL, NULL},
};
