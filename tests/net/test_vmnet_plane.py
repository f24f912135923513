# SPDX-License-Identifier: Apache-2.0
"""vmnetd as on macOS: its plane on vmnet.framework, which libvmnet and a second vmnetd play here.

    guest == socket == vmnetd-vmnet (the code for macOS) == libvmnet == vmnetd (the framework) -- remote

What the framework does is not ours to test; what is asked of it, and what becomes of it, is: of one with network objects,
as macOS 26 has, and of one without anything that came after macOS 11.
"""

import contextlib
import os
import re
import signal
import socket

import pytest
from lab import HOST4, REMOTE, REMOTE4, Failed, LabError, Network, framework_away, poll, send_between
from vmnet_plane import VMNETD, needs_blocks

UUID = "7b0cd13e-9c4e-4d9f-8b1e-2a4f6f1c0d11"
ADDRESSES = ("--start-address", "10.77.0.1", "--end-address", "10.77.0.9", "--subnet-mask", "255.255.255.0")
OWN_MAC = "52:54:00:12:34:56"

pytestmark = needs_blocks


@pytest.fixture(scope="module")
def lab(laboratory):
    with laboratory(vmnetd=VMNETD) as lab:
        yield lab


@contextlib.contextmanager
def framework_of(lab, way):
    """Networks that start in it find a framework of macOS 26 (object) or 11 (interfaces)."""
    if way == "interfaces":
        lab.environment["VMNET_FRAMEWORK_OLD"] = "1"
    try:
        yield
    finally:
        lab.environment.pop("VMNET_FRAMEWORK_OLD", None)


@pytest.fixture(scope="module", params=["object", "interfaces"])
def way(request):
    return request.param


@pytest.fixture(scope="module")
def network(lab, way):
    with framework_of(lab, way):
        network = lab.network(f"plane-{way}")
    yield network
    print(f"--- log of network {network.name}\n{network.log()}")
    network.down()
    assert not network.directory.exists()


@pytest.fixture(scope="module")
def guest(network, way):
    """A guest on a socket of either kind."""
    with network.guest(kind="dgram" if way == "object" else "stream") as guest:
        yield guest


@pytest.fixture(scope="module")
def other(network):
    with network.guest(kind="dgram", name="other") as guest:
        yield guest


def framework(lab):
    """The networks of the framework, as it is played here."""
    runtime = lab.framework / "run"
    names = [path.name for path in (runtime / "openvmnet").glob("*") if (path / "control").exists()]
    return [Network(lab, name, runtime) for name in names]


def port_of(network, name):
    return next(port for port in network.status()["ports"] if port["name"] == name)


def test_plane(lab, network, way, guest):
    facts = network.describe()
    assert facts["plane"] == "vmnet"
    assert re.fullmatch(r"192\.168\.\d+\.1", facts["gateway"])
    inner, _ = behind(lab, guest)
    assert inner.name.startswith("vmnet-shared-" if way == "object" else "shared-192.168.")


# ---- what guests have


def test_lease(network, guest):
    """The framework's DHCP server gives the address; it is shown when the guest has it."""
    facts = network.describe()
    assert guest.lease["router"] == facts["gateway"]
    assert poll(lambda: port_of(network, guest.port.name)["ipv4"] == f"{guest.ipv4}/24")
    assert guest.ipv6.startswith(facts["ipv6Prefix"].removesuffix("::/64"))


def test_gateway(guest):
    assert guest.ping(guest.gateway, count=3) == 3
    assert guest.ping(guest.gateway6, count=3) == 3
    assert guest.ping(guest.gateway, size=1472) == 1


def test_between_guests(guest, other, version):
    send_between(guest, other, version, 32 << 20)
    send_between(other, guest, version, 32 << 20)


def test_outside(lab, guest, version):
    with lab.remote.listen(REMOTE[version]) as listener:
        with guest.connect(REMOTE[version], listener.getsockname()[1]) as stream:
            accepted, _ = listener.accept()
            with accepted:
                stream.sendall(b"x" * 100000)
                stream.shutdown(socket.SHUT_WR)
                assert len(b"".join(iter(lambda: accepted.recv(65536), b""))) == 100000


def test_counters(network, guest):
    """Of the port, and of the pump."""
    before = port_of(network, guest.port.name)["traffic"]
    guest.ping(guest.gateway, count=5)
    after = port_of(network, guest.port.name)["traffic"]
    assert after["upPackets"] >= before["upPackets"] + 5
    assert after["downBytes"] >= before["downBytes"] + 5 * 98
    assert network.counters()["pump_frames_up"] >= after["upPackets"]


