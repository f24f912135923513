# SPDX-License-Identifier: Apache-2.0
"""A path that is as bad as real ones: the host, a router, a bad wire, and what is far away.

    host path0 -- veth -- near0 router wire0 == impair == far0 far
         192.0.2.1        192.0.2.2    203.0.113.1         203.0.113.2, .3
         2001:db8:3::1    2001:db8:3::2  2001:db8:2::1     2001:db8:2::2, ::3

The router routes, so hop limits fall and ICMP errors come as they do outside. impair.c is the wire.
"""

import contextlib
import re
import select
import subprocess

from lab import BUILD, TIMEOUT_S, LabError, Namespace, poll

FAR = {4: "203.0.113.2", 6: "2001:db8:2::2"}
FAR_B = {4: "203.0.113.3", 6: "2001:db8:2::3"}
# Further away than `far`, which has no route to it and says so.
BEYOND_FAR = {4: "203.0.113.129", 6: "2001:db8:2:8::1"}
HOST_PATH = {4: "192.0.2.1", 6: "2001:db8:3::1"}
ROUTER = {4: "192.0.2.2", 6: "2001:db8:3::2"}
ROUTER_FAR = {4: "203.0.113.1", 6: "2001:db8:2::1"}
LENGTH = {4: 25, 6: 64}
# Those of the wire's ends are impair.c's.
MAC = {
    "wire0": "02:00:00:00:00:01",
    "far0": "02:00:00:00:00:02",
    "path0": "02:00:00:00:00:03",
    "near0": "02:00:00:00:00:04",
}

PERFECT = {"loss": 0, "duplicate": 0, "delay_ms": 0, "jitter_ms": 0, "reorder": 0, "rate_kbit": 0}


def _interface(name, addresses, peer, peer_addresses):
    """Commands of ip(8). Whoever shares a link knows the other's address: what a bad wire loses are the
    packets of the tests alone."""
    return f"link set {name} addrgenmode none\nlink set {name} up\n" + "".join(
        [
            f"address add {address[version]}/{LENGTH[version]} dev {name}"
            f"{' nodad' if version == 6 else ''}\n"
            for address in addresses
            for version in (4, 6)
        ]
        + [
            f"neigh replace {address[version]} lladdr {MAC[peer]} dev {name} nud permanent\n"
            for address in peer_addresses
            for version in (4, 6)
        ]
    )


class Path:
    """A context. `far` is the namespace at its other end, `router` the one on the way."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            host = self.lab.host
            self.router = stack.enter_context(Namespace(self.lab, "router", inside=host))
            self.far = stack.enter_context(Namespace(self.lab, "far", inside=host))
            with open(f"/proc/{self.far.holder.pid}/ns/net") as far_net:
                self._wire = self.router.start(
                    [BUILD / "tests" / "net" / "impair", far_net.fileno(), "wire0", "far0"],
                    pass_fds=[far_net.fileno()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            self._read_counts()
            stack.callback(host.ip, "link del path0")
            self._make_links()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _make_links(self):
        host, router, far = self.lab.host, self.router, self.far
        for namespace in (router, far):
            namespace.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})
        host.ip_batch(
            f"link add path0 address {MAC['path0']} type veth "
            f"peer name near0 address {MAC['near0']} netns /proc/{router.holder.pid}/ns/net\n"
        )
        router.ip_batch(
            _interface("near0", [ROUTER], "path0", [HOST_PATH])
            + _interface("wire0", [ROUTER_FAR], "far0", [FAR, FAR_B])
            + f"route add 203.0.113.128/25 via {FAR[4]}\nroute add 2001:db8:2:8::/64 via {FAR[6]}\n"
        )
        far.ip_batch(
            _interface("far0", [FAR, FAR_B], "wire0", [ROUTER_FAR])
            + f"route add default via {ROUTER_FAR[4]}\nroute add default via {ROUTER_FAR[6]}\n"
            f"route add unreachable {BEYOND_FAR[4]}\nroute add unreachable {BEYOND_FAR[6]}\n"
        )
        host.ip_batch(
            _interface("path0", [HOST_PATH], "near0", [ROUTER])
            + f"route add 203.0.113.0/24 via {ROUTER[4]}\nroute add 2001:db8:2::/48 via {ROUTER[6]}\n"
        )
        if not poll(lambda: "state UP" in host.ip("link show dev path0"), interval_s=0.02):
            raise LabError("the link between host and router does not come up")

    def _read_counts(self):
        if not select.select([self._wire.stdout], [], [], TIMEOUT_S)[0]:
            raise LabError("impair does not answer")
        line = self._wire.stdout.readline()
        if not line:
            raise LabError(f"impair ended with status {self._wire.wait()}")
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}

    def set(self, **settings):
        """Changes settings of impair.c from now on. Returns its counts so far."""
        self._wire.stdin.write(" ".join(f"{k}={v}" for k, v in settings.items()) + "\n")
        self._wire.stdin.flush()
        return self._read_counts()

    def counts(self):
        """What has happened to frames so far, both ways together: {passed, lost, duplicated, reordered, overrun}."""
        return self.set()

    @contextlib.contextmanager
    def impaired(self, seed=1, **settings):
        """The wire is like this for a while, and perfect before and after. Nothing is under way at its end
        that matters: frames still there arrive as they would have."""
        self.set(**PERFECT, seed=seed)
        self.set(**settings)
        try:
            yield
        finally:
            self.set(**PERFECT)
