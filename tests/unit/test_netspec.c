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
#define UUID "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"

static void test_accepted(void **state)
{
    static const struct {
        const char *words, *name;
        enum net_mode mode;
    } all[] = {
        {"", "shared"},
        {"mode=shared", "shared"},
        {"mode=host", "host", NET_MODE_HOST},
        {"mode=bridged", "bridged", NET_MODE_BRIDGED},
        {"mode=bridge", "bridged", NET_MODE_BRIDGED},
        {"mode=host mode=shared", "shared"},
        {"mode=host network=lab", "lab", NET_MODE_HOST},
        {"mode=host " START END MASK, "host-192.168.70.1-192.168.70.20-24", NET_MODE_HOST},
        /* The order does not matter. */
        {"ifname=eth0 mode=bridged", "bridged-eth0", NET_MODE_BRIDGED},
        {"mode=bridged ifname=br-lan_1.234567", "bridged-br-lan_1.234567", NET_MODE_BRIDGED},
        {"mode=bridged ifname=eth0 network=office", "office", NET_MODE_BRIDGED},
        {"net-uuid=" UUID " mode=host", "host-" UUID, NET_MODE_HOST},
        {"mode=host net_uuid=8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A", "host-" UUID, NET_MODE_HOST},
        {"mode=host net-uuid=" UUID " network=host-" UUID, "host-" UUID, NET_MODE_HOST},
        /* What does not make another network. */
        {"nat66-prefix=fd12:3456:789a:1::", "shared"},
        {"nat66-prefix=fd12:3456:789a:1::/64", "shared"},
        {"nat66_prefix=FD00::/64 mode=shared", "shared"},
        {"mtu=1280", "shared"},
        {"mtu=65520 mode=host", "host", NET_MODE_HOST},
        {"mtu=9000 nat66-prefix=fd00:1:: " START END MASK, "shared-192.168.70.1-192.168.70.20-24"},
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
        assert_int_equal(spec.mode, all[i].mode);
        assert_int_equal(spec.mode_given, strstr(all[i].words, "mode=") != NULL);
        /* Once more on a complete one, as vmnetd does with what vmnet has completed. */
        assert_int_equal(net_spec_complete(&spec, &err), 0);
        assert_string_equal(spec.name, all[i].name);
    }
}

static void test_values(void **state)
{
    struct ip_addr start = ip_from_u32(0xc0a84601), end = ip_from_u32(0xc0a84614);
    struct ip_addr mask = ip_from_u32(0xffffff00);
    char text[IP_TEXT_MAX];
    struct net_spec spec;
    struct err err;

    (void)state;
    assert_int_equal(read_spec(START END MASK, &spec, &err), 0);
    assert_true(ip_equal(&spec.start_address, &start));
    assert_true(ip_equal(&spec.end_address, &end));
    assert_true(ip_equal(&spec.subnet_mask, &mask));
    assert_int_equal(spec.mtu, 0);
    assert_int_equal(spec.workers, 0);
    assert_int_equal(spec.nat66_prefix.family, 0);
    assert_false(spec.mode_given);

    assert_int_equal(
        read_spec("mtu=9000 workers=8 nat66-prefix=fd12:3456:789a:1::/64", &spec, &err), 0);
    assert_int_equal(spec.mtu, 9000);
    assert_int_equal(spec.workers, 8);
    assert_string_equal(ip_format(&spec.nat66_prefix, text), "fd12:3456:789a:1::");
    assert_int_equal(read_spec("mode=bridged ifname=eth0", &spec, &err), 0);
    assert_string_equal(spec.ifname, "eth0");
    assert_int_equal(read_spec("mode=host net-uuid=" UUID " host-ip-address=10.9.0.254 "
                               "host-subnet-mask=255.255.255.0 host_ipv6_address=fd00:1::7",
                               &spec, &err),
                     0);
    assert_string_equal(spec.net_uuid, UUID);
    assert_string_equal(ip_format(&spec.host_ip_address, text), "10.9.0.254");
    assert_string_equal(ip_format(&spec.host_subnet_mask, text), "255.255.255.0");
    assert_string_equal(ip_format(&spec.host_ipv6_address, text), "fd00:1::7");
}

