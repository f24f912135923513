/* SPDX-License-Identifier: Apache-2.0 */
#include "compat/vmnet/rule.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "compat/vmnet/interface.h"

vmnet_return_t rule_set(const char *call, uint8_t protocol, uint16_t external_port, uint8_t family,
                        const void *address, uint16_t internal_port, struct rule *ret_rule)
{
    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
        return hint(call, VMNET_INVALID_ARGUMENT, "protocol %u is neither TCP nor UDP", protocol);
    if (family != AF_INET && family != AF_INET6)
        return hint(call, VMNET_INVALID_ARGUMENT, "address family %u is neither IPv4 nor IPv6",
                    family);
    if (external_port == 0 || (address && internal_port == 0))
        return hint(call, VMNET_INVALID_ARGUMENT, "a port is 0");
    *ret_rule = (struct rule){protocol, family, external_port, internal_port, {0}};
    if (address)
        memcpy(ret_rule->address, address, family == AF_INET ? 4 : 16);
    return VMNET_SUCCESS;
}

void rule_format_outside(const struct rule *rule, char ret_text[RULE_TEXT_MAX])
{
    snprintf(ret_text, RULE_TEXT_MAX, "%s:%s:%u", rule->protocol == IPPROTO_TCP ? "tcp" : "udp",
             rule->family == AF_INET ? "0.0.0.0" : "[::]", rule->external_port);
}

void rule_format(const struct rule *rule, char ret_text[RULE_TEXT_MAX])
{
    char outside[RULE_TEXT_MAX], address[INET6_ADDRSTRLEN];

    rule_format_outside(rule, outside);
    inet_ntop(rule->family, rule->address, address, sizeof(address));
    snprintf(ret_text, RULE_TEXT_MAX, rule->family == AF_INET ? "%.60s-%s:%u" : "%.60s-[%s]:%u",
             outside, address, rule->internal_port);
}
