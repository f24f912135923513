/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what is written and what is answered, and one text that is broken byte by byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/forward.h"

#define LABEL63 "x23456789012345678901234567890123456789012345678901234567890123"

static void check_equal(const struct forward_spec *a, const struct forward_spec *b)
{
    assert_int_equal(a->udp, b->udp);
    assert_true(ip_equal(&a->host.addr, &b->host.addr));
    assert_int_equal(a->host.port, b->host.port);
    assert_int_equal(a->ports, b->ports);
    assert_true(ip_equal(&a->guest_addr, &b->guest_addr));
    assert_string_equal(a->guest_name, b->guest_name);
    assert_int_equal(a->guest_port, b->guest_port);
}

/* What every accepted text promises: its canonical text means the same and is its own. */
static void check_round_trip(const struct forward_spec *spec)
{
    char text[FORWARD_TEXT_MAX], again[FORWARD_TEXT_MAX];
    struct forward_spec other;
    struct err err;

    if (forward_parse(forward_format(spec, text), &other, &err) < 0)
        fail_msg("'%s': %s", text, err.text);
    check_equal(spec, &other);
    assert_string_equal(forward_format(&other, again), text);
}

static void test_accepted(void **state)
{
    static const struct {
        const char *text, *canonical;
    } all[] = {
        {"tcp::8080-:80", "tcp:127.0.0.1:8080-:80"},
        {"udp::8080-:80", "udp:127.0.0.1:8080-:80"},
        {"tcp:127.0.0.1:8080-:80", "tcp:127.0.0.1:8080-:80"},
        {"tcp::8080-web:80", "tcp:127.0.0.1:8080-web:80"},
        {"tcp::8080-web-1:80", "tcp:127.0.0.1:8080-web-1:80"},
        {"tcp::8080-192.168.70.5:80", "tcp:127.0.0.1:8080-192.168.70.5:80"},
        {"tcp:0.0.0.0:8080-:80", "tcp:0.0.0.0:8080-:80"},
        {"tcp:192.0.2.1:8080-:80", "tcp:192.0.2.1:8080-:80"},
        {"tcp:[::]:8080-:80", "tcp:[::]:8080-:80"},
        {"tcp:[::1]:8080-web:80", "tcp:[::1]:8080-web:80"},
        {"tcp:[0:0:0:0:0:0:0:1]:08080-web:080", "tcp:[::1]:8080-web:80"},
        {"tcp:[::1]:8080-[fd00::5]:80", "tcp:[::1]:8080-[fd00::5]:80"},
        {"tcp::8080-[FD00::5]:80", "tcp:127.0.0.1:8080-[fd00::5]:80"},
        /* Ranges, and what looks like one. */
        {"tcp::8080-8090-:80", "tcp:127.0.0.1:8080-8090-:80"},
        {"tcp::8080-8090-web:80", "tcp:127.0.0.1:8080-8090-web:80"},
        {"tcp::8080-8080-web:80", "tcp:127.0.0.1:8080-web:80"},
        {"tcp::8080-8090-[fd00::5]:80", "tcp:127.0.0.1:8080-8090-[fd00::5]:80"},
        {"tcp::8080-8090-10.0.0.1:80", "tcp:127.0.0.1:8080-8090-10.0.0.1:80"},
        {"tcp::80-81-5-web:80", "tcp:127.0.0.1:80-81-5-web:80"},
        {"tcp::80-80-5-web:80", "tcp:127.0.0.1:80-80-5-web:80"},
        {"tcp::80-5web:80", "tcp:127.0.0.1:80-5web:80"},
        /* The ends of what ports may be. */
        {"tcp::1-:65535", "tcp:127.0.0.1:1-:65535"},
        {"tcp::65535-:1", "tcp:127.0.0.1:65535-:1"},
        {"tcp::1-65535-:1", "tcp:127.0.0.1:1-65535-:1"},
        {"tcp::80-90-:65525", "tcp:127.0.0.1:80-90-:65525"},
        {"tcp::80-" LABEL63 ":80", "tcp:127.0.0.1:80-" LABEL63 ":80"},
        {"udp:[1111:2222:3333:4444:5555:6666:7777:8888]:10000-20000-"
         "[fd11:2222:3333:4444:5555:6666:7777:8888]:10000",
         "udp:[1111:2222:3333:4444:5555:6666:7777:8888]:10000-20000-"
         "[fd11:2222:3333:4444:5555:6666:7777:8888]:10000"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct forward_spec spec;
        char text[FORWARD_TEXT_MAX];
        struct err err;

        if (forward_parse(all[i].text, &spec, &err) < 0)
            fail_msg("'%s': %s", all[i].text, err.text);
        assert_string_equal(forward_format(&spec, text), all[i].canonical);
        check_round_trip(&spec);
    }
}

static void test_values(void **state)
{
    struct ip_addr host = ip_from_u32(INADDR_LOOPBACK), guest = ip_from_u32(0xc0a84605);
    struct forward_spec spec;

    (void)state;
    assert_int_equal(forward_parse("udp::8080-8090-192.168.70.5:80", &spec, NULL), 0);
    assert_true(spec.udp);
    assert_true(ip_equal(&spec.host.addr, &host));
    assert_int_equal(spec.host.port, 8080);
    assert_int_equal(spec.ports, 11);
    assert_true(ip_equal(&spec.guest_addr, &guest));
    assert_string_equal(spec.guest_name, "");
    assert_int_equal(spec.guest_port, 80);

    assert_int_equal(forward_parse("tcp:[::]:1-web:2", &spec, NULL), 0);
    assert_false(spec.udp);
    assert_int_equal(spec.host.addr.family, AF_INET6);
    assert_int_equal(spec.ports, 1);
    assert_int_equal(spec.guest_addr.family, 0);
    assert_string_equal(spec.guest_name, "web");
}

/* Each message shows the text, names the part and says what to write. */
static void test_refused(void **state)
{
    static const struct {
        const char *text;
        const char *texts[3];
    } all[] = {
        {"", {"forward '' has no protocol", "PROTO:[HOSTADDR]:HOSTPORT[-LASTPORT]-[GUEST]:"}},
        {"tcp", {"forward 'tcp' has no protocol", "such as tcp::8080-web:80"}},
        {"tcp:", {"has no host address (or none) with ':'", "tcp::8080-web:80"}},
        {"tcp:[::1:80-:80", {"has no host address (or none) with ':'"}},
        {"tcp:[::1]80-:80", {"has no host address (or none) with ':'"}},
        {"tcp::80", {"has no host port with '-'", "tcp::8080-web:80"}},
        {"tcp::80:80", {"has no host port with '-'"}},
        {"tcp::80-", {"has no guest (or none) with ':'", "tcp::8080-web:80"}},
        {"tcp::80-web", {"has no guest (or none) with ':'"}},
        {"tcp::80-90-", {"has no guest (or none) with ':'"}},
        {"tcp::80-[fd00::1:80", {"has no guest (or none) with ':'"}},
        {"tcp::80-[fd00::1]80", {"has no guest (or none) with ':'"}},

        {":80:80-:80", {"protocol '' is not tcp or udp"}},
        {"sctp::80-:80", {"protocol 'sctp' is not tcp or udp", "tcp::8080-web:80"}},
        {"TCP::80-:80", {"protocol 'TCP' is not tcp or udp"}},

        {"tcp:localhost:80-:80",
         {"host address 'localhost' is not an address", "names are not looked up",
          "tcp:127.0.0.1:8080-web:80"}},
        {"tcp:127.0.0:80-:80", {"host address '127.0.0' is not an address"}},
        {"tcp:127.0.0.256:80-:80", {"host address '127.0.0.256' is not"}},
        {"tcp:[]:80-:80", {"host address '' is not an address"}},
        {"tcp:[::g]:80-:80", {"host address '::g' is not an address"}},
        {"tcp:[::1%lo]:80-:80", {"host address '::1%lo' is not an address"}},
        {"tcp:[127.0.0.1]:80-:80", {"host address '127.0.0.1' is IPv4", "leave them out"}},
        {"tcp:::1:80-:80", {"too many ':' before the host port", "in brackets", "tcp:[::1]:8080"}},
        {"tcp:fd00::1:80-:80", {"too many ':' before the host port"}},
        {"tcp:224.0.0.1:80-:80", {"host address '224.0.0.1' is a multicast", "127.0.0.1:8080"}},
        {"tcp:[ff02::1]:80-:80", {"host address 'ff02::1' is a multicast address"}},
        {"tcp:255.255.255.255:80-:80", {"'255.255.255.255' is no address", "0.0.0.0 for all"}},
        {"tcp:240.0.0.1:80-:80", {"'240.0.0.1' is no address that a host can have"}},
        {"tcp:0.0.0.1:80-:80", {"'0.0.0.1' is no address that a host can have"}},
        {"tcp:[::ffff:127.0.0.1]:80-:80", {"is an IPv4 address in IPv6 form", "write it as IPv4"}},
        {"tcp:[fe80::1]:80-:80", {"'fe80::1' is a link-local address", "tcp:[::1]:8080-web:80"}},

        {"tcp::-:80", {"host port '' is not a number from 1 to 65535", "tcp::8080-web:80"}},
        {"tcp::0-:80", {"host port '0' is not a number"}},
        {"tcp::65536-:80", {"host port '65536' is not a number"}},
        {"tcp::4294967376-:80", {"host port '4294967376' is not a number"}},
        {"tcp::http-:80", {"host port 'http' is not a number"}},
        {"tcp::+80-:80", {"host port '+80' is not a number"}},
        {"tcp:: 80-:80", {"host port ' 80' is not a number"}},
        {"tcp::80--:80", {"last host port '' is not a number"}},
        {"tcp::80-65536-:80", {"last host port '65536' is not a number"}},
        {"tcp::80-79-:80", {"last host port '79' is below the first", "tcp::8080-8090-:80"}},
        {"tcp::80-5-web:80", {"last host port '5' is below the first"}},
        {"tcp::80-:", {"guest port '' is not a number from 1 to 65535"}},
        {"tcp::80-:0", {"guest port '0' is not a number"}},
        {"tcp::80-:65536", {"guest port '65536' is not a number"}},
        {"tcp::80-:80x", {"guest port '80x' is not a number"}},
        {"tcp::80-:80-90", {"guest port '80-90' is not a number"}},
        {"tcp::80-90-:65526", {"guest port '65526' is the first of 11", "write one up to 65525"}},
        {"tcp::1-65535-:2", {"is the first of 65535", "write one up to 1"}},

        {"tcp::80-90:80", {"guest '90' is a number", "tcp::8080-8090-:80"}},
        {"tcp::80-a.b:80", {"guest 'a.b' is neither an address nor a host name", "without dots"}},
        {"tcp::80-1.2.3:80", {"guest '1.2.3' is neither"}},
        {"tcp::80-a b:80", {"guest 'a b' is neither", "tcp::8080-192.168.70.10:80"}},
        {"tcp::80--a:80", {"last host port '' is not a number"}},
        {"tcp::80-a-:80", {"guest 'a-' is neither"}},
        {"tcp::80-x" LABEL63 ":80", {"guest 'xx23", "is neither"}},
        {"tcp::80-[web]:80", {"guest 'web' is not an IPv6 address", "tcp::8080-[fd00::10]:80"}},
        {"tcp::80-[]:80", {"guest '' is not an IPv6 address"}},
        {"tcp::80-[10.0.0.1]:80", {"guest '10.0.0.1' is IPv4", "leave them out"}},
        {"tcp::80-127.0.0.1:80", {"guest '127.0.0.1' is no address that a machine"}},
        {"tcp::80-0.0.0.0:80", {"guest '0.0.0.0' is no address"}},
        {"tcp::80-169.254.1.1:80", {"guest '169.254.1.1' is no address"}},
        {"tcp::80-224.0.0.1:80", {"guest '224.0.0.1' is no address"}},
        {"tcp::80-255.255.255.255:80", {"guest '255.255.255.255' is no address"}},
        {"tcp::80-[::]:80", {"guest '::' is no address"}},
        {"tcp::80-[::1]:80", {"guest '::1' is no address"}},
        {"tcp::80-[fe80::1]:80", {"guest 'fe80::1' is no address"}},
        {"tcp::80-[ff02::1]:80", {"guest 'ff02::1' is no address"}},
        {"tcp::80-[::ffff:10.0.0.1]:80", {"guest '::ffff:10.0.0.1' is no address"}},

        {"tcp::80-web:80\n", {"guest port '80?' is not a number"}},
        {"tcp::80-\033[2J:80", {"guest '?[2J' is neither"}},
        {"tcp::80-" LABEL63 LABEL63 LABEL63 ":80", {"has 200 characters", "at most 191"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct forward_spec spec, before;
        struct err err = {""};

        memset(&spec, 0x5a, sizeof(spec));
        before = spec;
        if (forward_parse(all[i].text, &spec, &err) != -EINVAL)
            fail_msg("'%s' was accepted", all[i].text);
        for (int j = 0; j < 3 && all[i].texts[j]; j++)
            if (!strstr(err.text, all[i].texts[j]))
                fail_msg("'%s': \"%s\" has no \"%s\"", all[i].text, err.text, all[i].texts[j]);
        assert_int_equal(forward_parse(all[i].text, &spec, NULL), -EINVAL);
        assert_memory_equal(&spec, &before, sizeof(spec));
    }
}

/* At each byte taken out, cut off and replaced: all that passes makes sense. */
static void test_broken(void **state)
{
    static const char good[] = "tcp:[::1]:8080-8090-[fd00::5]:80", bytes[] = "0a-:[]. \x01\xff";
    char text[sizeof(good) + 1];
    struct forward_spec spec;
    unsigned accepted = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(good) - 1; i++) {
        for (size_t j = 0; j < sizeof(bytes) + 1; j++) {
            struct err err = {""};
            int result;

            if (j < sizeof(bytes)) {
                snprintf(text, sizeof(text), "%s", good);
                text[i] = bytes[j];
            } else if (j == sizeof(bytes)) {
                memcpy(text, good, i);
                memcpy(text + i, good + i + 1, sizeof(good) - i - 1);
            }
            result = forward_parse(text, &spec, &err);
            assert_true(result == 0 || result == -EINVAL);
            assert_int_equal(result == 0, err.text[0] == '\0');
            if (result < 0)
                continue;
            accepted++;
            assert_true(spec.host.port && spec.guest_port && spec.ports);
            assert_true(spec.host.port + spec.ports - 1 <= 65535);
            assert_true(spec.guest_port + spec.ports - 1 <= 65535);
            check_round_trip(&spec);
        }
    }
    /* The test has to see both kinds. */
    assert_in_range(accepted, 10, sizeof(good) * sizeof(bytes) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
