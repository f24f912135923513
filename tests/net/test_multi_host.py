# SPDX-License-Identifier: Apache-2.0
"""One network on three hosts, over FRR's BGP EVPN and the kernel's VXLAN, as docs/multi-host.md has it.

On br-lan most guests' taps are made ports by lanport.c, with the sources of the plane (tap.c, netlink.c, announce.c): so
nothing but the announcement is in question. The networks "lan" (on that bridge) and "ext" are vmnetd's.
"""

import contextlib
import ipaddress
import socket

import migration
import pytest
from evpn import MTU, EvpnLab, reason_to_skip
from lab import Background, Guest, send_between
from scapy.layers.dhcp import BOOTP, DHCP

RARP = 0x8035

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))


@pytest.fixture(scope="module")
def evpn(lab):
    with EvpnLab(lab) as evpn:
        yield evpn


@pytest.fixture(scope="module")
def guests(evpn):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(host.guest(host.number)) for host in evpn.hosts]


def reached(evpn, guest, address, timeout_s=5):
    evpn.settled(lambda: guest.ping(address, timeout_s=1), f"{guest.name} reaches {address}", timeout_s)


def others(evpn, host):
    return [other for other in evpn.hosts if other is not host]


def test_all_reach_each_other(evpn, guests, version):
    for sender in guests:
        for receiver in guests:
            if sender is not receiver:
                reached(evpn, sender, receiver.addresses[version])
    send_between(guests[0], guests[2], version, 1 << 20)


def test_hosts_know_where(evpn, guests):
    """Each host's kernel has each machine's place, and the hosts reach machines elsewhere."""
    for host, guest in zip(evpn.hosts, guests, strict=True):
        assert host.place(guest.mac) == "here"
        for other in others(evpn, host):
            evpn.settled(
                lambda o=other, h=host, g=guest: o.place(g.mac) == h.address, f"{other.name}: {guest.name}"
            )
            assert other.run(["ping", "-n", "-c", "1", "-w", "3", guest.ipv4], check=False).returncode == 0


def test_mtu(guests):
    """The largest frame passes; the outer packet is not cut into fragments for it."""
    for header, address in ((28, guests[2].ipv4), (48, guests[2].ipv6)):
        words = ["ping", "-n", "-M", "do", "-c", "1", "-W", "3", "-s", MTU - header, address]
        assert "1 received" in guests[0].run(words).stdout
    assert "1 received" in guests[0].run(["ping", "-n", "-c", "1", "-W", "3", "-s", "4000", guests[2].ipv4]).stdout


def test_addresses_from_any_host(evpn):
    """DHCP and router advertisements of each host, with the MTU; leases are of disjoint pools."""
    servers = []
    for host in evpn.hosts:
        file = host.directory / "dnsmasq.conf"
        file.write_text(evpn.recipe.block("dnsmasq", host.number))
        servers.append(
            host.start(["dnsmasq", "-k", "-C", file, "-u", "root", "-x", host.directory / "dnsmasq.pid"]
                       + ["-l", host.directory / "leases"])  # fmt: skip
        )
    try:
        with evpn.hosts[1].guest(40, configure=False) as guest:
            guest.ipv4 = None
            guest.up()
            lease = guest.dhcp()
            pools = {evpn.recipe.value(2, n): evpn.recipe.value(4, n).split(",") for n in (1, 2, 3)}
            first, last = (int(address.rpartition(".")[2]) for address in pools[lease["serverid"]])
            assert first <= int(lease["ip"].rpartition(".")[2]) <= last
            assert lease["mtu"] == str(MTU) and "router" not in lease
            assert guest.wait_ipv6().startswith("fd12:3456:789a:1:")
            assert "default" not in guest.ip("-6 route")
            assert guest.run(["cat", "/proc/sys/net/ipv6/conf/eth0/mtu"]).stdout.strip() == str(MTU)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def test_silent_machine_is_found(evpn, guests):
    """A machine that says nothing has moved: its port is announced, and frames for it come at once."""
    first, second, third = evpn.hosts
    with guests[2].packets("eth0", RARP) as seen, first.port(20, "none") as old:
        evpn.settled(lambda: third.place(old.mac) == first.address, "the machine is found")
        before = third.mobility(old.mac)
        # The old port stays: nothing but the announcement tells of the new one.
        with second.port(20, "none") as new:
            evpn.settled(lambda: third.place(new.mac) == second.address, "its move is followed", 2)
            evpn.settled(lambda: first.place(new.mac) == second.address, "also where it was", 2)
            assert second.place(new.mac) == "here" and third.mobility(new.mac) > before
        for _ in range(2):
            assert bytes.fromhex(old.mac.replace(":", "")) in seen.recv(2048), "switches beyond learn it, too"
    evpn.settled(lambda: not any(host.place(old.mac) for host in evpn.hosts), "it is forgotten when it is gone")


