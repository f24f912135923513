# SPDX-License-Identifier: Apache-2.0
"""A process of the network dies. Guests keep what they have, and soon everything works again."""

import contextlib
import threading
import time

import pytest
from lab import REMOTE, REMOTE4, Background, LabError, poll, read_exactly

RECOVERY_S = 0.9  # some tens of milliseconds; a segment that was lost is repeated after a second


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as other:
        yield other


class Stream:
    """A context: datagrams from guest to guest, one every millisecond."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.sent = 0
        self._stop = threading.Event()

    def __enter__(self):
        self.receiver = self.target.udp()
        self.address = (self.target.ipv4, self.receiver.getsockname()[1])
        self.sender = self.source.udp()
        self.sender.sendto(b"first", self.address)  # after ARP nothing may be lost
        self.receiver.recv(10)
        self._sending = Background(self._send)
        self._receiving = Background(self._receive)
        return self

    def _send(self):
        while not self._stop.wait(0.001):
            self.sender.sendto(b"%d" % self.sent, self.address)
            self.sent += 1
        self.sender.sendto(b"end", self.address)

    def _receive(self):
        received = 0
        while self.receiver.recv(10) != b"end":
            received += 1
        return received

    def __exit__(self, *_):
        self._stop.set()
        self._sending.result()
        self.received = self._receiving.result()
        self.sender.close()
        self.receiver.close()


def wait_for_another(network, role, pid):
    """Waits until the process of @role is another one than @pid, and the network answers."""

    def another():
        with contextlib.suppress(OSError, LabError):
            return network.process(role) not in (0, pid)

    assert poll(another), f"no new {role}"


def connect_within(guest, listener, version, start, limit_s=5):
    """Tries until a connection works. Returns the seconds since @start."""
    patience_s = 0.05
    while time.monotonic() - start < limit_s:
        patience_s *= 1.2  # on a slow machine the shortest may be too short each time
        with contextlib.suppress(OSError):
            with guest.connect(REMOTE[version], listener.getsockname()[1], patience_s) as client:
                client.sendall(b"x")
                listener.settimeout(0.5)
                # One that came too late for its guest may wait before it.
                while True:
                    accepted, _ = listener.accept()
                    with accepted, contextlib.suppress(OSError):
                        accepted.settimeout(patience_s)
                        if accepted.recv(1) == b"x":
                            return time.monotonic() - start
    raise AssertionError(f"no connection within {limit_s} s")


def test_engine_dies(lab, guest, other, network, version):
    with lab.remote.listen(REMOTE[version]) as listener, Stream(guest, other) as stream:
        assert poll(lambda: stream.sent > 100)
        start = time.monotonic()
        [pid] = network.kill("engine")
        seconds = connect_within(guest, listener, version, start)
        wait_for_another(network, "engine", pid)
        assert poll(lambda: stream.sent > 500)
    print(f"a new connection {seconds * 1000:.0f} ms after the kill")
    assert stream.received == stream.sent
    assert seconds < RECOVERY_S
    # The new one knows the ports.
    names = sorted(port["name"] for port in network.status()["ports"])
    assert names == sorted([guest.port.name, "other"])


def test_open_connection_ends_with_the_engine(lab, guest, network, version):
    """Its guest is told, instead of waiting."""
    with lab.remote.listen(REMOTE[version]) as listener:
        with guest.connect(REMOTE[version], listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                client.sendall(b"x")
                assert read_exactly(accepted, 1) == b"x"
                [pid] = network.kill("engine")
                for stream in (client, accepted):
                    with contextlib.suppress(ConnectionResetError):
                        assert stream.recv(1) == b""
                wait_for_another(network, "engine", pid)


def test_udp_after_the_engine_died(lab, guest, network, version):
    """The guest's socket stays; it is only known outside by another port."""
    with lab.remote.udp(REMOTE[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"one", server.getsockname())
        assert server.recv(10) == b"one"
        [pid] = network.kill("engine")
        client.sendto(b"two", server.getsockname())
        data, outside = server.recvfrom(10)
        server.sendto(data, outside)
        assert client.recv(10) == b"two"
        wait_for_another(network, "engine", pid)


def test_dnsmasq_dies(lab, guest, other, network):
    with Stream(guest, other) as stream:
        [pid] = network.kill("dnsmasq")
        wait_for_another(network, "dnsmasq", pid)
        assert guest.dhcp()["ip"] == guest.ipv4
        assert poll(lambda: guest.resolve("other") == (0, [other.ipv4]))
    assert stream.received == stream.sent
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}):
        assert guest.resolve("www.example") == (0, ["192.0.2.80"])


def test_router_dies(lab, guest, other, network, new_guest):
    def ports():
        """But for what is counted."""
        return [{**port, "traffic": None, "use": None} for port in network.status()["ports"]]

    ports_before = ports()
    with lab.remote.listen(REMOTE4) as listener, Stream(guest, other) as stream:
        before = poll(lambda: network.process("dnsmasq"))
        start = time.monotonic()
        [pid] = network.kill("router")
        connect_within(guest, listener, 4, start)
        wait_for_another(network, "router", pid)
        wait_for_another(network, "dnsmasq", before)
        assert ports() == ports_before
        added = new_guest(name="added")
        assert added.ping(guest.ipv4) == 1
        assert guest.dhcp()["ip"] == guest.ipv4
        assert poll(lambda: guest.resolve("added") == (0, [added.ipv4]))
    assert stream.received == stream.sent


def test_port_that_left_while_the_router_was_dead(guest, network):
    """Nobody heard of it; the new router looks."""
    leaving = network.guest(name="leaving", configure=False)
    [pid] = network.kill("router")
    leaving.close()
    wait_for_another(network, "router", pid)
    assert poll(lambda: "leaving" not in [port["name"] for port in network.status()["ports"]])
    # The name, and with it the address, can be used again.
    with network.guest(name="leaving") as again:
        assert again.ipv4 == leaving.ipv4


def test_everything_dies_at_once(lab, guest, other, network):
    with lab.remote.listen(REMOTE4) as listener, Stream(guest, other) as stream:
        roles = ("router", "engine", "dnsmasq")
        start = time.monotonic()
        pids = network.kill(*roles)
        connect_within(guest, listener, 4, start)
        for role, pid in zip(roles, pids):
            wait_for_another(network, role, pid)
        assert guest.dhcp()["ip"] == guest.ipv4
    assert stream.received == stream.sent
    names = sorted(port["name"] for port in network.status()["ports"])
    assert names == sorted([guest.port.name, "other"])
