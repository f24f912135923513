# SPDX-License-Identifier: Apache-2.0
"""TCP from a guest to the outside: what a connection's end sees is what happened at the other end."""

import contextlib
import errno
import random
import resource
import select
import socket
import struct
import time

import pytest
from lab import (
    CHUNK_BYTES,
    FAMILY,
    HOST,
    NOBODY4,
    NOBODY6,
    REMOTE,
    REMOTE_B,
    Background,
    poll,
    read_all,
    read_exactly,
    receive_stream,
    send_stream,
    unacknowledged,
)
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

GIB = 1 << 30
BEYOND = {4: "203.0.113.{}", 6: "2001:db8:2::{}"}  # behind the host's routes, not on its links


@pytest.fixture
def server(lab, version):
    """A listener outside."""
    with lab.remote.listen(REMOTE[version]) as listener:
        yield listener


def connected(guest, listener, **options):
    """Returns (the guest's end, the server's end)."""
    address, port = listener.getsockname()[:2]
    client = guest.connect(address, port, **options)
    accepted, _ = listener.accept()
    accepted.settimeout(5)
    return client, accepted


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


@contextlib.contextmanager
def dropped(namespace, rule):
    """The namespace drops what comes in and matches @rule of nft."""
    namespace.nft(
        "table inet test { chain input { type filter hook input priority -10; %s drop; }; }" % rule
    )
    try:
        yield
    finally:
        namespace.nft("delete table inet test")


# ---- how connections begin


def test_open_port(guest, server):
    client, accepted = connected(guest, server)
    with client, accepted:
        client.sendall(b"up")
        assert read_exactly(accepted, 2) == b"up"
        accepted.sendall(b"down")
        assert read_exactly(client, 4) == b"down"


def test_outside_sees_the_host(guest, server, version):
    client, accepted = connected(guest, server)
    with client, accepted:
        assert accepted.getpeername()[0] == HOST[version]


def test_server_speaks_first(guest, server):
    client, accepted = connected(guest, server)
    with client, accepted:
        accepted.sendall(b"220 ready\r\n")
        assert read_exactly(client, 11) == b"220 ready\r\n"


def test_closed_port_is_refused_at_once(lab, guest, network, version):
    with lab.remote.listen(REMOTE[version]) as listener:
        port = listener.getsockname()[1]
    before = network.counters()["tcp_refused"]
    with contextlib.suppress(ConnectionRefusedError):  # the first one waits for ARP too
        guest.connect(REMOTE[version], port)
    start = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        guest.connect(REMOTE[version], port)
    assert time.monotonic() - start < 0.9  # less than the first repetition of a SYN
    assert network.counters()["tcp_refused"] == before + 2


@pytest.mark.parametrize("kind, number", [("unreachable", 1), ("prohibit", 2)])
def test_unreachable_network_is_unreachable_at_once(lab, guest, network, version, kind, number):
    address = BEYOND[version].format(number)
    lab.host.ip(f"route add {kind} {address}")
    before = network.counters()["tcp_unreachable"]
    try:
        start = time.monotonic()
        # ENETUNREACH, EHOSTUNREACH; IPv6 has EACCES for what an administrator prohibits.
        with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
            guest.connect(address, 80)
        assert time.monotonic() - start < 0.9
    finally:
        lab.host.ip(f"route del {kind} {address}")
    assert network.counters()["tcp_unreachable"] == before + 1


def test_host_that_is_not_there_is_unreachable(lab, guest, version):
    """As on the host itself: after its three tries of ARP or neighbour discovery."""
    between_tries = f"ipv{version}/neigh/out0/retrans_time_ms"
    lab.host.sysctl({between_tries: 200})
    try:
        with pytest.raises(OSError, match="unreachable|No route to host"):
            guest.connect(NOBODY4 if version == 4 else NOBODY6, 80, timeout_s=8)
    finally:
        lab.host.sysctl({between_tries: 1000})