def test_announced_address(evpn, guests):
    """It replaces what neighbours on the bridge believed. Between hosts FRR's knowledge stands for it."""
    for number, address in ((30, "10.1.0.99"), (31, "fd12:3456:789a:1::99")):
        neighbour = guests[0]
        neighbour.ip(f"neigh replace {address} lladdr 52:56:00:00:00:aa dev eth0 nud stale")
        with evpn.hosts[0].port(number, address) as port:
            evpn.settled(
                lambda a=address, p=port: p.mac in neighbour.ip(f"neigh show to {a} dev eth0"),
                f"{address} is learnt",
            )


def test_machine_moves(evpn, guests, version):
    """With its addresses, while another one talks to it."""
    first, second, third = evpn.hosts
    number = 50 + version
    with first.guest(number) as before:
        reached(evpn, guests[2], before.addresses[version])
        reached(evpn, before, guests[1].addresses[version])
    with second.guest(number, before.ipv4) as after:
        assert after.addresses == before.addresses and after.mac == before.mac
        evpn.settled(lambda: third.place(after.mac) == second.address, "the move is followed", 2)
        reached(evpn, guests[2], after.addresses[version], 2)
        reached(evpn, guests[0], after.addresses[version], 2)


def test_attached_before_it_moves(evpn, guests):
    """Live migration: the port at the destination is announced too early. The next frame of the machine mends that."""
    first, second, third = evpn.hosts
    with first.guest(60) as before:
        reached(evpn, guests[2], before.ipv4)
        for host in (second, third):
            evpn.settled(lambda h=host: h.place(before.mac) == first.address, "the machine is found")
        moves = third.mobility(before.mac)
        with second.guest(60, "none", configure=False) as after:
            # Its place may be the old one again by now: a kernel is not silent.
            evpn.settled(lambda: third.mobility(before.mac) > moves, "the announcement is believed")
            reached(evpn, before, guests[2].ipv4)
            evpn.settled(lambda: third.place(before.mac) == first.address, "and taken back", 2)
            after.ip_batch(f"link set eth0 mtu {MTU} addrgenmode none\nlink set eth0 up\n")
            before.ip("link set eth0 down")
            after.ip(f"address add {before.ipv4}/24 dev eth0")
            reached(evpn, after, guests[2].ipv4)
            evpn.settled(lambda: third.place(before.mac) == second.address, "the move is followed", 2)


def test_host_is_cut_off(evpn, guests):
    """And comes back. Its link stays up, so that nothing but silence tells of it."""
    first, second, third = evpn.hosts
    with third.guest(70) as neighbour:
        reached(evpn, guests[0], neighbour.ipv4)
        third.set_cut(True)
        try:
            assert guests[0].ping(guests[1].ipv4) == 1 and guests[0].ping(guests[1].ipv6) == 1
            assert guests[2].ping(neighbour.ipv4) == 1, "machines of the host that is cut off"
            evpn.settled(lambda: first.place(neighbour.mac) is None, "its machines are forgotten", 8)
            evpn.settled(lambda: third.place(guests[0].mac) is None, "and by it the others", 8)
            assert guests[0].ping(guests[1].ipv4) == 1
            assert guests[2].ping(neighbour.ipv4) == 1
            assert guests[0].ping(neighbour.ipv4, timeout_s=1) == 0
        finally:
            third.set_cut(False)
        took = evpn.settled(lambda: guests[0].ping(neighbour.ipv4, timeout_s=1), "it is back", 10)
        print(f"back within {took:.1f} s")
        for guest in guests[:2]:
            reached(evpn, guest, guests[2].ipv4)
            reached(evpn, neighbour, guest.ipv6)
        evpn.settled(lambda: first.place(guests[2].mac) == third.address, "its machines are known again")


