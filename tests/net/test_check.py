# SPDX-License-Identifier: Apache-2.0
"""vmnet check: the example of the manual page is right, and what is said of files that are not."""

import pathlib
import subprocess

import pytest
from lab import BUILD

MANUAL = pathlib.Path(__file__).parents[2] / "docs/man/openvmnet.conf.5.scd.in"
DONE, FAILED, USAGE = 0, 1, 2


def check(*arguments):
    return subprocess.run(
        [BUILD / "vmnet", "check", *arguments], capture_output=True, text=True, timeout=10
    )


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_example_of_the_manual(write):
    example = MANUAL.read_text().split("```\n")[1]
    assert "mode = shared" in example
    path = write("lab.conf", example)
    result = check(path)
    assert (result.returncode, result.stderr) == (DONE, "")
    assert result.stdout == (
        f"{path}: ok\n"
        "network 'lab': mode shared, gateway 192.168.70.1/24, pool 192.168.70.2 to 192.168.70.99, "
        "leases of 43200 s, 1 reservation, 2 DNS records, 1 DHCP option, 2 rules, 2 forwards\n"
    )


@pytest.mark.parametrize(
    "text, summary",
    [
        ("", "mode shared, subnet automatic"),
        ("mode = bridged\nifname = eth0\n", "mode bridged, interface eth0"),
        ("mode = bridge\n", "mode bridged, interface of the default route"),
        ("mode = host\nmtu = 9000\n", "mode host, subnet automatic, mtu 9000"),
        ("nat66-prefix = fd12::\n", "mode shared, subnet automatic, IPv6 prefix fd12::/64"),
    ],
)
def test_summary(write, text, summary):
    result = check(write("lab.conf", text))
    assert (result.returncode, result.stderr) == (DONE, "")
    assert result.stdout.splitlines()[1] == f"network 'lab': {summary}"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("lab.conf", "mode = shared\ncolour = red\n", "/lab.conf:2: unknown key 'colour'"),
        ("lab", "", "/lab: the file of a network has the network's name and .conf"),
        (".conf", "", "/.conf: the file of a network"),
        ("lab.conf~", "", "/lab.conf~: the file of a network"),
        ("-lab.conf", "", "/-lab.conf: network name '-lab'"),
        ("x" * 42 + ".conf", "", "has 42 characters"),
    ],
)
def test_refused(write, name, text, message):
    result = check(write(name, text))
    assert (result.returncode, result.stdout) == (FAILED, "")
    assert result.stderr.startswith("vmnet: check: /") and message in result.stderr


def test_no_file(tmp_path):
    result = check(str(tmp_path / "lab.conf"))
    assert result.returncode == FAILED
    assert "lab.conf: cannot be read: No such file or directory" in result.stderr


def test_wrong_usage(tmp_path):
    assert check().returncode == USAGE
    assert check("a.conf", "b.conf").returncode == USAGE
    assert check("--json", "a.conf").returncode == USAGE
