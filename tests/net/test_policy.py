# SPDX-License-Identifier: Apache-2.0
"""What a guest may reach: the host by the gateway's address, its loopback and its ports where that was said."""

import re
import select
import socket

import pytest
from lab import HOST, REMOTE, poll, read_exactly
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
# For a service that is the host's; 53 would be the network's own.
OPEN, CLOSED = 18022, 18080


@pytest.fixture(scope="module")
def opened(lab):
    """A network whose gateway is the host's loopback, with one port open."""
    network = lab.network("opened", "--host-loopback", "on", "--host-ports", f"{OPEN},18100-18199")
    try:
        with network.guest(name="opened") as guest:
            yield network, guest
    finally:
        print(network.log())
        network.down()


@pytest.fixture(scope="module")
def closed(lab):
    """A network whose guests reach nothing of the host."""
    network = lab.network("closed", "--host-ports", "none")
    try:
        with network.guest(name="closed") as guest:
            yield network, guest
    finally:
        network.down()


def connects(guest, address, port):
    """What becomes of a connection: "ok", or the error's text."""
    try:
        guest.connect(address, port, timeout_s=3).close()
    except OSError as error:
        return error.strerror or "timeout"
    return "ok"


def dropped(network, counter, action, count=1):
    before = network.counters()[counter]
    result = action()
    assert poll(lambda: network.counters()[counter] >= before + count), counter
    return result


# ---- the host's loopback


@pytest.mark.parametrize("address", ["loopback", "any"])
def test_loopback_by_the_gateway(lab, opened, version, address):
    """A service sees the host's loopback as the one that asks."""
    _, guest = opened
    at = LOOPBACK[version] if address == "loopback" else ""
    with lab.host.listen(at, OPEN, version=version) as listener:
        with guest.connect(guest.gateways[version], OPEN) as client:
            accepted, peer = listener.accept()
            with accepted:
                assert peer[0] == LOOPBACK[version]
                accepted.sendall(b"host")
                assert read_exactly(client, 4) == b"host"


def test_loopback_by_udp(lab, opened, version):
    _, guest = opened
    gateway = guest.gateways[version]
    with lab.host.udp(LOOPBACK[version], OPEN) as server, guest.udp(version=version) as client:
        client.sendto(b"q", (gateway, OPEN))
        data, peer = server.recvfrom(10)
        assert peer[0] == LOOPBACK[version]
        server.sendto(data + b"a", peer)
        answer, sender = client.recvfrom(10)
        assert (answer, sender[:2]) == (b"qa", (gateway, OPEN))


def test_loopback_by_no_other_name(lab, opened, version):
    """Not by its own, and not by another of the host's."""
    network, guest = opened
    with lab.host.listen(LOOPBACK[version], OPEN) as listener:
        layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=LOOPBACK[version])
        guest.send_ip(layer / TCP(sport=40001, dport=OPEN, flags="S"))
        dropped(network, "drop_denied", lambda: connects(guest, HOST[version], OPEN))
        assert not select.select([listener], [], [], 0)[0]


def test_a_closed_port_of_the_loopback_is_refused(opened, version):
    _, guest = opened
    assert connects(guest, guest.gateways[version], 18100) == "Connection refused"


# ---- ports of the host


def test_ports_that_are_not_open(lab, opened, version):
    """Told at once, and counted; nothing comes to the host."""
    network, guest = opened
    gateway = guest.gateways[version]
    with lab.host.listen(port=CLOSED, version=version) as listener:
        result = dropped(network, "drop_rule", lambda: connects(guest, gateway, CLOSED))
        assert result in ("No route to host", "Permission denied", "Network is unreachable")
        assert not select.select([listener], [], [], 0)[0]
    with lab.host.udp(port=CLOSED, version=version) as server, guest.udp(version=version) as client:
        dropped(network, "drop_rule", lambda: client.sendto(b"x", (gateway, CLOSED)))
        assert not select.select([server], [], [], 0)[0]
    with lab.host.listen(port=18150, version=version):
        assert connects(guest, gateway, 18150) == "ok"


