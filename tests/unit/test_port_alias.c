/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of a port, as text on its interface: it comes back as it was, and nothing else passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plane/linux/port.h"

#define ID "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"
#define MAC "52:56:00:01:02:03"
#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"

static const struct {
    const char *alias;
    uint32_t ipv4;
    enum port_kind kind;
    bool isolated, anti_spoof;
    int pid;
} good[] = {
    {MAC " 192.168.64.2 vm1 " ID " tap a 1234:1000", 0xc0a84002, PORT_TAP, false, true, 1234},
    {MAC " 0.0.0.0 vm1 " ID " stream - 0:0", 0, PORT_STREAM, false, false, 0},
    {MAC " 192.168.64.2 " LABEL_63 " " ID " dgram ia 2147483647:4294967295", 0xc0a84002, PORT_DGRAM,
     true, true, INT32_MAX},
    {MAC " 10.0.0.9 web-1 " ID " veth i 7:0", 0x0a000009, PORT_VETH, true, false, 7},
};

static const char *const bad[] = {
    "",
    " ",
    "eth0 of somebody",
    MAC " 192.168.64.2 vm1 " ID,
    MAC " 192.168.64.2 vm1 " ID " tap a",
    MAC " 192.168.64.2 vm1 " ID " tap a 1 2",
    MAC " 192.168.64.2 vm1 " ID " tap a 1 ",
    " " MAC " 192.168.64.2 vm1 " ID " tap a 1:0",
    MAC "  192.168.64.2 vm1 " ID " tap a 1:0",
    MAC " 192.168.64.2  " ID " tap a 1:0",
    "52:56:00:01:02 192.168.64.2 vm1 " ID " tap a 1:0",
    MAC " 192.168.64 vm1 " ID " tap a 1:0",
    MAC " fd00::2 vm1 " ID " tap a 1:0",
    MAC " 192.168.64.2 vm_1 " ID " tap a 1:0",
    MAC " 192.168.64.2 vm1\n " ID " tap a 1:0",
    MAC " 192.168.64.2 x" LABEL_63 " " ID " tap a 1:0",
    MAC " 192.168.64.2 vm1 8a2c5f10 tap a 1:0",
    MAC " 192.168.64.2 vm1 " ID " tun a 1:0",
    MAC " 192.168.64.2 vm1 " ID " tap  1:0",
    MAC " 192.168.64.2 vm1 " ID " tap ai 1:0",
    MAC " 192.168.64.2 vm1 " ID " tap -a 1:0",
    MAC " 192.168.64.2 vm1 " ID " tap a -1:0",
    MAC " 192.168.64.2 vm1 " ID " tap a +1:0",
    MAC " 192.168.64.2 vm1 " ID " tap a 0x1:0",
    MAC " 192.168.64.2 vm1 " ID " tap a 1",
    MAC " 192.168.64.2 vm1 " ID " tap a 1:",
    MAC " 192.168.64.2 vm1 " ID " tap a :0",
    MAC " 192.168.64.2 vm1 " ID " tap a 1:0:0",
    MAC " 192.168.64.2 vm1 " ID " tap a 1:-1",
    MAC " 192.168.64.2 vm1 " ID " tap a 1:4294967296",
    MAC " 192.168.64.2 vm1 " ID " tap a 2147483648:0",
    MAC " 192.168.64.2 vm1 " ID " tap a 99999999999999999999:0",
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char alias[PORT_ALIAS_MAX + 1];
        struct plane_port port;

        if (!port_read_alias(good[i].alias, &port) || port.ipv4 != good[i].ipv4 ||
            port.kind != good[i].kind || port.isolated != good[i].isolated ||
            port.anti_spoof != good[i].anti_spoof || port.owner_pid != good[i].pid ||
            strcmp(port.interface_id, ID) != 0)
            fail_msg("%s: not read as it is", good[i].alias);
        assert_int_equal(port_write_alias(&port, alias), 0);
        assert_string_equal(alias, good[i].alias);
    }
}

static void test_bad(void **state)
{
    char padded[PORT_ALIAS_MAX + 64];
    struct plane_port port;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (port_read_alias(bad[i], &port))
            fail_msg("'%s' passes", bad[i]);
    /* Longer than the kernel keeps. */
    memset(padded, '0', sizeof(padded));
    padded[sizeof(padded) - 1] = '\0';
    memcpy(padded, good[0].alias, strlen(good[0].alias));
    assert_false(port_read_alias(padded, &port));
}

/* What could not be read back is not written. */
static void test_not_written(void **state)
{
    char alias[PORT_ALIAS_MAX + 1];
    struct plane_port port;

    (void)state;
    assert_true(port_read_alias(good[0].alias, &port));
    port.kind = PORT_KINDS;
    assert_int_not_equal(port_write_alias(&port, alias), 0);
    assert_true(port_read_alias(good[0].alias, &port));
    strcpy(port.name, "a b");
    assert_int_not_equal(port_write_alias(&port, alias), 0);
    assert_true(port_read_alias(good[0].alias, &port));
    port.owner_pid = -1;
    assert_int_not_equal(port_write_alias(&port, alias), 0);
}

static void test_names(void **state)
{
    static const char *const ports[] = {"tap0", "tap1023", "veth7"};
    static const char *const others[] = {"",     "tap",    "tapx", "tap0 ", "br0",  "up0",
                                         "veth", "veth-1", "lo",   "atap0", "tap-0"};

    (void)state;
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
        assert_true(port_is_name(ports[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(port_is_name(others[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_not_written),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
