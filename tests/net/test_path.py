# SPDX-License-Identifier: Apache-2.0
"""Guests whose packets go a long and bad way: what they see is what the path does, no more and no less."""

import contextlib
import select
import socket
import struct
import time

import footprint
import pytest
from lab import (
    CHUNK_BYTES,
    REMOTE4,
    SANITIZED,
    Background,
    DnsServer,
    dns_query,
    dns_read_answer,
    poll,
    read_exactly,
    receive_stream,
    send_stream,
)
from path import BEYOND_FAR, FAR, Path

TCP_INFO_SND_WND_AT = 228  # struct tcp_info of linux/tcp.h, tcpi_snd_wnd
FLOWS = 16
# What waits in this process for a side that does not read: the relay's buffer (src/uplink/relay.h), no more.
RELAY_CHUNK_KIB = 128
SLACK_KIB = 1024


@pytest.fixture(scope="module")
def path(lab):
    with Path(lab) as path:
        yield path


@pytest.fixture
def server(path, version):
    with path.far.listen(FAR[version]) as listener:
        yield listener


def connected(guest, listener):
    """Returns (the guest's end, the far end)."""
    client = guest.connect(*listener.getsockname()[:2], timeout_s=10)
    accepted, _ = listener.accept()
    for stream in (client, accepted):
        stream.settimeout(20)
    return client, accepted


def seconds(function, *arguments):
    start = time.monotonic()
    function(*arguments)
    return time.monotonic() - start


# ---- TCP


def test_connecting_takes_as_long_as_the_path(path, guest, server):
    """Nobody answers before the far end has: the first segment goes there and back."""
    connected(guest, server)  # warm: neighbours are known
    with path.impaired(delay_ms=60):
        assert seconds(lambda: guest.connect(*server.getsockname()[:2]).close()) >= 0.12


def test_refusal_takes_as_long_as_the_path(path, guest, version):
    with path.far.listen(FAR[version]) as listener:
        port = listener.getsockname()[1]

    def refused():
        with pytest.raises(ConnectionRefusedError):
            guest.connect(FAR[version], port)

    with path.impaired(delay_ms=60):
        assert 0.12 <= seconds(refused) < 1


def test_unreachable_takes_as_long_as_the_path(path, guest, version):
    """What the far router says is said when it has come."""

    def unreachable():
        with pytest.raises(OSError, match="unreachable|No route to host"):
            guest.connect(BEYOND_FAR[version], 80)

    with path.impaired(delay_ms=60):
        assert 0.12 <= seconds(unreachable) < 1


def send_and_end(stream, len_bytes):
    digest = send_stream(stream, len_bytes)
    stream.shutdown(socket.SHUT_WR)
    return digest


def test_streams_survive_loss_and_reordering(path, guest, server, version):
    """Both ways at once, over 20 ms with 1.5 % of the frames lost and 2 % overtaken: all arrives as it was."""
    size = 2 * CHUNK_BYTES
    before = path.counts()
    with path.impaired(delay_ms=10, loss=1.5, reorder=2, reorder_ms=3, seed=version):
        client, accepted = connected(guest, server)
        with client, accepted:
            up, down = (Background(send_and_end, end, size) for end in (client, accepted))
            arrived_up = Background(receive_stream, accepted)
            assert receive_stream(client) == (size, down.result())
            assert arrived_up.result() == (size, up.result())
    after = path.counts()
    assert after["lost"] > before["lost"] + 20
    assert after["reordered"] > before["reordered"] + 20


def test_flow_survives_a_path_that_is_cut(path, guest, server):
    """Both ends repeat what they say to nobody; when the path is back, both are heard."""
    client, accepted = connected(guest, server)
    with client, accepted:
        client.sendall(b"before")
        assert read_exactly(accepted, 6) == b"before"
        with path.impaired(loss=100):
            lost = path.counts()["lost"]
            client.sendall(b"up")
            accepted.sendall(b"down")
            assert poll(lambda: path.counts()["lost"] >= lost + 8, 10)
            assert not select.select([client, accepted], [], [], 0)[0]
        assert read_exactly(accepted, 2) == b"up"
        assert read_exactly(client, 4) == b"down"


def test_slow_path_is_shared_and_used(path, guest, server):
    """20 Mbit/s with a queue of 40 ms: the sender finds out, and nothing of ours is in the way."""
    size = 2 * CHUNK_BYTES
    client, accepted = connected(guest, server)
    with path.impaired(delay_ms=5, rate_kbit=20000, queue_ms=40), client, accepted:
        start = time.monotonic()
        sent = Background(send_and_end, accepted, size)
        assert receive_stream(client) == (size, sent.result())
        took_s = time.monotonic() - start
    assert size * 8 / 20e6 <= took_s < 5 * size * 8 / 20e6  # the machine may be busy


# ---- back-pressure


