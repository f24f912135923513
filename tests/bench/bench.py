#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: openvmnet beside what one would take instead, in one run, as root.

Round after round measures each scenario with each subject in turn, so that what else the machine
does meets all of them; the figures are medians over the rounds. README.md tells how to read them.
"""

import argparse
import collections
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shlex
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "net"), str(HERE.parent / "guest")]

import claims  # noqa: E402
import libvmnet  # noqa: E402
from laboratory import BenchLab, prepare_ends  # noqa: E402
from lab import BUILD, LabError  # noqa: E402
from plot import plot  # noqa: E402
from report import UNITS, report, summary  # noqa: E402
from scenarios import FIGURES, NETBENCH, SCENARIOS, Failure, Servers, measure  # noqa: E402
from subject import GROUPS  # noqa: E402
from subjects import subjects  # noqa: E402

ROUNDS, SECONDS, QUICK_SECONDS = 5, 2, 1
DESCRIPTORS = 65536
LATEST = TREE / "docs" / "bench" / "latest"


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- what it was measured on


def first_line(command, pattern=r"(.*)"):
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        found = re.search(pattern, done.stdout + done.stderr)
        return found[1].strip() if found else ""
    return ""


def read(path, pattern=r"(.*)"):
    with contextlib.suppress(OSError):
        found = re.search(pattern, pathlib.Path(path).read_text())
        return found[1].strip() if found else ""
    return ""


def package_version(name):
    """Of a distribution's package; the programs of some of them do not know their own."""
    return first_line(["dpkg-query", "-W", "-f", "${Version}", name]) or first_line(
        ["rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", name]
    )


def describe_machine():
    memory_kib = int(read("/proc/meminfo", r"MemTotal:\s+(\d+)") or 0)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": read("/proc/cpuinfo", r"model name\s*: (.*)") or platform.machine(),
        "processors": os.cpu_count(),
        "memory": f"{memory_kib / (1 << 20):.1f} GiB",
        "system": read("/etc/os-release", r'PRETTY_NAME="?([^"\n]*)'),
        "kernel": platform.release(),
        "congestion control of the machine": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "openvmnet": first_line([BUILD / "vmnet", "--version"], r"([0-9]\S*)"),
        "commit": first_line(["git", "-C", TREE, "describe", "--always", "--dirty"]),
        "build type": first_line(["meson", "configure", BUILD], r"\bbuildtype\s+(\S+)"),
        "pasta, passt": package_version("passt"),
        "slirp4netns": first_line(["slirp4netns", "--version"], r"version (\S+)"),
        "QEMU": first_line(["qemu-system-x86_64", "--version"], r"version (.*)"),
        "QEMU's accelerator": read(BUILD / "guest" / "accel.txt"),
        "iperf3": first_line(["iperf3", "--version"], r"iperf (\S+)"),
        "command": shlex.join(["tests/bench/bench.py", *sys.argv[1:]]),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


# ---- measuring


class Selection:
    """What of all is measured: by --only what matches, with --quick what the claims need."""

    def __init__(self, only, quick):
        self.pattern = re.compile(only or "")
        self.only = only
        self.pairs = None
        self.text = ""
        if quick and not only:
            # The name of a figure begins with that of its scenario; those of `flows` are their own.
            names = {figure: figure.partition(" ")[0] for figure in FIGURES}
            names |= {"memory a flow": "flows", "idle cpu": "flows"}
            self.pairs = {(subject, names[figure]) for subject, figure in claims.needed()}
            self.text = " A quick run: only what the claims need."

    def has(self, subject, scenario):
        if scenario not in subject.scenarios or (subject.on_request and not self.only):
            return False
        if self.pairs is not None:
            return (subject.name, scenario) in self.pairs
        return bool(self.pattern.search(f"{subject.name}/{scenario}"))

    def steps(self, chosen, turn=0):
        """[(subject, scenario)] of one round: in each scenario another subject is the first."""
        result = []
        for scenario in SCENARIOS:
            part = [(subject, scenario) for subject in chosen if self.has(subject, scenario)]
            for again in range(max([subject.turns for subject, _ in part], default=0)):
                first = (turn + again) % len(part)
                now = part[first:] + part[:first]
                result += [step for step in now if again < step[0].turns]
        return result


class Rounds:
    """Measures, tells how it goes, and keeps the values."""

    def __init__(self, servers, results, started):
        self.servers = servers
        self.results = results
        self.started = started

    def _keep(self, number, turn, subject, figures):
        """Each turn has a value. Returns {figure: the median of the round's turns so far}."""
        shown = {}
        for name, value in figures.items():
            of_subject = self.results["values"].setdefault(name, {})
            values = of_subject.setdefault(subject.name, [None] * self.results["rounds"] * subject.turns)
            first = number * subject.turns
            values[first + turn] = value
            shown[name] = claims.median(values[first : first + subject.turns])
        return shown

    def run(self, number, steps):
        rounds = self.results["rounds"]
        turns = collections.Counter()
        for step, (subject, scenario) in enumerate(steps, 1):
            minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
            text = f"{minutes}:{seconds:02} round {number + 1}/{rounds} {step}/{len(steps)}"
            failed = ""
            try:
                with subject.active():
                    servers = subject.servers or self.servers
                    figures = measure(servers, subject, scenario, self.results["seconds"])
            except LabError as error:
                figures = error.figures if isinstance(error, Failure) else {}
                failed = (str(error).strip().splitlines() or ["?"])[0]
                self.results["failures"].append(f"{subject.name} {scenario}: {failed}")
            figures = self._keep(number, turns[subject, scenario], subject, figures)
            turns[subject, scenario] += 1
            if not failed and turns[subject, scenario] < subject.turns:
                continue
            shown = [f"{name} {value:.{FIGURES[name][2]}f} {UNITS[name]}"
                     for name, value in figures.items()]
            shown += [f"{scenario}: {failed}"] if failed else []
            say(f"{text} {subject.name:<20} {', '.join(shown)}")


