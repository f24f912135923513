/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_UPLINK_DNS_NAMES_H
#define OPENVMNET_UPLINK_DNS_NAMES_H

#include <stdbool.h>

#include "base/netconfig.h"
#include "wire/dns.h"

/*
 * Whether a question is about the network itself, and so is never asked outside: names below NET_DOMAIN_ALL, those
 * of the [dns] section of the network's file, names of one label (a machine of this network, or of none), and
 * names for the network's own addresses (RFC 1035 3.5, RFC 3596 2.5). What a validating resolver has to know of
 * a top-level domain (its NS, SOA, DS, DNSKEY) is not.
 */
bool dns_is_inside(const struct net_config *net, const struct wire_dns_question *question);

#endif
