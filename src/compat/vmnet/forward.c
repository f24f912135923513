/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port forwards of an interface. They are made and removed by one queue of the library's own, in the order of
 * the calls; the handlers run there. An interface knows its rules, and takes them along when it ends; the
 * network ties them to the interface's port too, so that they also go when the program is killed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "compat/block.h"
#include "compat/vmnet/interface.h"
#include "compat/vmnet/rule.h"

struct job {
    const char *call;
    struct interface *interface; /* pinned */
    struct rule rule;
    uint8_t family; /* of a listing */
    void *handler;  /* a copy of a block, or NULL */
    vmnet_return_t (*run)(struct job *job);
};

static dispatch_queue_t queue;

static void make_queue(void *context)
{
    (void)context;
    queue = dispatch_queue_create("vmnet.port-forwarding", DISPATCH_QUEUE_SERIAL);
}

/* With the lock held: the place of the rule with the same outside, or forwards_len. */
static unsigned find(const struct interface *interface, const struct rule *rule)
{
    unsigned i = 0;

    for (; i < interface->forwards_len; i++) {
        const struct rule *other = &interface->forwards[i];

        if (other->protocol == rule->protocol && other->family == rule->family &&
            other->external_port == rule->external_port)
            break;
    }
    return i;
}

static vmnet_return_t run_add(struct job *job)
{
    struct interface *interface = job->interface;
    struct openvmnet_error error;
    char text[RULE_TEXT_MAX];
    struct rule *grown;
    int result;

    if (interface->forwards_len >= FORWARDS_MAX)
        return hint(job->call, VMNET_FAILURE, "an interface has at most %d rules", FORWARDS_MAX);
    pthread_mutex_lock(&interface->forwards_lock);
    grown = reallocarray(interface->forwards, interface->forwards_len + 1, sizeof(*grown));
    if (grown)
        interface->forwards = grown;
    pthread_mutex_unlock(&interface->forwards_lock);
    if (!grown)
        return VMNET_MEM_FAILURE;
    rule_format(&job->rule, text);
    result = openvmnet_port_forward_add(interface->port, text, &error);
    if (result < 0)
        return hint(job->call, status_of(result), "%s", error.text);
    pthread_mutex_lock(&interface->forwards_lock);
    interface->forwards[interface->forwards_len++] = job->rule;
    pthread_mutex_unlock(&interface->forwards_lock);
    return VMNET_SUCCESS;
}

static int remove_outside(struct interface *interface, const struct rule *rule,
                          struct openvmnet_error *ret_error)
{
    char text[RULE_TEXT_MAX];

    rule_format_outside(rule, text);
    return openvmnet_forward_remove(openvmnet_port_get(interface->port, "network"), text,
                                    ret_error);
}

static vmnet_return_t run_remove(struct job *job)
{
    struct interface *interface = job->interface;
    struct openvmnet_error error;
    unsigned place;
    int result;

    pthread_mutex_lock(&interface->forwards_lock);
    place = find(interface, &job->rule);
    if (place < interface->forwards_len)
        interface->forwards[place] = interface->forwards[--interface->forwards_len];
    else
        place = FORWARDS_MAX;
    pthread_mutex_unlock(&interface->forwards_lock);
    if (place == FORWARDS_MAX)
        return hint(job->call, VMNET_INVALID_ARGUMENT, "the interface has no such rule");
    result = remove_outside(interface, &job->rule, &error);
    return result < 0 ? hint(job->call, status_of(result), "%s", error.text) : VMNET_SUCCESS;
}

static xpc_object_t describe(const struct rule *rule)
{
    xpc_object_t object = xpc_dictionary_create(NULL, NULL, 0);

    xpc_dictionary_set_uint64(object, "protocol", rule->protocol);
    xpc_dictionary_set_uint64(object, "family", rule->family);
    xpc_dictionary_set_uint64(object, "external_port", rule->external_port);
    xpc_dictionary_set_uint64(object, "internal_port", rule->internal_port);
    xpc_dictionary_set_data(object, "address", rule->address, rule->family == AF_INET ? 4 : 16);
    return object;
}

static vmnet_return_t run_list(struct job *job)
{
    struct interface *interface = job->interface;
    xpc_object_t rules = NULL;

    pthread_mutex_lock(&interface->forwards_lock);
    for (unsigned i = 0; i < interface->forwards_len; i++) {
        xpc_object_t rule;

        if (interface->forwards[i].family != job->family)
            continue;
        if (!rules)
            rules = xpc_array_create(NULL, 0);
        rule = describe(&interface->forwards[i]);
        xpc_array_append_value(rules, rule);
        xpc_release(rule);
    }
    pthread_mutex_unlock(&interface->forwards_lock);
    BLOCK_CALL(void (*)(void *, xpc_object_t), job->handler, rules);
    xpc_release(rules);
    return VMNET_SUCCESS;
}

void forwards_end(struct interface *interface)
{
    for (unsigned i = 0; i < interface->forwards_len; i++)
        remove_outside(interface, &interface->forwards[i], NULL);
    free(interface->forwards);
}

/* ---- calls */

static void run_job(void *context)
{
    struct job *job = context;
    vmnet_return_t status = job->run(job);

    interface_unpin(job->interface);
    if (job->handler && job->run != run_list)
        BLOCK_CALL(void (*)(void *, vmnet_return_t), job->handler, status);
    block_release(job->handler);
    free(job);
}