def raise_descriptor_limit():
    """A network has as many flows and forwards as its share of the descriptors allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, DESCRIPTORS)))


def open_subjects(all_subjects, stack, results):
    """Those that can be had; what is missing is named."""
    opened = []
    for subject in all_subjects:
        results["subjects"][subject.name] = subject.group
        missing = subject.missing()
        if missing:
            say(f"missing: {subject.name} ({missing})")
            results["missing"][subject.name] = missing
            continue
        try:
            opened.append(stack.enter_context(subject))
        except LabError as error:
            say(f"{subject.name}: {error}")
            results["failures"].append(f"{subject.name}: {str(error).splitlines()[0]}")
    settled = []
    for subject in opened:
        try:
            subject.settle()
            settled.append(subject)
        except LabError as error:
            say(f"{subject.name}: {error}")
            results["failures"].append(f"{subject.name}: {str(error).splitlines()[0]}")
    return settled


def run(rounds, seconds, selection, congestion):
    started = time.monotonic()
    results = {"head": describe_machine(), "rounds": rounds, "seconds": seconds, "values": {}}
    results.update(failures=[], missing={}, subjects={}, libvmnet=[], selection=selection.text)
    with BenchLab() as lab:
        with contextlib.ExitStack() as stack:
            chosen = prepare_ends((lab.host, lab.remote), congestion)
            results["head"]["congestion control of guest, host, remote"] = chosen
            results["head"]["openvmnet is run by"] = "an ordinary user" if lab.has_user else "root"
            servers = stack.enter_context(Servers(lab))
            wanted = []
            for subject in subjects(lab, chosen):
                # What is not measured is not set up.
                subject.scenarios = tuple(scenario for _, scenario in selection.steps([subject]))
                wanted += [subject] if subject.scenarios else []
            say(f"setting up {len(wanted)}: {', '.join(s.name for s in wanted)}")
            opened = open_subjects(wanted, stack, results)
            measuring = Rounds(servers, results, started)
            for number in range(rounds):
                measuring.run(number, selection.steps(opened, number))
        lab.wait_until_clean()
    if selection.pattern.search(libvmnet.NAME):
        say("libvmnet beside a bare tap")
        libvmnet.measure(results, seconds)
    return results


# ---- main


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measures openvmnet beside others, as root.")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="measure only where SUBJECT/SCENARIO matches, e.g. '/tcp-up$'")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds (default: {ROUNDS})")
    parser.add_argument("--quick", action="store_true",
                        help="one round, 1 s a measurement, and only what the claims need")
    parser.add_argument("--congestion", nargs="+", default=["cubic", "reno"], metavar="NAME",
                        help="TCP congestion control of guests, host and remote; the first that"
                        " namespaces may have (default: cubic reno)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all values")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables")
    parser.add_argument("--svg", type=pathlib.Path, metavar="FILE", help="write the plot")
    parser.add_argument("--write", action="store_true",
                        help="write docs/bench/latest.{json,md,svg}")
    parser.add_argument("--list", action="store_true", help="list subjects and scenarios")
    arguments = parser.parse_args()
    if arguments.write:
        for name, suffix in (("json", ".json"), ("markdown", ".md"), ("svg", ".svg")):
            if not getattr(arguments, name):
                setattr(arguments, name, LATEST.with_suffix(suffix))
    arguments.rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    return arguments


def show_list():
    every = subjects(None, "")
    for group, (_, title) in GROUPS.items():
        members = [subject for subject in every if subject.group == group]
        names = [s.name + (" (by --only)" if s.on_request else "") for s in members]
        print(f"{title}:\n    {', '.join(names)}")
    print("Scenarios:")
    for name, text in SCENARIOS.items():
        print(f"    {name:<12} {text}")


def end_on_signal(number, _):
    """An exception, so that the laboratory is cleared away."""
    sys.exit(128 + number)


def write_results(arguments, results):
    text = report(results, arguments.svg and arguments.svg.name)
    for path, content in (
        (arguments.json, json.dumps(results, indent=1, ensure_ascii=False) + "\n"),
        (arguments.markdown, text),
        (arguments.svg, plot(results)),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    print(text)


def main():
    arguments = parse_arguments()
    if arguments.list:
        show_list()
        return
    if os.geteuid() != 0:
        sys.exit("bench.py: needs root, for the kernel's own way that it compares with")
    if not NETBENCH.exists():
        sys.exit(f"bench.py: {NETBENCH} is missing: run `make build`")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end_on_signal)
    raise_descriptor_limit()
    started = time.monotonic()
    try:
        seconds = QUICK_SECONDS if arguments.quick else SECONDS
        selection = Selection(arguments.only, arguments.quick)
        results = run(arguments.rounds, seconds, selection, arguments.congestion)
    except LabError as error:
        sys.exit(f"bench.py: {error}")
    results["summary"] = summary(results)
    results["claims"] = claims.check(results["values"], UNITS, results["libvmnet"])
    results["head"]["duration"] = f"{time.monotonic() - started:.0f} s"
    write_results(arguments, results)
    say(f"{time.monotonic() - started:.0f} s")
    if not results["values"] and not results["libvmnet"]:
        sys.exit("bench.py: nothing was measured")


if __name__ == "__main__":
    main()