MOVER = "52:56:00:00:00:50"


@pytest.fixture(scope="module")
def ext(evpn):
    """A network of the system on each host, which the document's VXLAN device joins."""
    with contextlib.ExitStack() as stack:
        networks = []
        for host in evpn.hosts:
            networks.append(stack.enter_context(host.network("ext", evpn.recipe.block("conf", host.number))))
            host.run(["/bin/sh", "-e", "-s"], input=evpn.recipe.block("bash", host.number))
        evpn.settled(lambda: all(len(host.peers(200)) == 2 for host in evpn.hosts), "hosts know each other")
        yield networks


def leased(network, **parameters):
    guest = network.guest(configure=False, **parameters)
    guest.up()
    guest.dhcp()
    return guest


def test_vmnetd_on_each_host(evpn, ext):
    """Machines get addresses from their own host's part of the subnet, and reach each other."""
    with contextlib.ExitStack() as stack:
        # A machine's MAC follows from its name: these have to differ, as those of the document have to.
        guests = [stack.enter_context(leased(ext[i], name=f"m{i}")) for i in range(3)]
        for host, guest in zip(evpn.hosts, guests, strict=True):
            first, last = evpn.recipe.value(6, host.number).split("-")
            assert ipaddress.ip_address(first) <= ipaddress.ip_address(guest.ipv4) <= ipaddress.ip_address(last)
            assert guest.lease["ip"] == guest.ipv4 and guest.lease["mtu"] == str(MTU)
            assert guest.lease["serverid"] == evpn.recipe.value(5, host.number)
        for sender in guests:
            for receiver in guests:
                if sender is not receiver:
                    reached(evpn, sender, receiver.ipv4)
        send_between(guests[0], guests[2], 4, 1 << 20)
    assert not any("DHCPNAK" in network.log() for network in ext), "a host refuses what another one has lent"


def test_move_between_vmnetds(evpn, ext):
    """With its reserved address; attaching it announces it, before it has said a word."""
    first, second, third = evpn.hosts
    with leased(ext[2], name="watcher") as watcher:
        with leased(ext[0], mac=MOVER) as before:
            reached(evpn, watcher, before.ipv4)
        with ext[1].attach(mac=MOVER) as silent:
            evpn.settled(lambda: third.place(MOVER, "vmnet-ext") == second.address, "the move is followed", 3)
            assert silent.ipv4 == before.ipv4
        with leased(ext[0], mac=MOVER) as again:
            assert again.ipv4 == before.ipv4 == again.lease["ip"]
            reached(evpn, watcher, again.ipv4)


def renewed(guest, server, timeout_s=5):
    """What comes of a DHCPREQUEST for the address that the guest has (RFC 2131 4.3.2): {} where nothing does.

    @server: whom it is sent to, RENEWING; None: all, REBINDING.
    """
    chaddr = bytes.fromhex(guest.mac.replace(":", ""))
    request = BOOTP(chaddr=chaddr, ciaddr=guest.ipv4, xid=7) / DHCP(options=[("message-type", "request"), "end"])
    with guest.udp(port=68) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.settimeout(timeout_s)
        client.sendto(bytes(request), (server or "255.255.255.255", 67))
        with contextlib.suppress(TimeoutError):
            reply = BOOTP(client.recv(2048))
            return dict(option for option in reply[DHCP].options if len(option) == 2) | {"address": reply.yiaddr}
    return {}


ACK, NAK = 5, 6


def moved(evpn, network, before, number):
    """A machine that has come to @network with the address that it had elsewhere, and asks for nothing."""
    guest = network.guest(configure=False, mac=before.mac)
    guest.up()
    guest.ip_batch(f"address add {before.ipv4}/24 dev eth0\n"
                   f"route add default via {evpn.recipe.value(5, number)} dev eth0\n")  # fmt: skip
    return guest


def test_renewal_after_a_move(evpn, ext):
    """The host that the machine is at renews the lease that another one gave, when all are asked. No other host speaks."""
    servers = [evpn.recipe.value(5, number) for number in (1, 2)]
    with leased(ext[0], mac=MOVER) as before:
        assert before.lease["serverid"] == servers[0]
        assert renewed(before, servers[0])["message-type"] == ACK
    with moved(evpn, ext[1], before, 2) as guest:
        reached(evpn, guest, servers[0])
        assert not renewed(guest, servers[0], 0.5), "whom the machine has left"
        for server in (None, servers[1]):
            reply = renewed(guest, server)
            assert (reply["message-type"], reply["server_id"], reply["address"]) == (ACK, servers[1], before.ipv4)


