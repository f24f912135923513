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
    {"00:00:00:00:00:00 0.0.0.0 vm2 " ID " tap a 7:0", 0, PORT_TAP, false, true, 7},
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

        if (!port_read_alias(good[i].alias, "", &port) || port.ipv4 != good[i].ipv4 ||
            port.kind != good[i].kind || port.isolated != good[i].isolated ||
            port.anti_spoof != good[i].anti_spoof || port.owner_pid != good[i].pid ||
            strcmp(port.interface_id, ID) != 0)
            fail_msg("%s: not read as it is", good[i].alias);
        assert_int_equal(port_write_alias(&port, "", alias), 0);
        assert_string_equal(alias, good[i].alias);
    }
}

static void test_bad(void **state)
{
    char padded[PORT_ALIAS_MAX + 64];
    struct plane_port port;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (port_read_alias(bad[i], "", &port))
            fail_msg("'%s' passes", bad[i]);
    /* Longer than the kernel keeps. */
    memset(padded, '0', sizeof(padded));
    padded[sizeof(padded) - 1] = '\0';
    memcpy(padded, good[0].alias, strlen(good[0].alias));
    assert_false(port_read_alias(padded, "", &port));
}

/* What could not be read back is not written. */
static void test_not_written(void **state)
{
    char alias[PORT_ALIAS_MAX + 1];
    struct plane_port port;

    (void)state;
    assert_true(port_read_alias(good[0].alias, "", &port));
    port.kind = PORT_KINDS;
    assert_int_not_equal(port_write_alias(&port, "", alias), 0);
    assert_true(port_read_alias(good[0].alias, "", &port));
    strcpy(port.name, "a b");
    assert_int_not_equal(port_write_alias(&port, "", alias), 0);
    assert_true(port_read_alias(good[0].alias, "", &port));
    port.owner_pid = -1;
    assert_int_not_equal(port_write_alias(&port, "", alias), 0);
}

/* In the host's namespace a port's alias says of which network it is: others' are none of ours. */
static void test_network(void **state)
{
    static const char lab[] = MAC " 192.168.64.2 vm1 " ID " tap a 1:0 lab";
    static const char *const others[] = {
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0",
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0 ",
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0 labs",
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0 la",
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0 lab ",
        MAC " 192.168.64.2 vm1 " ID " tap a 1:0 lab x",
    };
    char alias[PORT_ALIAS_MAX + 1];
    struct plane_port port;

    (void)state;
    assert_true(port_read_alias(lab, "lab", &port));
    assert_int_equal(port_write_alias(&port, "lab", alias), 0);
    assert_string_equal(alias, lab);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(port_read_alias(others[i], "lab", &port));
}

static void test_names(void **state)
{
    static const char *const ports[] = {"tap0", "tap1023", "veth7"};
    static const char *const others[] = {"",     "tap",    "tapx", "tap0 ", "br0",  "up0",
                                         "veth", "veth-1", "lo",   "atap0", "tap-0"};
    const struct net_config config = {.name = "lab"};
    struct place place;

    (void)state;
    place_init(&place, &config);
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
        assert_true(place_is_port(&place, ports[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(place_is_port(&place, others[i]));
}

/* Names in the host's namespace fit an interface's, and differ where those of the networks do. */
static void test_host_names(void **state)
{
    static const struct {
        const char *network, *bridge;
    } names[] = {
        {"lab", "vmnet-lab"},        {"lab-23456", "vmnet-lab-23456"},
        {"laboratory", "vmnet-lab"}, {"laboratory-of-all-networks-that-there-are", "vmnet-lab"},
        {"a.b_c", "vmnet-a.b_c"},
    };
    struct place places[sizeof(names) / sizeof(names[0])];
    char port[2 * IFNAMSIZ];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct net_config config = {.system = true};
        bool whole = strlen(names[i].network) <= 9;

        strcpy(config.name, names[i].network);
        place_init(&places[i], &config);
        if (whole)
            assert_string_equal(places[i].bridge, names[i].bridge);
        else
            assert_memory_equal(places[i].bridge, names[i].bridge, strlen(names[i].bridge));
        assert_true(whole || strlen(places[i].bridge) == IFNAMSIZ - 1);
        snprintf(port, sizeof(port), "%s%d", places[i].tap, PLANE_PORTS_MAX - 1);
        assert_true(strlen(port) < IFNAMSIZ);
        assert_true(place_is_port(&places[i], port));
        assert_false(place_is_port(&places[i], "tap0"));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(places[i].bridge, places[k].bridge);
            assert_false(place_is_port(&places[k], port));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_not_written), cmocka_unit_test(test_network),
        cmocka_unit_test(test_names),       cmocka_unit_test(test_host_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
