/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static unsigned passed, failed, skipped;
static const char *current;

static void line(const char *result, const char *format, va_list arguments)
{
    printf("%-5s %-28s ", result, current);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
}

bool check(bool ok, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line(ok ? "ok" : "FAIL", format, arguments);
    va_end(arguments);
    passed += ok;
    failed += !ok;
    return ok;
}

void skip(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line("skip", format, arguments);
    va_end(arguments);
    skipped++;
}

const char *status_name(vmnet_return_t status)
{
    static const char *const names[] = {"SUCCESS",          "FAILURE",
                                        "MEM_FAILURE",      "INVALID_ARGUMENT",
                                        "SETUP_INCOMPLETE", "INVALID_ACCESS",
                                        "PACKET_TOO_BIG",   "BUFFER_EXHAUSTED",
                                        "TOO_MANY_PACKETS", "SHARING_SERVICE_BUSY",
                                        "NOT_AUTHORIZED"};

    return status >= VMNET_SUCCESS && status <= VMNET_NOT_AUTHORIZED ? names[status - VMNET_SUCCESS]
                                                                     : "no status";
}

bool check_status(vmnet_return_t got, vmnet_return_t wanted, const char *what)
{
    if (got == wanted)
        return check(true, "%s: %s", what, status_name(got));
    return check(false, "%s: %s instead of %s", what, status_name(got), status_name(wanted));
}

bool wait_ms(dispatch_semaphore_t semaphore, int ms)
{
    dispatch_time_t deadline = dispatch_time(DISPATCH_TIME_NOW, ms * (int64_t)NSEC_PER_MSEC);

    return dispatch_semaphore_wait(semaphore, deadline) == 0;
}

bool wait_for(dispatch_semaphore_t semaphore)
{
    return wait_ms(semaphore, BOUND_S * 1000);
}

/* ---- interfaces */

xpc_object_t describe(operating_modes_t mode)
{
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);

    xpc_dictionary_set_uint64(desc, vmnet_operation_mode_key, mode);
    return desc;
}

static void take_params(struct net *net)
{
    const char *mac = xpc_dictionary_get_string(net->params, vmnet_mac_address_key);
    const char *start = xpc_dictionary_get_string(net->params, vmnet_start_address_key);
    const char *end = xpc_dictionary_get_string(net->params, vmnet_end_address_key);

    net->packet_bytes = xpc_dictionary_get_uint64(net->params, vmnet_max_packet_size_key);
    if (mac)
        sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &net->mac[0], &net->mac[1], &net->mac[2],
               &net->mac[3], &net->mac[4], &net->mac[5]);
    if (start)
        inet_pton(AF_INET, start, net->gateway);
    if (end)
        inet_pton(AF_INET, end, net->ip);
}

bool net_start_on(struct net *net, vmnet_network_ref network, xpc_object_t desc)
{
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    vmnet_start_interface_completion_handler_t handler =
        ^(vmnet_return_t status, xpc_object_t params) {
          net->status = status;
          net->completions++;
          if (params)
              net->params = xpc_copy(params);
          dispatch_semaphore_signal(done);
        };

    memset(net, 0, sizeof(*net));
    net->queue = dispatch_queue_create("conformance.net", DISPATCH_QUEUE_SERIAL);
    net->ref = network ? vmnet_interface_start_with_network(network, desc, net->queue, handler)
                       : vmnet_start_interface(desc, net->queue, handler);
    xpc_release(desc);
    if (!wait_for(done))
        check(false, "the completion of start is called within %d s", BOUND_S);
    dispatch_release(done);
    if (net->ref && net->status == VMNET_SUCCESS && net->params) {
        take_params(net);
        return true;
    }
    return false;
}

bool net_start(struct net *net, xpc_object_t desc)
{
    return net_start_on(net, NULL, desc);
}

void net_stop(struct net *net)
{
    dispatch_semaphore_t done = dispatch_semaphore_create(0);
    __block vmnet_return_t status = VMNET_FAILURE;

    if (net->ref && net->status == VMNET_SUCCESS) {
        vmnet_return_t returned =
            vmnet_stop_interface(net->ref, net->queue, ^(vmnet_return_t stopped) {
              status = stopped;
              dispatch_semaphore_signal(done);
            });

        if (returned != VMNET_SUCCESS || !wait_for(done) || status != VMNET_SUCCESS)
            check(false, "stop: %s, its completion: %s", status_name(returned),
                  status_name(status));
    }
    if (net->params)
        xpc_release(net->params);
    dispatch_release(net->queue);
    dispatch_release(done);
    memset(net, 0, sizeof(*net));
}

