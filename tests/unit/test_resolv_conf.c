/* SPDX-License-Identifier: Apache-2.0 */
/* Which resolvers and domains a resolv.conf(5) names. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/resolv_conf.h"

#define LOCAL "127.0.0.1"

static const struct {
    const char *name, *content;
    const char *resolvers[RESOLV_NAMESERVERS_MAX + 1];
} cases[] = {
    {"an empty file", "", {LOCAL}},
    {"no nameserver", "domain example.org\nsearch example.org\noptions ndots:2\n", {LOCAL}},
    {"one", "nameserver 192.0.2.1\n", {"192.0.2.1"}},
    {"no newline at the end", "nameserver 192.0.2.1", {"192.0.2.1"}},
    {"IPv6", "nameserver 2001:db8::53\n", {"2001:db8::53"}},
    {
        "as many as count, in their order",
        "nameserver 192.0.2.1\nnameserver 2001:db8::53\nnameserver 192.0.2.3\n",
        {"192.0.2.1", "2001:db8::53", "192.0.2.3"},
    },
    {
        "more than count",
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
        "nameserver 192.0.2.4\n",
        {"192.0.2.1", "192.0.2.2", "192.0.2.3"},
    },
    {"tabs and spaces", " \tnameserver \t 192.0.2.1 \t\n", {"192.0.2.1"}},
    {"lines as DOS ends them",
     "nameserver 192.0.2.1\r\nnameserver 192.0.2.2\r\n",
     {"192.0.2.1", "192.0.2.2"}},
    {"something behind it", "nameserver 192.0.2.1 # the first\n", {"192.0.2.1"}},
    {"comments",
     "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\nnameserver 192.0.2.3\n",
     {"192.0.2.3"}},
    {"another word", "nameservers 192.0.2.1\nxnameserver 192.0.2.2\n", {LOCAL}},
    {"no address", "nameserver\nnameserver \nnameserver resolver.example.org\n", {LOCAL}},
    {
        "wrong ones are passed over, and do not count",
        "nameserver 192.0.2.256\nnameserver 192.0.2.1\nnameserver :\nnameserver 192.0.2.2\n"
        "nameserver 2001:db8::g\nnameserver 192.0.2.3\n",
        {"192.0.2.1", "192.0.2.2", "192.0.2.3"},
    },
    {"the same twice", "nameserver 192.0.2.1\nnameserver 192.0.2.1\n", {"192.0.2.1", "192.0.2.1"}},
};

/* The path of a new file with that content, which the caller removes. */
static void write_file(char path[32], const char *content, size_t len_bytes)
{
    int fd;

    strcpy(path, "/tmp/openvmnet-unit-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len_bytes), (ssize_t)len_bytes);
    close(fd);
}

static unsigned read_path(const char *path, struct sockaddr_storage *ret_addresses)
{
    struct resolv_conf conf;

    resolv_conf_read(path, &conf);
    memcpy(ret_addresses, conf.nameservers, sizeof(conf.nameservers));
    return conf.nameservers_len;
}

static unsigned read_text(const char *content, struct sockaddr_storage *ret_addresses)
{
    char path[32];
    unsigned len;

    write_file(path, content, strlen(content));
    len = read_path(path, ret_addresses);
    unlink(path);
    return len;
}

static void format(const struct sockaddr_storage *address, char text[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    bool is_v4 = address->ss_family == AF_INET;

    assert_true(is_v4 || address->ss_family == AF_INET6);
    assert_int_equal(ntohs(is_v4 ? v4->sin_port : v6->sin6_port), 53);
    assert_non_null(inet_ntop(address->ss_family,
                              is_v4 ? (const void *)&v4->sin_addr : &v6->sin6_addr, text,
                              INET6_ADDRSTRLEN));
}

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sockaddr_storage addresses[RESOLV_NAMESERVERS_MAX];
        unsigned len = read_text(cases[i].content, addresses), expected = 0;

        while (cases[i].resolvers[expected])
            expected++;
        if (len != expected)
            fail_msg("%s: %u resolvers", cases[i].name, len);
        for (unsigned j = 0; j < len; j++) {
            char text[INET6_ADDRSTRLEN];

            format(&addresses[j], text);
            if (strcmp(text, cases[i].resolvers[j]) != 0)
                fail_msg("%s: %s", cases[i].name, text);
        }
    }
}

/* A link-local resolver is on one interface, which must not be lost. */
static void test_scope(void **state)
{
    struct sockaddr_storage addresses[RESOLV_NAMESERVERS_MAX];
    unsigned lo = if_nametoindex("lo");

    (void)state;
    if (!lo)
        skip();
    assert_int_equal(read_text("nameserver fe80::1%lo\n", addresses), 1);
    assert_int_equal(addresses[0].ss_family, AF_INET6);
    assert_int_equal(((struct sockaddr_in6 *)&addresses[0])->sin6_scope_id, lo);
    assert_int_equal(read_text("nameserver fe80::1%no-such-interface\n", addresses), 1);
    assert_int_equal(addresses[0].ss_family, AF_INET);
}