def test_spoofed_mac(network, guest):
    before = port_of(network, guest.port.name)["drops"]["spoofed_mac"]
    frame = bytes.fromhex("ffffffffffff020000000001") + b"\x88\xb5" + b"x" * 60
    with guest.packets() as raw:
        raw.send(frame)
    assert poll(lambda: port_of(network, guest.port.name)["drops"]["spoofed_mac"] == before + 1)


# ---- what a network and a port are asked to be


def test_identity(network, new_guest):
    """The same id has the same MAC address; and a guest may have its own."""
    with network.attach(kind="dgram", interfaceId=UUID) as port:
        mac = port.mac
    assert poll(lambda: not any(entry["interfaceId"] == UUID for entry in network.status()["ports"]))
    with network.attach(kind="stream", interfaceId=UUID) as port:
        assert port.mac == mac
    guest = new_guest(kind="dgram", mac=OWN_MAC)
    assert guest.mac == OWN_MAC
    assert guest.ping(guest.gateway)


def test_isolation(new_guest, other):
    alone = new_guest(kind="dgram", isolated=True)
    assert alone.ping(alone.gateway) == 1
    assert alone.ping(other.ipv4, timeout_s=1) == 0


def test_addresses(new_network, guest_on):
    network = new_network(
        "--start-address", "192.168.90.1", "--end-address", "192.168.90.99",
        "--subnet-mask", "255.255.255.0", "--nat66-prefix", "fd00:1:2:3::", "--mtu", "9000",
    )  # fmt: skip
    guest = guest_on(network, kind="stream")
    assert guest.ipv4.startswith("192.168.90.") and guest.ipv6.startswith("fd00:1:2:3:")
    assert guest.lease["mtu"] == "9000"
    assert guest.ping(guest.gateway, size=8972) == 1
    facts = network.describe()
    assert (facts["gateway"], facts["poolEnd"], facts["mtu"]) == ("192.168.90.1", "192.168.90.99", 9000)


def test_host_mode(lab, new_network, guest_on):
    guest = guest_on(new_network("--mode", "host"), kind="dgram", configure=False)
    guest.up()
    lease = guest.dhcp()
    assert "router" not in lease
    assert guest.ping(lease["serverid"]) == 1


def test_identifier(new_network, guest_on):
    """A host network of its own, without DHCP; its addresses are known with its first port."""
    network = new_network("--mode", "host", "--net-uuid", UUID)
    assert network.describe()["gateway"] is None
    guest = guest_on(network, kind="dgram", configure=False)
    gateway = guest.port.facts["gateway"]
    assert network.describe()["gateway"] == gateway
    guest.up()
    assert guest.dhcp(tries=1, check=False) == {}
    guest.ip(f"address add {gateway.rpartition('.')[0]}.77/24 dev eth0")
    assert guest.ping(gateway) == 1


def test_host_addresses(new_network, guest_on):
    """Those that are asked for are known at once, and are what the framework is asked for."""
    network = new_network(
        "--mode", "host", "--net-uuid", UUID[:-1] + "2", "--host-ip-address", "10.81.0.254",
        "--host-subnet-mask", "255.255.255.0", "--host-ipv6-address", "fd00:81::9",
    )  # fmt: skip
    guest = guest_on(network, kind="dgram", configure=False)
    assert network.describe()["gateway"] == guest.port.facts["gateway"] == "10.81.0.254"
    guest.up()
    guest.ip("address add 10.81.0.7/24 dev eth0")
    guest.ip("address add fd00:81::7/64 dev eth0 nodad")
    assert guest.ping("10.81.0.254") == guest.ping("fd00:81::9") == 1


# ---- forwards: the framework's rules


def test_forward(lab, network, new_guest):
    guest = new_guest(kind="dgram", name="web", forwards=["tcp:0.0.0.0:2222-:22"])
    with guest.listen(port=22) as listener:
        assert poll(lambda: network.status()["forwards"][0]["guest"] == guest.ipv4)

        def call():
            with contextlib.suppress(OSError):
                return lab.remote.connect(HOST4, 2222, timeout_s=1)

        with poll(call):
            accepted, peer = listener.accept()
            accepted.close()
            assert peer[0] == REMOTE4  # the guest sees who calls
    network.call("RemoveForward", forward="tcp:0.0.0.0:2222")

    def refused():
        try:
            lab.remote.connect(HOST4, 2222).close()
        except ConnectionRefusedError:
            return True

    assert poll(refused)  # a worker closes it a moment after it was told


