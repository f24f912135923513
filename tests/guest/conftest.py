# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the guest tests: a host, and guests on it that are gone when the test is over."""

import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from guest import FileServer, Guest, GuestError, Host, poll, random_file  # noqa: E402


@pytest.fixture
def host():
    """A private runtime directory. The test fails where a network is left in it."""
    with Host() as host:
        if not host.vmnet.exists():
            pytest.fail(f"{host.vmnet} is missing: run `make build`")
        if not host.image.initrd.exists():
            pytest.fail(f"{host.image.initrd} is missing: run tests/guest/image.py")
        yield host
        host.wait_until_clean()


@pytest.fixture
def boot(host):
    """boot(ARGUMENT...) starts a guest with these arguments of QEMU; several boot side by side.

    The guests are killed at the end of the test, before the host looks for what is left.
    """
    guests = []
    with contextlib.ExitStack() as stack:

        def boot(*arguments, **options):
            guest = stack.enter_context(Guest(host, *arguments, **options))
            guests.append(guest)
            poll(lambda: guest.ports() or guest.process.poll() is not None, 20)
            if not guest.ports():
                raise GuestError(f"vmnet run printed no port:\n{guest.tail()}")
            return guest

        yield boot
        # Shown by pytest only where the test failed.
        for number, guest in enumerate(guests, 1):
            print(f"--- guest {number}\n{guest.tail(60)}")


@pytest.fixture
def file_server():
    with FileServer(random_file(8 << 20)) as server:
        yield server