def window(stream):
    """What the other side takes now, in bytes (tcp(7), TCP_INFO)."""
    info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(info) < TCP_INFO_SND_WND_AT + 4:
        pytest.skip("this kernel does not tell a connection's window (Linux 5.4)")
    return struct.unpack_from("I", info, TCP_INFO_SND_WND_AT)[0]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_who_never_reads_costs_a_bounded_amount(path, guest, network, version, direction):
    """Writers fill all that is on the way, then their windows close. The engine has grown by no more than
    its buffers; when the readers read, all that was written comes."""
    pid = network.process("engine")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(path.far.listen(FAR[version]))
        pairs = [connected(guest, listener) for _ in range(FLOWS)]
        for pair in pairs:
            for stream in pair:
                stack.enter_context(stream)
        if direction == "down":
            pairs = [pair[::-1] for pair in pairs]
        writers = {writer: 0 for writer, _ in pairs}
        before = footprint.private_kib(pid)
        for writer in writers:
            writer.setblocking(False)
        while ready := select.select([], list(writers), [], 0.4)[1]:
            for writer in ready:
                with contextlib.suppress(BlockingIOError):
                    writers[writer] += writer.send(bytes(1 << 20))
                assert writers[writer] < 64 << 20
        grown_kib = footprint.private_kib(pid) - before
        assert SANITIZED or grown_kib <= FLOWS * RELAY_CHUNK_KIB + SLACK_KIB
        assert all(window(writer) < 65536 for writer in writers)
        for writer, reader in pairs:
            writer.shutdown(socket.SHUT_WR)
            assert receive_stream(reader)[0] == writers[writer]


# ---- UDP

DATAGRAMS = 512
BURST = 64  # less than any buffer on the way


def arrived(path, before):
    """How many frames the wire has let through since, and how many it has met in all."""
    now = path.counts()
    changes = {name: now[name] - before[name] for name in now}
    return changes["passed"], changes["passed"] + changes["lost"] - changes["duplicated"]


@pytest.mark.parametrize("direction", ["up", "down"])
def test_datagrams_meet_their_fate_on_the_path_alone(path, guest, version, direction):
    """Of what the path loses, repeats and reorders we add nothing: what its wire let pass arrives, one for one."""
    with path.far.udp(FAR[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"hello", server.getsockname())
        outside = server.recvfrom(100)[1]
        if direction == "up":
            sender, receiver, address = client, server, server.getsockname()
        else:
            sender, receiver, address = server, client, outside
        got = []
        before = path.counts()
        with path.impaired(loss=3, duplicate=3, reorder=5, reorder_ms=3, delay_ms=2, seed=version):
            for first in range(0, DATAGRAMS, BURST):
                for number in range(first, first + BURST):
                    sender.sendto(struct.pack("!I", number) * 100, address)
                assert poll(lambda: arrived(path, before)[1] == first + BURST)
                for _ in range(arrived(path, before)[0] - len(got)):
                    got.append(receiver.recv(1000))
        changes = path.counts()
        assert min(changes[k] - before[k] for k in ("lost", "duplicated", "reordered")) > 0
        receiver.settimeout(0.2)
        with pytest.raises(TimeoutError):
            receiver.recv(1000)
    numbers = [struct.unpack_from("!I", data)[0] for data in got]
    assert all(data == struct.pack("!I", number) * 100 for data, number in zip(got, numbers))
    lost = changes["lost"] - before["lost"]
    assert len(set(numbers)) == DATAGRAMS - lost  # none is lost twice over
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_datagrams_keep_their_order(path, guest, version, direction):
    """Where the path loses some, and reorders none, they come in the order in which they were sent."""
    with path.far.udp(FAR[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"hello", server.getsockname())
        outside = server.recvfrom(100)[1]
        if direction == "up":
            sender, receiver, address = client, server, server.getsockname()
        else:
            sender, receiver, address = server, client, outside
        before = path.counts()
        with path.impaired(loss=5, delay_ms=1, seed=version):
            for number in range(BURST):
                sender.sendto(struct.pack("!I", number), address)
            assert poll(lambda: arrived(path, before)[1] == BURST)
        numbers = [receiver.recv(4) for _ in range(arrived(path, before)[0])]
        assert numbers == sorted(numbers)
        assert 0 < len(numbers) < BURST


def test_large_datagrams_over_a_reordering_path(path, guest, version):
    """Fragments that overtake one another still make the datagram, both ways."""
    with path.far.udp(FAR[version]) as server, guest.udp(version=version) as client:
        before = path.counts()["reordered"]
        with path.impaired(delay_ms=1, reorder=30, reorder_ms=3, seed=version):
            for number in range(8):
                data = bytes([number]) * 9000
                client.sendto(data, server.getsockname())
                received, outside = server.recvfrom(65536)
                assert received == data
                server.sendto(data, outside)
                assert client.recv(65536) == data
        assert path.counts()["reordered"] > before


# ---- DNS


def test_names_resolve_over_a_lossy_path(lab, path, guest, version):
    """A guest that asks again, as resolvers do, gets its answer although every fifth frame is lost."""
    records = {(f"host{n}.example.com", "A"): [f"198.51.100.{n}"] for n in range(1, 7)}

    def ask_again(asking, query):
        asking.sendto(query, (guest.gateway, 53))
        with contextlib.suppress(TimeoutError):
            return dns_read_answer(asking.recv(65536))

    try:
        lab.write_resolv_conf(f"nameserver {FAR[version]}\n")
        with DnsServer(path.far, FAR[version], records):
            lost = path.counts()["lost"]
            with path.impaired(loss=20, delay_ms=5, seed=version):
                for name, kind in records:
                    with guest.udp() as asking:
                        asking.settimeout(0.2)
                        query = dns_query(name, kind)
                        answer = poll(lambda: ask_again(asking, query), 10)
                        assert answer == (0, records[name, kind])
            assert path.counts()["lost"] > lost
    finally:
        lab.write_resolv_conf(f"nameserver {REMOTE4}\n")