def test_silent_destination_is_silent(lab, guest, server, network, version):
    port = server.getsockname()[1]
    before = network.counters()["tcp_opened"]
    with dropped(lab.remote, f"tcp dport {port}"):
        with pytest.raises(TimeoutError):
            guest.connect(REMOTE[version], port, timeout_s=1.5)
    assert network.counters()["tcp_opened"] == before


def test_lost_segment_outside_only_delays(lab, guest, server, version):
    """The guest's SYN is repeated while the host still connects."""
    port = server.getsockname()[1]
    with dropped(lab.remote, f"tcp dport {port}"):
        client = guest.socket(FAMILY[version], socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((REMOTE[version], port))
        assert not select.select([], [client], [], 1.2)[1]  # one repetition, after 1 s
    with client:
        assert select.select([], [client], [], 5)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        accepted, _ = server.accept()
        accepted.close()


def test_lost_answer_inside_only_delays(guest, server, version):
    """The guest's SYN is repeated when the connection is already offered to it."""
    port = server.getsockname()[1]
    with dropped(guest, f"tcp sport {port}"):
        client = guest.socket(FAMILY[version], socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((REMOTE[version], port))
        assert not select.select([], [client], [], 0.5)[1]
    with client:
        assert select.select([], [client], [], 3)[1]
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        accepted, _ = server.accept()
        with accepted:
            client.setblocking(True)
            client.sendall(b"x")
            assert read_exactly(accepted, 1) == b"x"


def test_both_begin_at_once(lab, guest, version):
    """A simultaneous open (RFC 5382 REQ-2 a): who is connected to connects, too, to where that came from."""
    port = 45000
    with lab.remote.socket(FAMILY[version], socket.SOCK_STREAM) as peer:
        peer.bind((REMOTE[version], port))
        peer.setblocking(False)
        with dropped(lab.remote, f"tcp dport {port}"):
            client = guest.socket(FAMILY[version], socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex((REMOTE[version], port))
            shown = ["ss", "-H", "-t", "-n", "state", "syn-sent", f"dport = :{port}"]
            line = poll(lambda: lab.host.run(shown).stdout)
            host_port = int(line.split()[2].rpartition(":")[2])
            peer.connect_ex((HOST[version], host_port))
        with client:
            for stream in (client, peer):
                assert select.select([], [stream], [], 5)[1]
                stream.settimeout(5)
            client.sendall(b"up")
            assert read_exactly(peer, 2) == b"up"
            peer.sendall(b"down")
            assert read_exactly(client, 4) == b"down"


def test_mapping_is_the_same_for_all_destinations(lab, guest, version):
    """RFC 5382 REQ-1: while the guest's port is connected anywhere it has one port outside."""
    with contextlib.ExitStack() as stack:
        targets = [(REMOTE[version], 0), (REMOTE[version], 0), (REMOTE_B[version], 0)]
        listeners = [stack.enter_context(lab.remote.listen(*target)) for target in targets]

        def outside(listener):
            client = guest.connect(*listener.getsockname()[:2], source_port=40777)
            accepted, peer = listener.accept()
            client.sendall(b"hello")
            assert read_exactly(accepted, 5) == b"hello"
            return client, stack.enter_context(accepted), peer[1]

        first, *others = [outside(listener) for listener in listeners]
        for client, _, port in others:
            assert port == first[2]
        # Another port of the guest's has another one.
        with guest.connect(*listeners[0].getsockname()[:2], source_port=40778):
            accepted, peer = listeners[0].accept()
            accepted.close()
            assert peer[1] != first[2]
        # It stays while one of them does, whichever that is.
        reset(first[0])
        with pytest.raises(ConnectionResetError):
            first[1].recv(1)
        again = outside(listeners[0])
        assert again[2] == first[2]
        for client in (again[0], *(client for client, _, _ in others)):
            reset(client)


def test_guests_meet_by_the_gateways_address(guest, new_guest, forward, version):
    """Hairpinning (RFC 5382 REQ-8)."""
    other = new_guest()
    with other.listen(version=version) as listener:
        port = forward("tcp", HOST[version], other.addresses[version], listener.getsockname()[1])
        client = guest.connect(guest.gateways[version], port)
        accepted, peer = listener.accept()
        with client, accepted:
            assert peer[0] == other.gateways[version]
            client.sendall(b"hello")
            assert read_exactly(accepted, 5) == b"hello"


@pytest.mark.parametrize("closer", ["server", "guest"])
def test_same_port_again(guest, server, closer):
    """The same four addresses and ports, while the kernel still remembers the last connection."""

    def again():
        # The guest's own kernel holds the port until the last acknowledgement has come.
        try:
            return connected(guest, server, source_port=40123)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return None

    for _ in range(3):
        client, accepted = poll(again)  # it is remembered for 60 s
        first, second = (accepted, client) if closer == "server" else (client, accepted)
        first.sendall(b"bye")
        if closer == "guest":
            assert read_exactly(second, 3) == b"bye"
            reset(first)  # its own kernel would hold the port after an ordinary end
            with pytest.raises(ConnectionResetError):
                second.recv(1)
        else:
            first.close()
            assert read_all(second) == b"bye"
        second.close()


# ---- how they end


def test_guest_ends_writing_first(guest, server):
    client, accepted = connected(guest, server)
    with client, accepted:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(accepted) == b"question"
        sent = Background(send_stream, accepted, 8 * CHUNK_BYTES)
        closed = Background(lambda: (sent.result(), accepted.shutdown(socket.SHUT_WR)))
        assert receive_stream(client) == (8 * CHUNK_BYTES, sent.result())
        closed.result()


def test_server_ends_writing_first(guest, server):
    client, accepted = connected(guest, server)
    with client, accepted:
        accepted.sendall(b"greeting")
        accepted.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"greeting"
        sent = Background(send_stream, client, 8 * CHUNK_BYTES)
        closed = Background(lambda: (sent.result(), client.shutdown(socket.SHUT_WR)))
        assert receive_stream(accepted) == (8 * CHUNK_BYTES, sent.result())
        closed.result()


def test_reset_by_server(guest, server):
    client, accepted = connected(guest, server)
    with client:
        reset(accepted)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_reset_by_guest(guest, server):
    client, accepted = connected(guest, server)
    with accepted:
        reset(client)
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_reset_while_a_stream_is_under_way(guest, server):
    """Also where the other side does not read: the reset goes past what waits."""
    client, accepted = connected(guest, server)
    with client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while select.select([], [client], [], 0.1)[1]:
                client.send(bytes(65536))
        reset(accepted)
        client.settimeout(5)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                client.send(bytes(65536))


@pytest.mark.parametrize("who", ["server", "guest"])
def test_what_was_sent_before_a_reset_arrives_before_it(lab, guest, version, who):
    """Also where the other side reads it late, and writes meanwhile."""
    data = random.randbytes(100_000)
    with (lab.remote if who == "guest" else guest).socket(FAMILY[version], socket.SOCK_STREAM) as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        if who == "guest":
            late.bind((REMOTE[version], 0))
            late.listen()
            early = guest.connect(*late.getsockname()[:2])
            reader, _ = late.accept()
            reader.settimeout(5)
        else:
            with lab.remote.listen(REMOTE[version]) as listener:
                late.connect(listener.getsockname()[:2])
                early, _ = listener.accept()
            reader = late
        with reader:
            early.sendall(data)
            reader.sendall(b"not read by who resets")
            assert poll(lambda: unacknowledged(early) == 0)
            reset(early)
            reader.sendall(b"nor this")
            assert read_exactly(reader, len(data)) == data
            with pytest.raises(ConnectionResetError):
                reader.recv(1)


@pytest.mark.parametrize("version", [4], ids=["ipv4"])  # it takes seconds
def test_reset_does_not_wait_for_who_never_reads(guest, server, network):
    """What is left for it has five seconds."""
    client, accepted = connected(guest, server)
    with client:
        accepted.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while select.select([], [accepted], [], 0.1)[1]:
                accepted.send(bytes(65536))
        reset(accepted)
        assert poll(lambda: network.counters()["tcp_open"] == 0, 8, 0.1)


def test_both_end_at_once(guest, server):
    client, accepted = connected(guest, server)
    with client, accepted:
        for stream in (client, accepted):
            stream.sendall(b"bye")
        for stream in (client, accepted):
            stream.shutdown(socket.SHUT_WR)
        for stream in (client, accepted):
            assert read_all(stream) == b"bye"


def test_guest_that_is_gone(lab, new_guest, server):
    """Its virtual machine was killed: what it had open ends at once, whoever else waits for it."""
    other = new_guest()
    client, accepted = connected(other, server)
    with client, accepted:
        client.sendall(b"hello")
        assert read_exactly(accepted, 5) == b"hello"
        other.close()
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_connections_are_forgotten(guest, server, network):
    """Nothing stays in the tables when all is over."""
    for _ in range(5):
        client, accepted = connected(guest, server)
        client.close()
        accepted.close()
    assert poll(lambda: network.counters()["tcp_open"] == 0)


# ---- much of it


@pytest.mark.parametrize("direction", ["up", "down"])
def test_large_transfer(guest, server, version, direction):
    """What arrives is what was sent: 1 GiB with IPv4, 256 MiB with IPv6."""
    size = GIB if version == 4 else GIB // 4
    client, accepted = connected(guest, server)
    sender, receiver = (client, accepted) if direction == "up" else (accepted, client)
    with client, accepted:

        def send():
            digest = send_stream(sender, size)
            sender.shutdown(socket.SHUT_WR)
            return digest

        start = time.monotonic()
        sent = Background(send)
        received = receive_stream(receiver)
        seconds = time.monotonic() - start
        assert received == (size, sent.result())
    print(f"{size / seconds / 125e6:.1f} Gbit/s")
    assert seconds < 30


def test_both_directions_at_once(guest, server):
    size = 64 * CHUNK_BYTES
    client, accepted = connected(guest, server)
    with client, accepted:

        def send(stream):
            digest = send_stream(stream, size)
            stream.shutdown(socket.SHUT_WR)
            return digest

        up, down = Background(send, client), Background(send, accepted)
        arrived_up = Background(receive_stream, accepted)
        assert receive_stream(client) == (size, down.result())
        assert arrived_up.result() == (size, up.result())


@pytest.mark.parametrize("direction", ["up", "down"])
def test_slow_reader_holds_the_writer(guest, server, direction):
    """Nobody collects without bound what is not read; and all of it arrives."""
    client, accepted = connected(guest, server)
    writer, reader = (client, accepted) if direction == "up" else (accepted, client)
    sent = 0
    with client, accepted:
        writer.setblocking(False)
        while select.select([], [writer], [], 0.3)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += writer.send(bytes(1 << 20))
            assert sent < 256 << 20
        writer.setblocking(True)
        writer.shutdown(socket.SHUT_WR)
        assert receive_stream(reader)[0] == sent


def test_500_connections_at_once(guest, server, network, version):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    clients, accepted = [], []
    try:
        for _ in range(500):
            client = guest.socket(FAMILY[version], socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(server.getsockname()[:2])
            clients.append(client)
        for _ in clients:
            stream, _ = server.accept()
            accepted.append(stream)
            stream.settimeout(5)
        for number, client in enumerate(clients):
            client.settimeout(5)
            # Not writable at once: the handshake inside follows the one outside.
            assert select.select([], [client], [], 5)[1]
            client.sendall(struct.pack("!I", number))
        numbers = set()
        for stream in accepted:
            data = read_exactly(stream, 4)
            numbers.add(struct.unpack("!I", data)[0])
            stream.sendall(data)
        assert numbers == set(range(500))
        for number, client in enumerate(clients):
            assert struct.unpack("!I", read_exactly(client, 4))[0] == number
        assert network.counters()["tcp_open"] == 500
    finally:
        for stream in clients + accepted:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_1000_short_connections(guest, server):
    def serve():
        for _ in range(1000):
            stream, _ = server.accept()
            with stream:
                stream.settimeout(5)
                stream.sendall(read_exactly(stream, 4))

    served = Background(serve)
    address = server.getsockname()[:2]
    start = time.monotonic()
    for number in range(1000):
        with guest.connect(*address) as client:
            client.sendall(struct.pack("!I", number))
            assert struct.unpack("!I", read_all(client))[0] == number
    print(f"{1000 / (time.monotonic() - start):.0f} connections a second")
    served.result()


# ---- the host, and what is denied


def test_gateway_is_the_host(lab, guest, version):
    with lab.host.listen(version=version) as listener:
        with guest.connect(guest.gateways[version], listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"host")
                assert read_exactly(client, 4) == b"host"


def test_gateway_is_not_the_hosts_loopback(lab, guest, version):
    with lab.host.listen("127.0.0.1" if version == 4 else "::1") as listener:
        with pytest.raises(ConnectionRefusedError):
            guest.connect(guest.gateways[version], listener.getsockname()[1])


def test_host_by_its_own_name_is_denied(lab, guest, network, version):
    before = network.counters()["drop_denied"]
    with lab.host.listen(version=version) as listener:
        with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
            guest.connect(HOST[version], listener.getsockname()[1])
        assert not select.select([listener], [], [], 0)[0]
    assert network.counters()["drop_denied"] == before + 1


# What the network's own kernel drops before the engine sees it is not counted: martians.
@pytest.mark.parametrize("address, counted", [
    ("169.254.169.254", True),
    ("127.0.0.1", False),
    ("127.1.2.3", False),
    ("0.0.0.0", False),
    ("240.0.0.1", True),
    ("::1", False),
    ("::", True),
    ("::ffff:198.51.100.1", True),
    ("::ffff:127.0.0.1", True),
    ("::198.51.100.1", True),
])
def test_special_address_is_denied(lab, guest, network, address, counted):
    """Sent as raw packets: the guest's own kernel would not."""
    version = 6 if ":" in address else 4
    with lab.host.listen(port=0, version=4) as listener4:
        port = listener4.getsockname()[1]
        with lab.host.listen(port=port, version=6) as listener6, guest.packets() as seen:
            layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=address)
            before = network.counters()
            guest.send_ip(layer / TCP(sport=40001, dport=port, flags="S"))
            if counted:
                assert poll(lambda: network.counters()["drop_denied"] == before["drop_denied"] + 1)
            # A packet that follows it has its effect, so this one has had its own.
            with pytest.raises(ConnectionRefusedError):
                guest.connect(guest.gateways[version], 1)
            after = network.counters()
            if not counted:
                assert after["drop_denied"] == before["drop_denied"]
            assert after["tcp_opened"] == before["tcp_opened"]
            assert not select.select([listener4, listener6], [], [], 0)[0]
            while select.select([seen], [], [], 0)[0]:
                frame = seen.recv(65536)
                assert not is_syn_ack(frame, 40001)


def is_syn_ack(frame, port):
    """True for a SYN, ACK to @port of the guest."""
    kind = frame[12:14]
    at = 14 + ((frame[14] & 15) * 4 if kind == b"\x08\x00" else 40)
    protocol = frame[23] if kind == b"\x08\x00" else frame[20]
    if kind not in (b"\x08\x00", b"\x86\xdd") or protocol != 6 or len(frame) < at + 14:
        return False
    return frame[at + 2 : at + 4] == struct.pack("!H", port) and frame[at + 13] & 0x12 == 0x12


def test_segment_of_no_connection_is_reset(guest, network, version):
    """So that a guest's old connection ends where the engine has lost it."""
    before = network.counters()["tcp_stray"]
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
    with guest.packets(kind=0x0800 if version == 4 else 0x86DD) as seen:
        guest.send_ip(layer / TCP(sport=40002, dport=4242, flags="A", seq=1000, ack=2000))

        def reset_seen():
            while select.select([seen], [], [], 0)[0]:
                data = seen.recv(65536)[14:]
                parsed = (IPv6 if version == 6 else IP)(data)
                if TCP in parsed and parsed[TCP].dport == 40002:
                    return parsed[TCP]
            return None

        found = poll(reset_seen)
    assert found and "R" in str(found.flags) and found.seq == 2000
    assert network.counters()["tcp_stray"] == before + 1
