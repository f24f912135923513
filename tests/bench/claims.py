# SPDX-License-Identifier: Apache-2.0
"""What the figures have to show: ratios within one run, and a few bounds."""

import statistics

EXEC, QEMU = "openvmnet-exec", "qemu-openvmnet"
SHARED, BRIDGED, HAND, MACVTAP = "system-shared", "system-bridged", ("by-hand",), ("macvtap",)
# What root can have of the kernel: where this does not reach a target either, the machine is the bound.
LIMITS = {EXEC: "kernel", QEMU: "qemu-tap"}
TAKE_TURNS = {SHARED, BRIDGED}  # subject.turns
SMALL, LARGE = ("pasta", "slirp4netns"), ("pasta-65520", "slirp4netns-65520")

# (what, figure, subject, the best of which peers, "at least" or "at most", ratio)
RATIOS = [
    ("TCP up, MTU 1500, to kernel NAT", "tcp-up", EXEC, ("kernel",), "at least", 0.9),
    ("TCP down, MTU 1500, to kernel NAT", "tcp-down", EXEC, ("kernel",), "at least", 0.9),
    ("TCP up, to pasta and slirp4netns at 1500", "tcp-up", EXEC, SMALL, "at least", 5),
    ("TCP down, to pasta and slirp4netns at 1500", "tcp-down", EXEC, SMALL, "at least", 5),
    ("TCP up, to pasta and slirp4netns at 65520", "tcp-up", EXEC, LARGE, "at least", 3),
    ("TCP down, to pasta and slirp4netns at 65520", "tcp-down", EXEC, LARGE, "at least", 1),
    ("UDP up, to pasta", "udp-up", EXEC, ("pasta",), "at least", 2),
    ("UDP down, to pasta", "udp-down", EXEC, ("pasta",), "at least", 2),
    ("UDP up with GSO, to pasta", "udp-gso-up", EXEC, ("pasta",), "at least", 2),
    ("UDP down with GSO, to pasta", "udp-gso-down", EXEC, ("pasta",), "at least", 2),
    ("connections a second, to pasta", "connect", EXEC, ("pasta",), "at least", 1.2),
    ("request/response p50, to pasta", "rr p50", EXEC, ("pasta",), "at most", 1),
    ("QEMU guest TCP up, to a privileged tap", "tcp-up", QEMU, ("qemu-tap",), "at least", 0.95),
    ("QEMU guest TCP down, to a privileged tap", "tcp-down", QEMU, ("qemu-tap",), "at least", 0.95),
    ("QEMU guest TCP up, to QEMU's user network", "tcp-up", QEMU, ("qemu-user",), "at least", 2),
    ("QEMU guest TCP down, to QEMU's user network", "tcp-down", QEMU, ("qemu-user",), "at least", 2),
    ("shared network of the system, TCP up, to one by hand", "tcp-up", SHARED, HAND, "at least", 0.98),
    ("shared network of the system, TCP down, to one by hand", "tcp-down", SHARED, HAND, "at least", 0.98),
    ("shared network of the system, connections a second, to one by hand", "connect", SHARED, HAND, "at least", 0.98),
    ("shared network of the system, request/response p50, to one by hand", "rr p50", SHARED, HAND, "at most", 1.02),
    ("bridged network, TCP up, to macvtap", "tcp-up", BRIDGED, MACVTAP, "at least", 0.95),
    ("bridged network, TCP down, to macvtap", "tcp-down", BRIDGED, MACVTAP, "at least", 0.95),
    ("bridged network, connections a second, to macvtap", "connect", BRIDGED, MACVTAP, "at least", 0.95),
    ("bridged network, request/response p50, to macvtap", "rr p50", BRIDGED, MACVTAP, "at most", 1.05),
    ("start of `vmnet exec`, to `pasta COMMAND`", "start", EXEC, ("pasta",), "at most", 1),
]
# (what, figure, subject, "at most", value)
BOUNDS = [
    ("start of `vmnet exec`", "start", EXEC, "at most", 100),
    ("start of `vmnet run`", "start", "openvmnet", "at most", 100),
    ("memory of an idle flow", "memory a flow", EXEC, "at most", 1024),
    ("CPU time of 10,000 idle flows", "idle cpu", EXEC, "at most", 0.1),
]
# Of all rows of libvmnet.py, the least.
LIBVMNET = ("frames by libvmnet, to a bare tap", "at least", 0.9)
# Figures that depend on how many flows there were.
OF_FLOWS = ("memory a flow", "idle cpu")


