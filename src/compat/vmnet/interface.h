/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interface, and how the files of this folder get at one.
 *
 * An interface_ref is a number, not a pointer: the place in a table of INTERFACES_MAX and a generation. What is
 * no interface any more is found out, and nothing is freed while somebody is in it: each call pins the
 * interface it works on, which is one atomic operation and no lock, and the last pin of one that was stopped
 * ends it.
 */
#ifndef OPENVMNET_COMPAT_VMNET_INTERFACE_H
#define OPENVMNET_COMPAT_VMNET_INTERFACE_H

#include <openvmnet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vmnet/vmnet.h>

#include "compat/vmnet/options.h"

#define INTERFACES_MAX 32
#define PACKETS_MAX 256      /* of one call */
#define PACKET_IOVS_MAX 256  /* of one packet */
#define VNET_HEADER_BYTES 10 /* struct virtio_net_hdr, in front of each frame of a tap */
#define VIRTIO_HEADER_BYTES 12
#define FORWARDS_MAX 128 /* of one interface */
#define LEARNED_MAX 8    /* MAC addresses that a client brings along, of one interface */

struct sink;
struct rule;
struct learned;

struct interface {
    interface_ref ref;
    unsigned place;
    const char *call;            /* that started it */
    vmnet_return_t start_status; /* how that went */
    /* These stay the same from start to stop and are read without a lock. */
    struct options options; /* what it was started with */
    struct wishes wishes;
    struct openvmnet_port *port;
    int fd; /* the port's; does not block */
    unsigned mtu;
    size_t max_packet_bytes; /* of a caller's packet, with the virtio header where that is wanted */

    /* vmnet_read()'s, for events. */
    atomic_uint reads, packets_read;
    atomic_bool refire; /* an event waits until somebody reads */

    /* events.c's, under its lock. */
    struct sink *sink;
    bool has_events;

    pthread_mutex_t forwards_lock;
    struct rule *forwards; /* forward.c's */
    unsigned forwards_len;

    struct learned *learned; /* learn.c's */

    /* The completion of start, then that of stop. */
    dispatch_queue_t queue; /* a reference */
    void *handler;          /* a copy of a block */
};

/* ---- calls */

/* The interface, to be unpinned; or NULL and in *ret_status why not. */
struct interface *interface_pin(interface_ref ref, vmnet_return_t *ret_status);
/* Also one that is not up yet. */
struct interface *interface_pin_any(interface_ref ref, vmnet_return_t *ret_status);
void interface_unpin(struct interface *interface);

/*
 * vmnet_start_interface(), in the name of @call. @network: options of the network and its mode, where it is
 * an object's; or NULL.
 */
interface_ref interface_start(const char *call, const struct options *network,
                              operating_modes_t mode, xpc_object_t desc, dispatch_queue_t queue,
                              const void *handler);
/* Has @handler told of @status, where there are it and a queue: nothing was started. */
void interface_refuse(dispatch_queue_t queue, const void *handler, vmnet_return_t status);

/* ---- parts of an interface */

/* The parameters for the start's completion. */
xpc_object_t params_create(const struct interface *interface);

/* Sets up the port's descriptor for what is wished. 0 or -errno. */
int packets_setup(struct interface *interface);
/* Whether no frame passes by a port's descriptor any more: its network has ended, or somebody has detached the port. */
bool packets_ended(int fd);

/* The interface is up: a callback that was set before gets its events. */
void events_begin(struct interface *interface);
/* Ends events: none begins after this. */
void events_end(struct interface *interface);
/* Somebody has read. */
void events_on_read(struct interface *interface, unsigned packets);

void forwards_end(struct interface *interface);

/* Before a frame is written: a MAC address that is new here may be asking for an IP address. */
void learn_frame(struct interface *interface, const struct iovec *iov, unsigned iov_len,
                 size_t frame_bytes);
/* 0 or -errno. */
int learn_begin(struct interface *interface);
void learn_end(struct interface *interface);

/* Whether a default route of the host leads to the interface @name (list.c). */
bool list_is_way_out(const char *call, const char *name);

/* ---- reporting */

/* With VMNET_DEBUG set, says on stderr why. Returns @status. */
vmnet_return_t hint(const char *call, vmnet_return_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The status that a negative errno value of libopenvmnet is. */
vmnet_return_t status_of(int code);

#endif
