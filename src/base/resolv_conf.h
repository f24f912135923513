/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_BASE_RESOLV_CONF_H
#define OPENVMNET_BASE_RESOLV_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define RESOLV_CONF_PATH "/etc/resolv.conf"

#define RESOLV_NAMESERVERS_MAX 3 /* as resolv.conf(5) has it */
/* What resolv.conf(5) promised for long, and DHCP's option 119 has room for. */
#define RESOLV_SEARCH_MAX 6
#define RESOLV_SEARCH_BYTES 256
#define RESOLV_DOMAIN_MAX 253

struct resolv_conf {
    struct sockaddr_storage nameservers[RESOLV_NAMESERVERS_MAX];
    unsigned nameservers_len;         /* at least 1 */
    char search[RESOLV_SEARCH_BYTES]; /* domains with a space between; "": none */
};

bool resolv_conf_equal(const struct resolv_conf *a, const struct resolv_conf *b);

/*
 * Reads a resolv.conf(5). Without a nameserver line, or without a file, the local host's is the only one.
 * Of several search and domain lines the last one counts. What is no address or no domain is passed over,
 * and so are "options": timeouts and attempts are the reader's own.
 */
void resolv_conf_read(const char *path, struct resolv_conf *ret_conf);

socklen_t resolv_address_len(const struct sockaddr_storage *address);

/*
 * The next domain of a list as it is in struct resolv_conf. False at its end, and where it is not such a
 * list: the text may come from a process that is not trusted.
 */
bool resolv_search_next(const char **at, char ret_domain[RESOLV_DOMAIN_MAX + 1]);

#endif
