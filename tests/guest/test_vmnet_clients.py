# SPDX-License-Identifier: Apache-2.0
"""A real guest, and clients of vmnet.h: between it and the network, and beside it."""

import contextlib
import re
import socket
import subprocess

import pytest
from guest import Guest

OWN_MAC = "52:54:00:12:34:56"


@pytest.fixture
def client(host):
    """client(PROGRAM, ARGUMENT...) starts one of ours and returns it and its first line."""
    build = host.vmnet.parent
    if not (build / "tests" / "conformance" / "vmnet-conformance").exists():
        pytest.skip("programs with blocks need clang and libblocksruntime-dev, and no sanitizer")
    host.environment["PATH"] = f"{build}:{host.environment['PATH']}"
    with contextlib.ExitStack() as stack:

        def client(program, *arguments, **options):
            process = stack.enter_context(
                host.start([build / program, *arguments], stdout=subprocess.PIPE, text=True, **options)
            )
            stack.callback(process.kill)
            return process, process.stdout.readline().split()

        yield client


def test_guest_behind_a_client(host, client, file_server):
    """A stock QEMU on a socket whose frames a client of vmnet.h passes on, with a MAC address of its own.

    Beside it two clients with batches both ways, all on the network "shared".
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        _, (mac, gateway, *_) = client(
            "tests/net/vmnetsocket", theirs.fileno(), "shared", "own-mac", pass_fds=[theirs.fileno()]
        )
        assert mac == "-"
        addresses = [re.sub(r"\.1$", f".{last}", gateway) for last in (201, 202)]
        for address in addresses:
            _, line = client("docs/examples/vmnet-batch", 60, address)
            assert line == [address, "answers"]
        arguments = (
            "-netdev", f"dgram,id=n0,local.type=fd,local.str={ours.fileno()}",
            "-device", f"virtio-net-pci,netdev=n0,mac={OWN_MAC}",
        )  # fmt: skip
        with Guest(host, *arguments, prefix=[], pass_fds=[ours.fileno()]) as guest:
            guest.wait_ready().lease()
            assert guest.sh("cat /sys/class/net/eth0/address") == OWN_MAC
            guest.ping(gateway)
            assert guest.download(file_server.url(gateway))[0] == file_server.sha256
            assert guest.upload(file_server.url(gateway))[0] == file_server.sha256
            for address in addresses:
                guest.sh(f"ping -q -c 20 -i 0.01 -s 1400 -W 3 {address}")