static vmnet_return_t submit(interface_ref ref, const struct job *what, const void *handler)
{
    static dispatch_once_t once;
    vmnet_return_t status;
    struct job *job = malloc(sizeof(*job));

    if (!job)
        return VMNET_MEM_FAILURE;
    *job = *what;
    job->interface = interface_pin(ref, &status);
    if (job->interface && job->interface->wishes.mode != VMNET_SHARED_MODE) {
        status = VMNET_INVALID_ARGUMENT;
        interface_unpin(job->interface);
        job->interface = NULL;
    }
    if (!job->interface) {
        free(job);
        return hint(what->call, status, "the interface is not up, or not in shared mode");
    }
    job->handler = block_copy(handler);
    dispatch_once_f(&once, NULL, make_queue);
    dispatch_async_f(queue, job, run_job);
    return VMNET_SUCCESS;
}

static vmnet_return_t add(const char *call, interface_ref ref, uint8_t protocol,
                          uint16_t external_port, uint8_t family, const void *address,
                          uint16_t internal_port, const void *handler)
{
    struct job job = {.call = call, .run = run_add};
    vmnet_return_t status;

    if (!address)
        return hint(call, VMNET_INVALID_ARGUMENT, "the internal address is NULL");
    status = rule_set(call, protocol, external_port, family, address, internal_port, &job.rule);
    return status == VMNET_SUCCESS ? submit(ref, &job, handler) : status;
}

static vmnet_return_t remove_rule(const char *call, interface_ref ref, uint8_t protocol,
                                  uint16_t external_port, uint8_t family, const void *handler)
{
    struct job job = {.call = call, .run = run_remove};
    vmnet_return_t status = rule_set(call, protocol, external_port, family, NULL, 0, &job.rule);

    return status == VMNET_SUCCESS ? submit(ref, &job, handler) : status;
}

static vmnet_return_t list(const char *call, interface_ref ref, uint8_t family, const void *handler)
{
    struct job job = {.call = call, .run = run_list, .family = family};

    if (!handler || (family != AF_INET && family != AF_INET6))
        return hint(call, VMNET_INVALID_ARGUMENT, "the handler is NULL, or the family unknown");
    return submit(ref, &job, handler);
}

static vmnet_return_t get_details(const char *call, xpc_object_t rule, uint8_t *protocol,
                                  uint16_t *external_port, uint8_t family, void *internal_address,
                                  uint16_t *internal_port)
{
    size_t len_bytes = 0;
    const void *address = xpc_dictionary_get_data(rule, "address", &len_bytes);

    if (!protocol || !external_port || !internal_address || !internal_port || !address ||
        xpc_dictionary_get_uint64(rule, "family") != family ||
        len_bytes != (family == AF_INET ? 4 : 16))
        return hint(call, VMNET_INVALID_ARGUMENT,
                    "this is no rule of the address family, or there is no place for an answer");
    *protocol = (uint8_t)xpc_dictionary_get_uint64(rule, "protocol");
    *external_port = (uint16_t)xpc_dictionary_get_uint64(rule, "external_port");
    *internal_port = (uint16_t)xpc_dictionary_get_uint64(rule, "internal_port");
    memcpy(internal_address, address, len_bytes);
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_interface_add_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port,
    struct in_addr internal_address, uint16_t internal_port,
    vmnet_interface_completion_handler_t handler)
{
    return add(__func__, interface, protocol, external_port, AF_INET, &internal_address,
               internal_port, handler);
}

vmnet_return_t vmnet_interface_remove_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port,
    vmnet_interface_completion_handler_t handler)
{
    return remove_rule(__func__, interface, protocol, external_port, AF_INET, handler);
}

vmnet_return_t vmnet_interface_get_port_forwarding_rules(
    interface_ref interface, vmnet_interface_get_port_forwarding_rules_handler_t handler)
{
    return list(__func__, interface, AF_INET, handler);
}

vmnet_return_t vmnet_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol,
                                                      uint16_t *external_port,
                                                      struct in_addr *internal_address,
                                                      uint16_t *internal_port)
{
    return get_details(__func__, rule, protocol, external_port, AF_INET, internal_address,
                       internal_port);
}

vmnet_return_t vmnet_interface_add_ip_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family,
    const void *internal_address, uint16_t internal_port,
    vmnet_interface_completion_handler_t handler)
{
    return add(__func__, interface, protocol, external_port, address_family, internal_address,
               internal_port, handler);
}

vmnet_return_t vmnet_interface_remove_ip_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family,
    vmnet_interface_completion_handler_t handler)
{
    return remove_rule(__func__, interface, protocol, external_port, address_family, handler);
}

vmnet_return_t vmnet_interface_get_ip_port_forwarding_rules(
    interface_ref interface, uint8_t address_family,
    vmnet_interface_get_ip_port_forwarding_rules_handler_t handler)
{
    return list(__func__, interface, address_family, handler);
}

vmnet_return_t vmnet_ip_port_forwarding_rule_get_details(xpc_object_t rule, uint8_t *protocol,
                                                         uint16_t *external_port,
                                                         uint8_t address_family,
                                                         void *internal_address,
                                                         uint16_t *internal_port)
{
    return get_details(__func__, rule, protocol, external_port, address_family, internal_address,
                       internal_port);
}
