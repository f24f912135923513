/* SPDX-License-Identifier: Apache-2.0 */
#include "base/resolv_conf.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\n"
#define LABEL_MAX 63

/* getaddrinfo with AI_NUMERICHOST asks nobody; it also knows fe80::1%eth0. */
static bool parse_nameserver(const char *text, struct sockaddr_storage *ret_address)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;

    if (getaddrinfo(text, "53", &hints, &found) != 0)
        return false;
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

/* Letters, digits, '-' and '_' in labels of 1 to 63, without a dot at the end. */
static bool is_domain(const char *text, size_t len_bytes)
{
    size_t label_len = 0;

    if (len_bytes == 0 || len_bytes > RESOLV_DOMAIN_MAX)
        return false;
    for (size_t i = 0; i < len_bytes; i++) {
        char c = text[i];

        if (c == '.' && label_len > 0)
            label_len = 0;
        else if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_') &&
                 label_len < LABEL_MAX)
            label_len++;
        else
            return false;
    }
    return label_len > 0;
}

bool resolv_search_next(const char **at, char ret_domain[RESOLV_DOMAIN_MAX + 1])
{
    size_t len = strcspn(*at, " ");

    if (!is_domain(*at, len))
        return false;
    memcpy(ret_domain, *at, len);
    ret_domain[len] = '\0';
    *at += len + ((*at)[len] == ' ');
    return true;
}

static void parse_search(const char *words, struct resolv_conf *conf)
{
    size_t used = 0;
    int domains = 0;

    memset(conf->search, 0, sizeof(conf->search));
    for (size_t len; *(words += strspn(words, BLANKS)); words += len) {
        size_t domain_len = len = strcspn(words, BLANKS);

        if (words[0] == '#' || words[0] == ';')
            return;
        if (words[len - 1] == '.') /* "." alone: programs write that for "no domain" */
            domain_len--;
        if (!is_domain(words, domain_len))
            continue;
        if (domains == RESOLV_SEARCH_MAX || used + domain_len + 2 > sizeof(conf->search))
            return;
        if (domains++)
            conf->search[used++] = ' ';
        memcpy(conf->search + used, words, domain_len);
        used += domain_len;
    }
}

static void parse_line(const char *line, struct resolv_conf *conf)
{
    size_t len;
    char address[128];

    line += strspn(line, BLANKS);
    len = strcspn(line, BLANKS);
    if (len == strlen("nameserver") && strncmp(line, "nameserver", len) == 0) {
        if (conf->nameservers_len < RESOLV_NAMESERVERS_MAX &&
            sscanf(line + len, "%127s", address) == 1 &&
            parse_nameserver(address, &conf->nameservers[conf->nameservers_len]))
            conf->nameservers_len++;
    } else if ((len == strlen("search") && strncmp(line, "search", len) == 0) ||
               (len == strlen("domain") && strncmp(line, "domain", len) == 0)) {
        parse_search(line + len, conf);
    }
}

void resolv_conf_read(const char *path, struct resolv_conf *ret_conf)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;

    memset(ret_conf, 0, sizeof(*ret_conf));
    while (file && getline(&line, &size, file) >= 0)
        parse_line(line, ret_conf);
    free(line);
    if (file)
        fclose(file);
    if (ret_conf->nameservers_len == 0 && parse_nameserver("127.0.0.1", &ret_conf->nameservers[0]))
        ret_conf->nameservers_len = 1;
}

bool resolv_conf_equal(const struct resolv_conf *a, const struct resolv_conf *b)
{
    if (a->nameservers_len != b->nameservers_len || strcmp(a->search, b->search) != 0)
        return false;
    for (unsigned i = 0; i < a->nameservers_len; i++)
        if (memcmp(&a->nameservers[i], &b->nameservers[i], sizeof(a->nameservers[i])) != 0)
            return false;
    return true;
}

socklen_t resolv_address_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}
