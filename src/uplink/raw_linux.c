/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "uplink/uplink.h"

int uplink_open_raw(int family)
{
    int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    struct icmp_filter filter4 = {~(1u << ICMP_ECHOREPLY | 1u << ICMP_DEST_UNREACH |
                                    1u << ICMP_TIME_EXCEEDED |
                                    1u << ICMP_PARAMETERPROB)}; /* a set bit blocks a type */
    struct icmp6_filter filter6;

    if (fd < 0)
        return -1;
    ICMP6_FILTER_SETBLOCKALL(&filter6);
    ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
    ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter6);
    ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter6);
    ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter6);
    ICMP6_FILTER_SETPASS(ICMP6_PARAM_PROB, &filter6);
    if (family == AF_INET)
        setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter4, sizeof(filter4));
    else
        setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6));
    return fd;
}
