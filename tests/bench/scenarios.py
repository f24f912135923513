# SPDX-License-Identifier: Apache-2.0
"""What is measured. A scenario is called with a subject and returns {name of a figure: number}."""

import contextlib
import json
import os
import pathlib
import re
import select
import subprocess

from lab import BUILD, HOST4, REMOTE4, TIMEOUT_S, LabError, poll

NETBENCH = BUILD / "tests" / "bench" / "netbench"
IPERF3_PORT, NETBENCH_PORT = 5201, 5202
STREAMS = 8
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# figure: (unit, larger is better, digits after the point)
FIGURES = {
    "tcp-up": ("Gbit/s", True, 2),
    "tcp-down": ("Gbit/s", True, 2),
    f"tcp-up-{STREAMS}": ("Gbit/s", True, 2),
    f"tcp-down-{STREAMS}": ("Gbit/s", True, 2),
    "forward-up": ("Gbit/s", True, 2),
    "forward-down": ("Gbit/s", True, 2),
    "vm": ("Gbit/s", True, 2),
    "udp-up": ("Gbit/s", True, 2),
    "udp-down": ("Gbit/s", True, 2),
    "connect": ("1/s", True, 0),
    "rr p50": ("µs", False, 1),
    "rr p99": ("µs", False, 1),
    "start": ("ms", False, 1),
    "tcp-up cpu": ("s/GB", False, 2),
    "tcp-down cpu": ("s/GB", False, 2),
    "tcp-up machine": ("s/GB", False, 2),
    "tcp-down machine": ("s/GB", False, 2),
    "forward-up machine": ("s/GB", False, 2),
    "forward-down machine": ("s/GB", False, 2),
    "vm machine": ("s/GB", False, 2),
}


class Failure(LabError):
    """A measurement that came to no figure; the text says why."""


