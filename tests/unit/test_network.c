/* SPDX-License-Identifier: Apache-2.0 */
/* Which name, MAC and address a port gets, and what of it is remembered. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/paths.h"
#include "daemon/network.h"

#define GATEWAY 0xc0a85a01 /* 192.168.90.1 */
#define ID_ONE "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"
/* Of the port "one" on the network "lab". */
#define EXPECTED_ID "8cbcabe9-d736-8d10-aece-212dd5d37680"
#define EXPECTED_MAC "52:56:16:9d:4f:da"
#define ID_TWO "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5b"

static struct net_config config;
static struct network network;

static const struct mac_addr mac_one = {{0x52, 0x54, 0, 0, 0, 1}};
static const struct mac_addr mac_two = {{0x52, 0x54, 0, 0, 0, 2}};

static int setup(void **state)
{
    (void)state;
    config = (struct net_config){
        .name = "lab",
        .gateway = GATEWAY,
        .pool_start = GATEWAY + 1,
        .pool_end = GATEWAY + 3, /* room for three */
        .range_start = GATEWAY + 1,
        .range_end = GATEWAY + 3,
        .prefix_len = 24,
        .mac = {{0x52, 0x55, 1, 2, 3, 4}},
        .mtu = NET_MTU_DEFAULT,
        .domain = "lab.vmnet.internal",
        .state_dir = "/tmp/openvmnet-unit-XXXXXX",
    };
    if (!mkdtemp(config.state_dir))
        return -1;
    network_init(&network, &config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    network_done(&network);
    return path_remove_tree(config.state_dir);
}

/* As when the network ends and starts again. */
static void restart(void)
{
    network_done(&network);
    network_init(&network, &config);
}

static struct network_port *allot(const char *name, const char *id, const struct mac_addr *mac)
{
    struct network_request request = {.name = name, .interface_id = id, .mac = mac};
    struct network_port *port = NULL;
    struct err err = {""};

    if (network_allot(&network, &request, &port, &err) < 0)
        fail_msg("'%s' gets no port: %s", name, err.text);
    network_save(&network);
    return port;
}

static struct network_port *allot_name(const char *name)
{
    return allot(name, "", NULL);
}

/* Checks that a request is refused, that the text says why, and that nothing is different then. */
static void refuse(const char *name, const char *id, const struct mac_addr *mac, int code,
                   const char *text)
{
    struct network_request request = {.name = name, .interface_id = id, .mac = mac};
    struct network_port *port = NULL;
    unsigned ports_len = network.ports_len, leases_len = network.leases_len;
    struct err err = {""};
    int result = network_allot(&network, &request, &port, &err);

    if (result != code || !strstr(err.text, text))
        fail_msg("'%s': %d, %s; not %d, %s", name, result, err.text, code, text);
    assert_null(port);
    assert_int_equal(network.ports_len, ports_len);
    assert_int_equal(network.leases_len, leases_len);
}

static void test_default_names(void **state)
{
    struct network_port *first = allot_name(""), *second = allot_name("");

    (void)state;
    assert_string_equal(first->port.name, "vm1");
    assert_string_equal(second->port.name, "vm2");
    network_remove(&network, first);
    assert_string_equal(allot_name("")->port.name, "vm1");
    /* A name that was asked for is not given again. */
    network_remove(&network, second);
    allot_name("VM2");
    assert_string_equal(allot_name("")->port.name, "vm3");
}

static void test_same_name_same_port(void **state)
{
    struct plane_port one = allot_name("one")->port, two = allot_name("two")->port, again;

    (void)state;
    assert_int_equal(one.ipv4, GATEWAY + 1);
    assert_int_equal(two.ipv4, GATEWAY + 2);
    assert_memory_not_equal(&one.mac, &two.mac, sizeof(one.mac));
    assert_string_not_equal(one.interface_id, two.interface_id);
    assert_int_equal(net_uuid_check(one.interface_id, NULL), 0);
    assert_int_equal(one.mac.bytes[0] & 3, 2); /* locally administered, of one interface */
    restart();
    again = allot_name("two")->port;
    assert_memory_equal(&again, &two, sizeof(two));
    again = allot_name("one")->port;
    assert_memory_equal(&again, &one, sizeof(one));
}

/* The names make the identity, on every machine: these values may never change. */
static void test_identity_is_for_ever(void **state)
{
    struct plane_port port = allot_name("one")->port;
    char mac[MAC_TEXT_MAX];

    (void)state;
    assert_string_equal(port.interface_id, EXPECTED_ID);
    assert_string_equal(mac_format(&port.mac, mac), EXPECTED_MAC);
    strcpy(config.name, "other");
    network_remove(&network, CONTAINER_OF(network.ports.next, struct network_port, list));
    assert_string_not_equal(allot_name("one")->port.interface_id, EXPECTED_ID);
}

static void test_interface_id_makes_the_mac(void **state)
{
    struct plane_port one = allot("one", ID_ONE, NULL)->port;
    struct plane_port two = allot("two", ID_TWO, NULL)->port;

    (void)state;
    assert_string_equal(one.interface_id, ID_ONE);
    assert_memory_not_equal(&one.mac, &two.mac, sizeof(one.mac));
    restart();
    two = allot("another", ID_ONE, NULL)->port;
    assert_memory_equal(&one.mac, &two.mac, sizeof(one.mac));
    assert_int_equal(one.ipv4, two.ipv4);
}

static void test_given_mac(void **state)
{
    struct plane_port one = allot("one", "", &mac_one)->port, again;

    (void)state;
    assert_memory_equal(&one.mac, &mac_one, sizeof(mac_one));
    assert_int_equal(allot_name("two")->port.ipv4, GATEWAY + 2);
    restart();
    /* The address belongs to the MAC, whatever the name is, and to nobody else meanwhile. */
    assert_int_equal(allot_name("three")->port.ipv4, GATEWAY + 3);
    again = allot("four", "", &mac_one)->port;
    assert_int_equal(again.ipv4, one.ipv4);
}

static void test_clashes(void **state)
{
    static const struct mac_addr group = {{1, 0, 0x5e, 0, 0, 1}}, zero = {{0}};
    struct network_port *one = allot("one", ID_ONE, &mac_one);

    (void)state;
    refuse("one", "", NULL, -EEXIST,
           "the name 'one' is taken on network 'lab' by a port being attached");
    one->attached = true;
    strcpy(one->port.interface, "tap0");
    refuse("ONE", "", NULL, -EEXIST, "the name 'ONE' is taken on network 'lab' by tap0");
    refuse("two", ID_ONE, NULL, -EEXIST,
           "interface-id " ID_ONE " is in use by 'one' on network 'lab'; 'two' needs another");
    refuse("two", "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A", NULL, -EEXIST, "is in use by 'one'");
    refuse("two", "", &mac_one, -EEXIST,
           "MAC 52:54:00:00:00:01 is in use by 'one' on network 'lab'; 'two' needs another");
    refuse("two", "", &config.mac, -EEXIST, "MAC 52:55:01:02:03:04 is in use by the gateway on");
    refuse("two", "", &group, -EINVAL, "MAC 01:00:5e:00:00:01: must be the address of one inte");
    refuse("two", "", &zero, -EINVAL, "not zero");
    refuse("a b", "", NULL, -EINVAL, "host name 'a b'");
    refuse("two", "5", NULL, -EINVAL, "'5' is not a UUID");
    /* None of these is an obstacle to the next one. */
    allot("two", ID_TWO, &mac_two);
}

static void test_pool_is_used_up(void **state)
{
    struct network_port *second;

    (void)state;
    allot_name("one");
    second = allot_name("two");
    allot_name("three");
    refuse("four", "", NULL, -ENOSPC,
           "network 'lab': the address pool 192.168.90.2 to 192.168.90.4 is used up (3 ports");
    network_remove(&network, second);
    assert_int_equal(allot_name("four")->port.ipv4, GATEWAY + 2);
}

/* Attaches and detaches. Returns the address. */
static uint32_t visit(const char *name)
{
    struct network_port *port = allot_name(name);
    uint32_t ipv4 = port->port.ipv4;

    network_remove(&network, port);
    return ipv4;
}

static void test_longest_unused_goes_first(void **state)
{
    uint32_t one = visit("one"), two = visit("two"), three = visit("three");

    (void)state;
    assert_int_equal(visit("one"), one); /* now "two" was away the longest */
    assert_int_equal(visit("four"), two);
    assert_int_equal(visit("two"), three);
    /* The order of use is remembered: "one" is next. */
    restart();
    assert_int_equal(visit("five"), one);
    assert_int_equal(visit("four"), two);
    assert_int_equal(network.leases_len, 3);
}

/* What is attached is not taken, however long ago that was. */
static void test_attached_is_not_unused(void **state)
{
    struct network_port *one = allot_name("one");
    uint32_t two;

    (void)state;
    two = visit("two");
    visit("three");
    visit("three");
    assert_int_equal(visit("four"), two);
    assert_int_equal(one->port.ipv4, GATEWAY + 1);
    assert_int_equal(network.leases_len, 3);
}

static void test_adopted_ports(void **state)
{
    struct plane_port port = {.interface = "tap7",
                              .mac = mac_one,
                              .ipv4 = GATEWAY + 1,
                              .name = "vm1",
                              .interface_id = ID_ONE};

    (void)state;
    network_adopt(&network, &port);
    network_adopt(&network, &port);
    assert_int_equal(network.ports_len, 1);
    assert_non_null(network_find(&network, "tap7"));
    assert_null(network_find(&network, "tap8"));
    refuse("vm1", "", NULL, -EEXIST, "by tap7");
    refuse("two", "", &mac_one, -EEXIST, "is in use by 'vm1'");
    assert_string_equal(allot_name("")->port.name, "vm2");
    /* Its address is not given away, although no lease says so. */
    assert_int_equal(allot_name("two")->port.ipv4, GATEWAY + 3);
    network_remove(&network, network_find(&network, "tap7"));
    assert_null(network_find(&network, "tap7"));
}

static void write_leases(const char *text)
{
    char path[NET_PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/leases.json", config.state_dir);
    assert_int_equal(path_write_file(path, text, strlen(text), 0600, false), 0);
}

/* What was remembered for another pool, or is damaged, does no harm. */
static void test_odd_leases(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "5",
        "[5, null, \"x\", [], {}]",
        "[{\"mac\": 5, \"ipv4\": \"192.168.90.2\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\"}]",
        "[{\"mac\": \"52:54\", \"ipv4\": \"192.168.90.2\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"192.168.90\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"fd00::1\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"192.168.90.1\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"192.168.90.5\"}]",
        "[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"10.0.0.2\"}]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_leases(texts[i]);
        restart();
        if (network.leases_len)
            fail_msg("taken: %s", texts[i]);
        assert_int_equal(allot("one", "", &mac_one)->port.ipv4, GATEWAY + 1);
    }
    write_leases("[5, {\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"192.168.90.3\"}]");
    restart();
    assert_int_equal(allot("one", "", &mac_one)->port.ipv4, GATEWAY + 2);
}

/* One address for two MACs, or two for one: each port still has one of its own. */
static void test_contradictory_leases(void **state)
{
    (void)state;
    write_leases("[{\"mac\": \"52:54:00:00:00:01\", \"ipv4\": \"192.168.90.3\"},"
                 " {\"mac\": \"52:54:00:00:00:02\", \"ipv4\": \"192.168.90.3\"},"
                 " {\"mac\": \"52:54:00:00:00:02\", \"ipv4\": \"192.168.90.4\"}]");
    restart();
    for (int i = 0; i < 2; i++) {
        uint32_t one = allot("one", "", &mac_one)->port.ipv4;
        uint32_t two = allot("two", "", &mac_two)->port.ipv4;

        assert_int_not_equal(one, two);
        assert_int_equal(one, GATEWAY + 2);
        restart();
    }
}

static void test_state_that_cannot_be_written(void **state)
{
    char directory[NET_PATH_MAX];

    (void)state;
    strcpy(directory, config.state_dir);
    config.state_dir[0] = '\0';
    restart();
    assert_int_equal(allot_name("one")->port.ipv4, GATEWAY + 1);
    restart();
    assert_int_equal(allot_name("two")->port.ipv4, GATEWAY + 1);
    strcpy(config.state_dir, "/nonexistent");
    restart();
    assert_int_equal(allot_name("one")->port.ipv4, GATEWAY + 1);
    assert_true(network.told_unsaved);
    strcpy(config.state_dir, directory);
}

/* One machine by its MAC, one by its id, one with a name and no address. */
static struct net_file file = {
    .path = "/etc/openvmnet/lab.conf",
    .reservations =
        {
            {.name = "web", .mac_given = true, .mac = {{0x52, 0x54, 0, 0, 0, 1}}, .line = 3},
            {.name = "db", .interface_id = ID_ONE, .line = 7},
            {.name = "cache", .mac_given = true, .mac = {{0x52, 0x54, 0, 0, 0, 9}}, .line = 11},
        },
    .reservations_len = 3,
};

static int setup_reserved(void **state)
{
    int result = setup(state);

    file.reservations[0].address = ip_from_u32(GATEWAY + 3);
    file.reservations[1].address = ip_from_u32(GATEWAY + 1);
    config.file = &file;
    return result;
}

static void test_reserved(void **state)
{
    struct plane_port web = allot("", "", &mac_one)->port, db = allot("", ID_ONE, NULL)->port;

    (void)state;
    assert_string_equal(web.name, "web");
    assert_int_equal(web.ipv4, GATEWAY + 3);
    assert_string_equal(db.name, "db");
    assert_int_equal(db.ipv4, GATEWAY + 1);
    /* Another name for a machine that is known by its MAC; its address is its own. */
    restart();
    web = allot("other", "", &mac_one)->port;
    assert_string_equal(web.name, "other");
    assert_int_equal(web.ipv4, GATEWAY + 3);
}

static void test_reserved_by_name(void **state)
{
    struct plane_port web = allot_name("WEB")->port, db = allot_name("db")->port;

    (void)state;
    assert_memory_equal(&web.mac, &mac_one, sizeof(mac_one));
    assert_int_equal(web.ipv4, GATEWAY + 3);
    assert_string_equal(db.interface_id, ID_ONE);
    assert_int_equal(db.ipv4, GATEWAY + 1);
}

static void test_reserved_is_kept_free(void **state)
{
    (void)state;
    /* Three addresses, of which two are kept for machines that are not here. */
    assert_int_equal(allot_name("one")->port.ipv4, GATEWAY + 2);
    refuse("two", "", NULL, -ENOSPC, "is used up");
}

/* An address that had been given away before it was reserved goes to who it is reserved for. */
static void test_reserved_after_a_lease(void **state)
{
    struct network_port *one;

    (void)state;
    config.file = NULL;
    one = allot_name("one");
    assert_int_equal(one->port.ipv4, GATEWAY + 1);
    config.file = &file;
    refuse("", ID_ONE, NULL, -EEXIST,
           "address 192.168.90.2, which is reserved for 'db', is in use by 'one'");
    network_remove(&network, one);
    assert_int_equal(allot_name("one")->port.ipv4, GATEWAY + 2);
    assert_int_equal(allot("", ID_ONE, NULL)->port.ipv4, GATEWAY + 1);
}

static void test_reserved_names_of_others(void **state)
{
    (void)state;
    refuse(
        "web", "", &mac_two, -EEXIST,
        "the name 'web' is reserved for MAC 52:54:00:00:00:01 by /etc/openvmnet/lab.conf line 3");
    refuse("db", ID_TWO, NULL, -EEXIST, "is reserved for interface-id " ID_ONE);
}

static void test_kinds_and_rights(void **state)
{
    struct network_request request = {.name = "",
                                      .interface_id = "",
                                      .kind = PORT_STREAM,
                                      .isolated = true,
                                      .anti_spoof_off = true,
                                      .owner_pid = 77};
    struct network_port *port;

    (void)state;
    assert_int_equal(network_allot(&network, &request, &port, NULL), 0);
    assert_int_equal(port->port.kind, PORT_STREAM);
    assert_true(port->port.isolated);
    assert_false(port->port.anti_spoof);
    assert_int_equal(port->port.owner_pid, 77);
    assert_true(allot_name("x")->port.anti_spoof);
}

/* A port without a MAC gets the one that its machine sends from, by the same rules. */
static void test_learned(void **state)
{
    static const struct mac_addr group = {{1, 0, 0x5e, 0, 0, 1}}, zero;
    struct network_request request = {.name = "", .interface_id = "", .learn_mac = true};
    struct network_port *first, *second;
    uint32_t address = allot("", "", &mac_one)->port.ipv4;
    struct err err;

    (void)state;
    assert_int_equal(network_allot(&network, &request, &first, &err), 0);
    assert_int_equal(network_allot(&network, &request, &second, &err), 0);
    assert_true(mac_is_zero(&first->port.mac) && !first->port.ipv4);
    assert_string_not_equal(first->port.name, second->port.name);
    assert_int_equal(network_learn(&network, first, &mac_one, &err), -EEXIST);
    assert_int_equal(network_learn(&network, first, &config.mac, &err), -EEXIST);
    assert_int_equal(network_learn(&network, first, &group, &err), -EINVAL);
    assert_int_equal(network_learn(&network, first, &zero, &err), -EINVAL);
    assert_true(mac_is_zero(&first->port.mac) && !first->port.ipv4);
    assert_int_equal(network_learn(&network, first, &mac_two, &err), 0);
    assert_memory_equal(&first->port.mac, &mac_two, sizeof(mac_two));
    assert_true(first->port.ipv4 && first->port.ipv4 != address);
    assert_int_equal(network_learn(&network, second, &mac_two, &err), -EEXIST);
    address = first->port.ipv4;
    network_unlearn(first);
    assert_int_equal(network_learn(&network, second, &mac_two, &err), 0);
    assert_int_equal(second->port.ipv4, address);
}

static void test_names_that_are_looked_for(void **state)
{
    struct network_port *port = allot_name("one");

    (void)state;
    assert_null(network_find_name(&network, "one")); /* not attached yet */
    port->attached = true;
    assert_ptr_equal(network_find_name(&network, "ONE"), port);
    assert_ptr_equal(network_find_name(&network, "one.lab.vmnet.internal"), port);
    assert_null(network_find_name(&network, "one.other.vmnet.internal"));
    assert_null(network_find_name(&network, "on"));
    assert_null(network_find_name(&network, ""));
    assert_ptr_equal(network_find_ipv4(&network, GATEWAY + 1), port);
    assert_null(network_find_ipv4(&network, GATEWAY + 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_default_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_name_same_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity_is_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interface_id_makes_the_mac, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_mac, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clashes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pool_is_used_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_longest_unused_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attached_is_not_unused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopted_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_leases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_contradictory_leases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_state_that_cannot_be_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserved, setup_reserved, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_by_name, setup_reserved, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_is_kept_free, setup_reserved, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_after_a_lease, setup_reserved, teardown),
        cmocka_unit_test_setup_teardown(test_reserved_names_of_others, setup_reserved, teardown),
        cmocka_unit_test_setup_teardown(test_kinds_and_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_learned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_that_are_looked_for, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
