# SPDX-License-Identifier: Apache-2.0
"""The profile is read by AppArmor's own parser, of a version that knows user namespaces."""

import pathlib
import subprocess

import pytest

import machine as machines

PROFILE = pathlib.Path(__file__).resolve().parent.parent.parent / "contrib" / "apparmor" / "vmnetd"
# The first of Debian with AppArmor 4; the parser of the machine that tests run on may be older.
SUITE = "trixie"

reason = machines.missing()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)


@pytest.fixture(scope="module")
def parse():
    root = machines.files(SUITE, ["apparmor"])

    def run(text, *options):
        # It loads nothing (-Q) and caches nothing (-K).
        command = ["chroot", root, "apparmor_parser", "-Q", "-K", *options]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_profile_is_read(parse):
    text = PROFILE.read_text()
    result = parse(text)
    assert result.returncode == 0, result.stderr
    assert parse(text, "--names").stdout.split() == ["vmnetd"]


def test_what_is_wrong_is_seen(parse):
    result = parse(PROFILE.read_text().replace("userns,", "usernamespaces,"))
    assert result.returncode != 0 and "syntax error" in result.stderr
