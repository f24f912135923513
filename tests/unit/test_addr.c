/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

static void test_ip_text(void **state)
{
    static const struct {
        const char *text, *canonical; /* NULL: refused */
        int family;
    } all[] = {
        {"192.168.64.1", "192.168.64.1", AF_INET},
        {"0.0.0.0", "0.0.0.0", AF_INET},
        {"255.255.255.255", "255.255.255.255", AF_INET},
        {"::", "::", AF_INET6},
        {"fd00:0:0:64::1", "fd00:0:0:64::1", AF_INET6},
        {"FD00::0001", "fd00::1", AF_INET6},
        {"::ffff:10.0.0.1", "::ffff:10.0.0.1", AF_INET6},
        {"", NULL, 0},
        {"1", NULL, 0},
        {"1.2.3", NULL, 0},
        {"1.2.3.4.5", NULL, 0},
        {"1.2.3.256", NULL, 0},
        {"1.2.3.04", NULL, 0},
        {"0x1.2.3.4", NULL, 0},
        {" 1.2.3.4", NULL, 0},
        {"1.2.3.4 ", NULL, 0},
        {"1.2.3.4/24", NULL, 0},
        {"fd00::1::2", NULL, 0},
        {"fd00::1%eth0", NULL, 0},
        {"[fd00::1]", NULL, 0},
        {"localhost", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct ip_addr addr = {.family = 99};
        char text[IP_TEXT_MAX];
        int error = ip_parse(all[i].text, &addr);

        if (error != (all[i].canonical ? 0 : -EINVAL))
            fail_msg("'%s': %d", all[i].text, error);
        assert_int_equal(addr.family, all[i].canonical ? all[i].family : 99);
        if (all[i].canonical)
            assert_string_equal(ip_format(&addr, text), all[i].canonical);
    }
}

static void test_ip_values(void **state)
{
    struct ip_addr v4 = ip_from_u32(0xc0a84001), same, v6, none = {0};
    char text[IP_TEXT_MAX];

    (void)state;
    assert_string_equal(ip_format(&v4, text), "192.168.64.1");
    assert_string_equal(ip_format(&none, text), "none");
    assert_int_equal(ip_parse("192.168.64.1", &same), 0);
    assert_true(ip_equal(&v4, &same));
    same.bytes[15] = 1; /* no part of an IPv4 address */
    assert_true(ip_equal(&v4, &same));
    same.bytes[3] = 2;
    assert_false(ip_equal(&v4, &same));
    assert_int_equal(ip_parse("c0a8:4001::", &v6), 0);
    assert_false(ip_equal(&v4, &v6));
    assert_false(ip_equal(&v4, &none));
    assert_true(ip_equal(&none, &none));
    assert_int_equal(ip_len_bytes(&v4), 4);
    assert_int_equal(ip_len_bytes(&v6), 16);
    assert_int_equal(ip_len_bytes(&none), 0);
    assert_int_equal(ip_mask_u32(0), 0);
    assert_int_equal(ip_mask_u32(1), 0x80000000);
    assert_int_equal(ip_mask_u32(24), 0xffffff00);
    assert_int_equal(ip_mask_u32(32), 0xffffffff);
}

/* Both sides of each border. */
static void test_forbidden(void **state)
{
    static const struct {
        const char *text;
        bool forbidden, multicast;
    } all[] = {
        {"0.0.0.0", true, false},
        {"0.255.255.255", true, false},
        {"1.0.0.0", false, false},
        {"10.0.0.1", false, false},
        {"126.255.255.255", false, false},
        {"127.0.0.1", true, false},
        {"127.255.255.255", true, false},
        {"128.0.0.0", false, false},
        {"169.253.255.255", false, false},
        {"169.254.0.0", true, false},
        {"169.254.169.254", true, false},
        {"169.254.255.255", true, false},
        {"169.255.0.0", false, false},
        {"223.255.255.255", false, false},
        {"224.0.0.0", true, true},
        {"239.255.255.255", true, true},
        {"240.0.0.0", true, false},
        {"255.255.255.255", true, false},
        {"::", true, false},
        {"::1", true, false},
        {"::127.0.0.1", true, false},
        {"::ffff:0.0.0.0", true, false},
        {"::ffff:127.0.0.1", true, false},
        {"::ffff:198.51.100.7", true, false},
        {"64:ff9b::127.0.0.1", true, false},
        {"64:ff9b::169.254.169.254", true, false},
        {"64:ff9b::224.0.0.1", true, false},
        {"64:ff9b::198.51.100.7", false, false},
        {"64:ff9b:1::127.0.0.1", false, false},
        {"::ffff:0:10.0.0.1", false, false},
        {"::ffff:0:0.0.0.1", true, false},
        {"2002:7f00:1::1", true, false},
        {"2002:a9fe:a9fe::", true, false},
        {"2002:c633:6407::1", false, false},
        {"2001:0:c633:6401:8000:63bf:80ff:fffe", true, false},
        {"2001:0:c633:6401:8000:63bf:39cc:9bf8", false, false},
        {"2001:db8::5efe:127.0.0.1", true, false},
        {"2001:db8::200:5efe:127.0.0.1", true, false},
        {"2001:db8::100:5efe:127.0.0.1", false, false},
        {"2001:db8::5efe:198.51.100.7", false, false},
        {"::1:0:0", false, false},
        {"fe7f::1", false, false},
        {"fe80::1", true, false},
        {"febf::1", true, false},
        {"fec0::1", false, false},
        {"ff02::1", true, true},
        {"fd00::1", false, false},
        {"2001:db8::1", false, false},
    };
    struct ip_addr addr = {0};

    (void)state;
    assert_true(ip_is_forbidden(&addr));
    assert_false(ip_is_multicast(&addr));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_int_equal(ip_parse(all[i].text, &addr), 0);
        if (ip_is_forbidden(&addr) != all[i].forbidden ||
            ip_is_multicast(&addr) != all[i].multicast)
            fail_msg("%s", all[i].text);
    }
}