/* ---- frames */

void frame_make(uint8_t *frame, size_t len_bytes, const uint8_t to[6], const uint8_t from[6],
                uint32_t number)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = TEST_TYPE >> 8;
    frame[13] = TEST_TYPE & 0xff;
    memcpy(frame + 14, &number, 4);
    for (size_t i = 18; i < len_bytes; i++)
        frame[i] = (uint8_t)(number + i);
}

bool frame_number(const uint8_t *frame, size_t len_bytes, uint32_t *ret_number)
{
    if (len_bytes < 18 || frame[12] != TEST_TYPE >> 8 || frame[13] != (TEST_TYPE & 0xff))
        return false;
    memcpy(ret_number, frame + 14, 4);
    for (size_t i = 18; i < len_bytes; i++)
        if (frame[i] != (uint8_t)(*ret_number + i))
            return false;
    return true;
}

vmnet_return_t net_write(struct net *net, void *frame, size_t len_bytes)
{
    struct iovec iov = {frame, len_bytes};
    struct vmpktdesc packet = {len_bytes, &iov, 1, 0};
    int count = 1;
    vmnet_return_t status = vmnet_write(net->ref, &packet, &count);

    return status == VMNET_SUCCESS && count != 1 ? VMNET_FAILURE : status;
}

size_t net_read(struct net *net, void *frame)
{
    struct iovec iov = {frame, net->packet_bytes};
    struct vmpktdesc packet = {net->packet_bytes, &iov, 1, 0};
    int count = 1;

    return vmnet_read(net->ref, &packet, &count) == VMNET_SUCCESS && count == 1 ? packet.vm_pkt_size
                                                                                : 0;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The next frame of the tests' type, waiting for it for a while. */
static bool read_number(struct net *net, uint32_t *ret_number, int bound_ms)
{
    static uint8_t frame[FRAME_MAX];
    dispatch_semaphore_t never = dispatch_semaphore_create(0);
    uint64_t deadline_ms = now_ms() + (uint64_t)bound_ms;
    bool found = false;

    while (!found) {
        size_t len_bytes = net_read(net, frame);

        if (len_bytes)
            found = frame_number(frame, len_bytes, ret_number);
        else if (now_ms() >= deadline_ms)
            break;
        else
            wait_ms(never, 1);
    }
    dispatch_release(never);
    return found;
}

bool net_read_number(struct net *net, uint32_t *ret_number)
{
    return read_number(net, ret_number, BOUND_S * 1000);
}

void net_drain(struct net *net)
{
    static uint8_t frame[FRAME_MAX];

    while (net_read(net, frame))
        ;
}

bool net_connect(struct net *from, struct net *to)
{
    uint8_t frame[TEST_BYTES];
    uint32_t number = 0;
    bool connected = false;

    frame_make(frame, sizeof(frame), to->mac, from->mac, 0xffffffff);
    for (int i = 0; !connected && i < 100; i++) {
        net_write(from, frame, sizeof(frame));
        connected = read_number(to, &number, 100);
    }
    while (read_number(to, &number, 50))
        ;
    return check(connected, "a frame comes from one interface to the other");
}

bool nets_start(struct net nets[2])
{
    bool up = true;

    for (int i = 0; i < 2; i++)
        up = net_start(&nets[i], describe(VMNET_SHARED_MODE)) && up;
    return check(up, "two interfaces start") && net_connect(&nets[0], &nets[1]);
}

void nets_stop(struct net nets[2])
{
    net_stop(&nets[0]);
    net_stop(&nets[1]);
}

/* ---- bytes */

uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

uint32_t sum_of(uint32_t sum, const uint8_t *bytes, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* ---- the run */

static bool is_wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strncmp(name, argv[i], strlen(argv[i])) == 0)
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    static const struct test *const groups[] = {lifecycle_tests, key_tests,     packet_tests,
                                                event_tests,     offload_tests, forward_tests,
                                                network_tests};

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (const struct test *test = groups[i]; test->name; test++) {
            current = test->name;
            if (argc == 2 && strcmp(argv[1], "--list") == 0)
                puts(test->name);
            else if (is_wanted(test->name, argc, argv))
                test->run();
        }
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0)
        return 0;
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    return failed || !passed ? 1 : 0;
}
