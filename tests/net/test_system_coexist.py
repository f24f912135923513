# SPDX-License-Identifier: Apache-2.0
"""Networks of the system beside other programs: what goes by itself, and what is said where it cannot."""

import contextlib
import os

import pytest
from lab import HOST4, REMOTE, REMOTE4, poll
from system import exchange, needs_root, running, unchanged_lab

pytestmark = needs_root

BRIDGE = "vmnet-co"

# As these programs load them, as far as it matters here; and the command that the status names, and what it does.
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
    "ufw": (
        """table ip filter {
          chain ufw-before-forward { ct state related,established accept; }
          chain ufw-user-forward { }
          chain FORWARD { type filter hook forward priority filter; policy drop;
            jump ufw-before-forward; jump ufw-user-forward; }
        }""",
        f"ufw route allow in on {BRIDGE}",
        f'add rule ip filter ufw-user-forward iifname "{BRIDGE}" accept',
    ),
    "firewalld": (
        """table inet firewalld {
          chain filter_FORWARD_POLICIES { }
          chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
            ct state { established, related } accept
            jump filter_FORWARD_POLICIES
            reject with icmpx admin-prohibited; }
        }""",
        f"firewall-cmd --zone=trusted --add-interface={BRIDGE}",
        f'add rule inet firewalld filter_FORWARD_POLICIES iifname "{BRIDGE}" accept',
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
        assert guest.ping(REMOTE4) == 0
        warning = poll(lambda: network.describe()["warning"])
        assert warning and warning.endswith(command), warning
        assert command in lab.vmnet("status", "co").stdout
        assert command in network.log()
        lab.host.nft(done)
        assert poll(lambda: network.describe()["warning"] is None)
        assert guest.ping(REMOTE4) == 1


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
