#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bridged to a wired interface beside macvtap on it, as root: what a machine and the LAN carry. Some two minutes.

    make bench-bridged
    make bench-bridged BRIDGED='--rounds 9 --seconds 1'

Both have a tap's descriptor that tapguest reads, and take turns in each round. Exits with 1 where a ratio is below the claim.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "net"))

from bridged import BridgedNetwork  # noqa: E402
from lab import BUILD, REMOTE, Lab, LabError, Port, poll  # noqa: E402

NETBENCH, NETBENCH_PORT = BUILD / "tests" / "bench" / "netbench", 5202
CLAIM = 0.95
MAC = "52:56:00:00:00:01"


@contextlib.contextmanager
def bridged(lab):
    with BridgedNetwork(lab) as network, network.guest(1) as guest:
        yield guest


@contextlib.contextmanager
def macvtap(lab):
    """Its descriptor is that of a device file, whose number only a sysfs of the host's namespace knows."""
    host = lab.host
    sysfs, device = lab.directory / "sysfs", lab.directory / "macvtap"
    host.ip(f"link add link out0 name mv0 address {MAC} type macvtap mode bridge")
    try:
        sysfs.mkdir(exist_ok=True)
        host.ip("link set mv0 up")
        host.run(["mount", "-t", "sysfs", "sysfs", sysfs])
        number = host.run(["sh", "-c", f"cat {sysfs}/class/net/mv0/tap*/dev"]).stdout.strip()
        host.run(["umount", sysfs])
        host.run(["mknod", device, "c", *number.split(":")])
        facts = {"interface": "mv0", "mac": MAC, "name": "macvtap", "ipv4": "198.51.100.11/24",
                 "gateway": REMOTE[4], "gateway6": REMOTE[6]}  # fmt: skip
        fd = os.open(device, os.O_RDWR)
        device.unlink()
        with contextlib.closing(BridgedNetwork.configure(_Owner(lab), Port(None, facts, fd), 1)) as guest:
            yield guest
    finally:
        host.ip("link delete mv0")


class _Owner:
    """What a Guest asks of its network."""

    def __init__(self, lab):
        self.lab = lab


def measure(lab, guest, seconds):
    if not poll(lambda: guest.ping(REMOTE[4], timeout_s=1), 10):
        raise LabError("the LAN is not reached")
    values = {}
    for name, options in (("tcp-up", []), ("tcp-down", ["-R"])):
        server = lab.remote.start(["iperf3", "-s", "-1"], stdout=-3)
        try:
            if not poll(lambda: ":5201 " in lab.remote.run(["ss", "-ltn"]).stdout):
                raise LabError("iperf3 does not listen")
            done = guest.run(["iperf3", "-J", "-c", REMOTE[4], "-t", seconds, *options], timeout_s=seconds + 20)
        finally:
            server.kill()
            server.wait()
            lab.remote.processes.remove(server)
        values[name] = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9
    values["rr"] = round_trips(lab, guest, seconds)
    return values


def round_trips(lab, guest, seconds):
    server = lab.remote.start([NETBENCH, "server", REMOTE[4], NETBENCH_PORT], stdout=-1)
    try:
        if server.stdout.readline() != b"ready\n":
            raise LabError("netbench server did not start")
        done = guest.run([NETBENCH, "rr", REMOTE[4], NETBENCH_PORT, 1000 * seconds])
        return 1000 / float(re.search(r"p50_us=(\S+)", done.stdout)[1])
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        lab.remote.processes.remove(server)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bridged: not measured: it needs root")
        return 0
    values = {}
    with Lab() as lab:
        for number in range(arguments.rounds):
            order = [bridged, macvtap] if number % 2 else [macvtap, bridged]
            for subject in order:
                with subject(lab) as guest:
                    for name, value in measure(lab, guest, arguments.seconds).items():
                        values.setdefault(name, {}).setdefault(subject.__name__, []).append(value)
    print(f"\nMachine and LAN: TCP in Gbit/s, round trips of 64 bytes in thousands a second (median); medians of {arguments.rounds} (least to most)\n")
    print("| | bridged | macvtap | ratio |\n|---|---|---|---|")
    low = False
    for name, of in values.items():
        medians = {who: statistics.median(got) for who, got in of.items()}
        ratio = medians["bridged"] / medians["macvtap"]
        low = low or ratio < CLAIM
        shown = [f"{medians[who]:.1f} ({min(of[who]):.1f} to {max(of[who]):.1f})" for who in ("bridged", "macvtap")]
        print(f"| {name} | {shown[0]} | {shown[1]} | {ratio:.2f} |")
    print(f"\nat least {CLAIM}: {'no' if low else 'yes'}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
