/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's side of the pump, as tap_linux.c is on Linux: whole frames, many to a call. No offloads are asked
 * for: the sockets' clients have no word for a frame that is not finished, so the system cuts segments and fills in
 * checksums.
 *
 * vmnet_read() wants buffers of the largest frame each. They lie where the frames are to be, each with room for its length
 * in front, and frames that are shorter are moved together.
 */
#include "plane/macos/tap.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "plane/macos/lease.h"
#include "pump/client.h"

#define ADD(counter, number) atomic_fetch_add_explicit(&(counter), number, memory_order_relaxed)

static struct vmnet_port *port_of(const struct pump_client *client)
{
    return client->tap.device;
}

static void give_back(struct vmnet_port *port, vmnet_return_t status)
{
    atomic_store(&port->lent, NULL);
    vmnet_port_tell(port, VMNET_PORT_BACK, status, 0);
}

/* The interface, while it is ours. */
static interface_ref borrow(struct vmnet_port *port)
{
    interface_ref interface = atomic_load_explicit(&port->lent, memory_order_acquire);

    if (interface && atomic_load_explicit(&port->recalled, memory_order_relaxed)) {
        give_back(port, VMNET_SUCCESS);
        return NULL;
    }
    return interface;
}

/* Whether the interface is no more, in difference to a frame that is refused. */
static bool is_broken(vmnet_return_t status)
{
    return status != VMNET_SUCCESS && status != VMNET_PACKET_TOO_BIG &&
           status != VMNET_BUFFER_EXHAUSTED && status != VMNET_TOO_MANY_PACKETS &&
           status != VMNET_MEM_FAILURE;
}

/* ---- from the network */

/* Reads at most @count frames, each to a slot of @slot_bytes, behind room for its length. Returns how many. */
static int read_slots(struct vmnet_port *port, interface_ref interface, uint8_t *buf,
                      size_t slot_bytes, int count, size_t *ret_lens)
{
    struct vmpktdesc packets[VMNET_BATCH_MAX];
    struct iovec parts[VMNET_BATCH_MAX];
    vmnet_return_t status;

    for (int i = 0; i < count; i++) {
        parts[i] = (struct iovec){buf + (size_t)i * slot_bytes + PUMP_LENGTH_BYTES,
                                  slot_bytes - PUMP_LENGTH_BYTES};
        packets[i] = (struct vmpktdesc){slot_bytes - PUMP_LENGTH_BYTES, &parts[i], 1, 0};
    }
    status = vmnet_read(interface, packets, &count);
    if (status != VMNET_SUCCESS) {
        if (is_broken(status))
            give_back(port, status);
        return 0;
    }
    for (int i = 0; i < count; i++)
        ret_lens[i] = packets[i].vm_pkt_size;
    return count;
}

/* The guest's address, when its DHCP server acknowledges one. */
static void look_for_lease(struct vmnet_port *port, const uint8_t *frame, size_t len_bytes)
{
    uint32_t ipv4;

    if (!lease_read(frame, len_bytes, &port->port.mac, port->server, &ipv4) || ipv4 == port->ipv4)
        return;
    port->ipv4 = ipv4;
    vmnet_port_tell(port, VMNET_PORT_ADDRESS, VMNET_SUCCESS, ipv4);
}

/* At most @count frames to @buf; as pump_tap_read(). *ret_more: there may be further ones. */
static size_t read_frames(struct pump_client *client, uint8_t *buf, size_t size_bytes,
                          bool *ret_more)
{
    struct vmnet_port *port = port_of(client);
    size_t lens[VMNET_BATCH_MAX], slot_bytes, at = 0, bytes = 0;
    interface_ref interface = borrow(port);
    unsigned frames = 0;
    int wanted, count;

    *ret_more = false;
    if (!interface)
        return 0;
    slot_bytes = PUMP_LENGTH_BYTES + port->facts.max_packet_bytes;
    wanted = (int)(size_bytes / slot_bytes);
    if (wanted > (int)port->facts.read_max)
        wanted = (int)port->facts.read_max;
    count = read_slots(port, interface, buf, slot_bytes, wanted, lens);
    *ret_more = count == wanted;
    for (int i = 0; i < count; i++) {
        uint8_t *frame = buf + (size_t)i * slot_bytes + PUMP_LENGTH_BYTES;

        if (lens[i] < PUMP_FRAME_MIN_BYTES || lens[i] > client->frame_max_bytes) {
            PUMP_COUNT(client->pump, pump_drop_malformed);
            continue;
        }
        look_for_lease(port, frame, lens[i]);
        memmove(buf + at + PUMP_LENGTH_BYTES, frame, lens[i]);
        buf[at] = 0;
        buf[at + 1] = (uint8_t)(lens[i] >> 16);
        buf[at + 2] = (uint8_t)(lens[i] >> 8);
        buf[at + 3] = (uint8_t)lens[i];
        at += PUMP_LENGTH_BYTES + lens[i];
        bytes += lens[i];
        frames++;
    }
    ADD(port->down_packets, frames);
    ADD(port->down_bytes, bytes);
    return at;
}

