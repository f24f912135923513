# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of processes, from /proc."""

import contextlib
import os
import pathlib
import re

PROC = pathlib.Path("/proc")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def process_tree(process_ids):
    """These processes and all below them."""
    children = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], list(process_ids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.append(pid)
            waiting += children.get(pid, [])
    return found


def process_seconds(process_ids):
    """CPU time of all threads of these processes (the first field of schedstat)."""
    nanoseconds = 0
    for pid in process_ids:
        for task in PROC.glob(f"{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9


def machine_seconds():
    """Of all processors in all but idle, waiting and stolen time."""
    with open(PROC / "stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


def memory_kib(process_ids):
    """Sum of the proportional set sizes: a page that n processes share counts as 1/n in each."""
    total = 0
    for pid in process_ids:
        with contextlib.suppress(OSError):
            text = (PROC / str(pid) / "smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])
    return total
