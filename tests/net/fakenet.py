# SPDX-License-Identifier: Apache-2.0
"""Networks that are only an answer, for tests of what the commands make of it.

A FakeNetwork is a control socket in a runtime directory; each Status takes what its state() returns.
A Terminal is a program on a pseudo terminal, with a screen that can be read.
"""

import contextlib
import copy
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

BUILD = pathlib.Path(
    os.environ.get("OPENVMNET_BUILD", pathlib.Path(__file__).resolve().parent.parent.parent / "build")
)
VMNET = BUILD / "vmnet"

DROPS = ("spoofed_mac", "spoofed_ipv4", "spoofed_ipv6", "rogue_dhcp", "rogue_ra", "storm", "isolated", "not_ip")


def port(number, network="shared", **facts):
    """A port of Status, as the daemon has it; @facts are those of its Port that differ."""
    return {
        "network": network,
        "mode": "shared",
        "interface": f"tap{number}",
        "kind": "tap",
        "mac": f"52:56:00:00:{number >> 8:02x}:{number & 255:02x}",
        "ipv4": f"192.168.64.{number % 250 + 2}/24",
        "ipv6Prefix": "fd04:7b26:d022:8885::/64",
        "gateway": "192.168.64.1",
        "gateway6": "fd04:7b26:d022:8885::1",
        "ipv6Default": True,
        "name": f"vm{number}",
        "domain": f"{network}.vmnet.internal",
        "interfaceId": "12345678-1234-1234-1234-123456789abc",
        "mtu": 1500,
        "isolated": False,
        "antiSpoof": True,
        "owner": os.getpid(),
        "socket": None,
        "traffic": dict.fromkeys(
            ("upPackets", "upBytes", "downPackets", "downBytes", "downDropped"), 0
        ),
        "drops": dict.fromkeys(DROPS, 0),
        **facts,
    }


def status(name="shared", ports=(), parent=1000, **facts):
    """A reply to Status; @facts are those of its Network that differ."""
    return {
        "network": {
            "name": name,
            "mode": "shared",
            "plane": "private",
            "subnet": "192.168.64.0/24",
            "gateway": "192.168.64.1",
            "poolStart": "192.168.64.2",
            "poolEnd": "192.168.64.254",
            "dhcp": True,
            "ipv6Prefix": "fd04:7b26:d022:8885::/64",
            "gateway6": "fd04:7b26:d022:8885::1",
            "ipv6Default": True,
            "domain": f"{name}.vmnet.internal",
            "mtu": 1500,
            "lasting": False,
            "ports": len(ports),
            "configFile": None,
            "streamSocket": None,
            **facts,
        },
        "ports": list(ports),
        "forwards": [],
        "processes": {"parent": parent, "engine": 1001, "router": 1002, "dnsmasq": 1003},
        "counters": {"tcp_open": 0, "udp_open": 0, "forward_open": 0, "drop_denied": 0},
    }


class FakeNetwork:
    """A context. @state: a reply, or a function that is called for each."""

    def __init__(self, runtime, state, name=None):
        self.state = state
        name = name or self.answer()["network"]["name"]
        self.directory = pathlib.Path(runtime) / "openvmnet" / name
        self.directory.mkdir(mode=0o700, parents=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.directory / "control"))
        self.listener.listen(16)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.asked = 0

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(FileNotFoundError):
            (self.directory / "control").unlink()
            self.directory.rmdir()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()

    def answer(self):
        return copy.deepcopy(self.state() if callable(self.state) else self.state)

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(5)
                request = b""
                while not request.endswith(b"\0"):
                    data = client.recv(65536)
                    if not data:
                        break
                    request += data
                if request:
                    self.asked += 1
                    client.sendall(json.dumps({"parameters": self.answer()}).encode() + b"\0")


def environment(runtime, **more):
    return dict(
        os.environ, XDG_RUNTIME_DIR=str(runtime), XDG_STATE_HOME=str(runtime), LC_ALL="C",
        OPENVMNET_ROOT=str(runtime), **more
    )


def vmnet(runtime, *arguments):
    return subprocess.run(
        [str(VMNET), *map(str, arguments)],
        env=environment(runtime),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


class Terminal:
    """A context: a program on a pseudo terminal of type vt100."""

    def __init__(self, runtime, *arguments, rows=24, columns=80):
        self.rows, self.columns = rows, columns
        self.raw = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(str(VMNET), ["vmnet", *arguments], environment(runtime, TERM="vt100"))
        self.set_size(rows, columns)
        self.status = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def set_size(self, rows, columns):
        """The program is told by a signal; what was drawn before is not on the new screen."""
        self.rows, self.columns = rows, columns
        self.raw = b""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def modes(self):
        return termios.tcgetattr(self.fd)[:4]

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, timeout_s=0.02):
        while select.select([self.fd], [], [], timeout_s)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the program has ended
                return
            if not data:
                return
            self.raw += data

    def screen(self):
        """The lines that are to be seen; AssertionError where text goes beyond the right margin."""
        self.read()
        return render(self.raw, self.rows, self.columns)

    def wait_for(self, condition, timeout_s=10):
        """The screen once condition(its text) is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            lines = self.screen()
            if condition("\n".join(lines)):
                return lines
            assert time.monotonic() < deadline, "\n".join(lines)

    def wait_end(self, timeout_s=10):
        """The exit status as of subprocess: negative for a signal."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.read()
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError("the program does not end")


TOKEN = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78DEMH]|([\s\S])")


def render(data, rows, columns):
    """What a vt100 shows after @data, as far as ncurses makes use of it."""
    cells = [[" "] * columns for _ in range(rows)]
    row = column = 0
    wraps = True
    # An incomplete sequence at the end comes with the next read.
    data = re.sub(rb"\x1b(\[[?0-9;]*|[()])?$", b"", data)
    for match in TOKEN.finditer(data):
        parameters, command, byte = match.groups()
        if byte:
            if byte == b"\r":
                column = 0
            elif byte == b"\n":
                row = min(row + 1, rows - 1)
            elif byte == b"\b":
                column = max(column - 1, 0)
            elif byte == b"\t":
                column = min((column // 8 + 1) * 8, columns - 1)
            elif byte >= b" ":
                if not wraps:  # how the last column is filled
                    column = min(column, columns - 1)
                assert column < columns, f"row {row} is wider than {columns} columns"
                cells[row][column] = byte.decode("latin-1")
                column += 1
        elif command:
            values = [int(text) for text in parameters.strip(b"?").split(b";") if text]
            first = values[0] if values else 0
            if command == b"H":
                row = min((values or [1])[0], rows) - 1
                column = min(values[1] if len(values) > 1 else 1, columns) - 1
            elif command in b"ABCD":
                step = max(first, 1)
                row += {b"A": -step, b"B": step}.get(command, 0)
                column += {b"C": step, b"D": -step}.get(command, 0)
                row, column = min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
            elif command == b"K":
                span = {0: range(column, columns), 1: range(column + 1), 2: range(columns)}[first]
                for at in span:
                    cells[row][at] = " "
            elif command == b"J":
                if first == 0:
                    cells[row][column:] = [" "] * (columns - column)
                for at in range(row + 1 if first == 0 else 0, rows):
                    cells[at] = [" "] * columns
            elif parameters == b"?7":
                wraps = command == b"h"
            elif command == b"r":
                row = column = 0
    return ["".join(line).rstrip() for line in cells]