def test_no_port_at_all(lab, closed, version):
    """The network's own services and the way out stay."""
    network, guest = closed
    with lab.host.listen(port=OPEN, version=version):
        dropped(network, "drop_rule", lambda: connects(guest, guest.gateways[version], OPEN))
    assert guest.resolve(f"gateway.{network.name}.vmnet.internal") == (0, [guest.gateway])
    assert guest.ping(guest.gateways[version]) == 1
    assert guest.dhcp()["ip"] == guest.ipv4
    with lab.remote.listen(REMOTE[version], OPEN):
        assert connects(guest, REMOTE[version], OPEN) == "ok"


def test_options_are_the_networks(lab, opened, closed):
    """They are shown, and asking for others is refused."""
    network, _ = opened
    facts = network.describe()
    assert (facts["hostLoopback"], facts["hostPorts"]) == (True, f"{OPEN},18100-18199")
    shown = lab.vmnet("status", "opened").stdout
    assert re.search(r"loopback +yes\n +host ports +18022,18100-18199\n", shown), shown
    assert closed[0].describe()["hostPorts"] == "none"
    assert "loopback" not in lab.vmnet("status", "closed").stdout
    nic = "network=opened,host-loopback=on,host-ports=18100-18199,host-ports={OPEN}"
    lab.vmnet("run", "--nic", nic.format(OPEN=OPEN), "--", "true", "{fd}")
    for options, text in (
        ("host-loopback=off", "runs with host-loopback on, not off; give this one another name"),
        ("host-ports=22", "runs with host-ports 18022,18100-18199, not 22"),
        ("host-ports=none", "runs with host-ports 18022,18100-18199, not none"),
    ):
        result = lab.vmnet("run", "--nic", f"network=opened,{options}", "--", "true", "{fd}", check=False)
        assert result.returncode == 1 and text in result.stderr, result.stderr
    result = lab.vmnet("up", "opened", "--host-ports", "ssh", check=False)
    assert result.returncode == 2
    assert "'ssh' is neither a port from 1 to 65535 nor a range" in result.stderr


def test_options_in_a_file(lab):
    """The file's count, and what contradicts them is refused."""
    directory = lab.directory / "policy" / "openvmnet"
    directory.mkdir(parents=True)
    (directory / "filed.conf").write_text("host-loopback = on\nhost-ports = 22\nhost-ports = 80\n")
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    try:
        network = lab.network("filed")
        try:
            assert network.describe()["hostPorts"] == "22,80"
            assert network.describe()["hostLoopback"]
        finally:
            network.down()
        for options, text in (
            (("--host-loopback", "off"), "host-loopback=off was asked for, but"),
            (("--host-ports", "22"), "host-ports=22 was asked for, but"),
        ):
            result = lab.vmnet("up", "filed", *options, check=False)
            assert result.returncode == 1 and text in result.stderr, result.stderr
            assert "filed.conf says" in result.stderr
    finally:
        del lab.environment["XDG_CONFIG_HOME"]


# ---- what is denied by default


def test_addresses_of_the_host_that_come_later(lab, guest, network, version):
    """Also one of another subnet, and one that clouds have for their metadata."""
    for address in (
        ("203.0.113.9", "169.254.169.254") if version == 4 else ("2001:db8:9::9", "fe80::a9fe")
    ):
        lab.host.ip(f"address add {address}/{32 if version == 4 else 128} dev lo")
        try:
            with lab.host.listen(port=OPEN, version=version) as listener:
                layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=address)
                if address.startswith("fe80"):  # what is link-local is not routed, so not counted
                    guest.send_ip(layer / TCP(sport=40002, dport=OPEN, flags="S"))
                else:

                    def refused(layer=layer):
                        before = network.counters()["drop_denied"]
                        guest.send_ip(layer / TCP(sport=40002, dport=OPEN, flags="S"))
                        return poll(lambda: network.counters()["drop_denied"] > before, 0.3)

                    assert poll(refused)
                    dropped(network, "drop_denied", lambda layer=layer: guest.send_ip(layer / UDP(dport=OPEN)))
                assert connects(guest, guest.gateways[version], 1) == "Connection refused"
                while select.select([listener], [], [], 0)[0]:  # one that was before the host knew
                    with listener.accept()[0] as stray:
                        assert stray.getpeername()[0] != guest.addresses[version]
        finally:
            lab.host.ip(f"address del {address}/{32 if version == 4 else 128} dev lo")


