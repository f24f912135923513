# SPDX-License-Identifier: Apache-2.0
"""Where a test's traffic comes from and goes to: the machine itself, its physical network, guests of its users."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

from machine import BUILD, MachineError, poll

BYTES = 1 << 20
HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"

SERVE = """
import hashlib, os, socket, sys
data = os.urandom(int(sys.argv[2]))
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as listener:
    print("ready", flush=True)
    stream, peer = listener.accept()
    with stream:
        stream.settimeout(10)
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
        print(hashlib.sha256(data).hexdigest(), peer[0])
"""
FETCH = """
import hashlib, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as stream:
    digest, len_bytes = hashlib.sha256(), 0
    while data := stream.recv(65536):
        digest.update(data)
    print(digest.hexdigest())
"""


class Place:
    """A network namespace, where programs of the host's run."""

    def __init__(self, *options):
        self.command = ["nsenter", *options, "--"]

    def start(self, *words):
        return subprocess.Popen([*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def run(self, *words, check=True):
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=20, check=False)
        if check and done.returncode:
            raise MachineError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done

    def ip(self, batch):
        done = subprocess.run([*self.command, "ip", "-batch", "-"], input=batch, capture_output=True, text=True,
                              timeout=20, check=False)  # fmt: skip
        if done.returncode:
            raise MachineError(f"{batch}{done.stderr}")

    def reaches(self, address):
        return poll(lambda: self.run("ping", "-n", "-c1", "-W1", address, check=False).returncode == 0, 8)


def fetch(server, client, address, port):
    """A stream from @server to @client, whole. Returns who was seen as the client."""
    serving = server.start(sys.executable, "-c", SERVE, str(port), str(BYTES))
    try:
        assert serving.stdout.readline() == "ready\n"
        got = client.run(sys.executable, "-c", FETCH, address, str(port)).stdout.strip()
        said = serving.communicate(timeout=20)[0]
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()
    sent, peer = said.split()
    assert got == sent
    return peer


class Guest(Place):
    """A context: a machine of a user's, who starts it by `vmnet run`: a network namespace with one interface."""

    def __init__(self, machine, network, user="alice", nic="", address=None):
        self.machine, self.address = machine, address
        self.words = ["vmnet", "run", "--nic", f"network={network}{nic}", "unshare", "--user", "--map-root-user",
                      "--net", "/tests/tapguest", "{fd}", "eth0", "{mac}"]  # fmt: skip
        self.words = machine.user_command(user, *self.words)

    def __enter__(self):
        self.process = self.machine.start(*self.words)
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self):
        self.said = self.process.stdout.readline()
        facts = re.search(r"(vm\w+-\d+|tap\d+): MAC ([0-9a-f:]+)", self.said)
        if not facts:
            raise MachineError(self.said + self.process.communicate()[0])
        self.interface, self.mac = facts.groups()
        child = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(child.read_text().split()[0])
        # Root of the host has every right in a user's namespaces.
        super().__init__(f"--target={self.pid}", "--net")
        if not poll(self._has_started):
            raise MachineError("the guest does not start")
        self._configure()

    def _has_started(self):
        """The process is in a namespace of its own by now, and the interface is there."""
        own, machines = (os.readlink(f"/proc/{pid}/ns/net") for pid in (self.pid, self.machine.leader))
        return own != machines and self.run("ip", "link", "show", "eth0", check=False).returncode == 0

    def _configure(self):
        given = re.search(r"IPv4 ([\d.]+)/(\d+)", self.said)
        gateway = re.search(r"gateway ([\d.]+)", self.said)
        if not self.address:
            self.address = given[1]
        batch = f"link set lo up\nlink set eth0 up\naddress add {self.address}/{given[2] if given else 24} dev eth0\n"
        if gateway:
            self.gateway = gateway[1]
            batch += f"route add default via {self.gateway}\n"
        self.ip(batch)

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()

    def is_alive(self):
        return self.process.poll() is None


def programs():
    return [BUILD / "tests" / "net" / "tapguest"]
