/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Kernels lack modules, and other programs have filters that end the matter before ours. So each way is tried, without
 * anything that another station would see where all is well. Frames have the ethertype for local experiments (IEEE Std
 * 802, 0x88b5), a random text, and locally administered addresses that nobody has: "machine", which the filters know as
 * one, and "other", which they do not. "Inside" is the network's end of the leg.
 *
 *   host to machine       sent by the interface to the machine: its filter for what is sent gives it to the leg
 *   machine to host       sent from inside to the interface's MAC: received by it, as for this host
 *   machine to outside    sent from inside by "other" to the machine: goes out of the interface, where that same filter
 *                         takes it for a frame from the host, and returns it
 *   outside to machine    the same while the leg is told that the machine is the host: the frame is received by the
 *                         interface, where the filter for what is received gives it to the leg
 *   group, both ways      sent from inside to all while the leg lets none of these out: the host gets it, and a copy
 *                         returns as one from outside would
 *
 * With nftables' hooks at the interface not tried is the way from a machine to outside: they leave what a filter of the
 * link sends alone, so a frame would be on the wire. It meets nothing there, then.
 *
 * Not tried is what the host sends to a group: it could not be kept from the wire. It meets the same program as the last
 * one, on the same hook as the first.
 */
#include "plane/linux/bridged_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#define ETHERTYPE_LOCAL_EXPERIMENT 0x88b5
/* Frames do not wait for anything but a processor. */
#define TEST_TIMEOUT_MS 1000
/*
 * A link that has just been set up sends nothing until the kernel's link watch has seen it, which may be a second. So the
 * first way, on which no frame can leave the host, is tried so often, and for so long each time.
 */
#define FIRST_TRIES 40
#define FIRST_TIMEOUT_MS 50

struct test_frame {
    struct mac_addr to, from;
    uint16_t type;
    uint8_t text[46]; /* the least that Ethernet has */
};
_Static_assert(sizeof(struct test_frame) == 60, "a frame as it is on the wire");

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int bind_to(int fd, int ifindex, uint16_t type)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(type),
        .sll_ifindex = ifindex,
    };

    return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* @kinds: which packet types (packet(7)) count, a bit each. */
static int expect(int fd, const struct test_frame *frame, unsigned kinds, unsigned timeout_ms)
{
    uint64_t until = now_ms() + timeout_ms;

    for (;;) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        struct sockaddr_ll from = {0};
        socklen_t from_len = sizeof(from);
        struct test_frame got;
        uint64_t now = now_ms();

        if (now >= until || poll(&poller, 1, (int)(until - now)) <= 0)
            return -EPROTO;
        if (recvfrom(fd, &got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len) ==
                (ssize_t)sizeof(got) &&
            memcmp(&got, frame, sizeof(got)) == 0 && (kinds & 1U << from.sll_pkttype))
            return 0;
    }
}

#define TO_US (1U << PACKET_HOST)
#define TO_GROUP (1U << PACKET_BROADCAST)
#define TO_ANYBODY (1U << PACKET_OTHERHOST | TO_US)

static const struct mac_addr all = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/* One way: what @from_fd sends, both are bound, must arrive at @to_fd. */
static int try_way(int from_fd, int to_fd, unsigned kinds, const struct mac_addr *to,
                   const struct mac_addr *from, unsigned timeout_ms)
{
    struct test_frame frame = {*to, *from, htons(ETHERTYPE_LOCAL_EXPERIMENT), {0}};

    if (getrandom(frame.text, sizeof(frame.text), 0) < 0 ||
        send(from_fd, &frame, sizeof(frame), 0) < 0)
        return -errno;
    return expect(to_fd, &frame, kinds, timeout_ms);
}

static int try_first_way(int from_fd, int to_fd, unsigned kinds, const struct mac_addr *to,
                         const struct mac_addr *from)
{
    int result = -EPROTO;

    for (int i = 0; i < FIRST_TRIES && result == -EPROTO; i++)
        result = try_way(from_fd, to_fd, kinds, to, from, FIRST_TIMEOUT_MS);
    return result;
}

/* Where machines have the interface's MAC: nothing but IP goes out or comes in, so nothing of that is tried. */
static int try_host(int host_fd, int inside_fd, const struct mac_addr *machine,
                    const struct mac_addr *host, const struct mac_addr *other, const char **ret_way)
{
    int result;

    *ret_way = "a machine to the host";
    result = try_first_way(inside_fd, host_fd, TO_US, host, other);
    if (result < 0)
        return result;
    *ret_way = "a machine to all";
    result = try_way(inside_fd, host_fd, TO_GROUP, &all, other, TEST_TIMEOUT_MS);
    if (result < 0)
        return result;
    *ret_way = "the host to a machine";
    return try_way(host_fd, inside_fd, TO_ANYBODY, machine, host, TEST_TIMEOUT_MS);
}

