/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/placeholders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define DIGITS_MAX 9 /* of a port's number, so that it fits an int */

static const char *const names[] = {
    [PLACEHOLDER_FD] = "fd",         [PLACEHOLDER_TAP] = "tap",         [PLACEHOLDER_MAC] = "mac",
    [PLACEHOLDER_IP] = "ip",         [PLACEHOLDER_GATEWAY] = "gateway", [PLACEHOLDER_MTU] = "mtu",
    [PLACEHOLDER_SOCKET] = "socket",
};

const char *placeholder_name(enum placeholder word)
{
    return names[word];
}

struct match {
    size_t len_bytes; /* with its braces; 0: here is none */
    bool literal;     /* doubled braces: stands for itself */
    enum placeholder word;
    unsigned port; /* from 0 on; PLACEHOLDER_PORTS_MAX: a number that is none */
};

/* The "2" of "{fd2}" as an index. */
static unsigned read_port(const char *digits, size_t len)
{
    int number = len == 0 ? 1 : 0;

    if (len > 0 && len <= DIGITS_MAX && digits[0] != '0')
        number = atoi(digits);
    return number >= 1 && number <= PLACEHOLDER_PORTS_MAX ? (unsigned)number - 1
                                                          : PLACEHOLDER_PORTS_MAX;
}

/* Single braces. */
static struct match match_word(const char *text)
{
    size_t word_len, digits_len;

    if (text[0] != '{')
        return (struct match){0};
    word_len = strspn(text + 1, LETTERS);
    digits_len = strspn(text + 1 + word_len, DIGITS);
    if (text[1 + word_len + digits_len] != '}')
        return (struct match){0};
    for (size_t i = 0; i < PLACEHOLDERS; i++) {
        if (strlen(names[i]) == word_len && strncmp(names[i], text + 1, word_len) == 0)
            return (struct match){.len_bytes = word_len + digits_len + 2,
                                  .word = (enum placeholder)i,
                                  .port = read_port(text + 1 + word_len, digits_len)};
    }
    return (struct match){0};
}

static struct match match_at(const char *text)
{
    struct match inner;

    if (text[0] != '{' || text[1] != '{')
        return match_word(text);
    inner = match_word(text + 1);
    if (inner.len_bytes == 0 || text[1 + inner.len_bytes] != '}')
        return (struct match){0};
    inner.len_bytes += 2;
    inner.literal = true;
    return inner;
}

static int scan_text(const char *text, struct placeholders *found, struct err *err)
{
    while ((text = strchr(text, '{'))) {
        struct match match = match_at(text);

        if (match.len_bytes > 0 && !match.literal) {
            if (match.port == PLACEHOLDER_PORTS_MAX)
                return err_set(err, -EINVAL,
                               "'%.*s' in the command: the number of a port is one from 1 to %d; "
                               "write {%s} or {%s2}, or {{…}} for the text itself",
                               (int)match.len_bytes, text, PLACEHOLDER_PORTS_MAX, names[match.word],
                               names[match.word]);
            found->used[match.port] |= 1u << match.word;
            if (found->ports <= match.port)
                found->ports = match.port + 1;
        }
        text += match.len_bytes ? match.len_bytes : 1;
    }
    return 0;
}

/* Any word of a port, for a message. */
static const char *word_of(unsigned used)
{
    size_t word = 0;

    while (!(used & 1u << word))
        word++;
    return names[word];
}

static int check_port(const struct placeholders *found, unsigned port, struct err *err)
{
    unsigned used = found->used[port], last = found->ports - 1;
    bool has_fd = used & 1u << PLACEHOLDER_FD, has_socket = used & 1u << PLACEHOLDER_SOCKET;
    char number[16] = "";

    if (port > 0)
        snprintf(number, sizeof(number), "%u", port + 1);
    if (!used)
        return err_set(err, -EINVAL,
                       "'{%s%u}' in the command, but nothing of port %u: number the ports from 1 "
                       "on, without gaps",
                       word_of(found->used[last]), last + 1, port + 1);
    if (has_fd && has_socket)
        return err_set(err, -EINVAL,
                       "'{fd%s}' and '{socket%s}' in the command: these are two ways to port %u, "
                       "which has only one; leave one out, or give it a number of its own, such as "
                       "{socket%u}",
                       number, number, port + 1, port + 2);
    if (!has_fd && !has_socket)
        return err_set(err, -EINVAL,
                       "'{%s%s}' in the command, but nothing that connects it to port %u: add "
                       "{fd%s}, the number of its tap descriptor, or {socket%s}, the path of its "
                       "datagram socket%s",
                       word_of(used), number, port + 1, number, number,
                       used & 1u << PLACEHOLDER_TAP
                           ? " ({tap} is a name inside the network, which cannot be opened from "
                             "outside)"
                           : "");
    return 0;
}

int placeholders_scan(char *const *argv, struct placeholders *ret_found, struct err *err)
{
    int rc = 0;

    *ret_found = (struct placeholders){0};
    for (char *const *arg = argv + 1; argv[0] && *arg && rc == 0; arg++)
        rc = scan_text(*arg, ret_found, err);
    for (unsigned port = 0; rc == 0 && port < ret_found->ports; port++)
        rc = check_port(ret_found, port, err);
    return rc;
}

char *placeholders_expand(const char *text, const struct placeholder_values *ports)
{
    char *result = NULL;
    size_t len_bytes;
    FILE *stream = open_memstream(&result, &len_bytes);
    bool failed;

    if (!stream)
        return NULL;
    while (*text) {
        struct match match = match_at(text);

        if (match.len_bytes == 0)
            fputc(*text++, stream);
        else if (match.literal)
            fprintf(stream, "%.*s", (int)match.len_bytes - 2, text + 1);
        else
            fputs(ports[match.port].text[match.word], stream);
        text += match.len_bytes;
    }
    failed = ferror(stream);
    if (fclose(stream) != 0 || failed) {
        free(result);
        return NULL;
    }
    return result;
}