@pytest.mark.parametrize("address", [
    "64:ff9b::198.51.100.1", "64:ff9b::169.254.169.254", "64:ff9b::127.0.0.1",
    "2002:c633:6401::1", "2002:7f00:1::1", "::ffff:0:127.0.0.1",
    "2001:0:c633:6401:8000:63bf:80ff:fffe", "2001:db8::5efe:127.0.0.1",
])
def test_forbidden_addresses_by_way_of_a_translator(lab, guest, network, address):
    """What a NAT64, 6to4, Teredo or ISATAP of the host's would send to the host or to its loopback."""
    with lab.remote.packets("in0", 0x86DD) as seen:
        layer = IPv6(src=guest.ipv6, dst=address)
        dropped(network, "drop_denied", lambda: guest.send_ip(layer / TCP(sport=40003, dport=80, flags="S")))
        dropped(network, "drop_denied", lambda: guest.send_ip(layer / UDP(sport=40003, dport=80)))
        packed = socket.inet_pton(socket.AF_INET6, address)
        while select.select([seen], [], [], 0)[0]:
            assert seen.recv(65536)[38:54] != packed


def test_port_zero(lab, guest, network, version):
    """connect(2) to it would mean something else."""
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
    for packet in (TCP(sport=40004, dport=0, flags="S"), UDP(sport=40004, dport=0)):
        dropped(network, "drop_denied", lambda packet=packet: guest.send_ip(layer / packet))


def test_nothing_of_ours_listens_on_the_host(lab, network, guest):
    """The control socket is a file: there is nothing that a guest could connect to, loopback or not."""
    assert lab.host.run(["ss", "-Hltn"]).stdout == ""
    assert network.control.is_socket()


def test_own_services_of_the_namespace_are_closed(network, guest, version):
    """The engine's listeners and the resolver's, which are in the network's namespace, are no destination."""
    gateway = guest.gateways[version]
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=LOOPBACK[version])
    guest.send_ip(layer / UDP(sport=40005, dport=5353) / b"x")
    before = network.counters()
    with guest.udp(version=version) as client:
        client.settimeout(5)
        client.connect((gateway, 5353))
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):  # the host's 5353, where nobody is
            client.recv(100)
    assert connects(guest, gateway, 5353) == "Connection refused"
    assert network.counters()["dns_queries"] == before["dns_queries"]


# ---- egress rules


@pytest.fixture(scope="module")
def ruled(lab):
    directory = lab.directory / "ruled" / "openvmnet"
    directory.mkdir(parents=True)
    text = "".join(f"deny = {REMOTE[v]}\nallow = {'[' * (v == 6)}{REMOTE[v]}{']' * (v == 6)}:{OPEN}\n" for v in (4, 6))
    (directory / "ruled.conf").write_text(text)
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    network = lab.network("ruled")
    try:
        with network.guest() as guest:
            yield network, guest
    finally:
        network.down()
        del lab.environment["XDG_CONFIG_HOME"]


def test_rules_are_for_every_protocol(lab, ruled, version):
    """TCP, UDP and echo; a rule with a port is for TCP and UDP. The network's DNS goes on."""
    network, guest = ruled
    target = REMOTE[version]
    with lab.remote.listen(target, OPEN), lab.remote.listen(target, CLOSED) as listener:
        assert connects(guest, target, OPEN) == "ok"
        assert dropped(network, "drop_rule", lambda: connects(guest, target, CLOSED)) != "ok"
        assert not select.select([listener], [], [], 0)[0]
    with lab.remote.udp(target, OPEN) as server, guest.udp(version=version) as client:
        client.sendto(b"x", (target, OPEN))
        assert server.recv(10) == b"x"
    with lab.remote.udp(target, CLOSED) as server, guest.udp(version=version) as client:
        dropped(network, "drop_rule", lambda: client.sendto(b"x", (target, CLOSED)))
        assert not select.select([server], [], [], 0)[0]
    assert dropped(network, "drop_rule", lambda: guest.ping(target, timeout_s=1)) == 0
    # The resolver is at an address that guests may not speak to themselves.
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}):
        assert guest.resolve("www.example") == (0, ["192.0.2.80"])
    with lab.host.listen(port=OPEN, version=version):
        assert connects(guest, guest.gateways[version], OPEN) == "ok"
