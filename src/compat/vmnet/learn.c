/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC addresses that a client brings along. On macOS the DHCP server answers whoever asks: a client may use a
 * MAC address of its own (QEMU), or have several machines behind one interface (socket_vmnet). Our networks give
 * an address to each port and to nobody else, so a machine that asks for one becomes known as a further port,
 * from which no frame ever comes: its frames go through the interface. Its DHCP message, which would have
 * found nobody who knows it, is written again when that is done.
 *
 * A guest that tries many MAC addresses finds the end of the table.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compat/vmnet/interface.h"
#include "compat/vmnet/iov.h"

#define FRAME_MAX 1514
#define HEADERS_BYTES (14 + 20 + 8) /* Ethernet, IPv4 without options, UDP */
#define DHCP_SERVER_PORT 67

struct learned {
    /* The first is the port's own. 0: nothing yet. */
    _Atomic uint64_t macs[LEARNED_MAX + 1];
    atomic_uint len;
    struct openvmnet_port *ports[LEARNED_MAX + 1];
};

struct lesson {
    struct interface *interface; /* pinned */
    unsigned place;
    uint8_t mac[6];
    size_t frame_bytes;
    uint8_t frame[VNET_HEADER_BYTES + FRAME_MAX];
};

static uint64_t mac_number(const uint8_t mac[6])
{
    uint64_t number = 0;

    memcpy(&number, mac, 6);
    return number;
}

int learn_begin(struct interface *interface)
{
    struct learned *learned = calloc(1, sizeof(*learned));
    uint8_t mac[6] = {0};

    if (!learned)
        return -ENOMEM;
    sscanf(openvmnet_port_get(interface->port, "mac"), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0],
           &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]);
    learned->macs[0] = mac_number(mac);
    /* Where the port has no address of ours there is none for others either: the table is full. */
    learned->len = openvmnet_port_get(interface->port, "ipv4")[0] ? 1 : LEARNED_MAX + 1;
    interface->learned = learned;
    return 0;
}

void learn_end(struct interface *interface)
{
    struct learned *learned = interface->learned;

    if (!learned)
        return;
    for (unsigned i = 0; i <= LEARNED_MAX; i++)
        openvmnet_port_free(&learned->ports[i]);
    free(learned);
}

/* In a thread of the global queue. */
static void learn(void *context)
{
    struct lesson *lesson = context;
    struct interface *interface = lesson->interface;
    const uint8_t *mac = lesson->mac;
    struct openvmnet_error error;
    struct options options = {0};
    const char *list[OPTIONS_MAX + 1];

    options_add(&options, "network=%s", openvmnet_port_get(interface->port, "network"));
    options_add(&options, "mode=%s", openvmnet_port_get(interface->port, "mode"));
    options_add(&options, "mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                mac[4], mac[5]);
    options_list(&options, list);
    interface->learned->ports[lesson->place] = openvmnet_attach(list, &error);
    if (!interface->learned->ports[lesson->place])
        hint("vmnet_write", VMNET_FAILURE, "no address for a machine behind the interface: %s",
             error.text);
    else if (!interface->wishes.virtio_header)
        (void)!write(interface->fd, lesson->frame, VNET_HEADER_BYTES + lesson->frame_bytes);
    interface_unpin(interface);
    free(lesson);
}

/* The place for a MAC address that is new; 0 where it is not, or where the table is full. */
static unsigned find_place(struct learned *learned, uint64_t mac)
{
    unsigned len = atomic_load_explicit(&learned->len, memory_order_acquire);

    for (unsigned i = 0; i < len && i <= LEARNED_MAX; i++)
        if (atomic_load_explicit(&learned->macs[i], memory_order_relaxed) == mac)
            return 0;
    if (len > LEARNED_MAX || !atomic_compare_exchange_strong(&learned->len, &len, len + 1))
        return 0; /* full, or another thread has one too: the machine asks again */
    learned->macs[len] = mac;
    return len;
}

static bool asks_for_address(const uint8_t head[HEADERS_BYTES])
{
    const uint8_t *ip = head + 14, *udp = ip + 20;

    return head[12] == 0x08 && head[13] == 0x00 && ip[0] == 0x45 && ip[9] == IPPROTO_UDP &&
           udp[2] == 0 && udp[3] == DHCP_SERVER_PORT;
}

void learn_frame(struct interface *interface, const struct iovec *iov, unsigned iov_len,
                 size_t frame_bytes)
{
    struct learned *learned = interface->learned;
    uint8_t head[HEADERS_BYTES];
    struct lesson *lesson;
    vmnet_return_t status;
    unsigned place;

    if (iov_len && iov[0].iov_len >= 12)
        memcpy(head + 6, (const uint8_t *)iov[0].iov_base + 6, 6);
    else if (iov_read(iov, iov_len, 6, head + 6, 6) != 6)
        return;
    if (mac_number(head + 6) == atomic_load_explicit(&learned->macs[0], memory_order_relaxed))
        return;
    if (frame_bytes > FRAME_MAX ||
        iov_read(iov, iov_len, 0, head, HEADERS_BYTES) != HEADERS_BYTES || !asks_for_address(head))
        return;
    place = find_place(learned, mac_number(head + 6));
    lesson = place ? calloc(1, sizeof(*lesson)) : NULL;
    if (!lesson || !interface_pin(interface->ref, &status)) {
        free(lesson);
        return;
    }
    lesson->interface = interface;
    lesson->place = place;
    memcpy(lesson->mac, head + 6, 6);
    lesson->frame_bytes = iov_read(iov, iov_len, 0, lesson->frame + VNET_HEADER_BYTES, frame_bytes);
    dispatch_async_f(dispatch_get_global_queue(DISPATCH_QUEUE_PRIORITY_DEFAULT, 0), lesson, learn);
}
