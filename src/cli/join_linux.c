/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/join_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptor.h"

#define INTERFACE "eth0"
#define REQUEST_BYTES 1024
#define PREFIX6_LEN 64
/* Until both ends of a new link are known to be up: some milliseconds where the machine is not busy. */
#define LINK_UP_MS 2000

int join_enter(int user_fd, int net_fd, struct err *err)
{
    if (user_fd >= 0 && setns(user_fd, CLONE_NEWUSER) < 0)
        return err_set(err, -errno, "cannot join the network's user namespace: %s%s",
                       strerror(errno),
                       errno == EINVAL || errno == EPERM
                           ? "; it can be joined from outside only, not from within 'vmnet exec'"
                           : "");
    if (setns(net_fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "cannot join the network's namespace: %s", strerror(errno));
    return 0;
}

/* The child of join_new_namespace(). Sends 0 with the descriptor, or the errno. */
static void make_namespace(int user_fd, int socket)
{
    int fd = -1, error = 0;

    if ((user_fd >= 0 && setns(user_fd, CLONE_NEWUSER) < 0) || unshare(CLONE_NEWNET) < 0 ||
        (fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        error = errno;
    descriptor_send(socket, &error, sizeof(error), &fd, error ? 0 : 1, MSG_NOSIGNAL);
    _exit(0);
}

int join_new_namespace(int user_fd, int *ret_net_fd, struct err *err)
{
    unsigned fds_len = 0;
    int pair[2], error = 0;
    ssize_t len = -EIO;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, -errno, "cannot open a socket: %s", strerror(errno));
    pid = fork();
    if (pid == 0)
        make_namespace(user_fd, pair[1]);
    close(pair[1]);
    if (pid > 0) {
        len = descriptor_receive(pair[0], &error, sizeof(error), ret_net_fd, 1, &fds_len);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(pair[0]);
    if (len != sizeof(error) || (error == 0 && fds_len != 1))
        return err_set(err, -EIO, "cannot make a network namespace: the process for it failed");
    if (error)
        return err_set(err, -error, "cannot make a network namespace: %s%s", strerror(error),
                       error == ENOSPC ? " (user.max_net_namespaces is used up)"
                       : error == EINVAL || error == EPERM
                           ? "; this is possible from outside only, not from within 'vmnet exec'"
                           : "");
    return 0;
}

/* ---- requests of rtnetlink */

struct request {
    char buf[REQUEST_BYTES];
    struct nlmsghdr *header;
};

static void *request_begin(struct request *request, uint16_t type, uint16_t flags, size_t size)
{
    request->header = mnl_nlmsg_put_header(request->buf);
    request->header->nlmsg_type = type;
    request->header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    return mnl_nlmsg_put_extra_header(request->header, size);
}

static int request_send(struct request *request, struct mnl_socket *socket)
{
    char answer[REQUEST_BYTES * 2];
    ssize_t len;

    if (mnl_socket_sendto(socket, request->header, request->header->nlmsg_len) < 0)
        return -errno;
    len = mnl_socket_recvfrom(socket, answer, sizeof(answer));
    if (len < 0 ||
        mnl_cb_run(answer, (size_t)len, 0, mnl_socket_get_portid(socket), NULL, NULL) < 0)
        return -errno;
    return 0;
}

static int link_set_up(struct mnl_socket *socket, unsigned ifindex)
{
    struct request request;
    struct ifinfomsg *link = request_begin(&request, RTM_NEWLINK, 0, sizeof(*link));

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = (int)ifindex;
    link->ifi_flags = link->ifi_change = IFF_UP;
    return request_send(&request, socket);
}

static int address_add(struct mnl_socket *socket, unsigned ifindex, const struct ip_addr *addr,
                       unsigned prefix_len)
{
    struct request request;
    struct ifaddrmsg *message =
        request_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*message));

    message->ifa_family = addr->family;
    message->ifa_prefixlen = (uint8_t)prefix_len;
    message->ifa_index = ifindex;
    message->ifa_scope = RT_SCOPE_UNIVERSE;
    /* The network allotted it, and gives it to nobody else. */
    message->ifa_flags = addr->family == AF_INET6 ? IFA_F_NODAD : 0;
    mnl_attr_put(request.header, IFA_LOCAL, ip_len_bytes(addr), addr->bytes);
    mnl_attr_put(request.header, IFA_ADDRESS, ip_len_bytes(addr), addr->bytes);
    if (addr->family == AF_INET) {
        uint32_t broadcast = addr->v4.s_addr | htonl(~ip_mask_u32(prefix_len));

        mnl_attr_put(request.header, IFA_BROADCAST, sizeof(broadcast), &broadcast);
    }
    return request_send(&request, socket);
}

static int route_add_default(struct mnl_socket *socket, unsigned ifindex,
                             const struct ip_addr *gateway)
{
    struct request request;
    struct rtmsg *route =
        request_begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*route));

    route->rtm_family = gateway->family;
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put(request.header, RTA_GATEWAY, ip_len_bytes(gateway), gateway->bytes);
    mnl_attr_put_u32(request.header, RTA_OIF, ifindex);
    return request_send(&request, socket);
}

