# SPDX-License-Identifier: Apache-2.0
"""What many TCP streams carry together, beside one, and what CPU time it takes; by a network's number of workers.

    make bench-streams                            as root; some three minutes
    make bench-streams STREAMS='--counts 1,100 --seconds 1'

The subjects take turns in each round. A row's last column is the ratio of what the most streams carry to what one
does; for CPU time, of what it costs. That is of both ends and of what is between them, for a gigabyte, and says more
than the rates on a machine that has other things to do.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "net"))
from lab import BUILD, REMOTE4, LabError  # noqa: E402
from accounting import process_seconds, process_tree  # noqa: E402
from laboratory import BenchLab, prepare_ends  # noqa: E402
from openvmnet import OpenvmnetExec  # noqa: E402
from peers import Kernel  # noqa: E402

STREAMS = BUILD / "tests" / "bench" / "streams"
_ports = itertools.count(5301)  # a stream that is not over yet is in nobody's way


class OpenvmnetWorkers(OpenvmnetExec):
    """A program under `vmnet exec`, on a network with so many workers."""

    scenarios = ()

    def __init__(self, lab, congestion, workers):
        super().__init__(lab, congestion, f"openvmnet-{workers}")
        self.workers = workers

    def _open_network(self, stack):
        self.network = self.lab.network(f"bench-{self.workers}", "--workers", self.workers)
        stack.callback(self.network.down)


class KernelNat(Kernel):
    scenarios = ()


@contextlib.contextmanager
def server(lab, port):
    process = lab.remote.start([STREAMS, "serve", REMOTE4, port], stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"ready\n":
            raise LabError("the server of streams did not start")
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        lab.remote.processes.remove(process)


def measure(lab, subject, way, count, seconds):
    """Of @count streams together: (Gbit/s, CPU seconds for a gigabyte)."""
    port = next(_ports)
    between = process_tree(subject.process_ids())
    with server(lab, port), subject.active():
        command = [STREAMS, way, REMOTE4, port, count, int(1000 * seconds)]
        before = process_seconds(between)
        rate, total, ends = map(float, subject.guest.run(command, timeout_s=seconds + 60).stdout.split())
        return rate / 1e9, (ends + process_seconds(between) - before) / (total / 1e9)


def run(arguments):
    values = {}
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(BenchLab())
        congestion = prepare_ends((lab.host, lab.remote), ("cubic", "reno"))
        subjects = [OpenvmnetWorkers(lab, congestion, workers) for workers in arguments.workers]
        subjects.append(KernelNat(lab, congestion, "kernel"))
        for subject in subjects:
            stack.enter_context(subject).settle()
        for number in range(arguments.rounds):
            for way in ("up", "down"):
                for count in arguments.counts:
                    for subject in subjects:
                        rate, cost = measure(lab, subject, way, count, arguments.seconds)
                        for what, value in (("Gbit/s", rate), ("s/GB", cost)):
                            of_subject = values.setdefault((f"{subject.name} {way}", what), {})
                            of_subject.setdefault(count, []).append(value)
                        print(f"round {number + 1} {subject.name} {way} {count}: {rate:.2f} Gbit/s, {cost:.2f} s/GB",
                              flush=True)
    return values


def show(values, counts):
    for what in ("Gbit/s", "s/GB"):
        print(f"\n| {what} | " + " | ".join(map(str, counts)) + " | ratio |")
        print("|---|" + "---:|" * (len(counts) + 1))
        for name, of_subject in ((name, v) for (name, unit), v in values.items() if unit == what):
            medians = [statistics.median(of_subject[count]) for count in counts]
            cells = [f"{value:.2f}" for value in [*medians, medians[-1] / medians[0]]]
            print(f"| {name} | " + " | ".join(cells) + " |")


def numbers(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=numbers, default=[1, 8, 128, 1000], help="of streams")
    parser.add_argument("--workers", type=numbers, default=[1, min(len(os.sched_getaffinity(0)), 8)])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("streams.py: needs root, for the kernel's own way that it compares with")
    try:
        show(run(arguments), arguments.counts)
    except LabError as error:
        sys.exit(f"streams.py: {error}")


if __name__ == "__main__":
    main()