def test_renewal_without_a_reservation(evpn, ext):
    """Its address is another here: it is told so, and asks for one, instead of believing in the old one until its lease ends."""
    with leased(ext[0], name="unreserved") as before:
        pass
    with moved(evpn, ext[1], before, 2) as guest:
        given, guest.ipv4 = guest.ipv4, before.ipv4
        assert given != before.ipv4
        reply = renewed(guest, None)
        assert (reply["message-type"], reply["server_id"]) == (NAK, evpn.recipe.value(5, 2))
        guest.dhcp()
        assert guest.lease["ip"] == given


def test_bridged_networks(evpn, guests):
    """The document's network of each host puts machines onto br-lan, and announces them."""
    first, second, third = evpn.hosts
    with contextlib.ExitStack() as stack:
        lan = [stack.enter_context(host.network("lan", evpn.recipe.block("ini", host.number))) for host in (first, second)]
        machines = []
        for network, number in zip(lan, (80, 81), strict=True):
            port = network.attach(mac=f"52:56:00:00:00:{number:02x}")
            evpn.settled(lambda p=port, h=evpn.hosts[number - 80]: third.place(p.mac) == h.address, "it is announced", 3)
            machine = stack.enter_context(Guest(network, port))
            machine.ipv4 = f"10.1.0.{number}"
            machine.ip_batch(f"link set lo up\nlink set eth0 mtu {MTU}\nlink set eth0 up\n"
                             f"address add {machine.ipv4}/24 dev eth0\n")  # fmt: skip
            machines.append(machine)
        reached(evpn, machines[0], machines[1].ipv4)
        reached(evpn, machines[1], guests[2].ipv4)


@pytest.mark.skipif(migration.reason_to_skip() is not None, reason=str(migration.reason_to_skip()))
def test_live_migration(evpn, guests):
    """A real QEMU's machine keeps its address and its connection, and is announced when it runs at its new place."""
    first, second, third = evpn.hosts
    mac, watcher = migration.MAC, guests[2]
    with contextlib.ExitStack() as stack:
        for host in (first, second):
            stack.enter_context(host.network("lan", evpn.recipe.block("ini", host.number)))
        listener = stack.enter_context(watcher.listen(watcher.ipv4, migration.PORT))
        listener.settimeout(60)
        source = stack.enter_context(migration.Machine(first, watcher.ipv4)).wait_started()
        accepted, peer = listener.accept()
        heard = migration.Listener(stack.enter_context(accepted))
        assert peer[0] == migration.ADDRESS
        heard.hear(50)
        assert third.place(mac) == first.address
        before = third.mobility(mac)

        way = evpn.lab.directory / "migration"
        target = stack.enter_context(migration.Machine(second, watcher.ipv4, "-incoming", f"unix:{way}")).wait_started()
        evpn.settled(way.is_socket, "QEMU waits for the machine")
        heard.hear(20)
        assert second.place(mac) != "here" and third.mobility(mac) == before, "it is announced too early"

        seen = stack.enter_context(watcher.packets("eth0", RARP))
        hearing = Background(heard.hear, 200, 30)
        source.migrate(f"unix:{way}")
        print(f"silent for {hearing.result() * 1000:.0f} ms")
        assert target.state() == "running"
        evpn.settled(lambda: third.place(mac) == second.address, "the move is followed", 3)
        assert third.mobility(mac) > before
        # QEMU's own announcement passes the guard.
        assert seen.recv(2048)[6:12] == bytes.fromhex(mac.replace(":", ""))
        source.__exit__()
        heard.hear(50)
        assert watcher.ping(migration.ADDRESS) == 1


def test_file_of_the_document(lab, evpn):
    file = lab.directory / "lan.conf"
    file.write_text(evpn.recipe.block("ini", 1))
    shown = lab.vmnet("check", file).stdout
    assert "mode bridged" in shown and "interface br-lan" in shown and f"mtu {MTU}" in shown