/* ---- what a port is given */

/* "192.168.64.2/24" */
static int parse_prefix(const char *text, struct ip_addr *ret_addr, unsigned *ret_len)
{
    char addr[IP_TEXT_MAX];
    size_t len = strcspn(text, "/");

    if (text[len] != '/' || len >= sizeof(addr))
        return -EPROTO;
    memcpy(addr, text, len);
    addr[len] = '\0';
    *ret_len = (unsigned)strtoul(text + len + 1, NULL, 10);
    return ip_parse(addr, ret_addr) < 0 || *ret_len > ip_len_bytes(ret_addr) * 8 ? -EPROTO : 0;
}

static int configure_ipv4(struct mnl_socket *socket, unsigned ifindex,
                          const struct client_port *port)
{
    struct ip_addr addr, gateway;
    unsigned prefix_len;
    int result;

    if (!port->ipv4[0])
        return 0;
    result = parse_prefix(port->ipv4, &addr, &prefix_len);
    if (result == 0)
        result = address_add(socket, ifindex, &addr, prefix_len);
    if (result == 0 && port->ipv4_default)
        result = ip_parse(port->gateway, &gateway) < 0
                     ? -EPROTO
                     : route_add_default(socket, ifindex, &gateway);
    return result;
}

static int configure_ipv6(struct mnl_socket *socket, unsigned ifindex,
                          const struct client_port *port)
{
    struct ip_addr addr, gateway;
    struct mac_addr mac;
    unsigned prefix_len;
    int result;

    if (!port->ipv6_prefix[0])
        return 0;
    result = parse_prefix(port->ipv6_prefix, &addr, &prefix_len);
    if (result < 0 || prefix_len != PREFIX6_LEN || mac_parse(port->mac, &mac) < 0)
        return -EPROTO;
    addr = ip_from_mac(&addr, &mac);
    result = address_add(socket, ifindex, &addr, prefix_len);
    if (result == -EOPNOTSUPP || result == -EAFNOSUPPORT || result == -EACCES)
        return 0; /* this system has no IPv6, or has it switched off */
    if (result == 0 && port->ipv6_default)
        result = ip_parse(port->gateway6, &gateway) < 0
                     ? -EPROTO
                     : route_add_default(socket, ifindex, &gateway);
    return result;
}

/* What a machine may do that is its own: ping, and serve at any port. */
static void configure_settings(struct err *warning)
{
    char group[32];
    const struct {
        const char *path, *value;
    } settings[] = {
        {"/proc/sys/net/ipv4/ping_group_range", group},
        {"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
        /* The address is given below, at once, instead of by an advertisement. */
        {"/proc/sys/net/ipv6/conf/" INTERFACE "/autoconf", "0"},
        {"/proc/sys/net/ipv6/conf/" INTERFACE "/accept_dad", "0"},
    };

    snprintf(group, sizeof(group), "%u %u", getegid(), getegid());
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 && errno == ENOENT)
            continue; /* a system without IPv6 */
        if (fd < 0 || write(fd, settings[i].value, strlen(settings[i].value)) < 0)
            err_set(warning, 0,
                    "%s: %s; ping, and servers at ports below 1024, may be refused there",
                    settings[i].path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
}

/* A frame that is sent before the link is up is lost, and asked for again only after a second. */
static int wait_until_up(void)
{
    struct ifreq request = {.ifr_name = INTERFACE};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = -ETIMEDOUT;

    if (fd < 0)
        return -errno;
    for (int i = 0; i < LINK_UP_MS && result == -ETIMEDOUT; i++) {
        if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
            result = -errno;
        else if (request.ifr_flags & IFF_RUNNING)
            result = 0;
        else
            poll(NULL, 0, 1);
    }
    close(fd);
    return result;
}

int join_configure(const struct client_port *port, struct err *err)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    unsigned ifindex = if_nametoindex(INTERFACE);
    int result = 0;

    err_set(err, 0, "%s", "");
    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
        result = -errno;
    else if (!ifindex)
        result = -ENODEV;
    if (result == 0) {
        configure_settings(err);
        result = link_set_up(socket, if_nametoindex("lo"));
    }
    if (result == 0)
        result = link_set_up(socket, ifindex);
    if (result == 0)
        result = wait_until_up();
    if (result == 0)
        result = configure_ipv4(socket, ifindex, port);
    if (result == 0)
        result = configure_ipv6(socket, ifindex, port);
    if (socket)
        mnl_socket_close(socket);
    if (result < 0)
        return err_set(err, result, "cannot set up interface " INTERFACE ": %s", strerror(-result));
    return 0;
}
