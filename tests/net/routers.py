# SPDX-License-Identifier: Apache-2.0
"""A path with routers on it, for tests of what a guest is told from there.

    host 198.51.100.1 -- .2 lab.remote 192.0.2.1 -- 192.0.2.2 `second` 203.0.113.1 -- 203.0.113.7 `far`
         2001:db8:1::1 -- ::2          2001:db8:2::1 -- ::2            2001:db8:3::1 -- ::7
"""

import contextlib

from lab import REMOTE4, REMOTE6, REMOTE6_B, Namespace

SECOND = {4: "192.0.2.2", 6: "2001:db8:2::2"}
FAR = {4: "203.0.113.7", 6: "2001:db8:3::7"}
UNREACHABLE = {4: "203.0.113.8", 6: "2001:db8:3:8::1"}  # the second router says so
PROHIBITED = {4: "203.0.113.9", 6: "2001:db8:3:9::1"}
FAR_MTU = 1400  # of the last link

# They tell of each packet, however fast those come.
ROUTER = {
    "ipv4/ip_forward": 1, "ipv4/icmp_ratelimit": 0, "ipv4/icmp_msgs_per_sec": 100000,
    "ipv6/conf/all/forwarding": 1, "ipv6/icmp/ratelimit": 0,
}
# Not by routes: a kernel tells of those once a second.
REFUSALS = f"""table inet refusals {{
    chain forward {{
        type filter hook forward priority 0;
        ip daddr {UNREACHABLE[4]} reject with icmp type host-unreachable
        ip daddr {PROHIBITED[4]} reject with icmp type admin-prohibited
        ip6 daddr {UNREACHABLE[6]} reject with icmpv6 type no-route
        ip6 daddr {PROHIBITED[6]} reject with icmpv6 type admin-prohibited
    }}
}}"""


class Routers:
    """A context: the routers of a laboratory."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            remote = self.lab.remote
            self.second = stack.enter_context(Namespace(self.lab, "second", inside=self.lab.host))
            self.far = stack.enter_context(Namespace(self.lab, "far", inside=self.lab.host))
            for router in (remote, self.second):
                router.sysctl(ROUTER)
            self._link(remote, "far0", self.second, "near0", 2, "192.0.2.{}/30", "2001:db8:2::{}/64")
            self._link(self.second, "far0", self.far, "near0", 7, "203.0.113.{}/24", "2001:db8:3::{}/64")
            for namespace in (self.second, self.far):
                namespace.ip("link set lo up")
            self.second.ip_batch(
                f"link set far0 mtu {FAR_MTU}\n"
                "route add default via 192.0.2.1\nroute add default via 2001:db8:2::1\n"
            )
            self.second.nft(REFUSALS)
            self.far.ip_batch(
                f"link set near0 mtu {FAR_MTU}\n"
                "route add default via 203.0.113.1\nroute add default via 2001:db8:3::1\n"
            )
            # Its errors are in the name of its first address, not of the other one.
            remote.ip_batch(
                "address add fe80::1/64 dev in0 nodad\n"
                f"address change {REMOTE6_B}/64 dev in0 preferred_lft 0\n"
                f"route add 203.0.113.0/24 via {SECOND[4]}\nroute add 2001:db8:3::/48 via {SECOND[6]}\n"
            )
            stack.callback(remote.ip, "link del far0")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    @staticmethod
    def _link(near, near_name, far, far_name, far_number, net4, net6):
        near.ip(f"link add {near_name} type veth peer name {far_name} netns /proc/{far.holder.pid}/ns/net")
        for namespace, name, number in ((near, near_name, 1), (far, far_name, far_number)):
            namespace.ip_batch(
                f"link set {name} addrgenmode none\nlink set {name} up\n"
                f"address add {net4.format(number)} dev {name}\n"
                f"address add {net6.format(number)} dev {name} nodad\n"
                f"address add fe80::{number}/64 dev {name} nodad\n"  # routers solicit by it
            )

    def hops(self, guest, version):
        """Who is on the way from a guest to the far end, as a traceroute should tell."""
        first = {4: REMOTE4, 6: REMOTE6}[version]
        return [guest.gateways[version], first, SECOND[version], FAR[version]]


def traceroute(guest, address, *options):
    """The addresses that traceroute(8) prints, one a hop; "*" where nobody told."""
    command = ["traceroute", "-n", "-q", 1, "-w", 2, "-N", 1, "-m", 8, *options, address]
    lines = guest.run(command, timeout_s=30).stdout.splitlines()[1:]
    return [line.split()[1] for line in lines]