static void test_mac(void **state)
{
    static const char *const good[] = {"52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF",
                                       "52:54-00:aB:Cd-ef"};
    static const char *const bad[] = {"",
                                      "52",
                                      "52:54:00:ab:cd",
                                      "52:54:00:ab:cd:",
                                      "52:54:00:ab:cd:e",
                                      "52:54:00:ab:cd:ef:",
                                      "52:54:00:ab:cd:ef0",
                                      "52:54:00:ab:cd:eg",
                                      "5:54:00:ab:cd:ef",
                                      "525400abcdef",
                                      "52.54.00.ab.cd.ef",
                                      " 52:54:00:ab:cd:ef"};
    static const uint8_t bytes[6] = {0x52, 0x54, 0x00, 0xab, 0xcd, 0xef};
    struct mac_addr mac;
    char text[MAC_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        memset(&mac, 0, sizeof(mac));
        assert_int_equal(mac_parse(good[i], &mac), 0);
        assert_memory_equal(mac.bytes, bytes, 6);
        assert_string_equal(mac_format(&mac, text), "52:54:00:ab:cd:ef");
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (mac_parse(bad[i], &mac) != -EINVAL)
            fail_msg("'%s'", bad[i]);
        assert_memory_equal(mac.bytes, bytes, 6);
    }
}

static void test_sockaddr(void **state)
{
    static const char *const texts[] = {"192.168.64.1", "fd00::1"};
    struct sockaddr_storage storage;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ip_endpoint endpoint = {.port = 0x1234}, back;
        const struct sockaddr_in *sin = (const void *)&storage;

        assert_int_equal(ip_parse(texts[i], &endpoint.addr), 0);
        assert_int_equal(endpoint_to_sockaddr(&endpoint, &storage),
                         i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        assert_int_equal(storage.ss_family, endpoint.addr.family);
        assert_memory_equal(&sin->sin_port, "\x12\x34", 2); /* at the same place in both */
        assert_int_equal(endpoint_from_sockaddr(&storage, &back), 0);
        assert_true(ip_equal(&endpoint.addr, &back.addr));
        assert_int_equal(back.port, 0x1234);
    }
    storage.ss_family = AF_UNIX;
    assert_int_equal(endpoint_from_sockaddr(&storage, &(struct ip_endpoint){0}), -EAFNOSUPPORT);
}

/* RFC 4291 appendix A: the bit that says "of this network only" is turned over. */
static void test_ip_from_mac(void **state)
{
    struct ip_addr prefix, addr;
    struct mac_addr mac;
    char text[IP_TEXT_MAX];

    (void)state;
    assert_int_equal(ip_parse("fd12:3456:789a:1::", &prefix), 0);
    assert_int_equal(mac_parse("52:56:16:9d:4f:da", &mac), 0);
    addr = ip_from_mac(&prefix, &mac);
    assert_string_equal(ip_format(&addr, text), "fd12:3456:789a:1:5056:16ff:fe9d:4fda");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip_text),   cmocka_unit_test(test_ip_values),
        cmocka_unit_test(test_forbidden), cmocka_unit_test(test_mac),
        cmocka_unit_test(test_sockaddr),  cmocka_unit_test(test_ip_from_mac),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
