# SPDX-License-Identifier: Apache-2.0
"""The systemd units: understood by systemd, and what they let a network of the system do is counted by it."""

import pathlib
import shutil
import subprocess

import pytest
from fakenet import BUILD

UNITS = pathlib.Path(__file__).resolve().parent.parent.parent / "contrib" / "systemd"

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze, of Debian's package systemd"
)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.fixture
def units(tmp_path):
    """As they are installed, with the program of this build."""
    text = (BUILD / "contrib" / "systemd" / "openvmnet@.service").read_text()
    assert text.count("/bin/vmnetd --system %i") == 1
    lines = [f"ExecStart={BUILD}/vmnetd --system %i" if "ExecStart=" in line else line for line in text.splitlines()]
    (tmp_path / "openvmnet@.service").write_text("\n".join(lines) + "\n")
    shutil.copy(UNITS / "openvmnet@.socket", tmp_path)
    return tmp_path


def test_units_are_understood(units):
    for kind in ("service", "socket"):
        result = analyze("verify", "--man=no", units / f"openvmnet@lab.{kind}")
        assert (result.returncode, result.stderr) == (0, "")


def test_service_may_do_little(units):
    result = analyze("security", "--offline=yes", "--threshold=25", units / "openvmnet@.service")
    assert result.returncode == 0, result.stdout.splitlines()[-1]
