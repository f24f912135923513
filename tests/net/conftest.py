# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the network tests. lab.py says what a laboratory is."""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lab import (  # noqa: E402
    SANITIZER_VARIABLES,
    Failed,
    Lab,
    LabError,
    host_state,
    host_state_changes,
    literal,
    poll,
)

TEST_TIMEOUT_S = 90
_numbers = itertools.count(1)
_ports = itertools.count(21001)  # of forwards
LIBRARIES_LEAK = ("new_prescr",)  # ncurses, of a terminal that it does not know
_reported = {}  # how much of each sanitizer's file has been shown


def pytest_terminal_summary(terminalreporter):
    """What was not tested, and why, and what passed only when run again, is said also by `pytest -q`."""
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        terminalreporter.write_line(f"SKIPPED {report.nodeid}: {report.longrepr[2]}")
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_line(f"RUN AGAIN {report.nodeid}: {report.longreprtext}")


def pytest_configure():
    """Whatever sanitizer a program was built with, and whoever runs it, its reports come to one place."""
    directory = tempfile.mkdtemp(prefix="openvmnet-reports-", dir="/tmp")
    os.chmod(directory, 0o1777)
    os.environ["OPENVMNET_REPORTS"] = directory  # which the engine is allowed to write to
    for name in SANITIZER_VARIABLES[:-1]:
        given = os.environ.get(name, "")
        os.environ[name] = f"{given}:print_stacktrace=1:log_path={directory}/report"
    suppressions = pathlib.Path(directory) / "leaks"
    suppressions.write_text("".join(f"leak:{function}\n" for function in LIBRARIES_LEAK))
    os.environ["LSAN_OPTIONS"] += f":print_suppressions=0:suppressions={suppressions}"


def pytest_unconfigure():
    shutil.rmtree(os.environ["OPENVMNET_REPORTS"], ignore_errors=True)


def _reports():
    """What sanitizers have reported since the last time."""
    texts = []
    for path in pathlib.Path(os.environ["OPENVMNET_REPORTS"]).glob("report*"):

        def more(path=path):
            return path.read_text(errors="replace")[_reported.get(path, 0) :]

        if more():
            poll(lambda: "SUMMARY: " in more())  # the last line of a report
            texts.append(more())
            _reported[path] = _reported.get(path, 0) + len(texts[-1])
    return texts


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown():
    """Around all fixtures' ends: networks that ended there were looked at for leaks."""
    outcome = yield
    texts = _reports()
    if texts and outcome.excinfo:
        texts.append(f"and the end of the test failed: {outcome.excinfo[1]}")
    if texts:
        pytest.fail("sanitizers report:\n" + "\n".join(texts), pytrace=False)


@pytest.fixture(autouse=True)
def bound(request):
    """No test waits for ever. A module may have a TEST_TIMEOUT_S of its own."""
    timeout_s = getattr(request.module, "TEST_TIMEOUT_S", TEST_TIMEOUT_S)

    def late(*_):
        raise LabError(f"the test takes longer than {timeout_s:.0f} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def _laboratory(**options):
    """A laboratory. At its end the host is as it was, and so is the machine where root ran this."""
    for program in ("ip", "nft", "tc", "busybox", "ping", "traceroute", "dnsmasq", "mount"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            pytest.fail(f"{program} is missing: run `make deps`")
    machine = host_state() if os.geteuid() == 0 else None
    with Lab(**options) as lab:
        before = host_state(lab.host)
        yield lab
        lab.wait_until_clean()
        changes = host_state_changes(before, host_state(lab.host))
    if machine:
        changes += host_state_changes(machine, host_state())
    assert not changes, "the host is not as it was:\n" + "\n".join(changes)


@pytest.fixture(scope="session")
def laboratory():
    """laboratory(OPTION=...) is a context: a laboratory that is not as the others."""
    return _laboratory


@pytest.fixture(scope="module")
def lab():
    """The laboratory of a file's tests."""
    with _laboratory() as lab:
        yield lab


def _running(lab, options=()):
    """A network that ends with its fixture, leaving nothing."""
    network = lab.network(f"n{next(_numbers)}", *options)
    directory = network.directory
    try:
        yield network
        assert network.is_running(), f"the network died:\n{network.log()}"
    finally:
        # Shown by pytest only where something failed.
        print(f"--- log of network {network.name}\n{network.log()}")
        network.down()
    assert not directory.exists()


@pytest.fixture(scope="module")
def network(lab):
    """A lasting network for all tests of a file."""
    yield from _running(lab)


@pytest.fixture(scope="module")
def guest(network):
    """A guest with its addresses, for all tests of a file."""
    with network.guest() as guest:
        yield guest


@pytest.fixture
def new_network(lab):
    """new_network(OPTION...) starts one more network; it ends with the test."""
    with contextlib.ExitStack() as stack:
        make = contextlib.contextmanager(_running)
        yield lambda *options: stack.enter_context(make(lab, options))


@pytest.fixture
def new_guest(network):
    """new_guest(NETWORK, name=...) attaches one more guest; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def make(on=None, **parameters):
            return stack.enter_context((on or network).guest(**parameters))

        yield make


@pytest.fixture
def guest_on():
    """guest_on(NETWORK, name=...), for tests with a network of their own alone."""
    with contextlib.ExitStack() as stack:
        yield lambda network, **parameters: stack.enter_context(network.guest(**parameters))


@pytest.fixture
def forward(network):
    """forward(PROTO, host address, guest address, guest port) returns the host's port."""
    texts = []

    def add(proto, host, guest_address, guest_port, on=None):
        port = next(_ports)
        text = f"{proto}:{literal(host)}:{port}-{literal(guest_address)}:{guest_port}"
        (on or network).call("AddForward", forward=text)
        texts.append((on or network, f"{proto}:{literal(host)}:{port}"))
        return port

    yield add
    for where, text in texts:
        with contextlib.suppress(Failed, OSError):
            where.call("RemoveForward", forward=text)


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request):
    """The IP version."""
    return request.param
