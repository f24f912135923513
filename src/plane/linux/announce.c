/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/announce.h"

#include <errno.h>
#include <sys/uio.h>

#include "wire/announce.h"
#include "wire/packet.h"

static int send_frame(int tap_fd, const struct mac_addr *mac, const struct ip_addr *addr)
{
    struct wire_vnet_hdr vnet = {0};
    uint8_t frame[WIRE_ANNOUNCE_MAX];
    struct iovec iov[] = {
        {.iov_base = &vnet, .iov_len = sizeof(vnet)},
        {.iov_base = frame, .iov_len = wire_announce(frame, mac, addr)},
    };

    return writev(tap_fd, iov, 2) < 0 ? -errno : 0;
}

int announce_port(int tap_fd, const struct mac_addr *mac, const struct ip_addr *addrs,
                  size_t addrs_len)
{
    static const struct ip_addr none = {0};
    int result = send_frame(tap_fd, mac, &none);

    for (size_t i = 0; i < addrs_len && result == 0; i++)
        result = send_frame(tap_fd, mac, &addrs[i]);
    return result;
}
