/* SPDX-License-Identifier: Apache-2.0 */
/* DHCP (RFC 2131) and router advertisements (RFC 4861), in frames as a guest sends and gets them. */
#include <string.h>

#include "suite.h"

#define IP_AT 14
#define UDP_AT 34
#define BOOTP_AT 42
#define CHADDR_AT (BOOTP_AT + 28)
#define OPTIONS_AT (BOOTP_AT + 236 + 4) /* behind the cookie */
#define DISCOVER_BYTES (OPTIONS_AT + 12)
#define DHCP_MESSAGE_TYPE 53
#define DHCP_DNS 6
#define DHCP_OFFER 2
#define ICMP6_AT 54
#define SOLICIT_BYTES (ICMP6_AT + 8)
#define RA_TYPE 134

static const uint8_t cookie[4] = {0x63, 0x82, 0x53, 0x63};

static void make_discover(uint8_t frame[DISCOVER_BYTES], const uint8_t mac[6])
{
    static const uint8_t ip[20] = {0x45, 0, 0, 0, 0, 0, 0,   0,   64,  17,
                                   0,    0, 0, 0, 0, 0, 255, 255, 255, 255};
    /* DISCOVER; which options are wanted: mask, router, DNS. */
    static const uint8_t options[12] = {DHCP_MESSAGE_TYPE, 1, 1, 55, 3, 1, 3, DHCP_DNS, 255};

    memset(frame, 0, DISCOVER_BYTES);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, 0x0800);
    memcpy(frame + IP_AT, ip, sizeof(ip));
    put16(frame + IP_AT + 2, DISCOVER_BYTES - IP_AT);
    put16(frame + IP_AT + 10, 0xffff - sum_of(0, frame + IP_AT, 20));
    put16(frame + UDP_AT, 68);
    put16(frame + UDP_AT + 2, 67);
    put16(frame + UDP_AT + 4, DISCOVER_BYTES - UDP_AT);
    frame[BOOTP_AT] = frame[BOOTP_AT + 1] = 1; /* a request, Ethernet */
    frame[BOOTP_AT + 2] = 6;
    memcpy(frame + BOOTP_AT + 4, mac + 2, 4); /* the transaction */
    frame[BOOTP_AT + 10] = 0x80;              /* answers are to be broadcast */
    memcpy(frame + CHADDR_AT, mac, 6);
    memcpy(frame + OPTIONS_AT - 4, cookie, 4);
    memcpy(frame + OPTIONS_AT, options, sizeof(options));
}

static bool read_offer(const uint8_t *frame, size_t len_bytes, const uint8_t mac[6],
                       struct offer *ret_offer)
{
    bool offered = false;

    if (len_bytes < OPTIONS_AT || get16(frame + 12) != 0x0800 || frame[IP_AT + 9] != 17 ||
        get16(frame + UDP_AT) != 67 || memcmp(frame + CHADDR_AT, mac, 6) != 0)
        return false;
    memset(ret_offer, 0, sizeof(*ret_offer));
    memcpy(ret_offer->ip, frame + BOOTP_AT + 16, 4);
    for (size_t at = OPTIONS_AT; at + 2 < len_bytes && frame[at] != 255; at += 2 + frame[at + 1]) {
        offered = offered || (frame[at] == DHCP_MESSAGE_TYPE && frame[at + 2] == DHCP_OFFER);
        ret_offer->has_dns = ret_offer->has_dns || frame[at] == DHCP_DNS;
    }
    return offered;
}

static void make_solicit(uint8_t frame[SOLICIT_BYTES], const uint8_t mac[6])
{
    static const uint8_t to[16] = {0xff, 2, [15] = 2};

    memset(frame, 0, SOLICIT_BYTES);
    put16(frame, 0x3333);
    frame[5] = 2;
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, 0x86dd);
    frame[IP_AT] = 0x60;
    put16(frame + IP_AT + 4, 8);
    frame[IP_AT + 6] = 58;
    frame[IP_AT + 7] = 255;
    memcpy(frame + IP_AT + 24, to, 16);
    frame[ICMP6_AT] = 133;
    put16(frame + ICMP6_AT + 2, 0xffff - sum_of(58 + 8 + 133 * 256, to, 16));
}

static bool is_advertisement(const uint8_t *frame, size_t len_bytes)
{
    return len_bytes > ICMP6_AT && get16(frame + 12) == 0x86dd && frame[IP_AT + 6] == 58 &&
           frame[ICMP6_AT] == RA_TYPE;
}

typedef bool (^is_answer_t)(const uint8_t *frame, size_t len_bytes);

/* Sends @question, a second time where there is no answer, and looks for one. */
static bool ask(struct net *net, uint8_t *question, size_t len_bytes, is_answer_t is_answer)
{
    static uint8_t frame[FRAME_MAX];
    dispatch_semaphore_t never = dispatch_semaphore_create(0);
    bool found = false;

    net_drain(net);
    for (int ms = 0; !found && ms < ABSENT_MS; ms++) {
        size_t got;

        if (ms % (ABSENT_MS / 2) == 0)
            net_write(net, question, len_bytes);
        while (!found && (got = net_read(net, frame)))
            found = is_answer(frame, got);
        if (!found)
            wait_ms(never, 1);
    }
    dispatch_release(never);
    return found;
}

bool net_discover(struct net *net, const uint8_t mac[6], struct offer *ret_offer)
{
    uint8_t question[DISCOVER_BYTES];

    make_discover(question, mac);
    return ask(net, question, sizeof(question), ^bool(const uint8_t *frame, size_t len_bytes) {
      return read_offer(frame, len_bytes, mac, ret_offer);
    });
}

bool net_solicit(struct net *net, const uint8_t mac[6])
{
    uint8_t question[SOLICIT_BYTES];

    make_solicit(question, mac);
    return ask(net, question, sizeof(question), ^bool(const uint8_t *frame, size_t len_bytes) {
      return is_advertisement(frame, len_bytes);
    });
}
