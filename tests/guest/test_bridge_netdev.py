# SPDX-License-Identifier: Apache-2.0
"""A stock QEMU's -netdev bridge, with our helper in place of its own."""

import json

from guest import Guest



def helper(host):
    return host.vmnet.with_name("openvmnet-bridge-helper")


def networks(host):
    process = host.start([host.vmnet, "status", "--json"], stdout=-1)
    return {each["network"]["name"]: each for each in json.loads(process.communicate(timeout=20)[0])}


def test_bridge_netdev(host):
    """One machine on a lasting network, and one that joins it by -nic; both as they are written for any bridge."""
    assert host.start([host.vmnet, "up", "lab"], stdout=-1).wait(20) == 0
    by_netdev = [
        "-netdev", f"bridge,id=n0,br=lab,helper={helper(host)}",
        "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:21", "-name", "web",
    ]  # fmt: skip
    by_nic = ["-nic", f"bridge,br=lab,model=virtio-net-pci,mac=52:54:00:00:00:22,helper={helper(host)}"]
    with Guest(host, *by_netdev, prefix=[]) as web, Guest(host, *by_nic, prefix=[]) as other:
        addresses = {guest: guest.wait_ready().lease()[0] for guest in (web, other)}
        ports = {port["mac"]: port for port in networks(host)["lab"]["ports"]}
        assert ports["52:54:00:00:00:21"]["ipv4"].split("/")[0] == addresses[web]
        assert ports["52:54:00:00:00:21"]["name"] == "web"
        other.ping(addresses[web])
        assert other.resolve("web") == [addresses[web]]
    assert host.start([host.vmnet, "down", "lab"]).wait(20) == 0


def test_network_is_started_for_it(host):
    """And ends with it. QEMU's own MAC, which it gives a NIC without one, will do."""
    arguments = ["-netdev", f"bridge,id=n0,br=solo,helper={helper(host)} --use-vnet",
                 "-device", "virtio-net-pci,netdev=n0"]  # fmt: skip
    with Guest(host, *arguments, prefix=[]) as guest:
        address, _ = guest.wait_ready().lease()
        (port,) = networks(host)["solo"]["ports"]
        assert (port["mac"], port["ipv4"].split("/")[0]) == ("52:54:00:12:34:56", address)
        gateway = guest.sh("ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'")
        guest.ping(gateway)
