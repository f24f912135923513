# SPDX-License-Identifier: Apache-2.0
"""What networks of the macOS plane can be where the framework has network objects (macOS 26); beside test_vmnet_plane.py."""

import pytest
from lab import REMOTE4, Network, framework_away, poll
from vmnet_plane import VMNETD, needs_blocks

UUID = "7b0cd13e-9c4e-4d9f-8b1e-2a4f6f1c0d11"
KEPT_MAC, KEPT = "52:54:00:12:34:99", "10.78.0.77"
ADDRESSES = ("--start-address", "10.78.0.1", "--end-address", "10.78.0.254", "--subnet-mask", "255.255.255.0")

pytestmark = needs_blocks


@pytest.fixture(scope="module")
def lab(laboratory):
    with laboratory(vmnetd=VMNETD) as lab:
        yield lab


def test_reservation(new_network, guest_on):
    """The machine of that MAC address gets the one that is kept, and another machine another."""
    network = new_network(*ADDRESSES, "--dhcp-host", f"{KEPT_MAC},{KEPT}")
    assert guest_on(network, kind="dgram", mac=KEPT_MAC).ipv4 == KEPT
    assert guest_on(network, kind="stream").ipv4 != KEPT


def test_reservation_of_file(lab, guest_on):
    """Of a file's reservations those by MAC address; by an interface-id there are none, which is said."""
    directory = lab.directory / "config" / "openvmnet"
    directory.mkdir(parents=True)
    path = directory / "filed.conf"
    lines = ["mode = host"] + [f"{option[2:]} = {value}" for option, value in zip(ADDRESSES[::2], ADDRESSES[1::2])]
    lab.environment["XDG_CONFIG_HOME"] = str(lab.directory / "config")
    try:
        path.write_text("\n".join([*lines, "[host web]", f"mac = {KEPT_MAC}", f"address = {KEPT}", ""]))
        network = Network(lab, lab.vmnet("up", "filed").stdout.strip())
        with network.guest(kind="dgram", mac=KEPT_MAC, configure=False) as guest:
            guest.up()
            assert guest.dhcp()["ip"] == KEPT
        assert network.down().returncode == 0
        path.write_text("\n".join([*lines, "[host web]", f"interface-id = {UUID}", f"address = {KEPT}", ""]))
        refused = lab.vmnet("up", "filed", check=False)
        assert refused.returncode != 0 and "write the machine's mac" in refused.stderr
    finally:
        del lab.environment["XDG_CONFIG_HOME"]


def test_without_dhcp_and_advertisements(new_network, guest_on):
    network = new_network(*ADDRESSES, "--dhcp", "off", "--ra", "off")
    guest = guest_on(network, kind="dgram", configure=False)
    guest.up()
    assert guest.dhcp(tries=1, check=False) == {}
    guest.ip("address add 10.78.0.9/24 dev eth0")
    assert guest.ping("10.78.0.1") == 1
    assert not guest.ip("-6 route show default")


def test_without_dns(new_network, guest_on):
    guest = guest_on(new_network("--mode", "host", "--dns", "off"), kind="dgram", configure=False)
    guest.up()
    assert "dns" not in guest.dhcp()  # which other networks have: test_dhcp.py


def test_without_nat(lab, new_network, guest_on):
    """Its gateway is there, and nothing beyond by that IP version."""
    guest = guest_on(new_network("--nat44", "off"), kind="stream", configure=False)
    guest.up()
    lease = guest.dhcp()
    guest.ip(f"route replace default via {lease['serverid']} dev eth0")
    assert guest.ping(lease["serverid"]) == 1
    with lab.remote.listen(REMOTE4) as listener, pytest.raises(OSError):
        guest.connect(REMOTE4, listener.getsockname()[1], timeout_s=2)


def test_part_of_a_subnet(lab, new_network, guest_on):
    """Which no object can have: its ports are interfaces by themselves, and what only an object can be is refused."""
    part = [*ADDRESSES[:3], "10.78.0.99", *ADDRESSES[4:]]
    guest = guest_on(new_network(*part), kind="dgram")
    assert guest.ipv4.startswith("10.78.0.") and guest.ping(guest.gateway) == 1
    refused = lab.vmnet("up", "refused", *part, "--ra", "off", check=False)
    assert refused.returncode != 0 and "whole subnets alone" in refused.stderr


def test_refused(lab):
    """Of what an object could be, a network of an identity has nothing."""
    refused = lab.vmnet("up", "--mode", "host", "--net-uuid", UUID, "--dns", "off", check=False)
    assert refused.returncode != 0 and "dns=off, which vmnet.framework does not have beside net-uuid" in refused.stderr


def test_framework_fails(lab):
    """What the framework says of a network is told when that starts, and not with its first machine."""
    with framework_away(lab):
        refused = lab.vmnet("up", "refused", check=False)
    assert refused.returncode != 0 and "(status 1001)" in refused.stderr


def test_network_is_lost(lab, new_network, guest_on):
    """The framework loses the network with all that is on it: a new one is made, with the same addresses."""
    network = new_network(*ADDRESSES, "--dhcp-host", f"{KEPT_MAC},{KEPT}")
    guest = guest_on(network, kind="dgram", mac=KEPT_MAC)
    runtime = lab.framework / "run"
    names = [path.name for path in (runtime / "openvmnet").glob("vmnet-shared-*")]
    inner = next(found for found in (Network(lab, name, runtime) for name in names) if has_port(found, KEPT_MAC))
    # With its last port a network ends; that of the object itself is "vmnet-network".
    for port in sorted(inner.status()["ports"], key=lambda port: port["name"] != "vmnet-network"):
        inner.call("Detach", interface=port["interface"])
    assert poll(lambda: "its interface was made anew" in network.log(), timeout_s=15)
    assert guest.dhcp()["ip"] == KEPT
    assert guest.ping(guest.gateway) == 1


def has_port(network, mac):
    return any(port["mac"] == mac for port in network.status()["ports"])
