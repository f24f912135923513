# SPDX-License-Identifier: Apache-2.0
"""What is measured. A scenario is called with a subject and returns {name of a figure: number}."""

import contextlib
import json
import os
import re
import resource
import select
import statistics
import subprocess
import time

from accounting import machine_seconds, memory_kib, process_seconds, process_tree
from lab import BUILD, HOST4, REMOTE4, TIMEOUT_S, LabError, Namespace, poll

NETBENCH = BUILD / "tests" / "bench" / "netbench"
IPERF3_PORT, NETBENCH_PORT = 5201, 5202
FLOWS_PORT = NETBENCH_PORT + 1
STREAMS = 8
TURN_MS = 100  # the least that a turn takes
FLOWS = (1000, 10000)
OPEN_TIMEOUT_S = 30  # for a step; netbench gives up before
STARTS = 5  # of which `start` is the median
QUIET_TRIES, QUIET_IN_A_ROW = 200, 15

SCENARIOS = {
    "tcp-up": "one TCP stream from the guest to the remote",
    "tcp-down": "one TCP stream from the remote to the guest",
    f"tcp-up-{STREAMS}": f"{STREAMS} streams at once",
    f"tcp-down-{STREAMS}": f"{STREAMS} streams at once",
    "forward-up": "one TCP stream from the guest to the remote, by a port forward",
    "forward-down": "the same towards the guest",
    "host-up": "one TCP stream from the guest to its host",
    "host-down": "the same towards the guest",
    "vm": "one TCP stream from the guest to another machine of its network",
    "udp-up": "datagrams of 1400 bytes sent as fast as it goes; what arrives",
    "udp-down": "the same towards the guest",
    "udp-gso-up": "the same, segmented and put together by the kernel (UDP_SEGMENT, UDP_GRO)",
    "udp-gso-down": "the same towards the guest",
    "connect": "connect, request, response, end: one connection after the other",
    "rr": "64 bytes there and back over an open connection",
    "start": "from the command until the program has a network",
    "attach": "the same on a network that is there",
    "flows": "memory of the processes with 0, 1,000 and 10,000 idle connections, and their CPU time",
}

# figure: (unit, larger is better, digits after the point)
FIGURES = {
    "tcp-up": ("Gbit/s", True, 2),
    "tcp-down": ("Gbit/s", True, 2),
    f"tcp-up-{STREAMS}": ("Gbit/s", True, 2),
    f"tcp-down-{STREAMS}": ("Gbit/s", True, 2),
    "forward-up": ("Gbit/s", True, 2),
    "forward-down": ("Gbit/s", True, 2),
    "host-up": ("Gbit/s", True, 2),
    "host-down": ("Gbit/s", True, 2),
    "vm": ("Gbit/s", True, 2),
    "udp-up": ("Gbit/s", True, 2),
    "udp-down": ("Gbit/s", True, 2),
    "udp-gso-up": ("Gbit/s", True, 2),
    "udp-gso-down": ("Gbit/s", True, 2),
    "connect": ("1/s", True, 0),
    "connect p50": ("µs", False, 0),
    "connect p99": ("µs", False, 0),
    "rr p50": ("µs", False, 1),
    "rr p99": ("µs", False, 1),
    "start": ("ms", False, 1),
    "attach": ("ms", False, 1),
    "memory": ("KiB", False, 0),
    f"memory {FLOWS[0]}": ("KiB", False, 0),
    "flows": ("", True, 0),
    "memory most": ("KiB", False, 0),
    "memory a flow": ("B", False, 0),
    "idle cpu": ("ms/s", False, 2),
    "tcp-up cpu": ("s/GB", False, 2),
    "tcp-down cpu": ("s/GB", False, 2),
    "tcp-up machine": ("s/GB", False, 2),
    "tcp-down machine": ("s/GB", False, 2),
    "forward-up machine": ("s/GB", False, 2),
    "forward-down machine": ("s/GB", False, 2),
    "vm machine": ("s/GB", False, 2),
}


