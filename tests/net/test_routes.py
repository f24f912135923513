# SPDX-License-Identifier: Apache-2.0
"""The host's routes change under a running network."""

import re

from lab import REMOTE6, poll


def router_lifetime(guest):
    """What the guest's default route by IPv6 has left, or 0 without one."""
    shown = guest.ip("-6 route show default dev eth0")
    found = re.search(r"expires (\d+)sec", shown)
    return int(found[1]) if found else 0


def test_ipv6_goes_and_comes_back(lab, new_network):
    network = new_network()
    with network.guest() as guest:
        assert network.describe()["ipv6Default"]
        assert poll(lambda: router_lifetime(guest) > 0)
        dnsmasq = network.process("dnsmasq")
        try:
            lab.host.ip(f"route del default via {REMOTE6} dev out0")
            assert poll(lambda: not network.describe()["ipv6Default"])
            # dnsmasq is started anew; a question in that moment is lost.
            assert poll(lambda: network.process("dnsmasq") not in (0, dnsmasq))
            # The guest keeps its address, and stops to try IPv6 for what is outside.
            assert poll(lambda: router_lifetime(guest) == 0), guest.ip("-6 route")
            assert guest.ping(guest.gateway6) == 1
            assert guest.resolve(f"gateway.{network.name}.vmnet.internal")[0] == 0
        finally:
            lab.host.ip(f"route add default via {REMOTE6} dev out0")
        assert poll(lambda: network.describe()["ipv6Default"])
        assert poll(lambda: router_lifetime(guest) > 0), guest.ip("-6 route")
        with lab.remote.listen(port=8080, version=6):
            guest.connect(REMOTE6, 8080).close()


def test_a_network_that_starts_without_ipv6(lab, new_network):
    lab.host.ip(f"route del default via {REMOTE6} dev out0")
    try:
        network = new_network()
        assert not network.describe()["ipv6Default"]
        with network.guest() as guest:
            assert router_lifetime(guest) == 0
            # A router that is started anew says the same.
            network.kill("router")
            assert poll(lambda: network.process("router") and network.process("dnsmasq"))
            guest.ip("link set eth0 down")
            guest.ip("link set eth0 up")
            guest.wait_ipv6()
            assert router_lifetime(guest) == 0
    finally:
        lab.host.ip(f"route add default via {REMOTE6} dev out0")
    assert poll(lambda: network.describe()["ipv6Default"])


def test_a_route_to_the_networks_own_addresses(lab, new_network):
    """It is told, and the network keeps its subnet."""
    network = new_network()
    subnet = network.describe()["subnet"]
    assert network.describe()["warning"] is None
    wide = re.sub(r"\.\d+/24", ".0/20", re.sub(r"\.(\d+)\.0/", lambda m: f".{int(m[1]) & 240}.0/", subnet))
    lab.host.ip(f"route add {wide} dev out0")
    try:
        warning = poll(lambda: network.describe()["warning"])
        assert subnet in warning and wide in warning
        assert network.describe()["subnet"] == subnet
        assert wide in network.log()
    finally:
        lab.host.ip(f"route del {wide} dev out0")
    assert poll(lambda: network.describe()["warning"] is None)


def test_given_addresses_that_the_host_uses(lab):
    lab.host.ip("route add 192.168.199.0/25 dev out0")
    try:
        result = lab.vmnet(
            "up", "given", "--start-address", "192.168.199.1", "--end-address", "192.168.199.9",
            "--subnet-mask", "255.255.255.0",
        )
        assert "192.168.199.0/24 has addresses in common with the host's route to 192.168.199.0/25" in result.stderr
    finally:
        lab.vmnet("down", "given")
        lab.host.ip("route del 192.168.199.0/25 dev out0")