def needed():
    """{(subject, figure)} of all claims."""
    pairs = {(subject, figure) for _, figure, subject, *_ in RATIOS + BOUNDS}
    return pairs | {(peer, figure) for _, figure, _, peers, _, _ in RATIOS for peer in peers}


def is_met(value, sense, target):
    return value >= target if sense == "at least" else value <= target


def median(values):
    values = [value for value in values or [] if value is not None]
    return statistics.median(values) if values else None


def ratio(subject, values, peer_values):
    """(@subject's median divided by the peer's, the least and the most of single rounds).

    Where they take turns, two that follow each other meet the same machine, and the next ones another: then it is the
    median of the ratios of single turns, and the interval in which that is with a probability of 95 %, by the ratios'
    ranks. None where there are no values.
    """
    ratios = sorted(a / b for a, b in zip(values or [], peer_values or []) if a is not None and b)
    if not ratios:
        return None
    if subject not in TAKE_TURNS:
        return median(values) / median(peer_values), ratios[0], ratios[-1]
    half = 0.98 * len(ratios) ** 0.5
    low, high = int(len(ratios) / 2 - half), int(len(ratios) / 2 + half)
    return statistics.median(ratios), ratios[max(low, 0)], ratios[min(high, len(ratios) - 1)]


def check_libvmnet(rows):
    claim, sense, target = LIBVMNET
    entry = {"claim": claim, "value": None, "unit": "", "sense": sense, "target": target}
    ratios = [row["ratio"] for row in rows]
    return entry | ({"value": min(ratios), "least": min(ratios), "most": max(ratios)} if rows else {})


def check(values, units, libvmnet=()):
    """@values: {figure: {subject: [value or None of each round]}}; @libvmnet: libvmnet.py's rows. Returns a list of {"claim", "value",
    "least", "most", "digits", "unit", "peer", "limit", "flows", "sense", "target", "met"}: "limit" is the ratio that
    the kernel's own way has, "flows" how many there were. "value" and "met" are None where nothing was
    measured."""
    checked = []
    for claim, figure, subject, peers, sense, target in RATIOS:
        of_figure = values.get(figure, {})
        own = median(of_figure.get(subject))
        medians = {peer: median(of_figure.get(peer)) for peer in peers}
        medians = {peer: value for peer, value in medians.items() if value}
        entry = {"claim": claim, "value": None, "unit": "", "sense": sense, "target": target}
        if own is not None and medians:
            best = max if sense == "at least" else min
            peer = best(medians, key=medians.get)
            found = ratio(subject, of_figure[subject], of_figure[peer])
            entry |= {"value": own / medians[peer], "peer": peer, "digits": 3 if subject in TAKE_TURNS else 2}
            if found:
                entry |= dict(zip(("value", "least", "most"), found))
            limit = LIMITS.get(subject)
            if limit and limit != peer and median(of_figure.get(limit)):
                entry["limit"] = ratio(subject, of_figure[limit], of_figure[peer])[0]
        checked.append(entry)
    for claim, figure, subject, sense, target in BOUNDS:
        own = [v for v in values.get(figure, {}).get(subject, []) if v is not None]
        entry = {"claim": claim, "value": None, "unit": units[figure]}
        entry |= {"sense": sense, "target": target}
        if own:
            entry |= {"value": median(own), "least": min(own), "most": max(own)}
            if figure in OF_FLOWS:
                entry["flows"] = median(values["flows"][subject])
        checked.append(entry)
    checked.append(check_libvmnet(libvmnet))
    for entry in checked:
        known = entry["value"] is not None
        entry["met"] = is_met(entry["value"], entry["sense"], entry["target"]) if known else None
    return checked