class Servers:
    """A context: what answers on the remote, for all subjects the same."""

    def __init__(self, lab):
        self.lab = lab
        self.processes = {}

    def __enter__(self):
        self.start_iperf3()
        # One line says that it listens.
        process = self.lab.remote.start(
            [NETBENCH, "server", REMOTE4, NETBENCH_PORT], stdout=subprocess.PIPE
        )
        self.processes["netbench"] = process
        if not select.select([process.stdout], [], [], TIMEOUT_S)[0] or not process.stdout.read(1):
            raise LabError("netbench server did not start")
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self._end(name)

    def _end(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        self.lab.remote.processes.remove(process)
        if process.stdout:
            process.stdout.close()

    def start_iperf3(self):
        """Starts it anew: a test that was broken off leaves it in a state of its own."""
        if "iperf3" in self.processes:
            self._end("iperf3")
        process = self.lab.remote.start(
            ["iperf3", "-s", "-J", "-i", "0.5", "-B", REMOTE4, "-p", IPERF3_PORT, "--forceflush"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes["iperf3"] = process
        for _ in range(100):
            listening = self.lab.remote.run(["ss", "-Hltn", f"sport = {IPERF3_PORT}"]).stdout
            if listening.strip():
                return
        raise LabError("iperf3 does not listen")


# ---- CPU time


def process_seconds(process_ids):
    ticks = 0
    for pid in process_ids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / CLOCK_TICKS


def machine_seconds():
    """Of all processors in all but idle, waiting and stolen time."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


# ---- scenarios


def iperf3(client, address, port, seconds, streams=1, reverse=False):
    """Runs a client. Returns (bits per second, bytes) as the receiver counts, the first without
    the first half second."""
    command = ["iperf3", "-J", "-c", address, "-p", port, "-t", seconds, "-i", "0.5"]
    command += ["-P", streams, "--get-server-output", *(["-R"] if reverse else [])]
    try:
        done = client.run(command, timeout_s=2 * seconds + 10, check=False)
    except LabError:
        raise Failure("iperf3: did not come to an end") from None
    try:
        answer = json.loads(done.stdout)
        if answer.get("error"):
            raise Failure(f"iperf3: {answer['error']}")
        receiver = answer if reverse else answer["server_output_json"]
        parts = [part["sum"] for part in receiver["intervals"]]
        parts = [part for part in parts if part["start"] > 0.4]
        rate = 8 * sum(part["bytes"] for part in parts) / sum(part["seconds"] for part in parts)
        return rate, answer["end"]["sum_received"]["bytes"]
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise Failure(f"iperf3: {error!r}") from error


@contextlib.contextmanager
def iperf3_server(namespace):
    """For one measurement, in a machine."""
    process = namespace.start(
        ["iperf3", "-s", "-J", "-i", "0.5", "-p", IPERF3_PORT],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listening = ["ss", "-Hltn", f"sport = {IPERF3_PORT}"]
        if not poll(lambda: namespace.run(listening).stdout.strip(), interval_s=0.02):
            raise Failure("iperf3 does not listen")
        yield
    finally:
        process.kill()
        process.wait()
        namespace.processes.remove(process)


def tcp(servers, subject, name, seconds):
    """Between guest and remote, or into the guest by a forward, or from guest to guest."""
    streams = STREAMS if name.endswith(f"-{STREAMS}") else 1
    processes = subject.process_ids()
    before = process_seconds(processes), machine_seconds()
    try:
        if name == "vm":
            with iperf3_server(subject.peer):
                rate, total = iperf3(subject.guest, subject.peer.ipv4, IPERF3_PORT, seconds)
        elif name.startswith("forward"):
            # The remote is the client: "up" is still from the guest.
            reverse = name == "forward-up"
            with iperf3_server(subject.guest):
                rate, total = iperf3(
                    servers.lab.remote, HOST4, subject.forward_port, seconds, reverse=reverse
                )
        else:
            reverse = "down" in name
            rate, total = iperf3(subject.guest, REMOTE4, IPERF3_PORT, seconds, streams, reverse)
    except Failure:
        servers.start_iperf3()
        raise
    after = process_seconds(processes), machine_seconds()
    figures = {name: rate / 1e9}
    if total and processes and f"{name} cpu" in FIGURES:
        figures[f"{name} cpu"] = (after[0] - before[0]) / (total / 1e9)
    if total and f"{name} machine" in FIGURES:
        figures[f"{name} machine"] = (after[1] - before[1]) / (total / 1e9)
    return figures


def netbench(namespace, *arguments, timeout_s=20):
    """Runs it. Returns what it prints: {name: number}."""
    done = namespace.run([NETBENCH, *arguments], check=False, timeout_s=timeout_s)
    if done.returncode != 0:
        raise Failure(done.stderr.strip().rpartition("\n")[2])
    return {name: float(value) for name, value in re.findall(r"(\S+)=(\S+)", done.stdout)}


def measure(servers, subject, name, seconds):
    """One measurement of scenario @name, about @seconds long. Raises Failure."""
    if name.startswith(("tcp", "forward", "vm")):
        return tcp(servers, subject, name, seconds)
    if name == "start":
        with subject.start_command() as (ready_fd, command):
            return {name: netbench(subject.lab.host, "start", ready_fd, *command)["ms"]}
    duration_ms = max(400, int(seconds * 1000 / 3))
    figures = netbench(subject.guest, name, REMOTE4, NETBENCH_PORT, duration_ms)
    if name == "connect":
        return {name: figures["per_s"]}
    if name == "rr":
        return {"rr p50": figures["p50_us"], "rr p99": figures["p99_us"]}
    return {name: figures["bits_per_s"] / 1e9}


SCENARIOS = {
    "tcp-up": "one TCP stream from the guest to the remote",
    "tcp-down": "one TCP stream from the remote to the guest",
    f"tcp-up-{STREAMS}": f"{STREAMS} streams at once",
    f"tcp-down-{STREAMS}": f"{STREAMS} streams at once",
    "forward-up": "one TCP stream from the guest to the remote, by a port forward",
    "forward-down": "the same towards the guest",
    "vm": "one TCP stream from the guest to another machine of its network",
    "udp-up": "datagrams of 1400 bytes sent as fast as it goes; what arrives",
    "udp-down": "the same towards the guest",
    "connect": "connect, request, response, end: one connection after the other",
    "rr": "64 bytes there and back over an open connection",
    "start": "from the command until the guest's network is there",
}
