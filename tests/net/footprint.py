# SPDX-License-Identifier: Apache-2.0
"""What processes and namespaces hold: memory, descriptors, sockets, and how often they wake up (proc(5))."""

import os
import pathlib
import re


def _read(path):
    return pathlib.Path(path).read_text()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def private_kib(pid):
    """Memory that would be free without the process: its own pages that it has written to."""
    return int(re.search(r"^Private_Dirty:\s+(\d+)", _read(f"/proc/{pid}/smaps_rollup"), re.M)[1])


def wakeups(pid):
    """How often its threads have gone to sleep so far, together: each wake-up is followed by that."""
    return sum(
        int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", _read(path), re.M)[1])
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status")
    )


def sockets(pid):
    """{protocol: sockets in use} of the process's network namespace; "TW" are connections in TIME_WAIT."""
    found = {}
    for path in (f"/proc/{pid}/net/sockstat", f"/proc/{pid}/net/sockstat6"):
        for protocol, in_use in re.findall(r"^(\w+): inuse (\d+)", _read(path), re.M):
            found[protocol] = int(in_use)
    found["TW"] = int(re.search(r" tw (\d+)", _read(f"/proc/{pid}/net/sockstat"))[1])
    return found