/* @ret_way is the one that failed. */
static int try_all(struct wire *wire, int host_fd, int inside_fd, const struct mac_addr *other,
                   const char **ret_way)
{
    const struct mac_addr *machine = &wire->macs[0], *host = &wire->nic.mac;
    int result;

    if (wire->mac_nat)
        return try_host(host_fd, inside_fd, machine, host, other, ret_way);
    result = wire_set_test_filters(wire, machine);

    *ret_way = "outside to a machine";
    if (result == 0)
        result = try_first_way(inside_fd, inside_fd, TO_ANYBODY, machine, other);
    if (result < 0)
        return result;
    *ret_way = "a machine to all";
    result = try_way(inside_fd, host_fd, TO_GROUP, &all, other, TEST_TIMEOUT_MS);
    if (result < 0)
        return result;
    *ret_way = "outside to all";
    result = try_way(inside_fd, inside_fd, TO_GROUP, &all, other, TEST_TIMEOUT_MS);
    if (result == 0)
        result = wire_set_filters(wire);
    if (result < 0)
        return result;
    *ret_way = "a machine to the host";
    result = try_way(inside_fd, host_fd, TO_US, host, other, TEST_TIMEOUT_MS);
    if (result < 0)
        return result;
    *ret_way = "the host to a machine";
    result = try_way(host_fd, inside_fd, TO_ANYBODY, machine, host, TEST_TIMEOUT_MS);
    if (result < 0 || wire->by_hooks)
        return result;
    *ret_way = "a machine to outside";
    return try_way(inside_fd, inside_fd, TO_ANYBODY, machine, other, TEST_TIMEOUT_MS);
}

/* No filter knows the machine, so what arrives has come this way. */
static int try_shortcut(struct wire *wire, int inside_fd, const struct mac_addr *machine,
                        const struct mac_addr *other)
{
    int result = shortcut_add(wire->shortcut, machine, 0);

    if (result == 0)
        result = wire_set_test_filters(wire, machine);
    if (result == 0)
        result = shortcut_open(wire->shortcut, true);
    if (result == 0)
        result = try_way(inside_fd, inside_fd, TO_ANYBODY, machine, other, TEST_TIMEOUT_MS);
    shortcut_remove(wire->shortcut, machine);
    return result < 0 ? result : shortcut_open(wire->shortcut, false);
}

static int make_stations(struct mac_addr ret_macs[2])
{
    if (getrandom(ret_macs, 2 * sizeof(*ret_macs), 0) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        ret_macs[i].bytes[0] = (uint8_t)((ret_macs[i].bytes[0] & ~1) | 2);
    return 0;
}

int wire_test_shortcut(struct wire *wire, int inside_fd)
{
    struct mac_addr macs[2];
    int result = make_stations(macs);

    return result < 0 ? result : try_shortcut(wire, inside_fd, &macs[0], &macs[1]);
}

int wire_test(struct wire *wire, int test_fd, int inside_fd, struct err *err)
{
    const char *way = "outside to a machine";
    struct mac_addr macs[2];
    /* A bridge takes frames of its ports before those who ask for one type see them. */
    int result = bind_to(inside_fd, wire->inside, ETH_P_ALL);

    if (result == 0)
        result = make_stations(macs);
    if (result == 0)
        result = bind_to(test_fd, wire->nic.ifindex, ETHERTYPE_LOCAL_EXPERIMENT);
    if (result == 0) {
        wire->macs[0] = macs[0];
        wire->macs_len = 1;
        result = wire_set_filters(wire);
    }
    if (result == 0)
        result = try_all(wire, test_fd, inside_fd, &macs[1], &way);
    wire->macs_len = 0;
    if (result == -EPROTO)
        return err_set(err, result,
                       "interface %s: a test frame from %s did not arrive; another program's "
                       "filters (tc filter show dev %s ingress, egress) may take it before ours",
                       wire->nic.name, way, wire->nic.name);
    return result < 0 ? err_set(err, result, "interface %s: cannot test the way from %s: %s",
                                wire->nic.name, way, strerror(-result))
                      : 0;
}
