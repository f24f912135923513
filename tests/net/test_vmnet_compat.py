# SPDX-License-Identifier: Apache-2.0
"""libvmnet: programs that were written for Apple's vmnet.h, on real networks."""

import re

import pytest
from lab import BUILD, Network, poll

CONFORMANCE = BUILD / "tests" / "conformance" / "vmnet-conformance"
PING = BUILD / "docs" / "examples" / "vmnet-ping"
BATCH = BUILD / "docs" / "examples" / "vmnet-batch"

pytestmark = pytest.mark.skipif(
    not CONFORMANCE.exists(),
    reason="programs with blocks need clang and libblocksruntime-dev, and no sanitizer",
)

# One run of the suite would hide what fails behind what comes before it.
PARTS = {
    "start and stop": ["modes", "bad", "bridged", "queues", "stop", "before", "many"],
    "keys": ["names", "parameters", "interface id", "a MAC", "mtu", "nat66", "network id", "refused"],
    "packets": ["isolation", "batches", "several", "a long", "errors"],
    "events": ["one packet", "drain", "clear", "callback", "read", "nobody"],
    "offloads": ["checksum", "tso", "virtio"],
    "forwards and networks": ["port forwarding", "a network", "two network"],
}


def check_clean(lab):
    """Networks end with their last port; then their files are gone."""
    assert poll(lambda: not lab.processes() and not lab.leftovers()), lab.leftovers()


@pytest.fixture(scope="module")
def environment(lab):
    """The user has vmnetd in PATH: it is not beside these programs."""
    return dict(lab.environment, PATH=f"{BUILD}:{lab.environment['PATH']}")


@pytest.fixture
def run(lab, environment):
    """run(COMMAND...) runs a program of the user's on the laboratory's host."""

    def run(*command, **options):
        given = environment | options.pop("env", {})
        return lab.host.run(command, capabilities=False, env=given, **options)

    yield run
    check_clean(lab)


@pytest.mark.parametrize("part", PARTS)
def test_conformance(run, part):
    result = run(CONFORMANCE, *PARTS[part], check=False, timeout_s=60)
    bad = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert result.returncode == 0 and len(bad) == 1, "\n".join(bad) + result.stderr
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed, 0 skipped", bad[0])
    assert result.stderr == ""  # hints are for those who ask for them


def test_every_test_is_in_a_part(run):
    names = run(CONFORMANCE, "--list").stdout.splitlines()
    prefixes = [prefix for part in PARTS.values() for prefix in part]
    assert len(names) > 30
    assert all(any(name.startswith(prefix) for prefix in prefixes) for name in names), names


def test_hint(run):
    """With VMNET_DEBUG the reason stands on stderr: what was asked, what is wrong, what to do."""
    result = run(CONFORMANCE, "bridged", check=False, env={"VMNET_DEBUG": "1"})
    assert re.search(r"libvmnet: vmnet_start_interface: not authorized \(1010\): .*mode=bridged", result.stderr)
    result = run(CONFORMANCE, "bad descriptions", env={"VMNET_DEBUG": "1"})
    assert "invalid argument (1003): vmnet_operation_mode is not set" in result.stderr


def test_not_authorized(run, lab):
    """A program without vmnetd: a failure with the reason, and no crash."""
    result = run(PING, check=False, env={"PATH": "/usr/bin:/bin", "VMNET_DEBUG": "1"})
    assert result.returncode == 1
    assert "the interface does not start: status 1001" in result.stderr
    assert "vmnetd" in result.stderr


def test_ping(run):
    lines = run(PING).stdout.splitlines()
    assert re.match(r"MAC [0-9a-f:]{17}, MTU 1500, gateway 192\.168\.\d+\.1", lines[0])
    assert [line[:7] for line in lines[1:]] == ["ping 1:", "ping 2:", "ping 3:"]


def test_batch_answers_guest(lab, environment):
    """A client with batches both ways, and a kernel as its neighbour on the same network."""
    with lab.host.start([BATCH, "30"], capabilities=False, env=environment, stdout=-1, text=True) as client:
        try:
            address = client.stdout.readline().split()[0]
            with Network(lab, "shared").guest() as guest:
                guest.run(["ping", "-c", "200", "-i", "0.002", "-q", address])
                guest.run(["ping", "-c", "20", "-i", "0.01", "-s", "1400", "-q", address])
        finally:
            client.kill()
    check_clean(lab)
