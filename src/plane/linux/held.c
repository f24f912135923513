/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/held.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plane/linux/setup.h"

#define PORT 53
#define QUERY_BYTES 4096 /* what is longer is cut, and refused as ill-formed */
#define QUERIES_MAX 1024

static struct sockaddr_in server_address(const struct net_config *config)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(PORT),
        .sin_addr.s_addr = htonl(config->gateway),
    };
}

int held_open(const struct net_config *config)
{
    struct sockaddr_in server = server_address(config);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, error;

    if (fd < 0)
        return -errno;
    /* As dnsmasq sets it too: both may be bound. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, (struct sockaddr *)&server, sizeof(server)) == 0)
        return fd;
    error = -errno;
    close(fd);
    return error;
}

/* The answer goes to the sender by itself; nothing comes back to us. */
static void pass_on(const struct sockaddr_in *from, const void *query, size_t len,
                    const struct sockaddr_in *server)
{
    int fd = setup_open_transparent(AF_INET, SOCK_DGRAM);

    if (fd < 0)
        return;
    if (bind(fd, (const struct sockaddr *)from, sizeof(*from)) == 0)
        sendto(fd, query, len, MSG_DONTWAIT, (const struct sockaddr *)server, sizeof(*server));
    close(fd);
}

void held_pass_on(int fd, const struct net_config *config)
{
    struct sockaddr_in server = server_address(config), from = {0};
    char query[QUERY_BYTES];

    for (int i = 0; i < QUERIES_MAX; i++) {
        socklen_t from_len = sizeof(from);
        ssize_t len =
            recvfrom(fd, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);

        if (len < 0)
            return;
        /* A machine that may send in any name is not helped to send in the network's own. */
        if (net_config_in_pool(config, ntohl(from.sin_addr.s_addr)))
            pass_on(&from, query, (size_t)len, &server);
    }
}
