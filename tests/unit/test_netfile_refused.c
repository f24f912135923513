/* SPDX-License-Identifier: Apache-2.0 */
/* What a file of a network must not say, line by line, and what is answered. */
#include "netfile_fixture.h"

/* Each message begins with file and line, where it is of one: then says what is wrong and what to write. */
static void test_refused(void **state)
{
    static const struct {
        const char *text, *line; /* ":LINE: ", or ": " where it is of the file */
        const char *texts[3];
    } all[] = {
        /* Lines. */
        {"mode\n", ":1: ", {"none of 'KEY = VALUE', '[SECTION]' and a comment"}},
        {"mtu = 1500\n  9000\n", ":2: ", {"none of 'KEY = VALUE'"}},
        {"mode\nmood = x\n", ":1: ", {"none of 'KEY = VALUE'"}},
        {"mood = x\nmode\n", ":1: ", {"unknown key 'mood'"}},
        {"mood = x\nmode = y\n", ":1: ", {"unknown key 'mood'"}},
        {"mode\n[x]\n", ":1: ", {"none of 'KEY = VALUE'"}},
        {"# x\n\nmtu = " X50 X50 X50 X50 "\n", ":3: ", {"more than 198 characters", "shorter"}},
        {"mode = a\033b\n", ":1: ", {"byte 0x1b is not text"}},
        {"mode = a\x7f\n", ":1: ", {"byte 0x7f is not text"}},
        {"= x\n", ":1: ", {"unknown key ''"}},
        {"mode = shared # comment\n", ":1: ", {"unknown mode 'shared # comment'"}},

        {"mode: shared\n", ":1: ", {"'mode: shared' has a ':' before '=': write KEY = VALUE"}},
        {"allow 10.0.0.1:443\n", ":1: ", {"has a ':' before '='"}},

        /* Sections. */
        {"[web\n", ":1: ", {"a section is not '[NAME]' alone on its line", "'[web"}},
        {"[dns] a = 10.0.0.1\n", ":1: ", {"a section is not '[NAME]' alone"}},
        {"\n[web]\n",
         ":2: ",
         {"unknown section 'web'; the sections are: [host NAME], [dns] and [dhcp-options]"}},
        {"[dns x]\n", ":1: ", {"unknown section 'dns x'"}},
        {"[Host a]\n", ":1: ", {"unknown section 'Host a'"}},
        {"[]\n", ":1: ", {"unknown section ''"}},
        {"[" X50 X50 "]\n", ":1: ", {"unknown section 'xxx"}},
        {"[host]\n", ":1: ", {"host name is empty"}},
        {"[host a.b]\n", ":1: ", {"host name 'a.b'", "without dots"}},
        {"[host a b]\n", ":1: ", {"host name 'a b'"}},
        {"[host " LABEL63 "x]\n", ":1: ", {"has 64 characters"}},

        /* Options of the network. */
        {"colour = red\n",
         ":1: ",
         {"unknown key 'colour' of the network",
          "the keys are: mode, start-address, end-address, subnet-mask, dhcp-range, nat66-prefix, "
          "net-uuid, host-ip-address, host-subnet-mask, host-ipv6-address, ",
          "ifname, mtu, mac-nat, workers, dhcp, dns, ra, nat44, nat66, host-loopback, host-ports, "
          "lease-time, udp-timeout, "
          "udp-filtering, "
          "deny, allow, forward, allow-user, allow-group, user-ports and user-forwards"}},
        {"isolated = on\n", ":1: ", {"unknown key 'isolated'"}},
        {"network = lab\n", ":1: ", {"key 'network' is not for a file", "leave the line out"}},
        {"dhcp-host = 52:54:00:00:00:01,10.0.0.2\n", ":1: ", {"write [host NAME]"}},
        {"mode = x\n", ":1: ", {"unknown mode 'x': write mode=shared"}},
        {"mode =\n", ":1: ", {"unknown mode ''"}},
        {"mtu = 1\n", ":1: ", {"mtu=1 is not a number"}},
        {"allow-user = no such user\n",
         ":1: ",
         {"allow-user = no such user: there is no such user on this system"}},
        {"allow-user =\n", ":1: ", {"there is no such user"}},
        {"allow-user = -1\n", ":1: ", {"there is no such user"}},
        {"allow-user = 4294967295\n", ":1: ", {"there is no such user"}},
        {"allow-group = no-such-group\n", ":1: ", {"there is no such group on this system"}},
        {"allow-group = *\n", ":1: ", {"there is no such group"}},
        {"user-ports = many\n", ":1: ", {"user-ports = many is not a number from 0 to 65535"}},
        {"user-forwards = 1\nuser-forwards = 2\n", ":2: ", {"'user-forwards' is there already"}},
        {"workers = 9\n", ":1: ", {"workers=9 is not a number of threads from 1 to 8"}},
        {"host-loopback = 1\n", ":1: ", {"host-loopback=1 is neither on nor off"}},
        {"host-ports = 22\nhost-ports = x\n", ":2: ", {"host-ports: 'x' is neither"}},
        {"mode = bridged\nhost-ports = 22\n", ": ", {"host-ports is set in mode=bridged"}},
        {"ifname = a/b\n", ":1: ", {"ifname=a/b is not"}},
        {"nat66-prefix = fc00::\n", ":1: ", {"nat66-prefix=fc00:: is not in fd00::/8"}},
        {"mode = host\nnet-uuid = 1\n", ":2: ", {"net-uuid=1 is not a UUID"}},
        {"mtu = 1500\nmode = host\nmtu = 1500\n",
         ":3: ",
         {"key 'mtu' is there already, in line 1: leave one out"}},
        {"mode = shared\nmode = shared\n", ":2: ", {"key 'mode' is there already, in line 1"}},
        {"start-address = 10.0.0.1\ndhcp_start_address = 10.0.0.2\n",
         ":2: ",
         {"key 'start-address' is there already, in line 1"}},
        {"lease-time = 1h\nlease_time = 1h\n", ":2: ", {"key 'lease-time' is there already"}},
        {"start-address = 10.0.0.1\n", ": ", {"should be provided together"}},
        {"ifname = eth0\n", ": ", {"ifname=eth0 is set in mode=shared"}},
        {"mode = bridged\n" ADDRESSES, ": ", {"DHCP configuration is only for shared and host"}},
        {"mode = host\nnet-uuid = " UUID "\n",
         ": ",
         {"makes this the network 'host-" UUID "'", "that of 'lab'",
          "name the file host-" UUID ".conf"}},

        {"lease-time =\n", ":1: ", {"lease-time =  is not a time from 2 minutes to 30 days"}},
        {"lease-time = 119\n", ":1: ", {"lease-time = 119 is not a time", "such as 1h"}},
        {"lease-time = 1m\n", ":1: ", {"lease-time = 1m is not a time"}},
        {"lease-time = 31d\n", ":1: ", {"lease-time = 31d is not"}},
        {"lease-time = 2592001\n", ":1: ", {"lease-time = 2592001 is not"}},
        {"lease-time = h\n", ":1: ", {"lease-time = h is not"}},
        {"lease-time = 1w\n", ":1: ", {"lease-time = 1w is not"}},
        {"lease-time = 1.5h\n", ":1: ", {"lease-time = 1.5h is not"}},
        {"lease-time = 1hh\n", ":1: ", {"lease-time = 1hh is not"}},
        {"lease-time = -1h\n", ":1: ", {"lease-time = -1h is not"}},
        {"lease-time = 71582789m\n", ":1: ", {"lease-time = 71582789m is not"}},
        {"lease-time = 00000000000000000001h\n", ":1: ", {"lease-time = 0000"}},

        {"deny = web\n", ":1: ", {"rule 'web' has no address"}},
        {"allow = 10.0.0.1/8\n", ":1: ", {"rule '10.0.0.1/8' has one bits"}},

        {"forward = tcp::80\n", ":1: ", {"forward 'tcp::80' has no host port"}},
        {"forward = tcp::80-:80\n", ":1: ", {"forward = tcp::80-:80 names no guest", "8080-web"}},
        {"forward = tcp::80-a:80\nforward = tcp:127.0.0.1:80-b:80\n",
         ":2: ",
         {"has a host port that an earlier one has, tcp:127.0.0.1:80-a:80"}},
        {"forward = tcp::80-89-a:80\nforward = tcp::89-a:80\n", ":2: ", {"an earlier one has"}},
        {"forward = tcp::80-a:80\nforward = tcp:0.0.0.0:80-a:80\n", ":2: ", {"an earlier one"}},
        {"forward = tcp:[::]:80-a:80\nforward = tcp:[::1]:70-80-a:80\n", ":2: ", {"an earlier"}},
        {ADDRESSES "forward = tcp::80-192.168.71.5:80\n",
         ": ",
         {"forward tcp:127.0.0.1:80-192.168.71.5:80 leads to no guest", "192.168.70.1 with mask"}},
        {ADDRESSES "forward = tcp::80-192.168.70.1:80\n", ": ", {"not the gateway's"}},

        /* Reservations. */
        {"[host a]\n", ":1: ", {"[host a] has neither mac nor interface-id"}},
        {"[host a]\naddress = 192.168.70.5\n", ":1: ", {"has neither mac nor interface-id"}},
        {HOST("a", "1") "colour = red\n",
         ":3: ",
         {"unknown key 'colour' of [host a]; the keys are: mac, interface-id and address",
          "before the first section"}},
        {HOST("a", "1") "mtu = 1500\n", ":3: ", {"unknown key 'mtu' of [host a]"}},
        {HOST("a", "1") "mac = 52:54:00:00:00:02\n", ":3: ", {"key 'mac' is there already in"}},
        {HOST("a", "1") "address = 10.0.0.5\naddress = 10.0.0.5\n",
         ":4: ",
         {"key 'address' is there already in [host a]"}},
        {"[host a]\ninterface-id = " UUID "\ninterface_id = " UUID "\n",
         ":3: ",
         {"key 'interface_id' is there already"}},
        {"[host a]\nmac = 1\n", ":2: ", {"mac=1 is not a MAC address"}},
        {"[host a]\nmac = 01:00:5e:00:00:01\n", ":2: ", {"is a multicast address"}},
        {"[host a]\nmac = 00:00:00:00:00:00\n", ":2: ", {"is all zero"}},
        {"[host a]\ninterface-id = x\n", ":2: ", {"interface-id: 'x' is not a UUID"}},
        {"[host a]\naddress = x\n", ":2: ", {"address = x is not an IPv4 address"}},
        {"[host a]\naddress = fd00::5\n", ":2: ", {"address = fd00::5 is not an IPv4 address"}},
        {"[host a]\naddress = 127.0.0.1\n", ":2: ", {"address = 127.0.0.1 is not"}},
        {"[host a]\naddress = 255.255.255.255\n", ":2: ", {"address = 255.255.255.255 is not"}},
        {ADDRESSES HOST("a", "1") "address = 192.168.70.1\n",
         ":4: ",
         {"address 192.168.70.1 of [host a] is not in the network's pool",
          "from 192.168.70.2 to 192.168.70.99"}},
        {ADDRESSES HOST("a", "1") "address = 192.168.70.100\n", ":4: ", {"is not in the network"}},
        {ADDRESSES HOST("a", "1") "address = 192.168.71.5\n", ":4: ", {"is not in the network's"}},
        {HOST("a", "1") HOST("b", "2") HOST("A", "3"),
         ":5: ",
         {"[host A] has the same name as [host a] in line 1: write another"}},
        {HOST("a", "1") HOST("b", "1"), ":3: ", {"[host b] has the same mac as [host a] in line"}},
        {"[host a]\ninterface-id = " UUID "\n\n[host b]\ninterface-id = "
         "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A\n",
         ":4: ",
         {"[host b] has the same interface-id as [host a] in line 1"}},
        {HOST("a", "1") "address = 10.0.0.5\n" HOST("b", "2") "address = 10.0.0.5\n",
         ":4: ",
         {"[host b] has the same address as [host a] in line 1"}},

        /* Records. */
        {"[dns]\na..b = 10.0.0.1\n", ":2: ", {"'a..b' is not a DNS name", "such as db.example"}},
        {"[dns]\na. = 10.0.0.1\n", ":2: ", {"'a.' is not a DNS name"}},
        {"[dns]\n.a = 10.0.0.1\n", ":2: ", {"'.a' is not a DNS name"}},
        {"[dns]\n-a.b = 10.0.0.1\n", ":2: ", {"'-a.b' is not a DNS name"}},
        {"[dns]\n*.b = 10.0.0.1\n", ":2: ", {"'*.b' is not a DNS name"}},
        {"[dns]\na b = 10.0.0.1\n", ":2: ", {"'a b' is not a DNS name"}},
        {"[dns]\n= 10.0.0.1\n", ":2: ", {"'' is not a DNS name"}},
        {"[dns]\n" LABEL63 "x.b = 10.0.0.1\n", ":2: ", {"is not a DNS name", "at most 63"}},
        {"[dns]\na = b\n", ":2: ", {"'b' of the record 'a' is not an address", "IPv4 or IPv6"}},
        {"[dns]\na = 10.0.0.1,10.0.0.2\n", ":2: ", {"is not an address"}},
        {"[dns]\nmode = host\n", ":2: ", {"keys of the network stand before the first section"}},

        /* DHCP options. */
        {"[dhcp-options]\nNTP = x\n",
         ":2: ",
         {"'NTP' is not a DHCP option: write dnsmasq's name", "number from 1 to 254"}},
        {"[dhcp-options]\nntp_server = x\n", ":2: ", {"'ntp_server' is not a DHCP option"}},
        {"[dhcp-options]\noption:6 = x\n", ":2: ", {"'option:6 = x' has a ':' before '='"}},
        {"[dhcp-options]\na,b = x\n", ":2: ", {"'a,b' is not a DHCP option"}},
        {"[dhcp-options]\n= x\n", ":2: ", {"'' is not a DHCP option"}},
        {"[dhcp-options]\n0 = x\n", ":2: ", {"'0' is not a DHCP option"}},
        {"[dhcp-options]\n255 = x\n", ":2: ", {"'255' is not a DHCP option"}},
        {"[dhcp-options]\nx" LABEL63 " = x\n", ":2: ", {"is not a DHCP option"}},
        {"[dhcp-options]\nnetmask = x\n", ":2: ", {"(1, netmask) is set by", "write subnet-mask"}},
        {"[dhcp-options]\n1 = x\n", ":2: ", {"DHCP option '1' (1, netmask) is set by the network"}},
        {"[dhcp-options]\n01 = x\n", ":2: ", {"DHCP option '01' (1, netmask)"}},
        {"[dhcp-options]\nrouter = x\n", ":2: ", {"'router' (3, router)", "write start-address"}},
        {"[dhcp-options]\n3 = x\n", ":2: ", {"'3' (3, router)"}},
        {"[dhcp-options]\ndomain-name = x\n", ":2: ", {"(15, domain-name)", "network's name"}},
        {"[dhcp-options]\n15 = x\n", ":2: ", {"'15' (15, domain-name)"}},
        {"[dhcp-options]\nmtu = 1500\n", ":2: ", {"'mtu' (26, mtu)", "write mtu before the first"}},
        {"[dhcp-options]\n26 = 1500\n", ":2: ", {"'26' (26, mtu)"}},
        {"[dhcp-options]\nlease-time = 1h\n", ":2: ", {"'lease-time' (51, lease-time)"}},
        {"[dhcp-options]\n51 = 1h\n", ":2: ", {"'51' (51, lease-time)", "write lease-time before"}},
        {"[dhcp-options]\nserver-identifier = x\n", ":2: ", {"(54, server-identifier)"}},
        {"[dhcp-options]\n54 = x\n", ":2: ", {"'54' (54, server-identifier)"}},
        {"[dhcp-options]\n42 =\n", ":2: ", {"value '' of DHCP option '42' is not right"}},
        {"[dhcp-options]\n42 = \xc3\xa4\n", ":2: ", {"is not right", "printable ASCII"}},
        {"[dhcp-options]\n42 = a\tb\n", ":2: ", {"value 'a?b' of DHCP option '42' is not right"}},
        {"[dhcp-options]\n42 = x\n\n042 = y\n",
         ":4: ",
         {"DHCP option '042' is there already, in line 2", "commas between them"}},

        {"udp-timeout = 119\n",
         ":1: ",
         {"udp-timeout = 119 is not a time from 2 minutes to 1 day"}},
        {"udp-timeout = 1m\n", ":1: ", {"udp-timeout = 1m is not", "such as 5m"}},
        {"udp-timeout = 25h\n", ":1: ", {"udp-timeout = 25h is not"}},
        {"udp-timeout = 0\n", ":1: ", {"udp-timeout = 0 is not"}},
        {"udp-timeout = never\n", ":1: ", {"udp-timeout = never is not"}},
        {"udp-filtering = address\n",
         ":1: ",
         {"udp-filtering = address is none of: endpoint-independent, address-dependent and"}},
        {"udp-filtering =\n", ":1: ", {"udp-filtering =  is none of"}},

        /* What the network must have for it. */
        {"mode = bridged\nudp-timeout = 5m\n", ":2: ", {"udp-timeout is not for mode=bridged"}},
        {"mode = bridged\nudp-filtering = address-dependent\n",
         ":2: ",
         {"udp-filtering is not for mode=bridged"}},
        {"mode = bridged\nlease-time = 1h\n", ":2: ", {"lease-time is not for mode=bridged"}},
        {"allow = 10.0.0.1\nmode = bridged\n", ":1: ", {"allow is not for mode=bridged", "router"}},
        {"mode = bridged\n\ndeny = 10.0.0.1\n", ":3: ", {"deny is not for mode=bridged"}},
        {"mode = bridged\nforward = tcp::1-a:1\n", ":2: ", {"forward is not for mode=bridged"}},
        {"mac-nat = on\nmode = host\n", ":1: ", {"mac-nat is for mode=bridged alone"}},
        {"mode = bridged\nmac-nat = 1\n", ":2: ", {"mac-nat=1 is neither on nor off"}},
        {"mode = bridged\n" HOST("a", "1"), ":2: ", {"[host] is not for mode=bridged"}},
        {"mode = bridged\n[dns]\n", ":2: ", {"[dns] is not for mode=bridged"}},
        {"mode = bridged\n[dhcp-options]\n", ":2: ", {"[dhcp-options] is not for mode=bridged"}},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char start[160];
        struct err err;

        snprintf(start, sizeof(start), "%s%s", fixture->path, all[i].line);
        if (read_text(fixture, all[i].text, &err) != -EINVAL)
            fail_msg("'%s' was accepted", all[i].text);
        if (strncmp(err.text, start, strlen(start)) != 0)
            fail_msg("'%s': \"%s\" does not begin with %s", all[i].text, err.text, start);
        for (int j = 0; j < 3 && all[i].texts[j]; j++)
            if (!strstr(err.text, all[i].texts[j]))
                fail_msg("'%s': \"%s\" has no \"%s\"", all[i].text, err.text, all[i].texts[j]);
        assert_int_equal(read_text(fixture, all[i].text, NULL), -EINVAL);
    }
}

