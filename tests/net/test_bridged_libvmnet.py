# SPDX-License-Identifier: Apache-2.0
"""Programs for vmnet.h on a bridged network of the system."""

import socket
import subprocess

import pytest
from scapy.layers.l2 import ARP, Ether

from lab import BUILD, REMOTE, poll
from system import OTHER, USER, SystemLab, needs_root, running

pytestmark = needs_root
VMNETSOCKET = BUILD / "tests" / "net" / "vmnetsocket"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab:
        yield lab
        lab.wait_until_clean()


@pytest.mark.skipif(not VMNETSOCKET.exists(), reason="programs with blocks need clang and libblocksruntime-dev")
def test_libvmnet(lab):
    """Bridged mode of vmnet.h is the network of that name, for whom it lets."""

    def start(user):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = user.start(VMNETSOCKET, theirs.fileno(), "bridged:out0", pass_fds=[theirs.fileno()],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        theirs.close()
        ours.settimeout(5)
        return program, ours

    with running(lab, "bridged-out0", f"mode = bridged\nifname = out0\nallow-user = {USER}\n") as network:
        refused, ours = start(lab.user(OTHER))
        assert "status 1010" in refused.communicate(timeout=10)[1]
        ours.close()
        program, ours = start(lab.user(USER))
        mac, start_address, _, mtu = program.stdout.readline().split()
        assert (start_address, mtu) == ("-", "1500")
        ours.send(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc="198.51.100.77", pdst=REMOTE[4])))
        answer = None
        while not (answer and ARP in answer and answer[ARP].op == 2):
            answer = Ether(ours.recv(2048))
        assert (answer[ARP].psrc, answer.dst) == (REMOTE[4], mac)
        ours.close()
        assert program.wait(5) == 0
        assert poll(lambda: not network.status()["ports"])
        assert f"denied to uid {OTHER}" in network.log() and f"denied to uid {USER}" not in network.log()
