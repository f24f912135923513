/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captured frames as pcapng (draft-ietf-opsawg-pcapng): one section with one interface.
 *
 *   section header, interface description, enhanced packet …, interface statistics
 *
 * Blocks are written to memory and are complete by themselves, so a reader can follow as they come.
 * Numbers are in this machine's byte order, which the section header tells. Nothing here does I/O.
 */
#ifndef OPENVMNET_CLI_PCAPNG_H
#define OPENVMNET_CLI_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

#define PCAPNG_TEXT_MAX 255 /* bytes of a text option; what exceeds it is cut */
#define PCAPNG_HEADER_MAX 2048
#define PCAPNG_STATISTICS_MAX 128

struct pcapng_interface {
    uint16_t link_type; /* LINKTYPE_ of the format's registry; 1: Ethernet */
    uint32_t snaplen;
    const char *name;
    const char *description; /* or "" */
    const char *filter;      /* as it was given, or "" */
};

struct pcapng_packet {
    uint64_t time_ns; /* since 1970 */
    uint32_t captured_len, original_len;
    const void *data;
};

struct pcapng_statistics {
    uint64_t start_ns, end_ns; /* since 1970 */
    uint64_t received, dropped;
};

/* Each writes to @buf, which has room, and returns the bytes written, a multiple of 4. */

/* Section header and interface description, at most PCAPNG_HEADER_MAX. @program made the file. */
size_t pcapng_put_header(uint8_t *buf, const char *program,
                         const struct pcapng_interface *interface);
/* Bytes of a packet's block. */
size_t pcapng_packet_bytes(uint32_t captured_len);
size_t pcapng_put_packet(uint8_t *buf, const struct pcapng_packet *packet);
/* At most PCAPNG_STATISTICS_MAX. */
size_t pcapng_put_statistics(uint8_t *buf, const struct pcapng_statistics *statistics);

#endif
