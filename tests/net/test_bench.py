# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures, and says of each claim what is true. It needs root, for the peers' sake."""

import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest

BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench"


def test_measures_and_reports(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("the benchmark needs root: it is run in root's pass")
    files = {kind: tmp_path / f"result.{kind}" for kind in ("json", "markdown", "svg")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    only = "^((openvmnet-exec|kernel)/(rr|udp-gso-up|start)|libvmnet/frames)$"
    subprocess.run(
        [sys.executable, BENCH / "bench.py", "--quick", "--only", only, *options],
        check=True,
        capture_output=True,
        timeout=60,
    )
    results = json.loads(files["json"].read_text())
    assert results["failures"] == [] and set(results["missing"]) <= {"libvmnet"}
    for figure in ("rr p50", "rr p99", "udp-gso-up", "start"):
        for subject in ("openvmnet-exec", "kernel"):
            assert results["summary"][figure][subject]["median"] > 0
    assert results["summary"]["udp-gso-up"]["kernel"]["ratio"] > 0
    (bound,) = [entry for entry in results["claims"] if entry["claim"] == "start of `vmnet exec`"]
    assert bound["met"] == (results["summary"]["start"]["openvmnet-exec"]["median"] <= 100)
    (ratio,) = [entry for entry in results["claims"] if "libvmnet" in entry["claim"]]
    if "libvmnet" not in results["missing"]:
        assert ratio["value"] == min(row["ratio"] for row in results["libvmnet"])
        assert "## libvmnet beside a bare tap" in files["markdown"].read_text()
    assert "| udp-gso-up |" in files["markdown"].read_text().replace("  ", "")
    picture = xml.etree.ElementTree.parse(files["svg"]).getroot()
    bars = [bar for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("rx")]
    assert len(bars) == 3 + 2 * 3  # the legend's, and one for each subject in each panel


def test_networks_of_the_system(tmp_path):
    """Each on a host of its own; turns that follow each other are compared."""
    if os.geteuid() != 0:
        pytest.skip("the benchmark needs root: it is run in root's pass")
    names = ["system-shared", "by-hand", "system-bridged", "macvtap"]
    file = tmp_path / "result.json"
    subprocess.run(
        [sys.executable, BENCH / "bench.py", "--quick", "--json", file]
        + ["--only", f"^({'|'.join(names)})/(rr|tcp-up)$"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    results = json.loads(file.read_text())
    assert results["failures"] == [] and list(results["subjects"]) == names
    for figure in ("rr p50", "tcp-up"):
        for name in names:
            turns = results["values"][figure][name]
            assert len(turns) > 1 and all(turn > 0 for turn in turns)
    checked = {entry["claim"]: entry for entry in results["claims"]}
    entry = checked["bridged network, TCP up, to macvtap"]
    assert entry["peer"] == "macvtap" and entry["met"] == (entry["value"] >= 0.95)


def test_ratio_of_turns(claims):
    """The machine is twice as fast from the fourth turn on, which the first subject meets a turn later."""
    values = {"tcp-up": {"system-shared": [9, 9, 9, 9, 18, 18, 18], "by-hand": [10, 10, 10, 20, 20, 20, 20]}}
    checked = {entry["claim"]: entry for entry in claims.check(values, {figure: "" for _, figure, *_ in claims.BOUNDS})}
    entry = checked["shared network of the system, TCP up, to one by hand"]
    assert entry["value"] == pytest.approx(0.9) and entry["met"] is False
    assert entry["least"] <= entry["value"] <= entry["most"]


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import claims

    return claims


@pytest.mark.parametrize("own, met", [(1.8, False), (2.0, True)])
def test_claim_is_about_the_best_peer(claims, own, met):
    """A ratio of medians; a round without a figure counts for nothing."""
    values = {
        "tcp-up": {
            "openvmnet-exec": [5 * own, None, 5 * own],
            "pasta": [1, 2, 3],
            "slirp4netns": [0.1, 0.1, 0.1],
            "kernel": [30, None, 30],
        }
    }
    units = {figure: "" for _, figure, *_ in claims.BOUNDS}
    checked = {entry["claim"]: entry for entry in claims.check(values, units)}
    entry = checked["TCP up, to pasta and slirp4netns at 1500"]
    assert entry["peer"] == "pasta" and entry["met"] is met
    assert entry["value"] == pytest.approx(5 * own / 2) and entry["limit"] == 15
    assert (entry["least"], entry["most"]) == (pytest.approx(5 * own / 3), 5 * own)
    assert checked["UDP up, to pasta"]["met"] is None

