# SPDX-License-Identifier: Apache-2.0
"""vmnet capture: what passes, each frame once, in a form that others read."""

import contextlib
import io
import os
import pty
import select
import signal
import struct
import subprocess

import pytest
from lab import BUILD, Background, poll, read_exactly
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapNgReader

STATISTICS = 5
ECHO_REQUEST, ECHO_REPLY = 8, 0


class Capture:
    """A context: `vmnet capture` of a network. end() gives the frames."""

    def __init__(self, lab, network, *arguments, stdout=subprocess.PIPE):
        self.process = lab.host.start(
            [lab.vmnet_path, "capture", network.name, *arguments],
            capabilities=False,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.data = b""
        # The header comes when the device is open.
        if stdout == subprocess.PIPE:
            os.set_blocking(self.process.stdout.fileno(), False)
            assert poll(self.read) or self.process.poll() is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def read(self):
        """Takes what has come; all of it until now."""
        with contextlib.suppress(BlockingIOError, TypeError):
            while part := os.read(self.process.stdout.fileno(), 1 << 20):
                self.data += part
        return self.data

    def frames(self):
        return [Ether(bytes(frame)) for frame in PcapNgReader(io.BytesIO(self.data))]

    def end(self, number=signal.SIGINT):
        """Returns (frames, last line said, status)."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        assert poll(lambda: (self.read(), self.process.poll() is not None)[1], 10)
        self.read()
        said = self.process.stderr.read().decode().splitlines()
        return self.frames(), said[-1] if said else "", self.process.returncode


def statistics(data):
    """(received, dropped) of the statistics block, which must be the last one."""
    at, last = 0, None
    while at < len(data):
        kind, len_bytes = struct.unpack_from("=II", data, at)
        assert struct.unpack_from("=I", data, at + len_bytes - 4)[0] == len_bytes
        last = kind, data[at : at + len_bytes]
        at += len_bytes
    assert at == len(data) and last[0] == STATISTICS
    options, at = {}, 20
    while at < len(last[1]) - 4:
        code, len_bytes = struct.unpack_from("=HH", last[1], at)
        options[code] = last[1][at + 4 : at + 4 + len_bytes]
        at += 4 + (len_bytes + 3) // 4 * 4
    return tuple(struct.unpack("=Q", options[code])[0] for code in (4, 5))


def pings(frames):
    return [
        (frame[IP].src, frame[IP].dst, frame[ICMP].type, frame[ICMP].seq)
        for frame in frames
        if ICMP in frame
    ]


def expected_pings(asker, answerer, count):
    pairs = []
    for seq in range(1, count + 1):
        pairs += [(asker, answerer, ECHO_REQUEST, seq), (answerer, asker, ECHO_REPLY, seq)]
    return pairs


@pytest.fixture
def pair(new_guest):
    return new_guest(name="a"), new_guest(name="b")


def test_whole_network(lab, network, pair):
    """Machine to machine, to and from the gateway, broadcast: each frame, and once."""
    a, b = pair
    with Capture(lab, network, "icmp or arp") as capture:
        a.ip("neigh flush all")
        assert a.ping(b.ipv4, 3) == 3
        assert a.ping(a.gateway, 2) == 2
        frames, said, status = capture.end()
    assert pings(frames) == expected_pings(a.ipv4, b.ipv4, 3) + expected_pings(a.ipv4, a.gateway, 2)
    asked = [
        frame
        for frame in frames
        if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == b.ipv4
        and frame.dst == "ff:ff:ff:ff:ff:ff" and frame[ARP].psrc == a.ipv4
    ]
    assert len(asked) == 1
    assert (said, status) == (f"vmnet: {len(frames)} packets captured, 0 dropped", 0)
    assert statistics(capture.data) == (len(frames), 0)


def test_nothing_is_lost(lab, network, pair):
    a, b = pair
    with Capture(lab, network, "icmp") as capture:
        assert a.ping(b.ipv4, 100, timeout_s=20) == 100
        frames, _, _ = capture.end()
    assert pings(frames) == expected_pings(a.ipv4, b.ipv4, 100)


@pytest.mark.parametrize("by", ["interface", "name"])
def test_one_port(lab, network, pair, new_guest, by):
    a, b = pair
    c = new_guest()
    wanted = b.port.interface if by == "interface" else "B"
    with Capture(lab, network, "--port", wanted, "icmp") as capture:
        assert a.ping(c.ipv4, 1) == 1
        assert a.ping(b.ipv4, 2) == 2
        frames, _, status = capture.end(signal.SIGTERM)
    assert pings(frames) == expected_pings(a.ipv4, b.ipv4, 2)
    assert status == 0
    assert b.port.interface.encode() in capture.data


def test_count_and_snaplen(lab, network, pair):
    a, b = pair
    with Capture(lab, network, "--count", "3", "--snaplen", "60", "icmp") as capture:
        assert a.ping(b.ipv4, 3) == 3
        frames, said, status = capture.wait()
    assert [len(frame) for frame in frames] == [60, 60, 60]
    assert (said, status) == ("vmnet: 3 packets captured, 0 dropped", 0)


def test_file(lab, network, pair):
    a, b = pair
    path = lab.directory / "captured"
    try:
        with Capture(lab, network, "icmp", "-w", path, stdout=subprocess.DEVNULL) as capture:
            assert poll(path.exists)
            assert a.ping(b.ipv4, 2) == 2
            capture.process.send_signal(signal.SIGINT)
            assert capture.process.wait(10) == 0
        capture.data = path.read_bytes()
        assert pings(capture.frames()) == expected_pings(a.ipv4, b.ipv4, 2)
    finally:
        path.unlink()


def test_long_frames_in_a_file(lab, network, pair):
    """They go to it right from the kernel's ring, in between those that do not: no byte is amiss."""
    a, b = pair
    path = lab.directory / "captured"
    sent = b"".join(struct.pack("!I", number) for number in range(1 << 20))
    try:
        with Capture(lab, network, "tcp", "-w", path, stdout=subprocess.DEVNULL) as capture:
            assert poll(path.exists)
            with b.listen(b.ipv4) as listener, a.connect(*listener.getsockname()) as client:
                accepted, _ = listener.accept()
                with accepted:
                    sending = Background(client.sendall, sent)
                    assert read_exactly(accepted, len(sent)) == sent
                    sending.result()
            capture.process.send_signal(signal.SIGINT)
            assert capture.process.wait(10) == 0
        capture.data = path.read_bytes()
        frames = [frame[TCP] for frame in capture.frames() if frame[IP].src == a.ipv4]
        assert statistics(capture.data)[1] == 0
    finally:
        path.unlink()
    parts = {frame.seq: bytes(frame.payload) for frame in frames if frame.payload}
    first = next(frame.seq for frame in frames if frame.flags.S) + 1
    got = bytearray(len(sent))
    for seq, part in parts.items():
        at = (seq - first) % (1 << 32)
        got[at : at + len(part)] = part
    assert bytes(got) == sent
    assert max(map(len, parts.values())) > 16384


def test_live(lab, network, pair):
    """tcpdump shows a frame at once, while the capture goes on. Its end is the capture's."""
    a, b = pair
    reader = subprocess.Popen(
        ["tcpdump", "-n", "-l", "-r", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with Capture(lab, network, "icmp", stdout=reader.stdin) as capture:
        reader.stdin.close()

        def shows_a_ping():
            """The first ones may come before the device is open."""
            a.ping(b.ipv4, 1)
            return bool(select.select([reader.stdout], [], [], 0.1)[0])

        assert poll(shows_a_ping)
        assert f"{a.ipv4} > {b.ipv4}: ICMP echo request" in reader.stdout.readline()
        assert capture.process.poll() is None
        reader.kill()
        reader.wait()
        reader.stdout.close()
        assert capture.process.wait(5) == 0
        said = capture.process.stderr.read().decode().splitlines()
        assert len(said) == 1 and said[0].endswith("0 dropped")


def test_ends_with_the_network(lab, new_network):
    ending = new_network()
    with Capture(lab, ending) as capture:
        ending.down()
        frames, said, status = capture.wait()
    assert status == 0 and "captured" in said
    # The fixture wants to find it.
    lab.network(ending.name)


@pytest.mark.parametrize(
    "arguments, status, text",
    [
        (["--port", "nobody"], 1, "no port 'nobody'"),
        (["tcp", "prot", "80"], 2, "filter 'tcp prot 80'"),
        (["--count", "0"], 2, "--count"),
        (["--snaplen", "x"], 2, "--snaplen"),
        (["-w", "/nonexistent/file"], 1, "/nonexistent/file"),
        (["-w"], 2, "needs a value"),
    ],
)
def test_errors(lab, network, arguments, status, text):
    result = lab.vmnet("capture", network.name, *arguments, check=False)
    assert (result.returncode, result.stdout) == (status, "")
    assert text in result.stderr and len(result.stderr.splitlines()) == 1


def test_no_network(lab):
    result = lab.vmnet("capture", "none", check=False)
    assert result.returncode == 1 and "network 'none'" in result.stderr
    assert "none" not in lab.vmnet("ls").stdout


def test_terminal(network):
    """Nothing of it goes to a terminal."""
    controller, terminal = pty.openpty()
    try:
        result = subprocess.run(
            [BUILD / "vmnet", "capture", network.name],
            stdout=terminal,
            stderr=subprocess.PIPE,
            env=network.lab.environment,
            text=True,
            timeout=10,
        )
        assert result.returncode == 2
        assert "| tcpdump" in result.stderr
        os.set_blocking(controller, False)
        with pytest.raises(BlockingIOError):
            os.read(controller, 1)
    finally:
        os.close(controller)
        os.close(terminal)
