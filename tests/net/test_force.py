# SPDX-License-Identifier: Apache-2.0
"""A network that is ended although it has machines: what becomes of them (decision 0038)."""

import errno
import os
import select

import pytest
from lab import PYTHON, poll
from program import Program

WAITS_FOR_ITS_END = """
import socket, time
print("listens", flush=True)
while any(name == "eth0" for _, name in socket.if_nameindex()):
    time.sleep(0.01)
print("gone", flush=True)
"""


def test_machines_are_cut_off(lab):
    """From each other, too, though their taps hold the namespace. Their monitors see a device that takes no frame: one
    that is gone would have them poll it without a pause."""
    network = lab.network("cut")
    with network.guest() as one, network.guest() as two, network.attach() as port:
        assert one.ping(two.ipv4) == two.ping(one.ipv4) == 1
        assert network.down().returncode == 0
        assert one.ping(two.ipv4, timeout_s=1) == 0
        with pytest.raises(OSError) as failed:
            os.write(port.fd, bytes(100))
        assert failed.value.errno == errno.EIO
        polled = select.poll()
        polled.register(port.fd, 0)
        assert polled.poll(0) == []  # POLLERR would be told in any case
        # It is for good: the next network is another one.
        again = lab.network("cut")
        try:
            assert again.status()["ports"] == []
            with again.guest() as third:
                assert third.ping(third.gateway) == 1
        finally:
            again.down()


def test_a_stream_ends(lab):
    network = lab.network("cut")
    with network.attach(kind="stream") as port:
        assert network.down().returncode == 0
        polled = select.poll()
        polled.register(port.fd, select.POLLIN)
        assert polled.poll(5000)[0][1] & select.POLLHUP


def test_a_program_loses_its_interface(lab):
    network = lab.network("cut")
    with Program(lab, network, PYTHON, "-I", "-S", "-c", WAITS_FOR_ITS_END, ready="listens") as program:
        assert network.down().returncode == 0
        assert poll(lambda: select.select([program.process.stdout], [], [], 0)[0])
        assert program.process.stdout.readline() == "gone\n"
