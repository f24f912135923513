# SPDX-License-Identifier: Apache-2.0
"""The ways from a VM monitor to a network: an unmodified QEMU on each of them."""

import os

import pytest

FILE_MIB = 128  # in the memory of a machine
PORT = 5000
# An emulated processor has to copy and sum all of it.
TRANSFER_TIMEOUT_S = 60
# Each way; two minutes of an emulated machine: `make soak`.
STREAM_MIB = 1024 if os.environ.get("OPENVMNET_SOAK") else FILE_MIB


def machine(boot, way, name):
    """With large frames: what takes long is the emulated machine's work for each."""
    return boot(
        "-netdev", "vmnet-macos,id=n0,mode=shared,mtu=9000", "-device", "virtio-net-pci,netdev=n0",
        "-name", name, options=("--way", way), memory="512",
    )  # fmt: skip


def serve(guest):
    """A file of random bytes, over HTTP. Returns its checksum."""
    guest.sh(f"dd if=/dev/urandom of=/www/file bs=1M count={FILE_MIB} 2>/dev/null", timeout_s=60)
    guest.sh(f"httpd -p {PORT} -h /www")
    return guest.sh("md5sum </www/file", timeout_s=60)


@pytest.mark.parametrize("way, mib", [("stream", STREAM_MIB), ("dgram", FILE_MIB)])
def test_files_between_a_socket_and_a_tap(boot, way, mib):
    """Both ways, and whole. Datagrams prove the same with less: the pump treats all frames alike."""
    on_socket, on_tap = machine(boot, way, "socket"), machine(boot, "tap", "tap")
    checksums = {}
    for guest in (on_socket, on_tap):
        address, _ = guest.wait_ready().lease()
        assert address == str(guest.ports()[0].ipv4.ip)
        checksums[guest] = serve(guest)
    for sender, receiver in ((on_socket, on_tap), (on_tap, on_socket)):
        url = f"http://{sender.ports()[0].ipv4.ip}:{PORT}/file"
        for _ in range(mib // FILE_MIB):
            got = receiver.sh(f"wget -q -O - {url} | md5sum", timeout_s=TRANSFER_TIMEOUT_S)
            assert got == checksums[sender]
