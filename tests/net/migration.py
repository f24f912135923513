# SPDX-License-Identifier: Apache-2.0
"""A real machine that talks all the time, to be moved from host to host: for test_multi_host.py."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time

from evpn import MTU
from lab import BUILD, HERE, LabError, poll

sys.path.insert(0, str(HERE.parent / "guest"))
from guest import KERNEL_ARGUMENTS  # noqa: E402
from image import Image, append_files  # noqa: E402

MAC, ADDRESS, PORT = "52:56:00:00:00:5a", "10.1.0.90", 7000

# Counts aloud, over one connection, for as long as it lives.
SCRIPT = f"""
ip link set eth0 mtu {MTU} up
ip addr add {ADDRESS}/24 dev eth0
n=0
while :; do
    echo $n
    n=$((n + 1))
    usleep 20000
done | nc SERVER {PORT}
"""


def reason_to_skip():
    if not shutil.which("qemu-system-x86_64"):
        return "qemu-system-x86_64 is not installed: run `make deps`"
    return None if Image(BUILD).initrd.exists() else "there is no test guest: run tests/guest/image.py"


class Machine:
    """A QEMU of `vmnet run` on @host's network "lan". A context."""

    def __init__(self, host, server, *arguments):
        image, self.directory = Image(BUILD), host.lab.directory
        initrd = self.directory / "counter.img"
        if not initrd.exists():
            append_files(image.initrd, {"script": SCRIPT.replace("SERVER", server).encode()}, initrd)
        self.qmp_path = self.directory / f"qmp{host.number}"
        self.process = host.start(
            [host.lab.vmnet_path, "run", "--network", "lan", "--name", "mover", "--nic", f"mac={MAC}"]
            + ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "128", "-nodefaults", "-nographic"]
            + ["-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-kernel", image.kernel, "-initrd", initrd]
            + ["-append", KERNEL_ARGUMENTS, *arguments],
            env=host.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def wait_started(self):
        if not poll(lambda: self.qmp_path.exists() or self.process.poll() is not None, 20) or not self.qmp_path.exists():
            self.process.kill()
            raise LabError(f"no QEMU: {self.process.stderr.read()}")
        return self

    @contextlib.contextmanager
    def qmp(self):
        """call(COMMAND, ARGUMENT=...) returns what QEMU does."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            stream.connect(str(self.qmp_path))
            lines = stream.makefile()
            lines.readline()

            def call(command, **arguments):
                stream.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
                while True:
                    reply = json.loads(lines.readline())
                    if "return" in reply or "error" in reply:
                        return reply["return"]

            call("qmp_capabilities")
            yield call

    def migrate(self, uri):
        with self.qmp() as call:
            call("migrate", uri=uri)
            status = poll(lambda: (now := call("query-migrate"))["status"] in ("completed", "failed") and now, 30)
            assert status["status"] == "completed", status

    def state(self):
        with self.qmp() as call:
            return call("query-status")["status"]


class Listener:
    """What the machine says: read() gets all that has come, and counts on from what came before."""

    def __init__(self, stream):
        self.stream, self.rest, self.next = stream, b"", 0
        stream.settimeout(10)

    def read(self):
        *lines, self.rest = (self.rest + self.stream.recv(65536)).split(b"\n")
        for line in lines:
            assert int(line) == self.next, "nothing is lost, and nothing comes twice"
            self.next += 1
        return self.next

    def hear(self, more, timeout_s=10):
        """Reads on until so many more have come. Returns the longest silence."""
        end, last, silence = self.next + more, time.monotonic(), 0
        deadline = last + timeout_s
        while self.next < end:
            self.read()
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            assert now < deadline, f"{self.next} of {end} after {timeout_s} s"
        return silence
