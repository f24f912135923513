/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of interfaces; start and stop.
 *
 *   FREE -> STARTING -> UP -> STOPPING -> FREE
 *                 `-- failed --^
 *
 * What takes time, attaching and removing a port, is done by a thread of the global queue, so that no caller
 * waits; completions go to the caller's queue. A place's state is one word, of generation, phase and pins, so
 * that a call looks and pins in one step. One thread alone moves an interface to STOPPING; the last pin then
 * lets it end.
 */
#include "compat/vmnet/interface.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compat/block.h"

enum phase {
    FREE,
    STARTING,
    UP,
    STOPPING
};

#define PINS UINT64_C(0xffff)
#define PHASE_SHIFT 16
#define GENERATION_SHIFT 32
#define GENERATIONS UINT32_C(0xffffff) /* that fit a pointer of 32 bits beside the place */

static struct place {
    _Atomic uint64_t state;
    struct interface *interface;
} places[INTERFACES_MAX];

static enum phase phase_of(uint64_t state)
{
    return (enum phase)(state >> PHASE_SHIFT & 3);
}

static uint64_t make_state(uint32_t generation, enum phase phase, unsigned pins)
{
    return (uint64_t)generation << GENERATION_SHIFT | (uint64_t)phase << PHASE_SHIFT | pins;
}

static struct interface *pin(interface_ref ref, bool any, vmnet_return_t *ret_status)
{
    uintptr_t number = (uintptr_t)ref, place = (number & 0xff) - 1;
    uint64_t state;

    *ret_status = VMNET_INVALID_ARGUMENT;
    if (place >= INTERFACES_MAX)
        return NULL;
    state = atomic_load_explicit(&places[place].state, memory_order_relaxed);
    do {
        if (state >> GENERATION_SHIFT != number >> 8 || phase_of(state) == FREE ||
            phase_of(state) == STOPPING || (state & PINS) == PINS)
            return NULL;
        if (phase_of(state) == STARTING && !any) {
            *ret_status = VMNET_SETUP_INCOMPLETE;
            return NULL;
        }
    } while (!atomic_compare_exchange_weak_explicit(&places[place].state, &state, state + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    *ret_status = VMNET_SUCCESS;
    return places[place].interface;
}

struct interface *interface_pin(interface_ref ref, vmnet_return_t *ret_status)
{
    return pin(ref, false, ret_status);
}

struct interface *interface_pin_any(interface_ref ref, vmnet_return_t *ret_status)
{
    return pin(ref, true, ret_status);
}

/* False where it is in another phase. */
static bool set_phase(struct interface *interface, enum phase from, enum phase to)
{
    _Atomic uint64_t *at = &places[interface->place].state;
    uint64_t state = atomic_load(at), next;

    do {
        if (phase_of(state) != from)
            return false;
        next = (state & ~(UINT64_C(3) << PHASE_SHIFT)) | (uint64_t)to << PHASE_SHIFT;
    } while (!atomic_compare_exchange_weak(at, &state, next));
    return true;
}

/* ---- completions */

struct completion {
    dispatch_queue_t queue; /* a reference */
    void *handler;          /* a copy of a block */
    bool of_start;
    vmnet_return_t status;
    xpc_object_t params; /* a reference, or NULL */
};

static void run_completion(void *context)
{
    struct completion *completion = context;

    if (completion->of_start)
        BLOCK_CALL(void (*)(void *, vmnet_return_t, xpc_object_t), completion->handler,
                   completion->status, completion->params);
    else
        BLOCK_CALL(void (*)(void *, vmnet_return_t), completion->handler, completion->status);
    block_release(completion->handler);
    xpc_release(completion->params);
    dispatch_release(completion->queue);
    free(completion);
}

/* Takes over all that is passed. */
static void complete(dispatch_queue_t queue, void *handler, bool of_start, vmnet_return_t status,
                     xpc_object_t params)
{
    struct completion *completion = malloc(sizeof(*completion));

    /* Nothing could be told to the caller, who waits. */
    if (!completion)
        abort();
    *completion = (struct completion){queue, handler, of_start, status, params};
    dispatch_async_f(queue, completion, run_completion);
}

/* ---- the end */

/* In a thread of the global queue: nobody is in the interface any more, and nobody can get there. */
static void finish(void *context)
{
    struct interface *interface = context;
    struct place *place = &places[interface->place];
    dispatch_queue_t queue = interface->queue;
    void *handler = interface->handler;
    vmnet_return_t status = interface->start_status;

    events_end(interface);
    forwards_end(interface);
    learn_end(interface);
    openvmnet_port_free(&interface->port);
    pthread_mutex_destroy(&interface->forwards_lock);
    free(interface);
    place->interface = NULL;
    atomic_store(&place->state,
                 make_state((uint32_t)(atomic_load(&place->state) >> GENERATION_SHIFT), FREE, 0));
    complete(queue, handler, status != VMNET_SUCCESS, status, NULL);
}

void interface_unpin(struct interface *interface)
{
    uint64_t before =
        atomic_fetch_sub_explicit(&places[interface->place].state, 1, memory_order_acq_rel);

    if (phase_of(before) == STOPPING && (before & PINS) == 1)
        dispatch_async_f(dispatch_get_global_queue(DISPATCH_QUEUE_PRIORITY_DEFAULT, 0), interface,
                         finish);
}

vmnet_return_t vmnet_stop_interface(interface_ref ref, dispatch_queue_t queue,
                                    vmnet_interface_completion_handler_t handler)
{
    static const char call[] = "vmnet_stop_interface";
    struct interface *interface;
    vmnet_return_t status;

    if (!queue || !handler)
        return hint(call, VMNET_INVALID_ARGUMENT, "queue or handler is NULL");
    interface = interface_pin(ref, &status);
    if (!interface)
        return hint(call, status,
                    status == VMNET_SETUP_INCOMPLETE
                        ? "the interface starts: wait for its completion"
                        : "there is no such interface, or it was stopped");
    if (!set_phase(interface, UP, STOPPING)) {
        interface_unpin(interface);
        return hint(call, VMNET_INVALID_ARGUMENT, "the interface was stopped by another thread");
    }
    dispatch_retain(queue);
    interface->queue = queue;
    interface->handler = block_copy(handler);
    events_end(interface);
    interface_unpin(interface);
    return VMNET_SUCCESS;
}

/* ---- the start */

/* A pinned interface in STARTING; NULL where all places are taken. */
static struct interface *claim(struct interface *interface)
{
    for (unsigned i = 0; i < INTERFACES_MAX; i++) {
        uint64_t state = atomic_load(&places[i].state);
        uint32_t generation = ((uint32_t)(state >> GENERATION_SHIFT) + 1) & GENERATIONS;

        if (phase_of(state) != FREE ||
            !atomic_compare_exchange_strong(&places[i].state, &state,
                                            make_state(generation, STARTING, 1)))
            continue;
        places[i].interface = interface;
        interface->place = i;
        interface->ref = (interface_ref)((uintptr_t)generation << 8 | (i + 1));
        return interface;
    }
    return NULL;
}

/*
 * A client may bring any MAC address along, and several, and many do. A network of the system lets its users send
 * by their port's own alone.
 */
static struct openvmnet_port *attach(const struct interface *interface,
                                     struct openvmnet_error *ret_error)
{
    struct options any_mac = interface->options;
    const char *list[OPTIONS_MAX + 1];

    options_add(&any_mac, "anti-spoof=auto");
    options_list(&any_mac, list);
    return openvmnet_attach(list, ret_error);
}

/* The port and all that hangs on it. */
static vmnet_return_t set_up(struct interface *interface)
{
    struct openvmnet_error error;
    int result;

    interface->port = attach(interface, &error);
    if (!interface->port)
        return hint(interface->call, status_of(error.code), "%s", error.text);
    if (error.text[0])
        hint(interface->call, VMNET_SUCCESS, "%s", error.text);
    interface->fd = openvmnet_port_fd(interface->port);
    interface->mtu = (unsigned)atoi(openvmnet_port_get(interface->port, "mtu"));
    result = packets_setup(interface);
    if (result == 0)
        result = learn_begin(interface);
    if (result < 0)
        return hint(interface->call, status_of(result), "cannot set up the port's descriptor: %s",
                    strerror(-result));
    return VMNET_SUCCESS;
}

static void start(void *context)
{
    struct interface *interface = context;

    interface->start_status = set_up(interface);
    if (interface->start_status == VMNET_SUCCESS) {
        dispatch_queue_t queue = interface->queue;
        void *handler = interface->handler;

        set_phase(interface, STARTING, UP);
        complete(queue, handler, true, VMNET_SUCCESS, params_create(interface));
        events_begin(interface);
    } else {
        set_phase(interface, STARTING, STOPPING);
    }
    interface_unpin(interface);
}

/* What @desc asks for, in STARTING and pinned; NULL and why not. */
static struct interface *interface_new(const char *call, const struct options *network,
                                       operating_modes_t mode, xpc_object_t desc,
                                       vmnet_return_t *ret_status)
{
    struct interface *interface = calloc(1, sizeof(*interface));

    if (!interface) {
        *ret_status = VMNET_MEM_FAILURE;
        return NULL;
    }
    interface->call = call;
    interface->fd = -1;
    interface->wishes = (struct wishes){.mode = mode, .allocate_mac = true};
    if (network)
        interface->options = *network;
    if (xpc_get_type(desc) != XPC_TYPE_DICTIONARY)
        *ret_status = hint(call, VMNET_INVALID_ARGUMENT, "the description is no dictionary");
    else
        *ret_status =
            options_read(call, desc, network != NULL, &interface->options, &interface->wishes);
    if (*ret_status == VMNET_SUCCESS && claim(interface))
        return interface;
    if (*ret_status == VMNET_SUCCESS)
        *ret_status =
            hint(call, VMNET_FAILURE, "a program has at most %d interfaces", INTERFACES_MAX);
    free(interface);
    return NULL;
}

void interface_refuse(dispatch_queue_t queue, const void *handler, vmnet_return_t status)
{
    if (!queue || !handler)
        return;
    dispatch_retain(queue);
    complete(queue, block_copy(handler), true, status, NULL);
}

interface_ref interface_start(const char *call, const struct options *network,
                              operating_modes_t mode, xpc_object_t desc, dispatch_queue_t queue,
                              const void *handler)
{
    struct interface *interface;
    vmnet_return_t status;
    interface_ref ref;

    if (!queue || !handler) {
        hint(call, VMNET_INVALID_ARGUMENT, "queue or handler is NULL");
        return NULL;
    }
    interface = interface_new(call, network, mode, desc, &status);
    if (!interface) {
        interface_refuse(queue, handler, status);
        return NULL;
    }
    dispatch_retain(queue);
    pthread_mutex_init(&interface->forwards_lock, NULL);
    interface->queue = queue;
    interface->handler = block_copy(handler);
    ref = interface->ref; /* the interface may be gone when the next line returns */
    dispatch_async_f(dispatch_get_global_queue(DISPATCH_QUEUE_PRIORITY_DEFAULT, 0), interface,
                     start);
    return ref;
}

interface_ref vmnet_start_interface(xpc_object_t desc, dispatch_queue_t queue,
                                    vmnet_start_interface_completion_handler_t handler)
{
    return interface_start("vmnet_start_interface", NULL, VMNET_HOST_MODE, desc, queue, handler);
}
