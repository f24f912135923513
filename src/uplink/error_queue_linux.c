/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/error_queue.h"

#include <time.h> /* linux/errqueue.h needs it before */

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

void error_queue_keep(int fd, int family, bool keep)
{
    int value = keep;

    setsockopt(fd, family == AF_INET ? SOL_IP : SOL_IPV6,
               family == AF_INET ? IP_RECVERR : IPV6_RECVERR, &value, sizeof(value));
}

static bool read_error(struct msghdr *message, struct host_error *ret_error)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        struct {
            struct sock_extended_err error;
            struct sockaddr_in6 offender; /* or a sockaddr_in, which is shorter */
        } told = {0};
        struct sockaddr_storage offender = {0};
        struct ip_endpoint from = {0};

        if (!(cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR) &&
            !(cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR))
            continue;
        if (cmsg->cmsg_len < CMSG_LEN(sizeof(told.error)))
            continue;
        memcpy(&told, CMSG_DATA(cmsg),
               cmsg->cmsg_len - CMSG_LEN(0) < sizeof(told) ? cmsg->cmsg_len - CMSG_LEN(0)
                                                           : sizeof(told));
        if (told.error.ee_origin != SO_EE_ORIGIN_ICMP && told.error.ee_origin != SO_EE_ORIGIN_ICMP6)
            continue;
        memcpy(&offender, &told.offender, sizeof(told.offender));
        endpoint_from_sockaddr(&offender, &from);
        *ret_error = (struct host_error){
            .type = told.error.ee_type,
            .code = told.error.ee_code,
            .info = told.error.ee_info,
            .from = from.addr,
        };
        return true;
    }
    return false;
}

ssize_t error_queue_next(int fd, struct msghdr *message, struct host_error *ret_error)
{
    const struct msghdr asked = *message;
    ssize_t len;

    do {
        *message = asked; /* recvmsg() has put lengths there */
        len = recvmsg(fd, message, MSG_ERRQUEUE | MSG_DONTWAIT);
    } while (len >= 0 && !read_error(message, ret_error));
    return len;
}

void worker_pass_error(struct worker *worker, const struct host_error *error,
                       const struct wire_packet *cause)
{
    uint8_t buf[WIRE_ICMP_ERROR_MAX];
    struct ip_addr from = error->from;
    size_t len_bytes;

    if (from.family != cause->src.family || worker_is_guest(worker, &from) ||
        ip_is_forbidden(&from))
        from = rules_gateway(worker, cause->src.family);
    from = rules_inbound(worker, &from);
    len_bytes = wire_build_icmp_error_as(buf, &from, cause, error->type, error->code, error->info);
    if (len_bytes)
        tun_send(worker, buf, len_bytes, NULL);
}

uint32_t host_path_mtu(const struct ip_addr *addr)
{
    struct ip_endpoint dst = {.addr = *addr, .port = 7};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&dst, &address), value_len = sizeof(int);
    bool ipv4 = addr->family == AF_INET;
    int fd = socket(addr->family, SOCK_DGRAM | SOCK_CLOEXEC, 0), mtu_bytes = 0;

    if (fd < 0)
        return 0;
    if (connect(fd, (struct sockaddr *)&address, len) < 0 ||
        getsockopt(fd, ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? IP_MTU : IPV6_MTU, &mtu_bytes, &value_len) <
            0)
        mtu_bytes = 0;
    close(fd);
    return (uint32_t)mtu_bytes;
}