static void test_host(void **state)
{
    static const char *const texts[][2] = {
        {"mtu=1500", "all"},
        {"host-ports=none", "none"},
        {"host-ports=none host_ports=none", "none"},
        {"host-ports=22", "22"},
        {"host-ports=8000-8100,22", "22,8000-8100"},
        {"host-ports=1-65535", "1-65535"},
        {"host-ports=22,23,24", "22-24"},
        {"host-ports=22,24 host-ports=23", "22-24"},
        {"host-ports=10-20,30-40 host-ports=15-35,50", "10-40,50"},
        {"host-ports=65535,65534,1", "1,65534-65535"},
        {"host-ports=5-5,7-7,6", "5-7"},
    };
    char text[PORT_SET_TEXT_MAX];
    struct net_spec spec;
    struct err err;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(read_spec(texts[i][0], &spec, &err), 0);
        assert_string_equal(port_set_format(&spec.host_ports, text), texts[i][1]);
        assert_int_equal(spec.switches[NET_HOST_LOOPBACK], NET_NOT_GIVEN);
    }
    assert_int_equal(read_spec("host-ports=22,8000-8100", &spec, &err), 0);
    for (unsigned port = 0; port <= 65535; port++)
        assert_int_equal(port_set_has(&spec.host_ports, (uint16_t)port),
                         port == 22 || (port >= 8000 && port <= 8100));
    assert_int_equal(read_spec("host_loopback=on mode=host", &spec, &err), 0);
    assert_int_equal(spec.switches[NET_HOST_LOOPBACK], NET_ON);
    assert_true(port_set_has(&spec.host_ports, 1));
    assert_int_equal(read_spec("host-ports=none", &spec, &err), 0);
    assert_false(port_set_has(&spec.host_ports, 1));
}

static void test_dhcp(void **state)
{
    char text[NET_DHCP_HOST_TEXT_MAX], range[NET_RANGE_TEXT_MAX], words[64];
    struct net_spec spec;
    struct err err;

    (void)state;
    assert_int_equal(read_spec(START END MASK "dhcp-range=192.168.70.10-192.168.70.12 "
                                              "dhcp_host=52:54:00:00:00:0A,192.168.70.20",
                               &spec, &err),
                     0);
    assert_string_equal(net_spec_format_range(&spec, range), "192.168.70.10-192.168.70.12");
    assert_int_equal(spec.dhcp_hosts_len, 1);
    assert_string_equal(net_dhcp_host_format(&spec.dhcp_hosts[0], text),
                        "52:54:00:00:00:0a,192.168.70.20");
    assert_int_equal(read_spec("", &spec, &err), 0);
    assert_string_equal(net_spec_format_range(&spec, range), "all");
    for (int i = 0; i < NET_DHCP_HOSTS_MAX; i++) {
        snprintf(words, sizeof(words), "52:54:00:00:01:%02x,10.0.0.%d", i, i + 2);
        assert_int_equal(net_spec_set(&spec, "dhcp-host", words, &err), 0);
    }
    /* The same once more is no other. */
    assert_int_equal(net_spec_set(&spec, "dhcp-host", words, &err), 0);
    assert_int_equal(net_spec_set(&spec, "dhcp-host", "52:54:00:00:02:00,10.0.1.1", &err), -EINVAL);
    assert_non_null(strstr(err.text, "one more than the 64"));
}

static void test_switches(void **state)
{
    /* host-loopback, dhcp, dns, ra, nat44, nat66: a digit each. */
    static const char *const all[][2] = {
        {"", "011111"},
        {"mode=host", "011100"},
        {"mode=host net-uuid=" UUID, "001000"},
        {"mode=host net-uuid=" UUID " dns=off ra=off", "000000"},
        {"dhcp=off", "001111"},
        {"dns=off", "010111"},
        {"ra=off", "011011"},
        {"nat44=off", "011101"},
        {"nat66=off", "011110"},
        {"host-loopback=on dhcp=off dhcp=on nat44=off nat66=off", "111100"},
    };
    struct net_spec spec;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char text[NET_SWITCHES + 1] = "";

        assert_int_equal(read_spec(all[i][0], &spec, &err), 0);
        for (enum net_switch which = 0; which < NET_SWITCHES; which++)
            text[which] = net_spec_is_on(&spec, which) ? '1' : '0';
        assert_string_equal(text, all[i][1]);
    }
}

