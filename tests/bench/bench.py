#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: openvmnet beside what one would take instead, in one run, as root.

Round after round measures each scenario with each subject in turn, so that what else the machine
does meets all of them; the figures are medians over the rounds. README.md tells how to read them.
"""

import argparse
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
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "net")]

from lab import BUILD, Lab, LabError  # noqa: E402
from scenarios import FIGURES, NETBENCH, SCENARIOS, Servers, measure  # noqa: E402
from subjects import CONGESTION, subjects  # noqa: E402

SECONDS, QUICK_SECONDS = 3, 1
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
        "build type": first_line(["meson", "configure", BUILD], r"\bbuildtype\s+(\S+)"),
        "pasta": package_version("passt"),
        "slirp4netns": first_line(["slirp4netns", "--version"], r"version (\S+)"),
        "iperf3": first_line(["iperf3", "--version"], r"iperf (\S+)"),
        "command": shlex.join(["tests/bench/bench.py", *sys.argv[1:]]),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


# ---- measuring


def plan(chosen, only):
    """[(subject, scenario)] of one round that --only leaves."""
    pattern = re.compile(only)
    return [
        (subject, scenario)
        for scenario in SCENARIOS
        for subject in chosen
        if subject.has(scenario) and pattern.search(f"{subject.name}/{scenario}")
    ]


def run_round(servers, steps, seconds, results, text):
    for number, (subject, scenario) in enumerate(steps):
        try:
            with subject.active():
                figures = measure(servers, subject, scenario, seconds)
        except LabError as error:
            say(f"{text} {number + 1}/{len(steps)} {subject.name} {scenario}: {error}")
            results["failures"].append(f"{subject.name} {scenario}: {error}")
            continue
        for name, value in figures.items():
            results["values"].setdefault(name, {}).setdefault(subject.name, []).append(value)
        shown = ", ".join(
            f"{name} {value:.{FIGURES[name][2]}f} {FIGURES[name][0]}"
            for name, value in figures.items()
        )
        say(f"{text} {number + 1}/{len(steps)} {subject.name:<17} {shown}")


def turned(steps, by):
    """The same scenarios in the same order, but in each of them another subject first."""
    result = []
    for scenario in SCENARIOS:
        part = [step for step in steps if step[1] == scenario]
        by_now = by % len(part) if part else 0
        result += part[by_now:] + part[:by_now]
    return result


def choose_congestion(lab, wanted):
    """Sets it in host and remote and returns it. cubic is what nearly all systems have."""
    for name in wanted:
        with contextlib.suppress(LabError):
            for namespace in (lab.host, lab.remote):
                namespace.sysctl({CONGESTION: name})
            return name
    raise LabError(f"TCP congestion control {' or '.join(wanted)}: not there or not allowed")


def raise_descriptor_limit():
    """A network has as many forwards as its share of the descriptors allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(hard, DESCRIPTORS)))


def run(rounds, seconds, only, congestion):
    results = {"head": describe_machine(), "rounds": rounds, "seconds": seconds, "values": {}}
    results.update(failures=[], missing=[], subjects=[])
    with Lab() as lab:
        with contextlib.ExitStack() as stack:
            chosen = choose_congestion(lab, congestion)
            results["head"]["congestion control of guest, host, remote"] = chosen
            servers = stack.enter_context(Servers(lab))
            opened = []
            for subject in subjects(lab, chosen):
                if not plan([subject], only):
                    continue
                results["subjects"].append(subject.name)
                if subject.missing():
                    say(f"{subject.name}: missing, '{subject.program}' is not installed")
                    results["missing"].append(subject.name)
                    continue
                try:
                    opened.append(stack.enter_context(subject))
                except LabError as error:
                    say(f"{subject.name}: {error}")
                    results["failures"].append(f"{subject.name}: {error}")
            steps = plan(opened, only)
            for number in range(rounds):
                text = f"round {number + 1}/{rounds}"
                run_round(servers, turned(steps, number), seconds, results, text)
        lab.wait_until_clean()
    return results


# ---- the report


