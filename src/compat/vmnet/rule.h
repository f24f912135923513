/* SPDX-License-Identifier: Apache-2.0 */
/* A port forwarding rule: of an interface, or of a network object. */
#ifndef OPENVMNET_COMPAT_VMNET_RULE_H
#define OPENVMNET_COMPAT_VMNET_RULE_H

#include <netinet/in.h>
#include <vmnet/vmnet.h>

#define RULE_TEXT_MAX 160

struct rule {
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint8_t family;   /* AF_INET or AF_INET6 */
    uint16_t external_port, internal_port;
    uint8_t address[16]; /* the guest's, network order */
};

/* VMNET_SUCCESS, or VMNET_INVALID_ARGUMENT with a hint. @address NULL: a rule to be removed, by its outside. */
vmnet_return_t rule_set(const char *call, uint8_t protocol, uint16_t external_port, uint8_t family,
                        const void *address, uint16_t internal_port, struct rule *ret_rule);
/* As libopenvmnet writes it: on all addresses of the host; and its outside alone. */
void rule_format(const struct rule *rule, char ret_text[RULE_TEXT_MAX]);
void rule_format_outside(const struct rule *rule, char ret_text[RULE_TEXT_MAX]);

#endif