class Failure(LabError):
    """A measurement that came to no figure, or not to all; the text says why."""

    def __init__(self, text, figures=None):
        super().__init__(text)
        self.figures = figures or {}


def start_netbench(namespace, address):
    """A server in @namespace. Returns the process, once it listens."""
    process = namespace.start(
        [NETBENCH, "server", address, NETBENCH_PORT], stdout=subprocess.PIPE
    )
    # One line says that it listens.
    if not select.select([process.stdout], [], [], TIMEOUT_S)[0] or not process.stdout.read(1):
        raise LabError("netbench server did not start")
    return process


class Servers:
    """A context: what answers on the remote, for all subjects the same."""

    def __init__(self, lab):
        self.lab = lab
        self.processes = {}

    def __enter__(self):
        self.start_iperf3()
        self.processes["netbench"] = start_netbench(self.lab.remote, REMOTE4)
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
        self.processes["iperf3"] = start_iperf3(self.lab.remote, "-B", REMOTE4)


# ---- streams


def start_iperf3(namespace, *options):
    """A server in @namespace. Returns the process, once it listens."""
    process = namespace.start(
        ["iperf3", "-s", "-J", "-i", "0.5", "-p", IPERF3_PORT, "--forceflush", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    listening = ["ss", "-Hltn", f"sport = {IPERF3_PORT}"]
    if not poll(lambda: namespace.run(listening).stdout.strip(), interval_s=0.02):
        raise LabError(f"{namespace.name}: iperf3 does not listen")
    return process


@contextlib.contextmanager
def iperf3_server(machine):
    """For one measurement, in a machine."""
    if not isinstance(machine, Namespace):
        machine.serve_iperf3_once()
        yield
        return
    process = start_iperf3(machine)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        machine.processes.remove(process)


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


def tcp(servers, subject, name, seconds):
    """Between guest and remote, or into the guest by a forward, or from guest to guest."""
    streams = STREAMS if name.endswith(f"-{STREAMS}") else 1
    processes = process_tree(subject.process_ids())
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


# ---- what netbench measures


def netbench(machine, *arguments, timeout_s=20):
    """Runs it. Returns what it prints: {name: number}."""
    done = machine.run([NETBENCH, *arguments], check=False, timeout_s=timeout_s)
    if done.returncode != 0:
        raise Failure(done.stderr.strip().rpartition("\n")[2])
    return {name: float(value) for name, value in re.findall(r"(\S+)=(\S+)", done.stdout)}


def netbench_to_remote(subject, name, seconds):
    server = subject.server4 or REMOTE4
    return netbench(subject.guest, name, server, NETBENCH_PORT, turn_ms(subject, seconds))


def turn_ms(subject, seconds):
    return max(int(1000 * seconds / 2 / subject.turns), TURN_MS)


def short_stream(servers, subject, name, seconds):
    """In place of iperf3, which takes whole seconds, to who has a server of netbench's, too: host and other machine."""
    place, _, way = name.partition("-")
    places = {"host": subject.guest.gateway, "vm": subject.peer and subject.peer.ipv4}
    server = places.get(place, subject.server4 or REMOTE4)
    found = netbench(subject.guest, f"tcp-{way or 'up'}", server, NETBENCH_PORT, turn_ms(subject, seconds))
    return {name: found["bits_per_s"] / 1e9}


def datagrams(servers, subject, name, seconds):
    return {name: netbench_to_remote(subject, name, seconds)["bits_per_s"] / 1e9}


def round_trips(servers, subject, name, seconds):
    figures = netbench_to_remote(subject, name, seconds)
    rate = {name: figures["per_s"]} if "per_s" in figures else {}
    return {**rate, f"{name} p50": figures["p50_us"], f"{name} p99": figures["p99_us"]}


def wait_for_links():
    """The kernel takes away the links of what has just ended by and by, and holds the lock meanwhile that each
    new link needs, as the end of a descriptor of the TUN device does."""
    quick = 0
    for _ in range(QUIET_TRIES):
        began = time.monotonic()
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        quick = quick + 1 if time.monotonic() - began < 0.001 else 0
        if quick == QUIET_IN_A_ROW:
            return
        time.sleep(0.01)


def start(servers, subject, name, seconds):
    """The median of some: one of them is soon over."""
    times = []
    for _ in range(STARTS if seconds > 1 else STARTS // 2 + 1):
        wait_for_links()
        if name == "attach":
            ready_fd, command = subject.attach_command()
            times.append(netbench(subject.lab.host, "start", ready_fd, *command)["ms"])
        else:
            with subject.start_command() as (ready_fd, command):
                times.append(netbench(subject.lab.host, "start", ready_fd, *command)["ms"])
    return {name: statistics.median(times)}


# ---- idle flows


def count_flows(servers):
    """As the remote has them."""
    shown = servers.lab.remote.run(["ss", "-Htn", "state", "established", f"sport = {FLOWS_PORT}"])
    return len(shown.stdout.splitlines())


@contextlib.contextmanager
def flow_opener(machine):
    """Yields a function that opens flows up to the next of FLOWS: it returns how many are open and,
    where those are not all, why."""
    process = machine.start(
        [NETBENCH, "flows", REMOTE4, FLOWS_PORT, *FLOWS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    steps = iter(FLOWS)

    def go_on():
        if next(steps) != FLOWS[0]:
            process.stdin.write(b"\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], OPEN_TIMEOUT_S)[0]:
            raise Failure(f"the flows are not open after {OPEN_TIMEOUT_S} s")
        words = process.stdout.readline().decode().strip().split(" ", 1)
        if not words[0]:
            raise Failure(process.stderr.read().decode(errors="replace").strip())
        return int(words[0]), words[1] if len(words) > 1 else ""

    try:
        yield go_on
    finally:
        process.kill()
        process.wait()
        machine.processes.remove(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def flows(servers, subject, name, seconds):
    """Opens them in steps, and looks at the subject's processes after each."""
    with subject.fresh(name) as fresh:
        return flows_of(servers, fresh, seconds)


def flows_of(servers, subject, seconds):
    at_rest_kib = memory_kib(process_tree(subject.process_ids()))
    figures = {"memory": at_rest_kib}
    failed = ""
    with flow_opener(subject.guest) as open_more:
        count, failed = open_more()
        if not failed:
            figures[f"memory {FLOWS[0]}"] = memory_kib(process_tree(subject.process_ids()))
            count, failed = open_more()
        if count_flows(servers) < count:
            raise Failure(f"{count} flows: not all of them have reached the remote", figures)
        processes = process_tree(subject.process_ids())
        figures["flows"] = count
        figures["memory most"] = memory_kib(processes)
        figures["memory a flow"] = 1024 * (figures["memory most"] - at_rest_kib) / max(count, 1)
        before, started = process_seconds(processes), time.monotonic()
        time.sleep(2 if seconds <= 1 else 10)  # what is measured is that nothing happens
        spent = process_seconds(processes) - before
        figures["idle cpu"] = 1000 * spent / (time.monotonic() - started)
    if not poll(lambda: count_flows(servers) == 0, 30, 0.2):
        raise Failure("the flows do not end", figures)
    if failed:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        why = f"{failed} (a process may have {descriptors} descriptors here)"
        raise Failure(f"{count} of {FLOWS[-1]} flows; one more: {why}", figures)
    return figures


def measure(servers, subject, name, seconds):
    """One measurement of scenario @name, about @seconds long. Raises Failure."""
    kinds = {"udp": datagrams, "connect": round_trips, "rr": round_trips, "start": start}
    kinds |= {"attach": start, "flows": flows}
    streams = tcp if subject.turns == 1 else short_stream
    return kinds.get(name.partition("-")[0], streams)(servers, subject, name, seconds)
