# SPDX-License-Identifier: Apache-2.0
"""Urgent data, as telnet, rlogin and FTP's ABOR have it: the byte keeps its place and its mark, nothing stalls."""

import array
import contextlib
import fcntl
import select
import socket

import pytest
from lab import HOST, REMOTE, TIMEOUT_S, Background, poll, read_exactly
from test_forward import through
from test_tcp import connected

SIOCATMARK = 0x8905  # sockatmark(3)


@pytest.fixture
def ends(lab, guest, forward, version, direction):
    """(who writes, who reads)"""
    if direction.startswith("forward"):
        with guest.listen(version=version) as listener:
            port = forward("tcp", HOST[version], guest.addresses[version], listener.getsockname()[1])
            client, accepted, _ = through(lab.remote, HOST[version], port, listener)
            with client, accepted:
                yield (client, accepted) if direction == "forward in" else (accepted, client)
        return
    with lab.remote.listen(REMOTE[version]) as listener:
        client, accepted = connected(guest, listener)
        with client, accepted:
            yield (client, accepted) if direction == "up" else (accepted, client)


pytestmark = pytest.mark.parametrize("direction", ["up", "down", "forward in", "forward out"])


def at_mark(stream):
    value = array.array("i", [0])
    fcntl.ioctl(stream, SIOCATMARK, value)
    return bool(value[0])


def read_marks(stream, len_bytes):
    """Reads with the urgent bytes in their place. Returns (all bytes, where the marked ones are)."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    data, marks = bytearray(), []
    while len(data) < len_bytes:
        assert select.select([stream], [], [], 5)[0], f"stalled after {len(data)} bytes"
        if at_mark(stream):
            marks.append(len(data))
        part = stream.recv(65536)  # ends before a mark
        assert part
        data += part
    return bytes(data), marks


def test_byte_apart_from_the_others(ends):
    """The classic use: a signal that goes past what was not read yet."""
    writer, reader = ends
    for _ in range(20):
        writer.sendall(b"before")
        writer.send(b"!", socket.MSG_OOB)
        writer.sendall(b"after")
        assert select.select([], [], [reader], 5)[2], "no urgent byte came"
        assert poll(lambda: read_urgent(reader)) == b"!"
        assert read_exactly(reader, 11) == b"beforeafter"


def read_urgent(stream):
    stream.setblocking(False)  # with a time limit Python waits for bytes that are not urgent
    try:
        with contextlib.suppress(OSError):
            return stream.recv(1, socket.MSG_OOB)
    finally:
        stream.settimeout(TIMEOUT_S)
    return None


def test_abort_of_a_transfer(ends):
    """FTP's and telnet's: Interrupt Process, then the data mark, urgent, and the command behind it."""
    writer, reader = ends
    for _ in range(50):
        writer.sendall(b"\xff\xf4")
        writer.send(b"\xff\xf2", socket.MSG_OOB)
        writer.sendall(b"ABOR\r\n")
        data, marks = read_marks(reader, 10)
        assert data == b"\xff\xf4\xff\xf2ABOR\r\n"
        assert marks == [3]


def test_urgent_bytes_in_a_stream(ends):
    """Whatever comes before and after, and however much: in its order, with its mark."""
    writer, reader = ends
    sizes = [1, 1000, 70_000, 300_000, 5, 131_072, 2_000_000]
    sent, expected = b"".join(bytes([n]) * size + b"!" for n, size in enumerate(sizes)), []

    def write():
        for n, size in enumerate(sizes):
            writer.sendall(bytes([n]) * size)
            writer.send(b"!", socket.MSG_OOB)

    at = 0
    for size in sizes:
        at += size + 1
        expected.append(at - 1)
    writing = Background(write)
    data, marks = read_marks(reader, len(sent))
    writing.result()
    assert data == sent
    # A mark that another one overtakes is forgotten by every TCP; the last one stays.
    assert set(marks) <= set(expected) and marks[-1] == expected[-1]


def test_alone(ends):
    writer, reader = ends
    writer.send(b"x", socket.MSG_OOB)
    assert select.select([], [], [reader], 5)[2]
    assert read_urgent(reader) == b"x"


def test_last(ends):
    writer, reader = ends
    writer.sendall(b"a")
    writer.send(b"y", socket.MSG_OOB)
    writer.shutdown(socket.SHUT_WR)
    assert read_marks(reader, 2) == (b"ay", [1])
    assert reader.recv(1) == b""
