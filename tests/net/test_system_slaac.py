# SPDX-License-Identifier: Apache-2.0
"""A host that has its IPv6 address and its default route by router advertisements keeps them, with a network of the
system and after it, whichever way its kernel is made to forward. The router is radvd."""

import contextlib
import re
import shutil

import pytest
from lab import LabError, poll
from system import needs_root, running, settings, unchanged_lab

pytestmark = needs_root

ROUTER = "2001:db8:5::1"
LIFETIME_S = 30  # of the default route
RENEWED_S = 20  # the router advertises each 3 to 4 s, and later once its link was down
RADVD_CONF = f"""interface in1 {{
  AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime {LIFETIME_S};
  prefix 2001:db8:5::/64 {{ AdvValidLifetime 60; AdvPreferredLifetime 30; }};
}};
"""
OF_EACH = "/proc/sys/net/ipv6/conf/all/force_forwarding"


@pytest.fixture(scope="module")
def lab():
    if not shutil.which("radvd", path="/usr/sbin:/usr/bin"):
        pytest.skip("radvd is missing: apt-get install radvd")
    with unchanged_lab() as lab:
        yield lab


@contextlib.contextmanager
def link(lab, number):
    """One more link of the host, on which somebody may advertise."""
    lab.host.ip(f"link add out{number} type veth peer name in{number} netns /proc/{lab.remote.holder.pid}/ns/net")
    try:
        lab.host.sysctl({f"ipv6/conf/out{number}/accept_dad": 0})
        lab.remote.sysctl({f"ipv6/conf/in{number}/accept_dad": 0})
        lab.remote.ip(f"link set in{number} up")
        lab.host.ip(f"link set out{number} up")
        yield
    finally:
        lab.host.ip(f"link del out{number}")


@pytest.fixture
def router(lab):
    """The host's way out for IPv6 is a router that advertises on out1."""
    config = lab.directory / "radvd.conf"
    config.write_text(RADVD_CONF)
    lab.host.ip("-6 route del default")
    try:
        with link(lab, 1):
            lab.remote.ip(f"address add {ROUTER}/64 dev in1 nodad")
            # Else its neighbour advertisements say that it is none, and the host forgets it (RFC 4861 7.2.5).
            lab.remote.sysctl({"ipv6/conf/in1/forwarding": 1})
            with (lab.directory / "radvd.log").open("w") as log:
                radvd = lab.remote.start(["radvd", "-n", "-m", "stderr", "-C", config, "-p",
                                          lab.directory / "radvd.pid"], stderr=log)
            try:
                if not poll(lambda: left_s(lab), timeout_s=10, interval_s=0.05):
                    raise LabError((lab.directory / "radvd.log").read_text())
                yield radvd
            finally:
                radvd.terminate()
                radvd.wait(5)
                lab.remote.processes.remove(radvd)
    finally:
        lab.host.ip("-6 route add default via 2001:db8:1::2 dev out0")


def left_s(lab, interface="out1"):
    """For how long there is a default route by an advertisement, and an address; 0 where there is none."""
    address = lab.host.ip(f"-6 -o address show dev {interface} scope global dynamic")
    route = re.search(r"expires (\d+)sec", lab.host.ip(f"-6 route show default dev {interface} proto ra"))
    return int(route[1]) if route and "2001:db8:5:" in address and "tentative" not in address else 0


def assert_renewed(lab):
    """Waits until the route has been told once more, and lives longer than it did; it is there all the time."""
    seen = []

    def more():
        seen.append(left_s(lab))
        return seen[-1] > min(seen) or not seen[-1]

    assert poll(more, timeout_s=RENEWED_S, interval_s=0.1) and all(seen), seen


@pytest.fixture(params=["each", "all"])
def forwarding(lab, request):
    """By each interface alone, as since Linux 6.17, or by one setting for all. An empty file stands for none."""
    try:
        has_each = open(OF_EACH).read()
    except FileNotFoundError:
        has_each = ""
    if request.param == "each" and not has_each:
        pytest.skip("this kernel has no force_forwarding")
    if request.param == "each" or not has_each:
        yield request.param
        return
    lab.host.run(["mount", "--bind", "/dev/null", OF_EACH])
    yield request.param
    lab.host.run(["umount", OF_EACH])


def test_an_address_by_advertisements_survives(lab, router, forwarding):
    before = settings(lab)
    with running(lab, "slaac", check=False) as network, network.guest() as guest:
        assert left_s(lab)
        assert guest.ping(ROUTER) == 1
        assert_renewed(lab)
        now = settings(lab)
        on = {name: now[f"/proc/sys/net/ipv6/conf/{name}"].strip()
              for name in ("all/forwarding", "out1/accept_ra", "default/accept_ra")}
        assert on == ({"all/forwarding": "1", "out1/accept_ra": "2", "default/accept_ra": "2"}
                      if forwarding == "all" else
                      {"all/forwarding": "0", "out1/accept_ra": "2", "default/accept_ra": "1"})
        if forwarding == "all":
            # A link that was down has its address again, although another has a route and so keeps the host forwarding.
            lab.host.ip("link set out1 down")
            assert poll(lambda: not left_s(lab))
            lab.host.ip("link set out1 up")
            assert poll(lambda: left_s(lab), timeout_s=RENEWED_S, interval_s=0.05)
            assert poll(lambda: "default" in guest.ip("-6 route show default"))  # told anew
            assert guest.ping(ROUTER) == 1
    assert poll(lambda: settings(lab) == before)
    assert left_s(lab)