/* A UUID's network has a name of its own, and no DHCP. */
static void test_uuid(void **state)
{
    static const struct {
        const char *text, *name, *message; /* NULL: accepted */
    } all[] = {
        {"mode=host\nnet-uuid=" UUID "\n", "host-" UUID, NULL},
        {"mode=host\nnet-uuid=" UUID "\n", "", NULL},
        {"mode=host\nnet-uuid=" UUID "\n[dns]\na=10.0.0.1\n", "host-" UUID, NULL},
        {"mode=host\nnet-uuid=" UUID "\n", "host", "name the file"},
        {"mode=host\nnet-uuid=" UUID "\nlease-time=1h\n", "", ":3: lease-time is not for a netw"},
        {"mode=host\nnet-uuid=" UUID "\n" HOST("a", "1"), "", ":3: [host] is not for a network"},
        {"mode=host\nnet-uuid=" UUID "\n[dhcp-options]\n", "", ":3: [dhcp-options] is not for a"},
        {"dhcp=off\n[dhcp-options]\n", "", "without DHCP (dhcp = off)"},
        {"dns=off\n[dns]\na=10.0.0.1\n", "", ":2: [dns] is not for a network without DNS"},
        {"mode=host\nnet-uuid=" UUID "\n" ADDRESSES, "", "is set together with start-address"},
        {"net-uuid=" UUID "\n", "", "write mode=host"},
        {"mode=host\n", "a/b", "network name 'a/b'"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct err err;
        int result = read_bytes(fixture, all[i].text, strlen(all[i].text), all[i].name, &err);

        if (!all[i].message) {
            assert_int_equal(result, 0);
            assert_string_equal(fixture->file->spec.name, "host-" UUID);
        } else if (result != -EINVAL || !strstr(err.text, all[i].message)) {
            fail_msg("'%s': \"%s\" has no \"%s\"", all[i].text, err.text, all[i].message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uuid, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
