# SPDX-License-Identifier: Apache-2.0
"""The macOS plane's bridged mode: vmnetd as on macOS, run by a user, over libvmnet and a bridged network of the system.

    guest == socket == vmnetd-vmnet == libvmnet == bridged-out0 == out0 -- in0 (remote: the LAN, with a DHCP server)
"""

import contextlib
import os
import subprocess

import pytest

from lab import HOST4, REMOTE4, Failed, Network, poll
from system import OTHER, USER, SystemLab, needs_root, running
from vmnet_plane import VMNETD, needs_blocks

POOL = ("198.51.100.100", "198.51.100.110")

pytestmark = [needs_root, needs_blocks]


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab:
        with running(lab, "bridged-out0", f"mode = bridged\nifname = out0\nallow-user = {USER}\n", check=False):
            yield lab
        lab.wait_until_clean()


@contextlib.contextmanager
def bridged(lab, uid=USER):
    """A bridged network as on macOS, of a user whom the system lets or does not let."""
    user = lab.user(uid)
    framework = user.directory / "framework"
    for path in (framework, framework / "run", framework / "state"):
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, uid, uid)
    user.environment["VMNET_FRAMEWORK_DIR"] = str(framework)
    process = user.start(VMNETD, "lan", "--mode", "bridged", "--ifname", "out0", "--lasting",
                         stderr=subprocess.PIPE, text=True)  # fmt: skip
    network = Network(lab, "lan", user.runtime)
    try:
        assert poll(network.is_running)
        yield network
        network.call("Stop", force=True)
        assert process.wait(5) == 0
    finally:
        process.kill()
        print(f"--- messages of vmnetd\n{process.communicate()[1]}")
    assert not network.directory.exists()


@pytest.fixture(scope="module")
def network(lab):
    with bridged(lab) as network:
        yield network


@pytest.fixture(scope="module")
def guests(network):
    """One on a socket of each kind, with addresses of the LAN."""
    with network.guest(configure=False, kind="dgram", name="one") as one:
        with network.guest(configure=False, kind="stream", name="two") as two:
            for guest, guest.ipv4 in ((one, "198.51.100.71"), (two, "198.51.100.72")):
                guest.up()
                guest.ip(f"address add {guest.ipv4}/24 dev eth0")
            yield one, two


def test_network(network):
    facts = network.describe()
    assert (facts["plane"], facts["mode"], facts["gateway"], facts["warning"]) == ("vmnet", "bridged", None, None)


def test_reached(guests):
    """The LAN, the host, and one machine the other."""
    one, two = guests
    for guest in guests:
        assert guest.ping(REMOTE4) == guest.ping(HOST4) == 1
    assert one.ping(two.ipv4) == two.ping(one.ipv4) == 1
    assert one.ping(REMOTE4, size=1472) == 1


def test_caller_is_seen(lab, guests):
    """No NAT: the LAN sees a machine's own address, and calls it."""
    with lab.remote.listen(REMOTE4) as listener:
        with guests[1].connect(REMOTE4, listener.getsockname()[1]):
            accepted, peer = listener.accept()
            accepted.close()
    assert peer[0] == guests[1].ipv4
    with guests[0].listen() as listener:
        lab.remote.connect(guests[0].ipv4, listener.getsockname()[1]).close()


def test_lease(lab, network):
    """The LAN's DHCP server gives the address, and it is shown."""
    server = lab.remote.start(
        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=in0", "--bind-interfaces",
         "--user=root", f"--dhcp-range={POOL[0]},{POOL[1]},1h", f"--dhcp-leasefile={lab.directory}/lan-leases",
         f"--pid-file={lab.directory}/lan-pid", "--log-facility=/dev/null"]
    )  # fmt: skip
    try:
        with network.guest(configure=False, kind="dgram", name="asks") as guest:
            guest.up()
            lease = guest.dhcp()
            assert POOL[0] <= lease["ip"] <= POOL[1] and lease["serverid"] == REMOTE4
            assert guest.ping(REMOTE4) == 1

            def shown():
                port = next(port for port in network.status()["ports"] if port["name"] == "asks")
                return (port["ipv4"] or "").startswith(f"{lease['ip']}/")

            assert poll(shown)
    finally:
        server.terminate()
        server.wait(5)


def test_interface_goes_and_comes_back(lab, network, guests):
    """It is told where the network is shown, and the machines, which stay, are bridged again."""
    lab.host.ip("link del out0")
    warning = poll(lambda: network.describe()["warning"])
    assert "the interface out0, which its guests are bridged to, is gone" in warning
    lab.make_links()
    assert poll(lambda: network.describe()["warning"] is None)
    for guest in guests:
        guest.ip("neigh flush dev eth0")  # the LAN's machine has another MAC address now
        assert poll(lambda guest=guest: guest.ping(REMOTE4, timeout_s=1), timeout_s=15)


def test_forward_is_refused(network):
    with pytest.raises(Failed, match="shared mode alone"):
        network.call("AddForward", forward="tcp:0.0.0.0:2225-one:22")


def test_not_authorized(lab):
    """Status 1010, provoked: the system does not let this user on the network."""
    with bridged(lab, OTHER) as network:
        with pytest.raises(Failed) as failed:
            network.attach(kind="dgram")
    assert failed.value.code == "EPERM" and "(status 1010)" in failed.value.reason
    assert "run vmnetd as root (sudo vmnet up lan)" in failed.value.reason
