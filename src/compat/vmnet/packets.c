/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmnet_read() and vmnet_write(): a readv() or writev() for each packet, with the virtio-net header that a tap
 * has in front of each frame in a piece of its own before the caller's, so nothing is copied. A client that
 * wants that header itself (enable_virtio_header) has its 12 bytes at the beginning of its own buffers.
 *
 * All packets of a call are checked before the first is read or written: what is wrong with one of them is an
 * error, and then nothing was done.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat/vmnet/interface.h"
#include "compat/vmnet/iov.h"
#include "compat/vmnet/offload.h"

#define ETHERNET_BYTES 14
#define TSO_FRAME_MAX (ETHERNET_BYTES + 65536)

_Static_assert(sizeof(struct virtio_net_hdr) == VNET_HEADER_BYTES, "as a tap has it");

int packets_setup(struct interface *interface)
{
    const struct wishes *wishes = &interface->wishes;
    int flags = fcntl(interface->fd, F_GETFL), header_bytes = VIRTIO_HEADER_BYTES, one = 1;
    unsigned long offloads = 0;

    if (flags < 0 || fcntl(interface->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    interface->max_packet_bytes = interface->mtu + ETHERNET_BYTES;
    if (wishes->tso) {
        interface->max_packet_bytes = TSO_FRAME_MAX;
        offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    }
    if (wishes->virtio_header) {
        offloads |= TUN_F_CSUM;
        interface->max_packet_bytes += VIRTIO_HEADER_BYTES;
        /* Little-endian on every machine (virtio 1.2, 5.1.6.1). */
        if (ioctl(interface->fd, TUNSETVNETHDRSZ, &header_bytes) < 0 ||
            ioctl(interface->fd, TUNSETVNETLE, &one) < 0)
            return -errno;
    }
    /* Without any of these the kernel segments and checksums what is for a port. */
    if (ioctl(interface->fd, TUNSETOFFLOAD, offloads) < 0)
        return -errno;
    return 0;
}

/*
 * readv(2) and writev(2) without being cancellation points: a thread that is cancelled here would leave the
 * interface pinned for ever. It is also faster, by the two atomic operations that make them such points.
 */
static ssize_t tap_readv(int fd, const struct iovec *iov, unsigned len)
{
    return syscall(SYS_readv, fd, iov, (unsigned long)len);
}

static ssize_t tap_writev(int fd, const struct iovec *iov, unsigned len)
{
    return syscall(SYS_writev, fd, iov, (unsigned long)len);
}

/*
 * A tap can be written to while it is up (tun_chr_poll()); a port's is, until it is cut off (decision 0038) or gone,
 * and while a bridge of the host's that it is on is there.
 */
bool packets_ended(int fd)
{
    struct pollfd tap = {.fd = fd, .events = POLLOUT};
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before); /* as above */
    (void)poll(&tap, 1, 0);
    pthread_setcancelstate(before, NULL);
    return !(tap.revents & POLLOUT);
}

/* ---- checks */

/* A call, of read or write. */
struct transfer {
    const char *call;
    struct interface *interface; /* pinned */
    struct offload offload;
    int wanted; /* packets */
};

/* Whether the pieces hold what the packet says. */
static bool is_covered(const struct vmpktdesc *packet)
{
    size_t bytes = 0;

    if (!packet->vm_pkt_iov || packet->vm_pkt_iovcnt == 0 ||
        packet->vm_pkt_iovcnt > PACKET_IOVS_MAX)
        return false;
    for (uint32_t i = 0; i < packet->vm_pkt_iovcnt && bytes < packet->vm_pkt_size; i++) {
        if (!packet->vm_pkt_iov[i].iov_base && packet->vm_pkt_iov[i].iov_len)
            return false;
        if (packet->vm_pkt_iov[i].iov_len > packet->vm_pkt_size)
            return true;
        bytes += packet->vm_pkt_iov[i].iov_len;
    }
    return bytes >= packet->vm_pkt_size;
}

static vmnet_return_t check_buffers(const struct transfer *transfer,
                                    const struct vmpktdesc *packets)
{
    const struct interface *interface = transfer->interface;

    for (int i = 0; i < transfer->wanted; i++)
        if (packets[i].vm_pkt_size < interface->max_packet_bytes || !is_covered(&packets[i]))
            return hint(
                transfer->call, VMNET_INVALID_ARGUMENT,
                "packet %d has %zu bytes of room, or says so: it has to be %s, %zu, in 1 to "
                "%d pieces",
                i, packets[i].vm_pkt_size, vmnet_max_packet_size_key, interface->max_packet_bytes,
                PACKET_IOVS_MAX);
    return VMNET_SUCCESS;
}

static vmnet_return_t check_frames(const struct transfer *transfer, const struct vmpktdesc *packets)
{
    const struct interface *interface = transfer->interface;
    size_t least = ETHERNET_BYTES + (interface->wishes.virtio_header ? VIRTIO_HEADER_BYTES : 0);

    for (int i = 0; i < transfer->wanted; i++) {
        if (packets[i].vm_pkt_size > interface->max_packet_bytes)
            return hint(transfer->call, VMNET_PACKET_TOO_BIG, "packet %d has %zu bytes: %s is %zu",
                        i, packets[i].vm_pkt_size, vmnet_max_packet_size_key,
                        interface->max_packet_bytes);
        if (packets[i].vm_pkt_size < least || !is_covered(&packets[i]))
            return hint(transfer->call, VMNET_INVALID_ARGUMENT,
                        "packet %d has %zu bytes: a frame has at least %zu, in 1 to %d pieces that "
                        "hold them",
                        i, packets[i].vm_pkt_size, least, PACKET_IOVS_MAX);
    }
    return VMNET_SUCCESS;
}

static struct offload offload_of(const struct interface *interface)
{
    return (struct offload){interface->wishes.checksum,
                            interface->wishes.tso && !interface->wishes.virtio_header,
                            interface->mtu};
}

/* Begins @transfer, whose call is named already. What is wrong with a packet is for @check to find. */
static vmnet_return_t transfer_begin(struct transfer *transfer, interface_ref ref,
                                     const struct vmpktdesc *packets, const int *pktcnt,
                                     vmnet_return_t (*check)(const struct transfer *transfer,
                                                             const struct vmpktdesc *packets))
{
    vmnet_return_t status;

    if (!pktcnt || *pktcnt < 0 || (!packets && *pktcnt))
        return hint(transfer->call, VMNET_INVALID_ARGUMENT,
                    "packets or count is NULL, or less than none");
    if (*pktcnt > PACKETS_MAX)
        return hint(transfer->call, VMNET_TOO_MANY_PACKETS, "%d packets: a call takes %d", *pktcnt,
                    PACKETS_MAX);
    transfer->interface = interface_pin(ref, &status);
    if (!transfer->interface)
        return hint(transfer->call, status, "the interface is not up");
    transfer->wanted = *pktcnt;
    transfer->offload = offload_of(transfer->interface);
    return check(transfer, packets);
}

/* Nothing to end where there is no interface. */
static void transfer_end(const struct transfer *transfer, int count, int *ret_count)
{
    if (!transfer->interface)
        return;
    *ret_count = count;
    interface_unpin(transfer->interface);
}

/* ---- reading */

enum took {
    TOOK,
    TOOK_DROPPED,
    TOOK_NONE,
    TOOK_ERROR
};

/* One frame into @packet. A frame that does not fit, which no network here sends, is dropped. */
static enum took read_one(const struct interface *interface, const struct offload *offload,
                          struct vmpktdesc *packet)
{
    struct iovec iov[PACKET_IOVS_MAX + 2];
    bool own_header = !interface->wishes.virtio_header;
    struct virtio_net_hdr header;
    size_t header_bytes = own_header ? sizeof(header) : 0, room = packet->vm_pkt_size;
    unsigned len;
    uint8_t beyond;
    ssize_t got;

    iov[0] = (struct iovec){&header, header_bytes};
    len = iov_slice(packet->vm_pkt_iov, packet->vm_pkt_iovcnt, 0, room, iov + 1) + 1;
    iov[len] = (struct iovec){&beyond, 1};
    do
        got = tap_readv(interface->fd, iov, len + 1);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? TOOK_NONE : TOOK_ERROR;
    if ((size_t)got < header_bytes || (size_t)got - header_bytes > room)
        return TOOK_DROPPED;
    got -= (ssize_t)header_bytes;
    if (own_header) {
        if (!offload_read(offload, &header, iov + 1, len - 1, (size_t)got))
            return TOOK_DROPPED;
    } else {
        /* The kernel leaves the last two bytes of the header: one buffer. */
        iov_write(iov + 1, len - 1, VNET_HEADER_BYTES, (uint8_t[2]){1, 0}, 2);
    }
    packet->vm_pkt_size = (size_t)got;
    packet->vm_flags = 0;
    return TOOK;
}

vmnet_return_t vmnet_read(interface_ref ref, struct vmpktdesc *packets, int *pktcnt)
{
    struct transfer transfer = {.call = __func__};
    vmnet_return_t status = transfer_begin(&transfer, ref, packets, pktcnt, check_buffers);
    int count = 0;

    for (int tries = 0; status == VMNET_SUCCESS && tries < PACKETS_MAX && count < transfer.wanted;
         tries++) {
        enum took took = read_one(transfer.interface, &transfer.offload, &packets[count]);

        if (took == TOOK)
            count++;
        else if (count == 0 && took == TOOK_ERROR)
            status = hint(__func__, VMNET_FAILURE, "the network has gone: %s", strerror(errno));
        else if (count == 0 && took == TOOK_NONE && packets_ended(transfer.interface->fd))
            status = hint(__func__, VMNET_FAILURE, "the network has cut the interface off");
        if (took == TOOK_NONE || took == TOOK_ERROR)
            break;
    }
    if (transfer.interface)
        events_on_read(transfer.interface, (unsigned)count);
    transfer_end(&transfer, count, pktcnt);
    return status;
}

/* ---- writing */

/* VMNET_SUCCESS also where the frame was dropped, as on a wire. */
static vmnet_return_t write_one(struct interface *interface, const struct offload *offload,
                                const struct vmpktdesc *packet)
{
    struct iovec iov[PACKET_IOVS_MAX + 3];
    struct offload_frame frame;
    unsigned len = 0;
    ssize_t sent;

    if (!interface->wishes.virtio_header) {
        learn_frame(interface, packet->vm_pkt_iov, packet->vm_pkt_iovcnt, packet->vm_pkt_size);
        if (!offload_write(offload, packet->vm_pkt_iov, packet->vm_pkt_iovcnt, packet->vm_pkt_size,
                           &frame))
            return VMNET_SUCCESS;
        iov[len++] = (struct iovec){&frame.header, sizeof(frame.header)};
        if (frame.head_bytes)
            iov[len++] = (struct iovec){frame.head, frame.head_bytes};
        len += iov_slice(packet->vm_pkt_iov, packet->vm_pkt_iovcnt, frame.head_bytes,
                         packet->vm_pkt_size - frame.head_bytes, iov + len);
    } else {
        struct iovec without[PACKET_IOVS_MAX];
        size_t bytes = packet->vm_pkt_size - VIRTIO_HEADER_BYTES;

        len = iov_slice(packet->vm_pkt_iov, packet->vm_pkt_iovcnt, VIRTIO_HEADER_BYTES, bytes,
                        without);
        learn_frame(interface, without, len, bytes);
        len = iov_slice(packet->vm_pkt_iov, packet->vm_pkt_iovcnt, 0, packet->vm_pkt_size, iov);
    }
    do
        sent = tap_writev(interface->fd, iov, len);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return VMNET_SUCCESS;
    switch (errno) {
    case EAGAIN:
    case ENOMEM:
    case ENOBUFS: return VMNET_BUFFER_EXHAUSTED;
    case EINVAL: return VMNET_INVALID_ARGUMENT; /* a virtio header that the kernel refuses */
    default: return VMNET_FAILURE;
    }
}

vmnet_return_t vmnet_write(interface_ref ref, struct vmpktdesc *packets, int *pktcnt)
{
    struct transfer transfer = {.call = __func__};
    vmnet_return_t status = transfer_begin(&transfer, ref, packets, pktcnt, check_frames);
    int count = 0;

    while (status == VMNET_SUCCESS && count < transfer.wanted) {
        status = write_one(transfer.interface, &transfer.offload, &packets[count]);
        if (status == VMNET_SUCCESS)
            count++;
        else
            hint(__func__, status, "packet %d: %s", count, strerror(errno));
    }
    /* Some were written: the caller learns the rest's fate with the next call. */
    if (count > 0 && status == VMNET_BUFFER_EXHAUSTED)
        status = VMNET_SUCCESS;
    transfer_end(&transfer, count, pktcnt);
    return status;
}
