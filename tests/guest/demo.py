#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make demo`: one virtual machine on one network, and a line for each thing that works.

Installs what is missing, builds, makes the guest's image; then, as an ordinary user also where
root started it, boots a guest by `vmnet run qemu-system-x86_64 ... -netdev vmnet-macos,...`.
The other end of all traffic is this host. Ends with "demo: ok", or with the step that failed and
why.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from guest import (  # noqa: E402
    FileServer,
    Guest,
    GuestError,
    Host,
    end_on_signals,
    iperf3_server,
    poll,
    random_file,
)
from image import PYTHON, TREE, UNPRIVILEGED, Image, ImageError  # noqa: E402

FILE_MIB = 64
IPERF3_S = 4
NETDEV = ("-netdev", "vmnet-macos,id=n0,mode=shared", "-device", "virtio-net-pci,netdev=n0")


def run_steps(steps, tail=lambda: ""):
    """Runs [(name, function)], with a line each; exits at the first that fails."""
    for name, function in steps:
        print(f"  {name:<16}", end="", flush=True)
        try:
            print(function(), flush=True)
        except (GuestError, ImageError, OSError, subprocess.SubprocessError) as error:
            print(f"failed\n\n{tail()}\n\ndemo: failed at {name}: {error}".replace("\n\n\n", "\n"))
            sys.exit(1)


def timed(function, *arguments):
    """Returns (result, seconds)."""
    start = time.monotonic()
    result = function(*arguments)
    return result, time.monotonic() - start


def run_tool(*command):
    """Runs a command whose output matters only where it fails. Returns the seconds as text."""
    # A make above this one would lend its job server.
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        print(f"failed\n\n{done.stdout.decode(errors='replace').strip()}\n")
        raise GuestError(f"`{' '.join(command)}` ended with status {done.returncode}, see above")
    return f"{time.monotonic() - start:.1f} s"


def prepare(build):
    def image():
        text, seconds = timed(Image(build).prepare)
        return f"{text}, {seconds:.1f} s"

    run_steps(
        [
            ("packages", lambda: run_tool("contrib/deps.sh", "demo")),
            ("build", lambda: run_tool("make", "build", f"BUILD={build}")),
            ("guest image", image),
        ]
    )


class Demo:
    """The part that needs no rights. Each method is a step and returns its figure."""

    def __init__(self, host, server):
        self.host = host
        self.server = server
        self.guest = None
        self.port = None

    def steps(self):
        return [
            ("network", self.attach),
            ("boot", self.boot),
            ("lease", self.lease),
            ("ping gateway", self.ping),
            ("DNS", self.dns),
            ("HTTP download", self.download),
            ("HTTP upload", self.upload),
            ("TCP to host", lambda: self.throughput()),
            ("TCP to guest", lambda: self.throughput("-R")),
            ("IPv6 address", self.address6),
            ("IPv6 ping", self.ping6),
            ("IPv6 DNS", self.dns6),
            ("IPv6 HTTP", self.download6),
            ("end", self.end),
        ]

    def attach(self):
        self.started = time.monotonic()
        self.guest = Guest(self.host, *NETDEV, memory="512")
        ports = poll(lambda: self.guest.ports() or self.guest.process.poll() is not None, 20)
        if not self.guest.ports():
            raise GuestError("vmnet run printed no port" if ports is False else "vmnet run ended")
        self.port = self.guest.ports()[0]
        seconds = time.monotonic() - self.started
        port = self.port
        return f"{port.network}: {port.name}, {port.mac}, attached in {seconds:.2f} s"

    def boot(self):
        self.guest.wait_ready()
        return f"{time.monotonic() - self.started:.1f} s"

    def lease(self):
        address, seconds = self.guest.lease()
        expect(address, str(self.port.ipv4.ip), "the address announced")
        return f"{address} in {seconds:.2f} s"

    def ping(self):
        return f"{self.port.gateway}, {self.guest.ping(self.port.gateway):.2f} ms"

    def dns(self):
        names = {
            self.port.name: str(self.port.ipv4.ip),
            self._gateway_name(): self.port.gateway,
        }
        for name, address in names.items():
            expect(self.guest.resolve(name), [address], f"the address of {name}")
        return ", ".join(f"{name} {address}" for name, address in names.items())

    def download(self):
        return self._transfer(self.guest.download, self.port.gateway)

    def upload(self):
        return self._transfer(self.guest.upload, self.port.gateway)

    def throughput(self, *options):
        with iperf3_server(self.host) as port:
            rate = self.guest.iperf3(self.port.gateway, port, IPERF3_S, *options)
        return f"{rate / 1e9:.2f} Gbit/s"

    def address6(self):
        address, seconds = timed(self.guest.address6)
        prefix = self.port.ipv6_prefix
        if not address.startswith(str(prefix.network_address).rstrip(":")):
            raise GuestError(f"the address is {address}, the network announced is {prefix}")
        return f"{address}, waited {seconds:.1f} s"

    def ping6(self):
        return f"{self.port.gateway6}, {self.guest.ping(self.port.gateway6):.2f} ms"

    def dns6(self):
        name = self._gateway_name()
        expect(self.guest.resolve(name, "AAAA"), [self.port.gateway6], f"the address of {name}")
        return f"{name} {self.port.gateway6}"

    def download6(self):
        return self._transfer(self.guest.download, self.port.gateway6)

    def end(self):
        self.guest.power_off()
        self.host.wait_until_clean()
        return "nothing left behind"

    def _gateway_name(self):
        return "gateway." + self.port.name.partition(".")[2]

    def _transfer(self, function, address):
        digest, seconds = function(self.server.url(address))
        expect(digest, self.server.sha256, "the sha256")
        return f"{FILE_MIB} MiB in {seconds:.2f} s, sha256 matches"


def expect(value, wanted, what):
    if value != wanted:
        raise GuestError(f"{what} is not {wanted} but {value}")


def demonstrate(build):
    with Host(build) as host, FileServer(random_file(FILE_MIB << 20)) as server:
        demo = Demo(host, server)
        try:
            run_steps(demo.steps(), lambda: demo.guest.tail() if demo.guest else "")
        finally:
            if demo.guest:
                demo.guest.__exit__()
    print("demo: ok")


def main():
    parser = argparse.ArgumentParser(description="Shows a virtual machine on a network.")
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--prepared", action="store_true", help="skip what comes before")
    arguments = parser.parse_args()
    build = str((TREE / arguments.build).resolve())
    end_on_signals()
    if arguments.prepared:
        demonstrate(build)
        return
    prepare(build)
    command = [PYTHON, UNPRIVILEGED, PYTHON, __file__, "--prepared", f"--build={build}"]
    os.execv(PYTHON, [str(word) for word in command])


if __name__ == "__main__":
    main()
