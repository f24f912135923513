/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ping-from-port [NAME=VALUE...]: attaches a port, pings the network's gateway from it, and goes again. The
 * options are those of openvmnet_attach().
 *
 *   cc ping-from-port.c $(pkg-config --cflags --libs openvmnet) -o ping-from-port
 *   ./ping-from-port network=lab hostname=pinger
 *
 * There is no machine: this program itself is what is attached. It writes and reads raw Ethernet frames, and
 * needs no DHCP, for the port tells the address that it would get.
 *
 * On a tap descriptor each read(2) and write(2) is one frame, with a struct virtio_net_hdr of 10 bytes
 * before it. With it a VM monitor lets the kernel do work for the guest: checksums to be filled in, large
 * segments to be cut. All zero is "a whole frame, nothing to do", and it is what comes, too, as long as
 * nobody asks for more (TUNSETOFFLOAD).
 */
#include <openvmnet.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES 10 /* struct virtio_net_hdr */
#define FRAME_BYTES 65536
#define TRIES 5
#define ANSWER_MS 1000
#define ECHO_BYTES 56 /* after the ICMP header, as ping(8) has it */

/* Network order and no padding in all of them: every field is at a multiple of its size. */
struct ethernet {
    uint8_t to[6], from[6];
    uint16_t type;
};

struct arp {
    uint16_t hardware, protocol;
    uint8_t hardware_len, protocol_len;
    uint16_t operation;
    uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
};

struct echo {
    uint8_t version_len, service;
    uint16_t len, id, fragment;
    uint8_t ttl, protocol;
    uint16_t checksum;
    uint8_t source[4], target[4];
    /* From here ICMP. */
    uint8_t type, code;
    uint16_t icmp_checksum, icmp_id, sequence;
    uint8_t data[ECHO_BYTES];
};

struct machine {
    int fd;
    uint8_t mac[6], gateway_mac[6];
    uint8_t ip[4], gateway_ip[4];
};

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

