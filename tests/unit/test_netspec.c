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

#include "base/netspec.h"

/* Options as "name=value" words. Returns the first failure, else what net_spec_complete() does. */
static int read_spec(const char *words, struct net_spec *ret_spec, struct err *err)
{
    char text[512], *at = text, *word;
    int error = 0;

    memset(ret_spec, 0, sizeof(*ret_spec));
    err->text[0] = '\0';
    snprintf(text, sizeof(text), "%s", words);
    while (!error && (word = strsep(&at, " "))) {
        char *value = strchr(word, '=');

        if (!value)
            continue;
        *value++ = '\0';
        error = net_spec_set(ret_spec, word, value, err);
    }
    return error ? error : net_spec_complete(ret_spec, err);
}

#define START "start-address=192.168.70.1 "
#define END "end-address=192.168.70.20 "
#define MASK "subnet-mask=255.255.255.0 "

static void test_accepted(void **state)
{
    static const struct {
        const char *words, *name;
    } all[] = {
        {"", "shared"},
        {"mode=shared", "shared"},
        {"network=lab", "lab"},
        {"network=lab " START END MASK, "lab"},
        {START END MASK, "shared-192.168.70.1-192.168.70.20-24"},
        {MASK END START, "shared-192.168.70.1-192.168.70.20-24"},
        {"start_address=192.168.70.1 end_address=192.168.70.20 subnet_mask=255.255.255.0",
         "shared-192.168.70.1-192.168.70.20-24"},
        {"dhcp-start-address=192.168.70.1 dhcp_end_address=192.168.70.20 dhcp-subnet_mask="
         "255.255.255.0",
         "shared-192.168.70.1-192.168.70.20-24"},
        /* The widest, the narrowest, and the ends of the private ranges. */
        {"start-address=10.0.0.1 end-address=10.0.255.254 subnet-mask=255.255.0.0",
         "shared-10.0.0.1-10.0.255.254-16"},
        {"start-address=10.255.255.253 end-address=10.255.255.254 subnet-mask=255.255.255.252",
         "shared-10.255.255.253-10.255.255.254-30"},
        {"start-address=172.16.0.1 end-address=172.16.0.2 subnet-mask=255.255.255.0",
         "shared-172.16.0.1-172.16.0.2-24"},
        {"start-address=172.31.255.1 end-address=172.31.255.2 subnet-mask=255.255.255.0",
         "shared-172.31.255.1-172.31.255.2-24"},
        /* The longest name that can be made. */
        {"start-address=192.168.100.100 end-address=192.168.100.200 subnet-mask=255.255.255.0",
         "shared-192.168.100.100-192.168.100.200-24"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct net_spec spec;
        struct err err;

        if (read_spec(all[i].words, &spec, &err) != 0)
            fail_msg("'%s': %s", all[i].words, err.text);
        assert_string_equal(spec.name, all[i].name);
        assert_int_equal(net_name_check(spec.name, &err), 0);
        assert_int_equal(spec.mode, NET_MODE_SHARED);
        assert_string_equal(net_mode_name(spec.mode), "shared");
    }
}

static void test_values(void **state)
{
    struct ip_addr start = ip_from_u32(0xc0a84601), end = ip_from_u32(0xc0a84614);
    struct ip_addr mask = ip_from_u32(0xffffff00);
    struct net_spec spec;
    struct err err;

    (void)state;
    assert_int_equal(read_spec(START END MASK, &spec, &err), 0);
    assert_true(ip_equal(&spec.start_address, &start));
    assert_true(ip_equal(&spec.end_address, &end));
    assert_true(ip_equal(&spec.subnet_mask, &mask));
}

/* Each message names the option and the value, says why, and what to write instead. */
static void test_refused(void **state)
{
    static const struct {
        const char *words;
        int error;
        const char *texts[4];
    } all[] = {
        {"mode=host", -EINVAL, {"mode=host", "shared only", "not there yet", "write mode=shared"}},
        {"mode=bridged", -EINVAL, {"mode=bridged", "not there yet"}},
        {"mode=bridge", -EINVAL, {"mode=bridge", "not there yet"}},
        {"mode=x", -EINVAL, {"unknown mode 'x': shared"}},
        {"mode=", -EINVAL, {"unknown mode '': shared"}},
        {"mode=Shared", -EINVAL, {"unknown mode 'Shared'"}},
        {"colour=red", -ENOENT, {"'colour'", "mode, start-address, end-address, subnet-mask and"}},
        {"dhcp-mode=shared", -ENOENT, {"'dhcp-mode'"}},
        {"dhcp-=1", -ENOENT, {"'dhcp-'"}},
        {"start=1", -ENOENT, {"'start'"}},
        {"start-addresses=1", -ENOENT, {"'start-addresses'"}},
        {"network=../x", -EINVAL, {"'../x'", "letter or digit"}},
        {"network=", -EINVAL, {"empty"}},

        {"start-address=", -EINVAL, {"start-address=", "not an IPv4 address", "192.168.70.1"}},
        {"start-address=192.168.70", -EINVAL, {"start-address=192.168.70 is not", "four numbers"}},
        {"start-address=192.168.70.256", -EINVAL, {"start-address=192.168.70.256 is not"}},
        {"start-address=192.168.70.1x", -EINVAL, {"start-address=192.168.70.1x is not"}},
        {"start-address=192.168.70.1/24", -EINVAL, {"start-address=192.168.70.1/24 is not"}},
        {"dhcp_end_address=fd00::1", -EINVAL, {"end-address=fd00::1 is an IPv6", "192.168.70.254"}},
        {"subnet-mask=24", -EINVAL, {"subnet-mask=24 is not", "255.255.255.0"}},

        {START, -EINVAL, {"should be provided together", "end-address is missing"}},
        {START END, -EINVAL, {"should be provided together", "subnet-mask is missing"}},
        {START MASK, -EINVAL, {"should be provided together", "end-address is missing"}},
        {END MASK, -EINVAL, {"should be provided together", "start-address is missing"}},
        {MASK "network=lab", -EINVAL, {"should be provided together", "write all three or none"}},

        {START END "subnet-mask=255.0.255.0",
         -EINVAL,
         {"255.0.255.0 is not a mask", "255.255.255.0"}},
        {START END "subnet-mask=0.0.0.255", -EINVAL, {"0.0.0.255 is not a mask"}},
        {START END "subnet-mask=255.254.0.0",
         -EINVAL,
         {"subnet-mask=255.254.0.0", "(/15)", "255.255.0.0"}},
        {START END "subnet-mask=0.0.0.0", -EINVAL, {"subnet-mask=0.0.0.0 is too wide"}},
        {START END "subnet-mask=255.255.255.254", -EINVAL, {"too narrow (/31)", "255.255.255.252"}},
        {START END "subnet-mask=255.255.255.255", -EINVAL, {"too narrow (/32)"}},

        {"start-address=8.8.8.1 " END MASK,
         -EINVAL,
         {"start-address=8.8.8.1", "RFC 1918", "10.0.0.0/8"}},
        {START "end-address=193.168.70.20 " MASK,
         -EINVAL,
         {"end-address=193.168.70.20", "RFC 1918"}},
        {"start-address=172.15.255.1 " END MASK, -EINVAL, {"RFC 1918"}},
        {"start-address=172.32.0.1 " END MASK, -EINVAL, {"RFC 1918"}},
        {"start-address=192.167.0.1 " END MASK, -EINVAL, {"RFC 1918"}},
        {"start-address=9.255.255.1 " END MASK, -EINVAL, {"RFC 1918"}},
        {"start-address=11.0.0.1 " END MASK, -EINVAL, {"RFC 1918"}},
        {"start-address=127.0.0.1 " END MASK, -EINVAL, {"RFC 1918"}},

        {"start-address=192.168.70.0 " END MASK,
         -EINVAL,
         {"start-address=192.168.70.0 is the network address",
          "from 192.168.70.1 to 192.168.70.254"}},
        {START "end-address=192.168.70.255 " MASK,
         -EINVAL,
         {"end-address=192.168.70.255 is the broadcast address", "192.168.70.254"}},
        {START "end-address=192.168.70.15 subnet-mask=255.255.255.240",
         -EINVAL,
         {"end-address=192.168.70.15 is the broadcast address",
          "from 192.168.70.1 to 192.168.70.14"}},
        {START "end-address=192.168.71.20 " MASK,
         -EINVAL,
         {"end-address=192.168.71.20 is not in the subnet", "start-address=192.168.70.1",
          "subnet-mask=255.255.255.0", "up to 192.168.70.254"}},
        {START "end-address=192.168.70.20 subnet-mask=255.255.255.240",
         -EINVAL,
         {"is not in the subnet"}},
        {START "end-address=192.168.70.1 " MASK, -EINVAL, {"not above", "up to 192.168.70.254"}},
        {"start-address=192.168.70.21 " END MASK,
         -EINVAL,
         {"end-address=192.168.70.20 is not above start-address=192.168.70.21"}},
        {"start-address=192.168.70.254 " END MASK,
         -EINVAL,
         {"start-address=192.168.70.254 is the last address", "write a lower one"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct net_spec spec;
        struct err err;

        assert_int_equal(read_spec(all[i].words, &spec, &err), all[i].error);
        for (int j = 0; j < 4 && all[i].texts[j]; j++)
            if (!strstr(err.text, all[i].texts[j]))
                fail_msg("'%s': \"%s\" has no \"%s\"", all[i].words, err.text, all[i].texts[j]);
        assert_int_equal(read_spec(all[i].words, &spec, &err), all[i].error);
    }
}

/* A refused value leaves the earlier one; a reason that nobody wants to read is not needed. */
static void test_failure_changes_nothing(void **state)
{
    struct net_spec spec, before;
    struct err err;

    (void)state;
    assert_int_equal(read_spec("network=lab " START END MASK, &spec, &err), 0);
    before = spec;
    assert_int_equal(net_spec_set(&spec, "start-address", "nowhere", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "mode", "nowhere", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "network", "no where", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "nowhere", "", NULL), -ENOENT);
    assert_memory_equal(&spec, &before, sizeof(spec));
}

/* Values are shown back fit for a terminal: no escapes, not without end. */
static void test_shown_values(void **state)
{
    char value[2000];
    struct net_spec spec = {0};
    struct err err;

    (void)state;
    assert_int_equal(net_spec_set(&spec, "mode", "a\033[2Jb\nc\x7f", &err), -EINVAL);
    assert_non_null(strstr(err.text, "'a?[2Jb?c?'"));
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    assert_int_equal(net_spec_set(&spec, "mode", value, &err), -EINVAL);
    assert_non_null(strstr(err.text, "xxx...': shared"));
    assert_int_equal(net_spec_set(&spec, value, "1", &err), -ENOENT);
    assert_non_null(strstr(err.text, "subnet-mask and network"));
}

static void test_names(void **state)
{
    static const struct {
        const char *text;
        bool network, host;
    } all[] = {
        {"a", true, true},
        {"7", true, true},
        {"lab-1", true, true},
        {"Lab", true, true},
        {"lab_1", true, false},
        {"lab.1", true, false},
        {"lab-", true, false},
        {"", false, false},
        {".", false, false},
        {"..", false, false},
        {"-a", false, false},
        {"_a", false, false},
        {"a/b", false, false},
        {"a b", false, false},
        {"a\n", false, false},
        {"\xc3\xa4", false, false},
        {"a\xc3\xa4", false, false},
        {"x2345678901234567890123456789012345678901", true, true},   /* 41 */
        {"x23456789012345678901234567890123456789012", false, true}, /* 42 */
        /* 63 and 64 */
        {"x23456789012345678901234567890123456789012345678901234567890123", false, true},
        {"x23456789012345678901234567890123456789012345678901234567890123x", false, false},
    };

    (void)state;
    assert_int_equal(NET_NAME_MAX, 41);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct err err = {""};

        if (net_name_check(all[i].text, &err) != (all[i].network ? 0 : -EINVAL))
            fail_msg("network '%s'", all[i].text);
        assert_int_equal(err.text[0] == '\0', all[i].network);
        err.text[0] = '\0';
        if (net_hostname_check(all[i].text, &err) != (all[i].host ? 0 : -EINVAL))
            fail_msg("host '%s'", all[i].text);
        assert_int_equal(err.text[0] == '\0', all[i].host);
    }
}

static void test_uuid(void **state)
{
    static const char good[] = "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a";
    struct err err;
    char text[64];

    (void)state;
    assert_int_equal(net_uuid_check(good, &err), 0);
    assert_int_equal(net_uuid_check("8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A", &err), 0);
    for (size_t i = 0; i < NET_UUID_LEN; i++) {
        snprintf(text, sizeof(text), "%s", good);
        text[i] = good[i] == '-' ? 'a' : '-';
        assert_int_equal(net_uuid_check(text, &err), -EINVAL);
        text[i] = 'g';
        assert_int_equal(net_uuid_check(text, &err), -EINVAL);
        text[i] = '\0';
        assert_int_equal(net_uuid_check(text, &err), -EINVAL);
    }
    snprintf(text, sizeof(text), "%s0", good);
    assert_int_equal(net_uuid_check(text, &err), -EINVAL);
    assert_non_null(strstr(err.text, "8-4-4-4-12"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_failure_changes_nothing),
        cmocka_unit_test(test_shown_values), cmocka_unit_test(test_names),
        cmocka_unit_test(test_uuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