ssize_t pump_tap_read(struct pump_client *client, uint8_t *buf, size_t size_bytes)
{
    struct vmnet_port *port = port_of(client);
    uint64_t before = atomic_load_explicit(&port->down_packets, memory_order_relaxed);
    char bytes[16];
    size_t len;
    bool more;

    /*
     * In this order: a byte that came between the two would be read, and the next one not written. An event between
     * them is of frames that are read below.
     */
    (void)!read(client->tap.fd, bytes, sizeof(bytes));
    atomic_store(&port->awake, false);
    len = read_frames(client, buf, size_bytes, &more);
    if (more)
        vmnet_port_wake(port);
    PUMP_COUNT_ADD(client->pump, pump_frames_down,
                   atomic_load_explicit(&port->down_packets, memory_order_relaxed) - before);
    return (ssize_t)len;
}

void pump_tap_flush(struct pump_client *client)
{
    bool more = true;

    for (int i = 0; more && i < 64; i++) {
        struct vmnet_port *port = port_of(client);
        uint64_t before = atomic_load_explicit(&port->down_packets, memory_order_relaxed);

        read_frames(client, client->pump->down, sizeof(client->pump->down), &more);
        PUMP_COUNT_ADD(client->pump, pump_drop_queue_full,
                       atomic_load_explicit(&port->down_packets, memory_order_relaxed) - before);
    }
}

/* ---- to the network */

bool pump_tap_push(struct pump_client *client)
{
    struct vmnet_port *port = port_of(client);
    struct vmnet_batch *batch = port->batch;
    interface_ref interface = borrow(port);
    unsigned len = batch->len, sent = 0;
    vmnet_return_t status = VMNET_SUCCESS;

    while (interface && sent < len && status == VMNET_SUCCESS) {
        int count = (int)(len - sent);

        status = vmnet_write(interface, batch->packets + sent, &count);
        if (status == VMNET_SUCCESS && count <= 0)
            break; /* no room: lost, as on a wire */
        if (status == VMNET_SUCCESS)
            sent += (unsigned)count;
    }
    if (sent < len)
        PUMP_COUNT_ADD(client->pump, pump_drop_tap, len - sent);
    PUMP_COUNT_ADD(client->pump, pump_frames_up, sent);
    ADD(port->up_packets, sent);
    ADD(port->up_bytes, sent == len ? batch->bytes : 0);
    batch->len = 0;
    batch->bytes = 0;
    if (interface && is_broken(status))
        give_back(port, status);
    return true;
}

bool pump_tap_write(struct pump_client *client, uint8_t *frame, size_t len_bytes)
{
    struct vmnet_port *port = port_of(client);
    struct vmnet_batch *batch = port->batch;

    /* While the interface is mended there is no wire. */
    if (!borrow(port)) {
        PUMP_COUNT(client->pump, pump_drop_tap);
        return true;
    }
    if (len_bytes > port->facts.max_packet_bytes) {
        PUMP_COUNT(client->pump, pump_drop_malformed);
        return true;
    }
    if (port->port.anti_spoof &&
        memcmp(frame + 6, port->port.mac.bytes, sizeof(port->port.mac.bytes)) != 0) {
        ADD(port->spoofed_mac, 1);
        return true;
    }
    batch->parts[batch->len] = (struct iovec){frame, len_bytes};
    batch->packets[batch->len] = (struct vmpktdesc){len_bytes, &batch->parts[batch->len], 1, 0};
    batch->len++;
    batch->bytes += len_bytes;
    return batch->len < port->facts.write_max || pump_tap_push(client);
}

void pump_tap_close(const struct pump_tap *tap)
{
    struct vmnet_port *port = tap->device;

    atomic_store(&port->lent, NULL);
    vmnet_port_tell(port, VMNET_PORT_CLOSED, VMNET_SUCCESS, 0);
}
