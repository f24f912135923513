# SPDX-License-Identifier: Apache-2.0
"""From the values of all rounds to the tables of a report."""

import claims
from scenarios import FIGURES
from subject import GROUPS

UNITS = {name: unit for name, (unit, _, _) in FIGURES.items()}


def summary(results):
    """{figure: {subject: {"median", "min", "max", "count", "ratio"}}}; "ratio" is that of the group's
    openvmnet to it (claims.ratio())."""
    summed = {}
    for name in FIGURES:
        of_figure = results["values"].get(name, {})
        medians = {subject: claims.median(values) for subject, values in of_figure.items()}
        for subject, group in results["subjects"].items():
            values = [value for value in of_figure.get(subject, []) if value is not None]
            if not values:
                continue
            entry = {"median": medians[subject], "min": min(values), "max": max(values)}
            entry["count"] = len(values)
            base = GROUPS[group][0]
            found = subject != base and claims.ratio(base, of_figure.get(base), of_figure[subject])
            if found:
                entry["ratio"] = found[0]
            summed.setdefault(name, {})[subject] = entry
    return summed


def markdown_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value, digits):
    return f"{value:,.{digits}f}" if digits == 0 else f"{value:.{digits}f}"


def medians_table(summed, members, missing):
    def cell(name, subject):
        entry = summed[name].get(subject)
        if not entry:
            return "missing" if subject in missing else "–"
        digits = FIGURES[name][2]
        spread = f" ({number(entry['min'], digits)}–{number(entry['max'], digits)})"
        return number(entry["median"], digits) + (spread if entry["count"] > 1 else "")

    rows = [["figure", "unit", *members]]
    for name, entries in summed.items():
        if any(subject in entries for subject in members):
            rows.append([name, UNITS[name]] + [cell(name, subject) for subject in members])
    return markdown_table(rows) if len(rows) > 1 else ""


def ratios_table(summed, base, members):
    peers = [name for name in members if name != base]
    rows = [[f"{base} ÷", "better is", *peers]]
    for name, entries in summed.items():
        digits = 3 if base in claims.TAKE_TURNS else 2
        ratios = [entries.get(peer, {}).get("ratio") for peer in peers]
        if any(ratio is not None for ratio in ratios):
            better = "more" if FIGURES[name][1] else "less"
            rows.append([name, better] + [f"{r:.{digits}f}" if r is not None else "–" for r in ratios])
    return markdown_table(rows) if len(rows) > 1 else ""


def claims_table(checked):
    def value(entry):
        if entry["value"] is None:
            return "not measured"
        unit = f" {entry['unit']}" if entry["unit"] else ""
        digits = entry.get("digits", 2)
        spread = f" ({entry['least']:.{digits}f}–{entry['most']:.{digits}f})" if "least" in entry else ""
        flows = f", {entry['flows']:,.0f} flows" if "flows" in entry else ""
        return f"{entry['value']:.{digits}f}{unit}{spread}{flows}"

    rows = [["claim", "measured", "target", "", "the kernel, as root"]]
    for entry in checked:
        unit = f" {entry['unit']}" if entry["unit"] else ""
        met = {True: "met", False: "not met", None: "–"}[entry["met"]]
        claim = entry["claim"]
        if " and " in claim and "peer" in entry:
            claim += f" (here {entry['peer']})"
        limit = f"{entry['limit']:.{entry['digits']}f}" if "limit" in entry else "–"
        rows.append([claim, value(entry), f"{entry['sense']} {entry['target']:g}{unit}", met, limit])
    return markdown_table(rows)


def libvmnet_table(rows):
    cells = [["frames a call", "bytes", "libvmnet", "bare tap", "ratio"]]
    for row in rows:
        cells.append([str(row["batch"]), str(row["bytes"]), *(number(row[way], 0) for way in ("vmnet", "tap"))])
        cells[-1].append(f"{row['ratio']:.2f}")
    return markdown_table(cells)


def report(results, plot=None):
    """@plot: the name of the picture, where there is one beside the report."""
    rounds = f"{results['rounds']} rounds" if results["rounds"] > 1 else "one round"
    parts = [
        "# openvmnet and others: figures\n",
        "".join(f"- {name}: {value}\n" for name, value in results["head"].items() if value),
        f"Medians of {rounds} (least–most), {results['seconds']} s for a TCP measurement."
        f"{results['selection']} [What the figures mean](../../tests/bench/README.md).\n",
    ]
    if results["missing"]:
        missing = [f"{name} ({why})" for name, why in results["missing"].items()]
        parts.append("Missing here: " + ", ".join(missing) + ".\n")
    if plot:
        parts.append(f"![The main figures as bars]({plot})\n")
    measured = [entry for entry in results["claims"] if entry["value"] is not None]
    if measured:
        parts += [
            "## What is claimed\n",
            "Ratios are those of the medians; in brackets those of single rounds. Networks of the system take turns:"
            " the median of their turns' ratios, and its interval of 95 %. The last column has the"
            " same ratio of the kernel's own way: where that misses a target, the machine is the bound.\n",
            claims_table(measured),
        ]
    summed = results["summary"]
    for group, (base, title) in GROUPS.items():
        members = [name for name, its_group in results["subjects"].items() if its_group == group]
        medians = medians_table(summed, members, results["missing"])
        if not medians:
            continue
        parts += [f"## {title}\n", medians]
        ratios = ratios_table(summed, base, members)
        if ratios:
            parts += [f"{base}'s median divided by the other's:\n", ratios]
    if results["libvmnet"]:
        parts += [
            "## libvmnet beside a bare tap\n",
            "Frames written to one port and read from another, in a second of CPU time.\n",
            libvmnet_table(results["libvmnet"]),
        ]
    if results["failures"]:
        parts.append("## Measurements without a figure\n")
        counted = {text: results["failures"].count(text) for text in results["failures"]}
        for text, times in counted.items():
            parts.append(f"- {text}" + (f" ({times} times)" if times > 1 else ""))
        parts.append("")
    return "\n".join(parts)