static void test_no_file(void **state)
{
    struct sockaddr_storage addresses[RESOLV_NAMESERVERS_MAX];
    char text[INET6_ADDRSTRLEN];

    (void)state;
    assert_int_equal(read_path("/nonexistent/resolv.conf", addresses), 1);
    format(&addresses[0], text);
    assert_string_equal(text, LOCAL);
    assert_int_equal(read_path("/tmp", addresses), 1);
    format(&addresses[0], text);
    assert_string_equal(text, LOCAL);
}

/* Lines that are longer than any sensible one, and bytes that are no text. */
static void test_odd_files(void **state)
{
    static const char binary[] =
        "nameserver 192.0.2.1\0nameserver 192.0.2.2\nnameserver 192.0.2.3\n";
    struct sockaddr_storage addresses[RESOLV_NAMESERVERS_MAX];
    char text[INET6_ADDRSTRLEN], path[32], longest[4096];

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    memcpy(longest, "nameserver ", strlen("nameserver "));
    strcpy(longest + sizeof(longest) - 32, "\nnameserver 192.0.2.1\n");
    assert_int_equal(read_text(longest, addresses), 1);
    format(&addresses[0], text);
    assert_string_equal(text, "192.0.2.1");

    write_file(path, binary, sizeof(binary) - 1);
    assert_in_range(read_path(path, addresses), 1, RESOLV_NAMESERVERS_MAX);
    unlink(path);
    format(&addresses[0], text);
    assert_string_equal(text, "192.0.2.1");
}

/* A comment so long that it is read in two pieces must stay one. */
static void test_long_comment(void **state)
{
    struct sockaddr_storage addresses[RESOLV_NAMESERVERS_MAX];
    char content[1024], text[INET6_ADDRSTRLEN];

    (void)state;
    for (size_t start = 500; start < 520; start++) {
        memset(content, ' ', sizeof(content));
        content[0] = '#';
        strcpy(content + start, "nameserver 192.0.2.66\n");
        assert_int_equal(read_text(content, addresses), 1);
        format(&addresses[0], text);
        assert_string_equal(text, LOCAL);
    }
}

#define LABEL63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"

static const struct {
    const char *name, *content, *search;
} search_cases[] = {
    {"no file to speak of", "", ""},
    {"one domain", "search corp.example\n", "corp.example"},
    {"as they stand", "search b.example a.example\n", "b.example a.example"},
    {"domain is the older word", "domain corp.example\n", "corp.example"},
    {"the last line counts", "search a.example\ndomain b.example\n", "b.example"},
    {"the last line counts, and empties", "search a.example\nsearch\n", ""},
    {"a domain for none", "search .\n", ""},
    {"a dot at the end", "search corp.example. b.example.\n", "corp.example b.example"},
    {"tabs, DOS", "search\ta.example \t b.example\r\n", "a.example b.example"},
    {"no newline", "search a.example", "a.example"},
    {"comment", "search a.example # b.example\n", "a.example"},
    {"one label, and an underscore", "search lan _x.example\n", "lan _x.example"},
    {"what is none is passed over",
     "search a..example .example a,b.example a\"b a.example b/c "
     "\xc3\xbc.example b.example\n",
     "a.example b.example"},
    {"the longest label", "search " LABEL63 ".example\n", LABEL63 ".example"},
    {"a longer one", "search " LABEL63 "x.example b\n", "b"},
    {"as many as count", "search a b c d e f g\n", "a b c d e f"},
    {"as much as there is room",
     "search " LABEL63 ".a " LABEL63 ".b " LABEL63 ".c " LABEL63 ".d e\n",
     LABEL63 ".a " LABEL63 ".b " LABEL63 ".c"},
    {"longer than any name", "search " LABEL63 "." LABEL63 "." LABEL63 "." LABEL63 " b\n", "b"},
    {"another word", "searches a.example\n", ""},
};

static void test_search(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(search_cases) / sizeof(search_cases[0]); i++) {
        struct resolv_conf conf;
        char path[32];

        write_file(path, search_cases[i].content, strlen(search_cases[i].content));
        resolv_conf_read(path, &conf);
        unlink(path);
        if (strcmp(conf.search, search_cases[i].search) != 0)
            fail_msg("%s: '%s'", search_cases[i].name, conf.search);
    }
}

/* The list may come from a process that lies. */
static void test_search_list(void **state)
{
    static const char *const bad[] = {"",   " a",   "a\nb", "a,b",      "option:router",
                                      "a#", "a..b", ".",    "a\"b",     "\xff",
                                      "-/", ".a",   "a.",   LABEL63 "x"};
    char domain[RESOLV_DOMAIN_MAX + 1];
    const char *at = "a.example b";

    (void)state;
    assert_true(resolv_search_next(&at, domain));
    assert_string_equal(domain, "a.example");
    assert_true(resolv_search_next(&at, domain));
    assert_string_equal(domain, "b");
    assert_false(resolv_search_next(&at, domain));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        at = bad[i];
        if (resolv_search_next(&at, domain))
            fail_msg("'%s' is taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),        cmocka_unit_test(test_scope),
        cmocka_unit_test(test_no_file),      cmocka_unit_test(test_odd_files),
        cmocka_unit_test(test_long_comment), cmocka_unit_test(test_search),
        cmocka_unit_test(test_search_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