def test_forward_udp(lab, network, new_guest):
    guest = new_guest(kind="stream", name="udp")
    network.call("AddForward", forward="udp:0.0.0.0:5353-udp:53")
    with guest.udp(port=53) as server, lab.remote.udp() as client:
        server.settimeout(0.5)

        def received():
            client.sendto(b"?", (HOST4, 5353))
            with contextlib.suppress(TimeoutError):
                return server.recvfrom(16)

        data, peer = poll(received)
        assert (data, peer[0]) == (b"?", REMOTE4)
    network.call("RemoveForward", forward="udp:0.0.0.0:5353")


def test_forward_taken(lab, network, new_guest):
    """Status 1009, provoked: somebody has the port."""
    new_guest(kind="dgram", name="taken")
    with lab.host.listen(port=2224), pytest.raises(Failed) as failed:
        network.call("AddForward", forward="tcp:0.0.0.0:2224-taken:22")
    assert failed.value.code == "EBUSY" and "(status 1009)" in failed.value.reason


def test_forward_refused(network, new_network):
    with pytest.raises(Failed, match="write 0.0.0.0 for all"):
        network.call("AddForward", forward="tcp:127.0.0.1:2225-web:22")
    with pytest.raises(Failed, match="shared mode alone"):
        new_network("--mode", "host").call("AddForward", forward="tcp:0.0.0.0:2225-web:22")


# ---- what is refused, and why


def test_no_taps(network):
    with pytest.raises(Failed) as failed:
        network.attach()
    assert failed.value.code == "EOPNOTSUPP" and "--way dgram or stream" in failed.value.reason


@pytest.mark.parametrize(
    "options, text",
    [
        (["--host-loopback", "on"], "host-loopback=on"),
        (["--host-ports", "22"], "pf.conf"),
        (["--dhcp", "off"], "dhcp=off"),
        (["--dhcp-host", "52:54:00:00:00:01,192.168.64.9"], "dhcp-host reserves"),
        ([*ADDRESSES, "--dhcp-range", "10.77.0.5-10.77.0.6"], "dhcp-range keeps"),
    ],
)
def test_refused_options(lab, options, text):
    with framework_of(lab, "interfaces"):
        result = lab.vmnet("up", "refused", *options, check=False)
    assert result.returncode != 0 and text in result.stderr and "vmnet.framework" in result.stderr


def test_bridged(lab):
    """An interface that the framework does not bridge to is told when the network starts, with those that it does."""
    result = lab.host.run(
        [VMNETD, "bridged-nosuch0", "--mode", "bridged", "--ifname", "nosuch0"], check=False, capabilities=False
    )
    assert result.returncode == 1
    assert "cannot bridge to 'nosuch0'; it can to: " in result.stderr


def test_failure(lab, way, new_network):
    """Status 1001, provoked: no framework is there."""
    with framework_of(lab, way):
        network = new_network()
    hidden = lab.framework / "run" / "openvmnet"
    with framework_away(lab):
        with pytest.raises(Failed) as failed:
            network.attach(kind="dgram")
    assert failed.value.code == "EIO" and "(status 1001)" in failed.value.reason
    if os.geteuid() != 0:
        assert "run vmnetd as root (sudo vmnet up" in failed.value.reason
    assert not hidden.is_symlink()
    assert network.describe()["ports"] == 0


STATUSES = {
    1001: ("EIO", "Console has what it logs"),
    1002: ("ENOMEM", "has no memory"),
    1003: ("EINVAL", "takes none of this network's options as they are"),
    1004: ("EAGAIN", "try again"),
    1005: ("EACCES", "run vmnetd as root (sudo vmnet up"),
    1006: ("EMSGSIZE", "see its MTU"),
    1007: ("ENOBUFS", "end some VMs"),
    1008: ("E2BIG", "takes fewer frames at once"),
    1009: ("EBUSY", "Internet Sharing"),
    1010: ("EPERM", "run vmnetd as root (sudo vmnet up"),
    1011: ("EIO", "is not known here"),
}


def test_every_status(lab, new_network):
    """Whatever the framework says of an interface, who asked for it is told what it means and what to do."""
    with framework_of(lab, "interfaces"):
        network = new_network()
    file = lab.framework / "status"
    try:
        for status, (code, words) in STATUSES.items():
            file.write_text(str(status))
            with pytest.raises(Failed) as failed:
                network.attach(kind="dgram")
            assert failed.value.code == code, status
            assert words in failed.value.reason and f"status {status}" in failed.value.reason
            assert failed.value.reason.startswith(f"network '{network.name}': ")
    finally:
        file.unlink(missing_ok=True)
    with network.attach(kind="dgram"):
        pass


# ---- what ends, and what goes on


