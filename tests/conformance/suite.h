/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conformance suite for vmnet.h, written against the header and its documentation alone: it is to run on macOS
 * too. Each check prints a line of a table; a failed one does not end the suite.
 *
 *   vmnet-conformance [NAME]...      all tests, or those whose names begin so
 *   vmnet-conformance --list         their names
 *
 * A test has an interface started for it, or starts its own; it leaves none. Nothing waits without a bound.
 */
#ifndef TESTS_CONFORMANCE_SUITE_H
#define TESTS_CONFORMANCE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

#define BOUND_S 20
#define FRAME_MAX 65562 /* with TSO and a virtio header */

struct test {
    const char *name;
    void (*run)(void);
};

/* Ends with a name that is NULL. */
extern const struct test lifecycle_tests[], key_tests[], packet_tests[], event_tests[],
    offload_tests[], forward_tests[], network_tests[];

/* One line of the table. Returns @ok. */
bool check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* That a call gave a status. */
bool check_status(vmnet_return_t got, vmnet_return_t wanted, const char *what);
const char *status_name(vmnet_return_t status);

/* ---- interfaces */

struct net {
    interface_ref ref;
    dispatch_queue_t queue; /* serial: completions, events */
    vmnet_return_t status;  /* of the start */
    int completions;
    xpc_object_t params; /* a copy, or NULL */
    uint8_t mac[6], ip[4], gateway[4];
    size_t packet_bytes;
};

/* A description of this mode, to be released. */
xpc_object_t describe(operating_modes_t mode);
/* Starts and waits for the completion. @desc is released. True where it is up. */
bool net_start(struct net *net, xpc_object_t desc);
/* The same on a network object. */
bool net_start_on(struct net *net, vmnet_network_ref network, xpc_object_t desc);
/* Stops and waits; no line where it goes well. */
void net_stop(struct net *net);
/* Waits for a signal; false after BOUND_S. */
bool wait_for(dispatch_semaphore_t semaphore);
bool wait_ms(dispatch_semaphore_t semaphore, int ms);

/* ---- frames: of a type for experiments (IEEE 802, 88b5), from one interface to another */

#define TEST_TYPE 0x88b5
#define TEST_BYTES 64

/* @number and the rest of @len_bytes are found again by frame_number(). */
void frame_make(uint8_t *frame, size_t len_bytes, const uint8_t to[6], const uint8_t from[6],
                uint32_t number);
/* False where it is another frame, or not as it was made. */
bool frame_number(const uint8_t *frame, size_t len_bytes, uint32_t *ret_number);

/* Writes one frame. */
vmnet_return_t net_write(struct net *net, void *frame, size_t len_bytes);
/* Reads one frame into FRAME_MAX bytes; 0: there was none. */
size_t net_read(struct net *net, void *frame);
/* Polls for the next frame of the tests' type. False after BOUND_S. */
bool net_read_number(struct net *net, uint32_t *ret_number);
/* Reads until nothing comes. */
void net_drain(struct net *net);
/* Writes frames from one to the other until one arrives, and drains: both are known to the network. */
bool net_connect(struct net *from, struct net *to);
/* Two on the shared network that are known to it; nets_stop() in any case. */
bool nets_start(struct net nets[2]);
void nets_stop(struct net nets[2]);

/* ---- what a network serves (services.c), asked for in frames as a guest asks */

#define ABSENT_MS 1000 /* what is served comes within milliseconds */

struct offer {
    uint8_t ip[4];
    bool has_dns; /* it names a server */
};

/* True where somebody answers a DHCPDISCOVER of the machine @mac. */
bool net_discover(struct net *net, const uint8_t mac[6], struct offer *ret_offer);
/* True where a router solicitation of @mac is answered. */
bool net_solicit(struct net *net, const uint8_t mac[6]);

/* ---- bytes of packets */

uint16_t get16(const uint8_t *at);
void put16(uint8_t *at, size_t value);
/* The Internet checksum's sum (RFC 1071) of @sum and @len_bytes more. */
uint32_t sum_of(uint32_t sum, const uint8_t *bytes, size_t len_bytes);

#endif
