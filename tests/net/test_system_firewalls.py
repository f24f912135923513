# SPDX-License-Identifier: Apache-2.0
"""Networks of the system beside firewalls that close the host: it is said which, and the command that is said helps."""

import contextlib
import os

import pytest
from firewalls import PROGRAMS, libvirt, prepare
from lab import HOST4, REMOTE, host_state, poll
from system import exchange, needs_root, running, unchanged_lab

pytestmark = needs_root
TEST_TIMEOUT_S = 120
ALL = os.environ.get("OPENVMNET_COEXIST")
large = pytest.mark.skipif(not ALL, reason="programs that take long to come up: make coexist-tests has them")

BRIDGE = "vmnet-fw"
COMMAND = "to let the network pass: "


@pytest.fixture(scope="module")
def lab():
    with unchanged_lab() as lab:
        prepare(lab)
        yield lab


@pytest.fixture
def network(lab):
    text = "mode = shared\nforward = tcp:0.0.0.0:7000-web:80\n"
    with running(lab, "fw", text, check=False) as network:
        yield network


@pytest.fixture
def guest(network):
    with network.guest(name="web") as guest:
        yield guest


@contextlib.contextmanager
def firewall(lab, program):
    """The program's rules, and none of them afterwards."""
    before = host_state(lab.host)
    try:
        with program(lab):
            yield
    finally:
        tables = [line.split()[1:] for line in lab.host.run(["nft", "list", "tables"]).stdout.splitlines()]
        lab.host.nft("".join(f"delete table {family} {name}\n" for family, name in tables
                             if not name.startswith("vmnet-")))
        for name in ("ipv4/conf/all/", "ipv4/conf/default/", "ipv6/conf/all/", "ipv6/conf/default/", "ipv4/"):
            put_back(lab, before, f"/proc/sys/net/{name}")


def put_back(lab, before, directory):
    """ufw changes settings of the host, too."""
    now = host_state(lab.host)
    changed = {name.removeprefix("/proc/sys/net/"): before[name].strip() for name in before
               if name.startswith(directory) and now.get(name) != before[name]
               and "/" not in name.removeprefix(directory)}
    lab.host.sysctl(changed)


def passes(lab, guest, version):
    """Whether a connection goes out, and one comes in by a forward."""
    try:
        with lab.remote.listen(REMOTE[version]) as listener:
            exchange(listener, lambda port: guest.connect(REMOTE[version], port, timeout_s=0.5))
        if version == 4:
            with guest.listen(port=80) as listener:
                exchange(listener, lambda _: lab.remote.connect(HOST4, 7000, timeout_s=0.5))
    except OSError:
        return False
    return True


def all_pass(lab, guest):
    return poll(lambda: passes(lab, guest, 4) and passes(lab, guest, 6))


def command_of(lab, network):
    """What the status warns of, and says is to be done."""
    warning = poll(lambda: network.describe()["warning"])
    assert warning and warning in network.log()
    shown = lab.vmnet("status", network.name).stdout
    command = shown[shown.index(COMMAND) + len(COMMAND):].splitlines()[0]
    assert warning.endswith(COMMAND + command)
    return warning, command


MEANINGS = {"no address and no names", "may not get out", "may not get in"}
# What else is not said: firewalld lets in what a forward leads in, and Docker closes no port of the host's.
UNSAID = {"firewalld": {"may not get in"}, "Docker": {"no address and no names"}}
# What is said last, where that of IPv4 alone means as much: the rules are looked at while one command after the other changes them.
SAID_LAST = {"iptables": "; ip6tables -I INPUT "}
# General permissions, and as it was.
LET_ALL = {
    "ufw": ["ufw default allow routed; ufw default allow incoming",
            "ufw default deny routed; ufw default deny incoming"],
    "firewalld": ["firewall-cmd --set-default-zone=trusted", "firewall-cmd --set-default-zone=public"],
    "iptables": ["iptables -I FORWARD -j ACCEPT; iptables -I INPUT -s 192.168.0.0/16,0.0.0.0 -j ACCEPT;"
                 "ip6tables -P FORWARD ACCEPT; ip6tables -I INPUT -j ACCEPT",
                 "iptables -D FORWARD 1; iptables -D INPUT 1; iptables -D INPUT 1;"
                 "ip6tables -P FORWARD DROP; ip6tables -D INPUT 1"],
    "Docker": ["iptables -P FORWARD ACCEPT", "iptables -P FORWARD DROP"],
}
RELOAD = {"ufw": "ufw reload", "firewalld": "firewall-cmd --reload"}


def shell(lab, command):
    lab.host.run(["sh", "-ec", command], timeout_s=30)


def not_warned(lab, network):
    """Whether all is looked at, and nothing is told: a chain is, that was not there before and is the last."""
    lab.host.nft("table inet look { chain look { type filter hook forward priority 99; policy drop; }; }")
    told = poll(lambda: "the chain look " in (network.describe()["warning"] or ""))
    lab.host.nft("delete table inet look")
    return told and poll(lambda: network.describe()["warning"] is None)


def is_all_said(network, name):
    warning = network.describe()["warning"] or ""
    meanings = {meaning for meaning in MEANINGS if meaning in warning}
    return meanings == MEANINGS - UNSAID.get(name, set()) and SAID_LAST.get(name, "") in warning


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "iptables" else large) for name in PROGRAMS])
def test_what_is_said_helps(lab, network, guest, name):
    assert all_pass(lab, guest)
    with firewall(lab, PROGRAMS[name]):
        assert not passes(lab, guest, 4)
        assert passes(lab, guest, 6) == (name == "Docker")  # which is for IPv4 alone, as it comes
        shell(lab, LET_ALL[name][0])
        assert all_pass(lab, guest)
        assert not_warned(lab, network)
        shell(lab, LET_ALL[name][1])
        assert poll(lambda: is_all_said(network, name)), network.describe()["warning"]
        warning, command = command_of(lab, network)
        assert f"which is that of {name} " in warning
        shell(lab, command)
        if name in RELOAD:
            shell(lab, RELOAD[name])
        assert all_pass(lab, guest)
        assert guest.dhcp()
        assert guest.resolve("gateway.fw.vmnet.internal") == (0, [guest.gateway])
        assert not_warned(lab, network)


@large
def test_beside_libvirt(lab, network, guest):
    """Its default network with its rules, its dnsmasq and ip_forward=1: nothing is in the way of either."""
    with firewall(lab, libvirt):
        assert "libvirt" in lab.host.run(["nft", "list", "ruleset"]).stdout.lower()
        assert all_pass(lab, guest)
        assert guest.dhcp()
        assert guest.resolve("gateway.fw.vmnet.internal") == (0, [guest.gateway])
        with network.guest(name="other") as other:
            assert other.ping(guest.ipv4) == 1
        assert not_warned(lab, network)
    assert all_pass(lab, guest)