/* RFC 1071; @data is of even length and in network order, and so is the sum. */
static uint16_t checksum(const void *data, size_t len_bytes)
{
    const uint8_t *bytes = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < len_bytes; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static int send_frame(const struct machine *machine, const uint8_t to[6], uint16_t type,
                      const void *packet, size_t len_bytes)
{
    uint8_t buffer[HEADER_BYTES + sizeof(struct ethernet) + 1500] = {0};
    struct ethernet ethernet = {.type = htons(type)};

    memcpy(ethernet.to, to, 6);
    memcpy(ethernet.from, machine->mac, 6);
    memcpy(buffer + HEADER_BYTES, &ethernet, sizeof(ethernet));
    memcpy(buffer + HEADER_BYTES + sizeof(ethernet), packet, len_bytes);
    len_bytes += HEADER_BYTES + sizeof(ethernet);
    return write(machine->fd, buffer, len_bytes) == (ssize_t)len_bytes ? 0 : -1;
}

/*
 * Waits for a packet of a type that has at least this length. The network is a real one: other frames
 * come as well. 0, or -1 where none came in time.
 */
static int receive_packet(const struct machine *machine, uint16_t type, void *packet,
                          size_t len_bytes, int64_t deadline_us)
{
    static uint8_t buffer[HEADER_BYTES + FRAME_BYTES];

    for (;;) {
        struct pollfd readable = {.fd = machine->fd, .events = POLLIN};
        int64_t left_us = deadline_us - now_us();
        struct ethernet ethernet;
        ssize_t len;

        if (left_us <= 0 || poll(&readable, 1, (int)(left_us / 1000) + 1) <= 0)
            return -1;
        len = read(machine->fd, buffer, sizeof(buffer));
        if (len < (ssize_t)(HEADER_BYTES + sizeof(ethernet) + len_bytes))
            continue;
        memcpy(&ethernet, buffer + HEADER_BYTES, sizeof(ethernet));
        if (ethernet.type != htons(type))
            continue;
        memcpy(packet, buffer + HEADER_BYTES + sizeof(ethernet), len_bytes);
        return 0;
    }
}

/* Who has the gateway's address? */
static int find_gateway(struct machine *machine)
{
    static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct arp ask = {htons(1), htons(0x0800), 6, 4, htons(1), {0}, {0}, {0}, {0}}, answer;

    memcpy(ask.sender_mac, machine->mac, 6);
    memcpy(ask.sender_ip, machine->ip, 4);
    memcpy(ask.target_ip, machine->gateway_ip, 4);
    for (int i = 0; i < TRIES; i++) {
        int64_t deadline_us = now_us() + ANSWER_MS * 1000;

        if (send_frame(machine, everybody, 0x0806, &ask, sizeof(ask)) < 0)
            return -1;
        while (receive_packet(machine, 0x0806, &answer, sizeof(answer), deadline_us) == 0) {
            if (answer.operation != htons(2) ||
                memcmp(answer.sender_ip, machine->gateway_ip, 4) != 0)
                continue;
            memcpy(machine->gateway_mac, answer.sender_mac, 6);
            return 0;
        }
    }
    return -1;
}

/* The time to the gateway and back in microseconds, or -1. */
static int64_t ping(const struct machine *machine, uint16_t sequence)
{
    struct echo request = {.version_len = 0x45,
                           .len = htons(sizeof(request)),
                           .ttl = 64,
                           .protocol = 1,
                           .type = 8,
                           .icmp_id = htons((uint16_t)getpid()),
                           .sequence = htons(sequence)};
    int64_t sent_us = now_us(), deadline_us = sent_us + ANSWER_MS * 1000;
    struct echo reply;

    memcpy(request.source, machine->ip, 4);
    memcpy(request.target, machine->gateway_ip, 4);
    request.checksum = checksum(&request, 20);
    request.icmp_checksum = checksum(&request.type, sizeof(request) - 20);
    if (send_frame(machine, machine->gateway_mac, 0x0800, &request, sizeof(request)) < 0)
        return -1;
    while (receive_packet(machine, 0x0800, &reply, sizeof(reply), deadline_us) == 0)
        if (reply.protocol == 1 && reply.type == 0 && reply.icmp_id == request.icmp_id &&
            reply.sequence == request.sequence)
            return now_us() - sent_us;
    return -1;
}

/* The texts of a port as bytes. */
static int read_port(const struct openvmnet_port *port, struct machine *ret_machine)
{
    const char *mac = openvmnet_port_get(port, "mac");
    uint8_t *bytes = ret_machine->mac;
    char ipv4[64];

    ret_machine->fd = openvmnet_port_fd(port);
    snprintf(ipv4, sizeof(ipv4), "%s", openvmnet_port_get(port, "ipv4"));
    ipv4[strcspn(ipv4, "/")] = '\0';
    return sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
                  &bytes[4], &bytes[5]) == 6 &&
                   inet_pton(AF_INET, ipv4, ret_machine->ip) == 1 &&
                   inet_pton(AF_INET, openvmnet_port_get(port, "gateway"),
                             ret_machine->gateway_ip) == 1
               ? 0
               : -1;
}

int main(int argc, char **argv)
{
    struct openvmnet_error error;
    /* argv ends with NULL, as a list of options does. */
    struct openvmnet_port *port = openvmnet_attach((const char *const *)argv + 1, &error);
    struct machine machine;
    int answers = 0;

    (void)argc;
    if (!port) {
        fprintf(stderr, "ping-from-port: %s\n", error.text);
        return 1;
    }
    if (error.text[0])
        fprintf(stderr, "ping-from-port: warning: %s\n", error.text);
    printf("%s on network %s: MAC %s, IPv4 %s\n", openvmnet_port_get(port, "hostname"),
           openvmnet_port_get(port, "network"), openvmnet_port_get(port, "mac"),
           openvmnet_port_get(port, "ipv4"));
    if (read_port(port, &machine) < 0 || find_gateway(&machine) < 0) {
        fprintf(stderr, "ping-from-port: the gateway does not answer\n");
        openvmnet_port_free(&port);
        return 1;
    }
    for (uint16_t sequence = 1; sequence <= 3; sequence++) {
        int64_t time_us = ping(&machine, sequence);

        if (time_us < 0)
            continue;
        answers++;
        printf("%s answered ping %d in %.3f ms\n", openvmnet_port_get(port, "gateway"), sequence,
               (double)time_us / 1000);
    }
    openvmnet_port_free(&port);
    return answers ? 0 : 1;
}
