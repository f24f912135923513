/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/advertise.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int advertise_router(const char *bridge, unsigned lifetime_s)
{
    /* Fields that are 0 say nothing, and leave with the guest what it has; the kernel computes the checksum. */
    const struct nd_router_advert message = {
        .nd_ra_type = ND_ROUTER_ADVERT,
        .nd_ra_router_lifetime = htons((uint16_t)lifetime_s),
    };
    struct sockaddr_in6 all_nodes = {
        .sin6_family = AF_INET6,
        .sin6_addr.s6_addr = {0xff, 0x02, [15] = 1},
        .sin6_scope_id = if_nametoindex(bridge),
    };
    int hops = 255, error = 0; /* anything less came from outside of the link */
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) < 0 ||
        sendto(fd, &message, sizeof(message), 0, (struct sockaddr *)&all_nodes, sizeof(all_nodes)) <
            0)
        error = -errno;
    close(fd);
    return error;
}
