# SPDX-License-Identifier: Apache-2.0
"""Networks of the system beside other programs: what goes by itself, and what is said where it cannot."""

import contextlib
import os

import pytest
from lab import HOST4, REMOTE, REMOTE4, poll
from system import exchange, needs_root, running, unchanged_lab

pytestmark = needs_root

BRIDGE = "vmnet-co"

# As programs load them, as far as it matters here; and the command that the status names, and what it does.
# test_system_firewalls.py has programs themselves.
FIREWALLS = {
    "docker": (
        """table ip filter {
          chain DOCKER-USER { return; }
          chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
        }""",
        f"iptables -I DOCKER-USER -i {BRIDGE} -j ACCEPT; iptables -I DOCKER-USER -o {BRIDGE} -j ACCEPT",
        f"""insert rule ip filter DOCKER-USER iifname "{BRIDGE}" accept
        insert rule ip filter DOCKER-USER oifname "{BRIDGE}" accept""",
    ),
    "another": (
        "table inet mine { chain through { type filter hook forward priority 5; policy drop; }; }",
        f"nft 'insert rule inet mine through iifname \"{BRIDGE}\" accept; "
        f"insert rule inet mine through oifname \"{BRIDGE}\" accept'",
        f'insert rule inet mine through iifname "{BRIDGE}" accept\n'
        f'insert rule inet mine through oifname "{BRIDGE}" accept',
    ),
}


@pytest.fixture(scope="module")
def lab():
    with unchanged_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "co") as network:
        yield network


@contextlib.contextmanager
def rules(lab, network, text):
    """Another program's rules, and none of them afterwards."""
    lab.host.nft(text)
    try:
        yield
    finally:
        words = text.split()
        lab.host.nft(f"delete table {words[1]} {words[2]}")
        assert poll(lambda: network.describe()["warning"] is None)


@pytest.mark.parametrize("name", FIREWALLS)
def test_a_firewall_that_drops(lab, network, guest, name):
    text, command, done = FIREWALLS[name]
    assert guest.ping(REMOTE4) == 1
    with rules(lab, network, text):
        assert guest.ping(REMOTE4, timeout_s=1) == 0
        warning = poll(lambda: network.describe()["warning"])
        assert warning and warning.endswith(command), warning
        assert command in lab.vmnet("status", "co").stdout
        assert command in network.log()
        lab.host.nft(done)
        assert poll(lambda: network.describe()["warning"] is None)
        assert guest.ping(REMOTE4) == 1


ALLOWED = [
    'iifname "vmnet-*" accept; ct state established accept',
    'iifname { "vmnet-co", "eth7" } oifname "out0" accept; ct state { established, related } accept',
    'ip saddr 192.168.0.0/16 accept; ip6 saddr fd00::/8 accept; ct state established accept',
    'ip saddr @inside accept; ip6 saddr fd00::/8 accept; ct state vmap { established : accept, related : accept }',
    'ip daddr != 10.0.0.0/8 accept; ip6 daddr != fe80::/10 accept',
    'iifname vmap { "vmnet-co" : jump known, "eth7" : drop }; ct state established accept',
    'tcp dport 22 drop; ct state invalid drop; goto known',
    'meta mark & 0xff == 0x7 accept',  # may be
    'iifname "vmnet-co" ip daddr 198.51.100.0/24 accept; iifname "vmnet-co" drop; ct state established accept',  # is meant
]
CLOSED = [
    "ct state { established, related } accept; tcp dport { 22, 80 } accept; icmp type echo-request accept",
    'iifname "vmnet-other" accept; ct state established accept',
    "ip saddr 10.0.0.0/8 accept; ct state established accept; jump unknown",
    "iifname vmap { \"eth7\" : accept }; ct state vmap { established : accept }",
    'iifname "vmnet-*" accept',  # and no answers
]


def chains(rules):
    """A table with a chain for each."""
    return "\n".join([
        """table inet mine {
          set inside { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.0.0/16 }; }
          chain known { accept; }
          chain unknown { tcp dport 22 accept; return; }""",
        *(f"chain through{number} {{ type filter hook forward priority {number}; policy drop; {rule}; }}"
          for number, rule in enumerate(rules)),
        "}",
    ])


def told(lab, network, name):
    """Waits until the warning is of the chain of that name, or with "" until there is none."""
    return poll(lambda: f"the chain {name} " in (network.describe()["warning"] or "the chain  "))


def test_what_may_pass_is_not_told(lab, network):
    """General rules let a network pass as well as those that name it."""
    closed = "ct state established accept"  # says when all are looked at
    with rules(lab, network, chains([*ALLOWED, closed])):
        assert told(lab, network, f"through{len(ALLOWED)}")
        lab.host.nft(f"add rule inet mine through{len(ALLOWED)} accept")
        assert told(lab, network, "")


def test_each_that_drops_is_told(lab, network):
    with rules(lab, network, chains(CLOSED)):
        for number in range(len(CLOSED)):
            assert told(lab, network, f"through{number}")
            lab.host.nft(f"insert rule inet mine through{number} accept")
        assert told(lab, network, "")


def test_a_firewall_that_takes_the_hosts_ports(lab, network, guest):
    with rules(lab, network, "table inet mine { chain in { type filter hook input priority 0; policy drop; }; }"):
        warning = poll(lambda: network.describe()["warning"])
        assert "no address and no names" in warning
        assert warning.endswith(f"nft 'insert rule inet mine in iifname \"{BRIDGE}\" accept'")
        lab.host.nft(f'insert rule inet mine in iifname "{BRIDGE}" accept')
        assert poll(lambda: network.describe()["warning"] is None)
        assert guest.dhcp()
        assert guest.resolve("gateway.co.vmnet.internal") == (0, [guest.gateway])


def test_a_warning_outlives_its_processes(lab, network):
    with rules(lab, network, FIREWALLS["another"][0]):
        assert poll(lambda: network.describe()["warning"])
        for role in ("engine", "router"):
            pid = network.kill(role)[0]
            assert poll(lambda: network.is_running() and network.process(role) not in (0, pid))
            assert poll(lambda: network.describe()["warning"])


def test_resolvers_on_other_addresses(lab):
    """systemd-resolved's stub, and a server for the LAN."""
    with contextlib.ExitStack() as stack:
        for address in ("127.0.0.53", HOST4):
            stack.enter_context(lab.host.udp(address, 53))
            stack.enter_context(lab.host.listen(address, 53))
        network = stack.enter_context(running(lab, "names", check=False))
        guest = stack.enter_context(network.guest())
        stack.enter_context(lab.dns_server(records={("web.example", "A"): ["203.0.113.9"]}))
        assert guest.resolve("web.example") == (0, ["203.0.113.9"])
        assert guest.resolve("web.example", tcp=True) == (0, ["203.0.113.9"])


@pytest.mark.parametrize("on", [0, 1], ids=["off", "on"])
def test_br_netfilter(lab, network, guest, version, on):
    name = "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"
    if not os.path.exists(f"/proc/sys/net/{name[0]}"):
        pytest.skip("this kernel has no br_netfilter, or has not loaded it (modprobe br_netfilter)")
    before = lab.host.run(["cat", f"/proc/sys/net/{name[0]}"]).stdout.strip()
    lab.host.sysctl({each: on for each in name})
    try:
        with network.guest() as second:
            assert guest.ping(second.addresses[version]) == 1
            with second.listen(version=version) as listener:
                peer = exchange(listener, lambda port: guest.connect(second.addresses[version], port))
            assert peer == guest.addresses[version]
            assert guest.ping(REMOTE[version]) == 1
    finally:
        lab.host.sysctl({each: before for each in name})
