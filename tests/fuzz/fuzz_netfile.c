/* SPDX-License-Identifier: Apache-2.0 */
/* A network's file (openvmnet.conf(5)), and a resolv.conf(5), with anything in them. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/netfile.h"
#include "base/resolv_conf.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct net_file file;
    struct resolv_conf conf;
    char path[32], domain[RESOLV_DOMAIN_MAX + 1];
    const char *at;
    struct err err = {""};
    int fd = memfd_create("fuzz", MFD_CLOEXEC), result;

    REQUIRE(fd >= 0 && write(fd, data, len_bytes) == (ssize_t)len_bytes);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    result = net_file_read(path, "lab", &file, &err);
    REQUIRE(result == 0 || (err.text[0] && strlen(err.text) < sizeof(err.text)));
    REQUIRE(file.rules_len <= NET_RULES_MAX && file.records_len <= NET_RECORDS_MAX &&
            file.reservations_len <= NET_RESERVATIONS_MAX &&
            file.forwards_len <= NET_FILE_FORWARDS_MAX &&
            file.dhcp_options_len <= NET_DHCP_OPTIONS_MAX);
    resolv_conf_read(path, &conf);
    REQUIRE(conf.nameservers_len >= 1 && conf.nameservers_len <= RESOLV_NAMESERVERS_MAX);
    at = conf.search;
    while (resolv_search_next(&at, domain))
        REQUIRE(strlen(domain) <= RESOLV_DOMAIN_MAX);
    close(fd);
    return 0;
}