static void test_mode_names(void **state)
{
    (void)state;
    assert_string_equal(net_mode_name(NET_MODE_SHARED), "shared");
    assert_string_equal(net_mode_name(NET_MODE_HOST), "host");
    assert_string_equal(net_mode_name(NET_MODE_BRIDGED), "bridged");
    assert_string_equal(net_mode_name((enum net_mode)99), "unknown");
}

static void test_option_names(void **state)
{
    static const char *const all[][2] = {
        {"mode", "mode"},
        {"start-address", "start-address"},
        {"start_address", "start-address"},
        {"dhcp_end-address", "end-address"},
        {"dhcp-subnet_mask", "subnet-mask"},
        {"network", "network"},
        {"nat66_prefix", "nat66-prefix"},
        {"net-uuid", "net-uuid"},
        {"ifname", "ifname"},
        {"mtu", "mtu"},
        {"dhcp-mtu", NULL},
        {"workers", "workers"},
        {"dhcp-ifname", NULL},
        {"dhcp", "dhcp"},
        {"host_loopback", "host-loopback"},
        {"dhcp-dns", NULL},
        {"dhcp_host", "dhcp-host"},
        {"dhcp-range", "dhcp-range"},
        {"range", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *name = net_spec_option_name(all[i][0]);

        if (all[i][1])
            assert_string_equal(name, all[i][1]);
        else
            assert_null(name);
    }
}

/* Bridged passes net_spec_complete(); what is missing for it is said here. */
static void test_private(void **state)
{
    struct net_spec spec;
    struct err err;

    (void)state;
    assert_int_equal(read_spec("", &spec, &err), 0);
    assert_int_equal(net_spec_check_private(&spec, &err), 0);
    assert_int_equal(read_spec("mode=host net-uuid=" UUID, &spec, &err), 0);
    assert_int_equal(net_spec_check_private(&spec, &err), 0);
    assert_int_equal(read_spec("mode=bridged ifname=eth0", &spec, &err), 0);
    assert_int_equal(net_spec_check_private(&spec, NULL), -EOPNOTSUPP);
    assert_int_equal(net_spec_check_private(&spec, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "mode=bridged (network 'bridged-eth0') joins an interface"));
    assert_non_null(strstr(err.text, "needs the system plane, which an administrator sets "));
    assert_non_null(strstr(err.text, "openvmnet@bridged-eth0, run as root"));
    assert_non_null(strstr(err.text, "/etc/openvmnet/bridged-eth0.conf"));
    assert_non_null(strstr(err.text, "write mode=shared"));
}

/* Each message names the option and the value, says why, and what to write instead. */
static void test_refused(void **state)
{
    static const struct {
        const char *words;
        int error;
        const char *texts[4];
    } all[] = {
        {"mode=x",
         -EINVAL,
         {"unknown mode 'x': write mode=shared (", "mode=host (", "mode=bridged ("}},
        {"mode=", -EINVAL, {"unknown mode '': write"}},
        {"mode=Shared", -EINVAL, {"unknown mode 'Shared'"}},
        {"colour=red",
         -ENOENT,
         {"'colour'", "mode, start-address, end-address, subnet-mask, network,",
          "network, dhcp-range, dhcp-host, nat66-prefix, net-uuid, host-ip-address, "
          "host-subnet-mask, host-ipv6-address, ifname, mtu, workers, host-ports, host-loopback, "
          "dhcp, dns, ra, nat44 and nat66"}},
        {"host-loopback=maybe",
         -EINVAL,
         {"host-loopback=maybe is neither on nor off", "write host-loopback=on"}},
        {"host-ports=",
         -EINVAL,
         {"host-ports: '' is neither a port from 1 to 65535", "22,8000-8100", "none"}},
        {"host-ports=0", -EINVAL, {"host-ports: '0' is neither"}},
        {"host-ports=65536", -EINVAL, {"host-ports: '65536' is neither"}},
        {"host-ports=22,", -EINVAL, {"host-ports: '' is neither"}},
        {"host-ports=22,ssh", -EINVAL, {"host-ports: 'ssh' is neither"}},
        {"host-ports=80-22", -EINVAL, {"host-ports: '80-22' is neither"}},
        {"host-ports=1-2-3", -EINVAL, {"host-ports: '1-2-3' is neither"}},
        {"host-ports=22 host-ports=none", -EINVAL, {"host-ports=none stands beside ports"}},
        {"host-ports=none host-ports=22", -EINVAL, {"host-ports=none stands beside ports"}},
        {"host-ports=1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39,41,43,45,47,49,51,53,"
         "55,57,59,61,63,65",
         -EINVAL,
         {"host-ports has more than 32 ranges"}},
        {"mode=bridged host-ports=22",
         -EINVAL,
         {"host-ports is set in mode=bridged", "gateway", "leave it out"}},
        {"mode=bridged host-loopback=off", -EINVAL, {"host-loopback is set in mode=bridged"}},
        {"dhcp-range=192.168.70.5", -EINVAL, {"dhcp-range=192.168.70.5 is not a range"}},
        {"dhcp-range=192.168.70.5-fd00::1", -EINVAL, {"is not a range of IPv4 addresses"}},
        {"dhcp-range=192.168.70.5-192.168.70.6-1", -EINVAL, {"is not a range"}},
        {"dhcp-range=192.168.70.5-192.168.70.6", -EINVAL, {"without start-address"}},
        {START END MASK "dhcp-range=192.168.70.1-192.168.70.6", -EINVAL, {"is not a part of"}},
        {START END MASK "dhcp-range=192.168.70.2-192.168.70.21", -EINVAL, {"is not a part of"}},
        {START END MASK "dhcp-range=192.168.70.6-192.168.70.5", -EINVAL, {"is not a part of"}},
        {START END MASK "dhcp-range=192.168.70.2-192.168.70.3 dhcp=off",
         -EINVAL,
         {"dhcp-range is set for a network without DHCP (dhcp=off)"}},
        {"mode=bridged dhcp-range=192.168.70.5-192.168.70.6", -EINVAL, {"in mode=bridged"}},
        {"dhcp-host=52:54:00:00:00:01", -EINVAL, {"is not a MAC address and the IPv4 address"}},
        {"dhcp-host=192.168.70.5,52:54:00:00:00:01", -EINVAL, {"is not a MAC address"}},
        {"dhcp-host=53:54:00:00:00:01,192.168.70.5", -EINVAL, {"is not a MAC address"}},
        {"dhcp-host=52:54:00:00:00:01,fd00::1", -EINVAL, {"is not a MAC address"}},
        {"dhcp-host=52:54:00:00:00:01,10.0.0.1 dhcp-host=52:54:00:00:00:01,10.0.0.2",
         -EINVAL,
         {"has the MAC address of an earlier one"}},
        {"dhcp-host=52:54:00:00:00:01,10.0.0.1 dhcp-host=52:54:00:00:00:02,10.0.0.1",
         -EINVAL,
         {"has the IPv4 address of an earlier one"}},
        {START END MASK "dhcp-host=52:54:00:00:00:01,192.168.70.1",
         -EINVAL,
         {"dhcp-host=52:54:00:00:00:01,192.168.70.1 has an address that is not one of"}},
        {"mode=host dhcp-host=52:54:00:00:00:01,10.0.0.1 net-uuid=" UUID,
         -EINVAL,
         {"dhcp-host is set for a network without DHCP (net-uuid)"}},
        {"mode=host host-ip-address=10.0.0.1 host-subnet-mask=255.255.255.0",
         -EINVAL,
         {"host-ip-address is set without net-uuid", "start-address"}},
        {"mode=host host-ipv6-address=fd00::1", -EINVAL, {"host-ipv6-address is set without"}},
        {"mode=host host-ip-address=10.0.0.1 net-uuid=" UUID,
         -EINVAL,
         {"should be provided together: host-subnet-mask is missing"}},
        {"mode=host host-subnet-mask=255.255.255.0 net-uuid=" UUID,
         -EINVAL,
         {"should be provided together: host-ip-address is missing"}},
        {"mode=host host-ip-address=10.0.0.0 host-subnet-mask=255.255.255.0 net-uuid=" UUID,
         -EINVAL,
         {"host-ip-address=10.0.0.0 is the network address"}},
        {"mode=host host-ip-address=8.8.8.8 host-subnet-mask=255.255.255.0 net-uuid=" UUID,
         -EINVAL,
         {"host-ip-address=8.8.8.8"}},
        {"mode=host host-ip-address=10.0.0.1 host-subnet-mask=255.0.0.0 net-uuid=" UUID,
         -EINVAL,
         {"host-subnet-mask=255.0.0.0 is too wide"}},
        {"host-ipv6-address=2001:db8::1", -EINVAL, {"is not the address of a machine in fd00::/8"}},
        {"host-ipv6-address=fd00:1::", -EINVAL, {"is not the address of a machine in fd00::/8"}},
        {"mode=bridged dhcp=on", -EINVAL, {"dhcp is set in mode=bridged", "leave it out"}},
        {"mode=host nat44=off", -EINVAL, {"nat44 is set in mode=host, which has no NAT"}},
        {"mode=host nat66=on", -EINVAL, {"nat66 is set in mode=host, which has no NAT"}},
        {"mode=host dhcp=on net-uuid=" UUID,
         -EINVAL,
         {"net-uuid=" UUID " is set together with dhcp=on"}},
        {"mode=host ra=on net-uuid=" UUID, -EINVAL, {"is set together with ra=on"}},
        {"isolated=on", -ENOENT, {"unknown option 'isolated'"}},
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

        {"nat66-prefix=",
         -EINVAL,
         {"nat66-prefix= is not an IPv6 prefix", "fd12:3456:789a:1::/64"}},
        {"nat66-prefix=fd12", -EINVAL, {"nat66-prefix=fd12 is not an IPv6 prefix"}},
        {"nat66-prefix=/64", -EINVAL, {"is not an IPv6 prefix"}},
        {"nat66-prefix=10.0.0.0", -EINVAL, {"nat66-prefix=10.0.0.0 is an IPv4 address"}},
        {"nat66-prefix=10.0.0.0/8", -EINVAL, {"is an IPv4 address"}},
        {"nat66-prefix=fd12::/48", -EINVAL, {"nat66-prefix=fd12::/48 is not a /64"}},
        {"nat66-prefix=fd12::/", -EINVAL, {"is not a /64"}},
        {"nat66-prefix=fd12::/64x", -EINVAL, {"is not a /64"}},
        {"nat66-prefix=fd12::/064", -EINVAL, {"is not a /64"}},
        {"nat66-prefix=fc00::", -EINVAL, {"nat66-prefix=fc00:: is not in fd00::/8", "RFC 4193"}},
        {"nat66-prefix=2001:db8::", -EINVAL, {"is not in fd00::/8"}},
        {"nat66-prefix=fe80::/64", -EINVAL, {"is not in fd00::/8"}},
        {"nat66-prefix=fd12::1", -EINVAL, {"nat66-prefix=fd12::1 has one bits after the first 64"}},
        {"nat66-prefix=fd12:0:0:0:8000::/64", -EINVAL, {"has one bits after"}},
        {"nat66-prefix=fd12:3456:789a:bcde:fd12:3456:789a:bcde:fd12:3456:789a:bcde",
         -EINVAL,
         {"is not an IPv6 prefix"}},
        {"mode=host nat66-prefix=fd12::",
         -EINVAL,
         {"nat66-prefix=fd12:: is set in mode=host", "only mode=shared has", "leave nat66-prefix"}},
        {"nat66-prefix=fd12:: mode=bridged", -EINVAL, {"nat66-prefix=fd12:: is set in mode=bridg"}},

        {"net-uuid=", -EINVAL, {"net-uuid= is not a UUID", "8-4-4-4-12", "uuidgen"}},
        {"net-uuid=lab", -EINVAL, {"net-uuid=lab is not a UUID"}},
        {"mode=host net-uuid=" UUID "0", -EINVAL, {"is not a UUID"}},
        {"net-uuid=" UUID, -EINVAL, {"net-uuid=" UUID " is set in mode=shared", "write mode=host"}},
        {"net-uuid=" UUID " mode=shared", -EINVAL, {"is set in mode=shared"}},
        {"mode=bridged net-uuid=" UUID, -EINVAL, {"is set in mode=bridged", "leave net-uuid out"}},
        {"mode=host net-uuid=" UUID " " START END MASK,
         -EINVAL,
         {"net-uuid=" UUID " is set together with start-address", "has no DHCP",
          "leave net-uuid out, or start-address, end-address and subnet-mask"}},
        {"mode=host " END "net-uuid=" UUID, -EINVAL, {"is set together with end-address"}},
        {"mode=host " MASK "net-uuid=" UUID, -EINVAL, {"is set together with subnet-mask"}},
        {"mode=host network=lab net-uuid=" UUID,
         -EINVAL,
         {"net-uuid=" UUID " is set together with the network name 'lab'", "its name is host-" UUID,
          "leave one of them out"}},
        {"mode=host network=host net-uuid=" UUID, -EINVAL, {"the network name 'host'"}},

        {"mode=bridged ifname=", -EINVAL, {"ifname= is empty", "ifname=eth0", "default route"}},
        {"mode=bridged ifname=x234567890123456",
         -EINVAL,
         {"ifname=x234567890123456 has 16 characters", "at most 15"}},
        {"ifname=../x mode=bridged", -EINVAL, {"ifname=../x is not the name of an interface"}},
        {"ifname=eth/0", -EINVAL, {"ifname=eth/0 is not", "such as ifname=eth0"}},
        {"ifname=-eth0", -EINVAL, {"ifname=-eth0 is not"}},
        {"ifname=_eth0", -EINVAL, {"ifname=_eth0 is not"}},
        {"ifname=eth0:1", -EINVAL, {"ifname=eth0:1 is not"}},
        {"ifname=\xc3\xa4", -EINVAL, {"is not the name of an interface"}},
        {"ifname=eth0", -EINVAL, {"ifname=eth0 is set in mode=shared", "write mode=bridged"}},
        {"ifname=eth0 mode=shared", -EINVAL, {"ifname=eth0 is set in mode=shared"}},
        {"mode=host ifname=eth0", -EINVAL, {"ifname=eth0 is set in mode=host", "leave ifname out"}},

        {"mtu=", -EINVAL, {"mtu= is not a number of bytes from 1280 to 65520", "mtu=9000"}},
        {"mtu=1279", -EINVAL, {"mtu=1279 is not"}},
        {"mtu=65521", -EINVAL, {"mtu=65521 is not"}},
        {"mtu=0", -EINVAL, {"mtu=0 is not"}},
        {"mtu=-1500", -EINVAL, {"mtu=-1500 is not"}},
        {"mtu=1500b", -EINVAL, {"mtu=1500b is not"}},
        {"mtu=0x5dc", -EINVAL, {"mtu=0x5dc is not"}},
        {"mtu=4294968796", -EINVAL, {"mtu=4294968796 is not"}},
        {"mtu=18446744073709553116", -EINVAL, {"mtu=18446744073709553116 is not"}},

        {"workers=0", -EINVAL, {"workers=0 is not a number of threads from 1 to 8", "workers=2"}},
        {"workers=9", -EINVAL, {"workers=9 is not"}},
        {"workers=", -EINVAL, {"workers= is not"}},
        {"workers=two", -EINVAL, {"workers=two is not"}},
        {"workers=2 mode=bridged", -EINVAL, {"workers=2 is set in mode=bridged", "leave workers"}},

        {"mode=bridged " START END MASK,
         -EINVAL,
         {"start-address is set in mode=bridged", "DHCP configuration is only for shared and host",
          "leave start-address, end-address"}},
        {END "mode=bridged", -EINVAL, {"end-address is set in mode=bridged: DHCP configuration"}},
        {"mode=bridge " MASK, -EINVAL, {"subnet-mask is set in mode=bridged"}},
        {"mode=host " START MASK, -EINVAL, {"should be provided together", "end-address is miss"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct net_spec spec;
        struct err err;

        if (read_spec(all[i].words, &spec, &err) != all[i].error)
            fail_msg("'%s': \"%s\"", all[i].words, err.text);
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
    assert_int_equal(net_spec_set(&spec, "nat66-prefix", "nowhere", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "net-uuid", "nowhere", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "ifname", "no where", NULL), -EINVAL);
    assert_int_equal(net_spec_set(&spec, "mtu", "nowhere", NULL), -EINVAL);
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
    assert_non_null(strstr(err.text, "xxx...': write mode=shared"));
    assert_int_equal(net_spec_set(&spec, value, "1", &err), -ENOENT);
    assert_non_null(strstr(err.text, "nat44 and nat66"));
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

/* One good spec of each mode; each option of it left out, emptied, or cut: what passes is whole. */
static void test_broken(void **state)
{
    static const char *const good[] = {
        "mode=shared " START END MASK "nat66-prefix=fd12:3456:789a:1::/64 mtu=9000 network=lab",
        START END MASK "dhcp-range=192.168.70.8-192.168.70.9 dhcp-host=2:0:0:0:0:1,192.168.70.3",
        "mode=host net-uuid=" UUID
        " mtu=1500 host-ip-address=10.0.0.1 host-subnet-mask=255.255.0.0",
        "mode=bridged ifname=eth0 mtu=1500 network=office",
    };
    unsigned counts[2] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        size_t len_bytes = strlen(good[i]);

        for (size_t from = 0; from < len_bytes; from++) {
            for (size_t to = from + 1; to <= len_bytes; to++) {
                char text[512];
                struct net_spec spec;
                struct err err;
                int result;

                snprintf(text, sizeof(text), "%.*s%s", (int)from, good[i], good[i] + to);
                result = read_spec(text, &spec, &err);
                counts[result == 0]++;
                assert_true(result == 0 || result == -EINVAL || result == -ENOENT);
                assert_int_equal(result == 0, err.text[0] == '\0');
                if (result < 0)
                    continue;
                assert_int_equal(net_name_check(spec.name, &err), 0);
                assert_int_equal(!spec.start_address.family, !spec.end_address.family);
                assert_int_equal(!spec.start_address.family, !spec.subnet_mask.family);
                assert_true(spec.mode == NET_MODE_SHARED || !spec.nat66_prefix.family);
                assert_true(spec.mode == NET_MODE_HOST || !spec.net_uuid[0]);
                assert_true(spec.net_uuid[0] || !spec.host_ip_address.family);
                assert_int_equal(!spec.host_ip_address.family, !spec.host_subnet_mask.family);
                assert_true(spec.start_address.family || !spec.range_first.family);
                assert_true(spec.mode == NET_MODE_BRIDGED || !spec.ifname[0]);
                assert_true(spec.mode != NET_MODE_BRIDGED || !spec.start_address.family);
                assert_true(!spec.mtu || (spec.mtu >= NET_MTU_MIN && spec.mtu <= NET_MTU_MAX));
            }
        }
    }
    assert_true(counts[0] > 1000 && counts[1] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_failure_changes_nothing),
        cmocka_unit_test(test_shown_values), cmocka_unit_test(test_names),
        cmocka_unit_test(test_uuid),         cmocka_unit_test(test_host),
        cmocka_unit_test(test_switches),     cmocka_unit_test(test_dhcp),
        cmocka_unit_test(test_mode_names),   cmocka_unit_test(test_option_names),
        cmocka_unit_test(test_private),      cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