def test_detach(network, new_guest):
    guest = new_guest(kind="stream", name="going")
    network.call("Detach", interface=guest.port.interface)
    assert not any(port["name"] == "going" for port in network.status()["ports"])
    assert guest.pump.wait(5) == 3


def behind(lab, guest):
    """The framework's network that a guest is on, and the port there."""
    for network in framework(lab):
        with contextlib.suppress(OSError):  # another test's, which is just ending
            for port in network.status()["ports"]:
                if port["mac"] == guest.mac:
                    return network, port
    raise LabError(f"the framework has no {guest.mac}")


def test_mended(lab, way, new_network, guest_on):
    """The framework drops an interface: it is made anew, and the guest notices nothing but lost frames."""
    with framework_of(lab, way):
        network = new_network()
    guest = guest_on(network, kind="dgram", name="mended", forwards=["tcp:0.0.0.0:2226-:22"])
    inner, port = behind(lab, guest)
    inner.call("Detach", interface=port["interface"])
    assert poll(lambda: guest.ping(guest.gateway, timeout_s=1), timeout_s=15)
    assert f"{guest.port.interface}: its interface was made anew" in network.log()
    assert port_of(network, "mended")["mac"] == guest.mac

    def call():
        with contextlib.suppress(OSError):
            return lab.remote.connect(HOST4, 2226, timeout_s=1)

    with guest.listen(port=22):
        poll(call).close()


def test_framework_away_and_back(lab, way, new_network, guest_on):
    """While there is no framework it is tried again and again, and it is said once."""
    with framework_of(lab, way):
        network = new_network()
    guest = guest_on(network, kind="stream")
    inner, port = behind(lab, guest)
    with framework_away(lab):
        inner_control = Network(lab, inner.name, lab.framework / "aside")
        inner_control.call("Detach", interface=port["interface"])
        assert poll(lambda: "tried again until it works" in network.log())
    assert poll(lambda: guest.ping(guest.gateway, timeout_s=1), timeout_s=15)
    assert network.log().count("tried again until it works") == 1


def test_framework_restarts(lab, network, guest):
    """Processes of the framework end and are back: frames go on."""
    inner, _ = behind(lab, guest)
    inner.kill("engine", "router")
    assert guest.ping(guest.gateway) == 1
    assert poll(lambda: guest.dhcp(tries=1, check=False), timeout_s=10)


def test_sleep(lab, network, guest):
    """A host that wakes up says so, and its machines go on."""
    (lab.framework / "slept").write_text("60")
    try:
        lab.host.ip(f"route add 203.0.113.0/24 via {REMOTE4}")  # as a host that is on its network again
        assert poll(lambda: "the host has slept for 60 s" in network.log())
    finally:
        (lab.framework / "slept").unlink()
        lab.host.ip("route del 203.0.113.0/24")
    assert guest.ping(guest.gateway) == 1


def test_killed(lab, guest_on):
    """kill -9: the sockets' ends are told, the framework's network goes, and a new one starts."""
    network = Network(lab, lab.vmnet("up", "killed").stdout.strip())
    guest = guest_on(network, kind="stream")
    pid = network.process("engine")
    before = {entry.name for entry in framework(lab)}
    os.kill(pid, signal.SIGKILL)
    assert guest.pump.wait(5) == 3
    assert poll(lambda: len(framework(lab)) < len(before), timeout_s=10)
    lab.vmnet("up", "killed")
    with network.guest(kind="stream") as again:
        assert again.ping(again.gateway) == 1
    assert network.down().returncode == 0
    assert poll(lambda: not network.directory.exists())


def test_ends_with_last_port(lab):
    """As on Linux: a network that nobody made lasting goes with its last machine."""
    vm = lab.start_vm("-netdev", "vmnet-shared,id=n0,network=passing", "-device", "virtio-net-pci,netdev=n0",
                      way="dgram")
    with contextlib.closing(vm.stdin):
        assert re.search(r"vmnet: passing vmnet0: MAC ", vm.stderr.readline())
        lines = [vm.stdout.readline() for _ in range(2)]
        assert re.fullmatch(r"dgram,id=n0,local.type=fd,local.str=\d+\n", lines[1])
    vm.wait(5)
    network = Network(lab, "passing")
    assert poll(lambda: not network.directory.exists(), timeout_s=10)


def test_stop_while_connected(lab, guest_on):
    network = Network(lab, lab.vmnet("up", "stopped").stdout.strip())
    guest = guest_on(network, kind="dgram")
    assert network.down(force=False).returncode != 0
    assert network.down().returncode == 0
    guest.ping(guest.gateway, timeout_s=1)  # who sends on a datagram socket hears of its end
    assert guest.pump.wait(5) == 3
    assert poll(lambda: not network.directory.exists())
