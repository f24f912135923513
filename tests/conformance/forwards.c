/* SPDX-License-Identifier: Apache-2.0 */
/* Port forwarding rules of both generations. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"

#define PORT 34571
#define INTERNAL 8080

typedef vmnet_return_t (^call_t)(vmnet_interface_completion_handler_t handler);

/* The status of the completion; what the call itself gives where that is no success. */
static vmnet_return_t complete(call_t call)
{
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    __block vmnet_return_t status = VMNET_FAILURE;
    vmnet_return_t returned = call(^(vmnet_return_t completed) {
      status = completed;
      dispatch_semaphore_signal(done);
    });

    if (returned != VMNET_SUCCESS)
        status = returned;
    else if (!wait_for(done))
        check(false, "the completion is called");
    dispatch_release(done);
    return status;
}

/* A copy of the rules, or NULL. */
static xpc_object_t list(struct net *net, uint8_t family)
{
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    __block xpc_object_t copy = NULL;

    if (vmnet_interface_get_ip_port_forwarding_rules(net->ref, family, ^(xpc_object_t rules) {
          if (rules)
              copy = xpc_copy(rules);
          dispatch_semaphore_signal(done);
        }) == VMNET_SUCCESS)
        wait_for(done);
    dispatch_release(done);
    return copy;
}

/* Whether something listens there, for the host itself. */
static bool is_open(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool open;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    open = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
    close(fd);
    return open;
}

/* A listener may take a moment to go. */
static bool gets_closed(void)
{
    dispatch_semaphore_t never = dispatch_semaphore_create(0);
    bool closed = false;

    for (int tries = 0; tries < BOUND_S * 100 && !(closed = !is_open()); tries++)
        wait_ms(never, 10);
    dispatch_release(never);
    return closed;
}

static void check_rule(xpc_object_t rules, const struct in_addr *address)
{
    uint8_t protocol = 0;
    uint16_t external = 0, internal = 0;
    struct in_addr found = {0};
    xpc_object_t rule = xpc_array_get_value(rules, 0);

    check_status(
        vmnet_port_forwarding_rule_get_details(rule, &protocol, &external, &found, &internal),
        VMNET_SUCCESS, "details of a rule");
    check(protocol == IPPROTO_TCP && external == PORT && internal == INTERNAL &&
              found.s_addr == address->s_addr,
          "are those that it was made with");
    check(vmnet_ip_port_forwarding_rule_get_details(rule, &protocol, &external, AF_INET6, &found,
                                                    &internal) != VMNET_SUCCESS,
          "it is no rule of IPv6");
    check_status(vmnet_ip_port_forwarding_rule_get_details(rule, &protocol, &external, AF_INET,
                                                           NULL, &internal),
                 VMNET_INVALID_ARGUMENT, "details without an address");
}

static void test_rules(void)
{
    struct in_addr address;
    struct in6_addr address6;
    xpc_object_t rules;
    struct net net;

    if (!check(net_start(&net, describe(VMNET_SHARED_MODE)), "start"))
        return;
    memcpy(&address, net.ip, 4);
    inet_pton(AF_INET6,
              xpc_dictionary_get_string(net.params, vmnet_nat66_prefix_key) ?: "fd61::", &address6);
    address6.s6_addr[15] = 5;
    check(!list(&net, AF_INET), "no rules");
    check_status(complete(^(vmnet_interface_completion_handler_t handler) {
                   return vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT,
                                                                   address, INTERNAL, handler);
                 }),
                 VMNET_SUCCESS, "add a rule");
    check(is_open(), "the host's port is open");
    rules = list(&net, AF_INET);
    if (check(rules && xpc_array_get_count(rules) == 1, "one rule"))
        check_rule(rules, &address);
    if (rules)
        xpc_release(rules);
    check(complete(^(vmnet_interface_completion_handler_t handler) {
            return vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, address,
                                                            INTERNAL, handler);
          }) != VMNET_SUCCESS,
          "the same once more is refused");
    check_status(complete(^(vmnet_interface_completion_handler_t handler) {
                   return vmnet_interface_add_ip_port_forwarding_rule(
                       net.ref, IPPROTO_UDP, PORT, AF_INET6, &address6, INTERNAL, handler);
                 }),
                 VMNET_SUCCESS, "add a rule of IPv6");
    rules = list(&net, AF_INET6);
    check(rules && xpc_array_get_count(rules) == 1, "one rule of IPv6");
    if (rules)
        xpc_release(rules);
    check_status(complete(^(vmnet_interface_completion_handler_t handler) {
                   return vmnet_interface_remove_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT,
                                                                      handler);
                 }),
                 VMNET_SUCCESS, "remove a rule");
    check(gets_closed(), "the host's port is closed");
    check(complete(^(vmnet_interface_completion_handler_t handler) {
            return vmnet_interface_remove_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, handler);
          }) != VMNET_SUCCESS,
          "once more is refused");
    check_status(complete(^(vmnet_interface_completion_handler_t handler) {
                   return vmnet_interface_remove_ip_port_forwarding_rule(net.ref, IPPROTO_UDP, PORT,
                                                                         AF_INET6, handler);
                 }),
                 VMNET_SUCCESS, "remove the one of IPv6");
    complete(^(vmnet_interface_completion_handler_t handler) {
      return vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, address, INTERNAL,
                                                      handler);
    });
    check(is_open(), "a rule that is left");
    net_stop(&net);
    check(gets_closed(), "goes with the interface");
}

static void test_bad_rules(void)
{
    struct in_addr address = {htonl(0xc0a84002)};
    struct net net;

    if (!check(net_start(&net, describe(VMNET_SHARED_MODE)), "start"))
        return;
    check_status(vmnet_interface_add_port_forwarding_rule(net.ref, 1, PORT, address, 1, NULL),
                 VMNET_INVALID_ARGUMENT, "protocol 1");
    check_status(
        vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, 0, address, 1, NULL),
        VMNET_INVALID_ARGUMENT, "external port 0");
    check_status(
        vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, address, 0, NULL),
        VMNET_INVALID_ARGUMENT, "internal port 0");
    check_status(vmnet_interface_add_ip_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, 77,
                                                             &address, 1, NULL),
                 VMNET_INVALID_ARGUMENT, "address family 77");
    check_status(vmnet_interface_add_ip_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, AF_INET,
                                                             NULL, 1, NULL),
                 VMNET_INVALID_ARGUMENT, "no address");
    check_status(
        vmnet_interface_add_port_forwarding_rule(NULL, IPPROTO_TCP, PORT, address, 1, NULL),
        VMNET_INVALID_ARGUMENT, "a rule for NULL");
    check_status(vmnet_interface_remove_port_forwarding_rule(NULL, IPPROTO_TCP, PORT, NULL),
                 VMNET_INVALID_ARGUMENT, "remove from NULL");
    check_status(vmnet_interface_get_port_forwarding_rules(net.ref, NULL), VMNET_INVALID_ARGUMENT,
                 "list without a handler");
    net_stop(&net);
    if (check(net_start(&net, describe(VMNET_HOST_MODE)), "start in host mode"))
        check(vmnet_interface_add_port_forwarding_rule(net.ref, IPPROTO_TCP, PORT, address, 1,
                                                       NULL) != VMNET_SUCCESS,
              "which has no rules");
    net_stop(&net);
}

const struct test forward_tests[] = {
    {"port forwarding rules", test_rules},
    {"bad rules", test_bad_rules},
    {NULL, NULL},
};