def markdown_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def summary(results):
    """{figure: {subject: {"median", "min", "max", "count", "ratio"}}}; ratio: of openvmnet to it."""
    summed = {}
    for name in FIGURES:
        of_figure = results["values"].get(name, {})
        base = of_figure.get("openvmnet")
        for subject in results["subjects"]:
            values = of_figure.get(subject)
            if not values:
                continue
            entry = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            entry["count"] = len(values)
            if base and entry["median"] and subject != "openvmnet":
                entry["ratio"] = statistics.median(base) / entry["median"]
            summed.setdefault(name, {})[subject] = entry
    return summed


def medians_table(results, summed):
    def cell(name, subject):
        entry = summed[name].get(subject)
        if not entry:
            return "missing" if subject in results["missing"] else "–"
        digits = FIGURES[name][2]
        spread = f" ({entry['min']:.{digits}f}–{entry['max']:.{digits}f})"
        return f"{entry['median']:.{digits}f}" + (spread if entry["count"] > 1 else "")

    rows = [["figure", "unit", *results["subjects"]]]
    for name in summed:
        rows.append([name, FIGURES[name][0]] + [cell(name, s) for s in results["subjects"]])
    return markdown_table(rows)


def ratios_table(results, summed):
    peers = [name for name in results["subjects"] if name != "openvmnet"]
    rows = [["openvmnet ÷", "better is", *peers]]
    for name, entries in summed.items():
        ratios = [entries.get(peer, {}).get("ratio") for peer in peers]
        if any(ratio is not None for ratio in ratios):
            better = "more" if FIGURES[name][1] else "less"
            rows.append([name, better] + [f"{r:.2f}" if r is not None else "–" for r in ratios])
    return markdown_table(rows) if len(rows) > 1 else ""


def report(results, summed):
    rounds = f"{results['rounds']} rounds" if results["rounds"] > 1 else "one round"
    parts = [
        "# openvmnet and others: figures\n",
        "".join(f"- {name}: {value}\n" for name, value in results["head"].items() if value),
        f"Medians of {rounds} (least–most), {results['seconds']} s for a TCP measurement."
        " [What the figures mean](../../tests/bench/README.md).\n",
        medians_table(results, summed),
    ]
    ratios = ratios_table(results, summed)
    if ratios:
        parts += ["openvmnet's median divided by the other's:\n", ratios]
    if results["failures"]:
        parts.append("Measurements without a figure:\n")
        parts.append("".join(f"- {text.splitlines()[0]}\n" for text in results["failures"]))
    return "\n".join(parts)


# ---- main


def parse_arguments():
    parser = argparse.ArgumentParser(description="Measures openvmnet beside others, as root.")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="measure only where SUBJECT/SCENARIO matches, e.g. '/tcp-up$'")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round, 1 s a measurement")
    parser.add_argument("--congestion", nargs="+", default=["cubic", "reno"], metavar="NAME",
                        help="TCP congestion control of guests, host and remote; the first that"
                        " namespaces may have (default: cubic reno)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all values")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the tables")
    parser.add_argument("--write", action="store_true", help="write docs/bench/latest.{json,md}")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    arguments = parser.parse_args()
    if arguments.write:
        arguments.json = arguments.json or LATEST.with_suffix(".json")
        arguments.markdown = arguments.markdown or LATEST.with_suffix(".md")
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    return arguments


def end_on_signal(number, _):
    """An exception, so that the laboratory is cleared away."""
    sys.exit(128 + number)


def main():
    arguments = parse_arguments()
    if arguments.list:
        for name, text in SCENARIOS.items():
            print(f"{name:<12} {text}")
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
        results = run(arguments.rounds, seconds, arguments.only, arguments.congestion)
    except LabError as error:
        sys.exit(f"bench.py: {error}")
    results["summary"] = summary(results)
    text = report(results, results["summary"])
    for path, content in (
        (arguments.json, json.dumps(results, indent=1, ensure_ascii=False) + "\n"),
        (arguments.markdown, text),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    print(text)
    say(f"{time.monotonic() - started:.0f} s")
    if not results["values"]:
        sys.exit("bench.py: nothing was measured")


if __name__ == "__main__":
    main()
