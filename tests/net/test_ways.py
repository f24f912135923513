# SPDX-License-Identifier: Apache-2.0
"""The ways to a port that is not a tap: a stream, datagrams, a path, and the network's listening socket."""

import contextlib
import itertools
import os
import select
import socket
import struct

import pytest
from lab import CHUNK_BYTES, Background, Guest, Port, poll, read_exactly, send_between

WAYS = ["stream", "dgram", "path", "listen"]
HELLO = b"VFKT"  # vfkit's and krunkit's first datagram
BROADCAST = b"\xff" * 6
_numbers = itertools.count(1)


def find_port(network, **wanted):
    """The facts of the port with these, as Status has it; None where there is none."""
    for entry in network.status()["ports"]:
        if all(entry[key] == value for key, value in wanted.items()):
            return entry
    return None


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def frame(port, payload=bytes(46), to=BROADCAST):
    """A frame of a protocol that nobody speaks."""
    return to + mac_bytes(port.mac) + b"\x88\xb5" + payload


def in_stream(data):
    return struct.pack("!I", len(data)) + data


def path_client(lab, port):
    """A VM monitor's socket, bound to a path of its own and connected to the port's."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        client.settimeout(5)
        client.bind(str(lab.directory / f"client-{next(_numbers)}"))
        client.connect(port.facts["socket"])
    except BaseException:
        client.close()
        raise
    return client


def connect_to(network):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(network.describe()["streamSocket"])
    return client


def listen_port(network):
    """A port by a connection to the listening socket. What an attach reply would say is not known."""
    number = next(_numbers)
    described = network.describe()
    facts = {
        "kind": "stream",
        "interface": f"listen{number}",
        "mac": f"52:54:00:77:77:{number:02x}",
        "name": "",
        "ipv4": "0.0.0.0/0",
        "gateway": described["gateway"],
        "gateway6": described["gateway6"],
    }
    return Port(network, facts, connect_to(network).detach())


@contextlib.contextmanager
def guest_by(network, way, configure=True):
    with contextlib.ExitStack() as stack:
        if way == "listen":
            port = listen_port(network)
        elif way == "path":
            port = network.attach(kind="dgram", path=True)
            stack.callback(os.close, port.fd)  # the lifeline
            client = path_client(network.lab, port)
            client.send(HELLO)
            port.fd = client.detach()
        else:
            port = network.attach(kind=way)
        guest = stack.enter_context(Guest(network, port))
        if configure:
            guest.configure()
            guest.ipv4 = guest.lease["ip"]
        yield guest


@contextlib.contextmanager
def stream_port(network):
    """(port, the client's socket) of a stream port."""
    with network.attach(kind="stream") as port, socket.socket(fileno=port.fd) as client:
        port.fd = -1
        client.settimeout(5)
        yield port, client


def is_ended(client):
    """True where the other side ends the stream, whatever it sends before that."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("way", WAYS)
def test_guest(network, guest, way, version):
    """All that a guest does, and a guest of a tap at the other side."""
    with guest_by(network, way) as other:
        facts = find_port(network, mac=other.mac)
        assert facts["kind"] == ("dgram" if way in ("dgram", "path") else "stream")
        assert facts["ipv4"].split("/")[0] == other.lease["ip"]
        assert other.lease["mtu"] == "1500"
        assert other.ping(other.gateways[version], count=3) == 3
        assert other.ping(guest.addresses[version], count=3, size=8000) == 3
        assert guest.ping(other.addresses[version], count=3, size=8000) == 3
        send_between(other, guest, version, 32 * CHUNK_BYTES)
        send_between(guest, other, version, 32 * CHUNK_BYTES)
        assert network.counters()["pump_clients"] == 1
    assert poll(lambda: not find_port(network, mac=other.mac)), "the port is still there"
    assert poll(lambda: network.counters()["pump_clients"] == 0)


def test_between_ways(network, version):
    with guest_by(network, "stream") as one, guest_by(network, "dgram") as two:
        assert one.ping(two.addresses[version], count=3) == 3
        send_between(one, two, version, 16 * CHUNK_BYTES)
        send_between(two, one, version, 16 * CHUNK_BYTES)


@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_ended_client_is_gone(network, kind):
    """At once, or soon where nothing tells; nobody sends anything."""
    port = network.attach(kind=kind)
    assert find_port(network, interface=port.interface)
    port.close()
    assert poll(lambda: not find_port(network, interface=port.interface))


def test_lifeline(network, guest):
    with network.attach(kind="dgram", path=True) as port, guest.packets(kind=0x88B5) as seen:
        path = port.facts["socket"]
        with path_client(network.lab, port) as client:
            client.send(HELLO)
            client.send(frame(port, b"first" + bytes(41)))
            assert seen.recv(2000)[14:19] == b"first"

        def next_client():
            with contextlib.suppress(PermissionError):  # until it is known that the first is gone
                return path_client(network.lab, port)

        # A client's end is not the port's: its monitor may start again.
        with poll(next_client) as client:
            client.send(frame(port, b"second" + bytes(40)))
            assert seen.recv(2000)[14:20] == b"second"
            assert find_port(network, interface=port.interface)
    assert poll(lambda: not find_port(network, interface=port.interface))
    assert poll(lambda: not os.path.exists(path))


def test_detach(network):
    with stream_port(network) as (port, client):
        network.call("Detach", interface=port.interface)
        assert is_ended(client)
        assert not find_port(network, interface=port.interface)


@pytest.mark.parametrize("garbage", [
    b"\x00\x00\x00\x00",
    b"\x00\x01\x00\x0f" + bytes(100),
    b"\xff\xff\xff\xff" + bytes(100),
    b"\x3c\x00\x00\x00" + bytes(60),  # in the wrong byte order
    b"GET / HTTP/1.1\r\n\r\n",
])
def test_broken_framing(network, guest, garbage):
    """It ends the client that does it, and nobody else."""
    before = network.counters()["pump_broken"]
    with stream_port(network) as (good_port, good):
        with stream_port(network) as (port, client):
            client.sendall(in_stream(frame(port)) + garbage)
            assert is_ended(client)
        assert poll(lambda: not find_port(network, interface=port.interface))
        assert network.counters()["pump_broken"] == before + 1
        with guest.packets(kind=0x88B5) as seen:
            good.sendall(in_stream(frame(good_port, b"good" + bytes(42))))
            # What the other has sent before may be still on its way.
            assert poll(lambda: seen.recv(2000)[14:18] == b"good")
        assert guest.ping(guest.gateway) == 1


def test_frames_that_do_not_fit(network, guest):
    """Runts, and what is over the MTU: they are lost, the client is not."""
    before = network.counters()["pump_drop_malformed"]
    with stream_port(network) as (port, client), guest.packets(kind=0x88B5) as seen:
        for data in (frame(port)[:13], frame(port, bytes(1505)), frame(port, bytes(60000))):
            client.sendall(in_stream(data))
        client.sendall(in_stream(frame(port, b"fits" + bytes(1496))))
        assert seen.recv(2000)[14:18] == b"fits"
        assert poll(lambda: network.counters()["pump_drop_malformed"] == before + 3)


def test_cut_anywhere(network, guest):
    with stream_port(network) as (port, client), guest.packets(kind=0x88B5) as seen:
        data = in_stream(frame(port, b"one" + bytes(43))) + in_stream(frame(port, b"two" + bytes(43)))
        for at in range(len(data)):
            client.send(data[at : at + 1])
        assert [seen.recv(2000)[14:17] for _ in range(2)] == [b"one", b"two"]


def frames_of(data):
    while data:
        len_bytes = struct.unpack("!I", data[:4])[0]
        assert 14 <= len_bytes <= 1518
        yield data[4 : 4 + len_bytes]
        data = data[4 + len_bytes :]


def test_client_that_reads_nothing(network, guest):
    """It costs itself its frames. Those that it gets are whole."""
    with stream_port(network) as (port, stalled), guest_by(network, "stream") as other:
        stalled.setblocking(False)
        with guest.packets() as raw:
            for number in range(6000):
                head = mac_bytes(port.mac) + mac_bytes(guest.mac) + b"\x88\xb5"
                raw.send(head + struct.pack("!I", number) + bytes(1400))
        assert other.ping(guest.ipv4, count=3) == 3
        assert guest.ping(other.gateway, count=3) == 3
        data = b""
        while select.select([stalled], [], [], 0.2)[0]:
            data += stalled.recv(1 << 20)
        numbers = [
            struct.unpack("!I", each[14:18])[0]
            for each in frames_of(data)
            if each[12:14] == b"\x88\xb5"
        ]
        assert numbers and numbers == sorted(set(numbers)) and numbers[0] == 0


def test_client_that_floods(network, guest):
    with stream_port(network) as (port, loud), guest_by(network, "stream") as other:
        data = in_stream(frame(port)) * 500
        stop = False

        def send():
            sent = 0
            while not stop:
                loud.sendall(data)
                sent += 500
            return sent

        flood = Background(send)
        assert other.ping(guest.ipv4, count=20) >= 19
        stop = True
        assert flood.result() > 0


def test_listening_socket(network):
    """A connection is a port once its first frame says which."""

    def interfaces():
        return {entry["interface"] for entry in network.status()["ports"]}

    before = interfaces()
    with connect_to(network) as silent, connect_to(network) as broken:
        broken.sendall(bytes(4))
        assert is_ended(broken)
        assert interfaces() <= before
        silent.sendall(in_stream(BROADCAST + mac_bytes("52:54:00:77:88:99") + bytes(48)))
        assert poll(lambda: find_port(network, mac="52:54:00:77:88:99"))
    assert poll(lambda: not find_port(network, mac="52:54:00:77:88:99"))


def test_guests_by_the_listening_socket(network):
    with guest_by(network, "listen") as one, guest_by(network, "listen") as two:
        assert one.ipv4 != two.ipv4
        assert one.ping(two.ipv4, count=3) == 3
        with two.listen() as listener, one.connect(two.ipv4, listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"by name of the frame")
                assert read_exactly(accepted, 20) == b"by name of the frame"
