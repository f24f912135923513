/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what is written and what is answered. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/portspec.h"

#define UUID "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"

static void test_kinds(void **state)
{
    static const char *const names[PORT_KINDS] = {"tap", "stream", "dgram", "veth"};
    enum port_kind kind;

    (void)state;
    for (unsigned i = 0; i < PORT_KINDS; i++) {
        assert_string_equal(port_kind_name((enum port_kind)i), names[i]);
        assert_int_equal(port_kind_parse(names[i], &kind), 0);
        assert_int_equal(kind, i);
    }
    assert_string_equal(port_kind_name(PORT_KINDS), "unknown");
    assert_int_equal(port_kind_parse("Tap", &kind), -EINVAL);
    assert_int_equal(port_kind_parse("", &kind), -EINVAL);
}

static void test_switches(void **state)
{
    static const struct {
        const char *text;
        int value; /* -1: refused */
    } all[] = {
        {"on", 1},  {"yes", 1}, {"true", 1}, {"off", 0},  {"no", 0},      {"false", 0}, {"", -1},
        {"On", -1}, {"1", -1},  {"0", -1},   {"on ", -1}, {"truely", -1}, {"o", -1},    {"of", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        bool value = all[i].value != 1;
        struct err err;
        int result = spec_parse_switch("isolated", all[i].text, &value, &err);

        assert_int_equal(result, all[i].value < 0 ? -EINVAL : 0);
        if (all[i].value >= 0)
            assert_int_equal(value, all[i].value);
        else
            assert_non_null(strstr(err.text, "is neither on nor off: write isolated=on or"));
    }
}

static void test_values(void **state)
{
    static const struct mac_addr mac = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}};
    struct port_spec spec = {0};
    char text[FORWARD_TEXT_MAX];
    struct err err;

    (void)state;
    assert_int_equal(port_spec_set(&spec, "hostname", "web-1", &err), 0);
    assert_int_equal(
        port_spec_set(&spec, "interface_id", "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A", &err), 0);
    assert_int_equal(port_spec_set(&spec, "mac", "52-54-00-12-34-56", &err), 0);
    assert_int_equal(port_spec_set(&spec, "isolated", "yes", &err), 0);
    assert_int_equal(port_spec_set(&spec, "anti_spoof", "off", &err), 0);
    assert_int_equal(port_spec_set(&spec, "forward", "tcp::80-:80", &err), 0);
    assert_int_equal(port_spec_set(&spec, "forward", "udp::53-:53", &err), 0);
    assert_string_equal(spec.name, "web-1");
    assert_string_equal(spec.interface_id, UUID);
    assert_true(spec.mac_given);
    assert_memory_equal(&spec.mac, &mac, sizeof(mac));
    assert_true(spec.isolated);
    assert_int_equal(spec.anti_spoof, ANTI_SPOOF_OFF);
    assert_int_equal(spec.forwards_len, 2);
    assert_string_equal(forward_format(&spec.forwards[1], text), "udp:127.0.0.1:53-:53");
    assert_int_equal(port_spec_set(&spec, "anti-spoof", "on", &err), 0);
    assert_int_equal(port_spec_set(&spec, "isolated", "no", &err), 0);
    assert_int_equal(spec.anti_spoof, ANTI_SPOOF_ON);
    assert_int_equal(port_spec_set(&spec, "anti-spoof", "auto", &err), 0);
    assert_int_equal(spec.anti_spoof, ANTI_SPOOF_AUTO);
    assert_false(spec.isolated);
}

static void test_refused(void **state)
{
    static const struct {
        const char *option, *value;
        int error;
        const char *texts[3];
    } all[] = {
        {"colour", "red", -ENOENT, {"'colour'", "hostname, interface-id, mac, isolated, forward"}},
        {"", "", -ENOENT, {"unknown option ''"}},
        {"mtu", "1500", -ENOENT, {"unknown option 'mtu'"}},
        {"dhcp-mac", "1", -ENOENT, {"unknown option 'dhcp-mac'"}},
        {"hostname", "", -EINVAL, {"hostname: host name is empty", "'web-1'"}},
        {"hostname", "a.b", -EINVAL, {"hostname: host name 'a.b'", "without dots"}},
        {"hostname", "-a", -EINVAL, {"hostname: host name '-a' starts or ends"}},
        {"hostname", "a_b", -EINVAL, {"'a_b' has a character"}},
        {"interface-id", "1", -EINVAL, {"interface-id: '1' is not a UUID", "uuidgen"}},
        {"interface_id", UUID "0", -EINVAL, {"interface-id: ", "8-4-4-4-12"}},
        {"mac", "", -EINVAL, {"mac= is not a MAC address", "52:54:00:12:34:56"}},
        {"mac", "52:54:00:12:34", -EINVAL, {"mac=52:54:00:12:34 is not a MAC address"}},
        {"mac", "52:54:00:12:34:5g", -EINVAL, {"is not a MAC address"}},
        {"mac", "53:54:00:12:34:56", -EINVAL, {"is a multicast address", "first byte even"}},
        {"mac", "ff:ff:ff:ff:ff:ff", -EINVAL, {"is a multicast address"}},
        {"mac", "00:00:00:00:00:00", -EINVAL, {"is all zero", "none to get one"}},
        {"isolated", "maybe", -EINVAL, {"isolated=maybe is neither on nor off"}},
        {"isolated", "", -EINVAL, {"isolated= is neither on nor off"}},
        {"anti-spoof", "1", -EINVAL, {"anti-spoof=1 is none", "anti-spoof=off or anti-spoof=auto"}},
        {"forward", "tcp::80", -EINVAL, {"forward 'tcp::80' has no host port"}},
    };
    struct port_spec before = {0}, spec = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct err err = {""};

        assert_int_equal(port_spec_set(&spec, all[i].option, all[i].value, &err), all[i].error);
        assert_int_equal(port_spec_set(&spec, all[i].option, all[i].value, NULL), all[i].error);
        for (int j = 0; j < 3 && all[i].texts[j]; j++)
            if (!strstr(err.text, all[i].texts[j]))
                fail_msg("%s=%s: \"%s\" has no \"%s\"", all[i].option, all[i].value, err.text,
                         all[i].texts[j]);
        assert_memory_equal(&spec, &before, sizeof(spec));
    }
}

static void test_forwards_bound(void **state)
{
    struct port_spec spec = {0};
    struct err err;
    char text[32];

    (void)state;
    for (int i = 0; i < PORT_FORWARDS_MAX; i++) {
        snprintf(text, sizeof(text), "tcp::%d-:80", 8000 + i);
        assert_int_equal(port_spec_set(&spec, "forward", text, &err), 0);
    }
    assert_int_equal(port_spec_set(&spec, "forward", "tcp::9000-:80", &err), -EINVAL);
    assert_non_null(strstr(err.text, "one more than the 64 that a port may have"));
    assert_int_equal(spec.forwards_len, PORT_FORWARDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_switches),
        cmocka_unit_test(test_values),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_forwards_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
