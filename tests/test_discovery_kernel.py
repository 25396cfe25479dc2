"""`pvdrace.discovery.kernel`: a dump of a real kernel says what ``ip`` says."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from namespaces import add_link, network_namespace, run, sysctl
from pvdrace.discovery.decode import Decoder
from pvdrace.discovery.implicit import implicit_pvds
from pvdrace.discovery.kernel import (
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST_DUMP,
    NLMSG_DONE,
    RTM_GETROUTE,
    Kernel,
    drain,
    open_events,
)
from pvdrace.discovery.state import Address, KernelRoute, KernelState, PolicyRule
from pvdrace.model import LocalAddress, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.lab]


@pytest.fixture
def namespace() -> Iterator[None]:
    with network_namespace():
        yield


@pytest.fixture
def two_links(namespace: None) -> None:
    add_link("eth0", 1, metric=100)
    add_link("wlan0", 2, metric=600)


async def dump() -> KernelState:
    kernel = Kernel()
    try:
        return await kernel.dump()
    finally:
        kernel.close()


async def test_an_empty_namespace(namespace: None) -> None:
    state = await dump()
    assert [link.name for link in state.links if link.up] == ["lo"]
    assert implicit_pvds(state)[-1:] == () or all(pvd.unusable for pvd in implicit_pvds(state))


async def test_two_links_with_both_families(two_links: None) -> None:
    found = {pvd.name: pvd for pvd in implicit_pvds(await dump())}
    eth, wlan = found["eth0"], found["wlan0"]
    assert (eth.unusable, wlan.unusable) == (None, None)
    assert eth.ifindex == socket.if_nametoindex("eth0")
    assert eth.families == wlan.families == (6, 4)
    assert (eth.metric, wlan.metric) == (100, 600)
    assert LocalAddress("10.1.0.2", 24) in eth.addresses
    assert LocalAddress("2001:db8:1::2", 64) in eth.addresses
    assert Route("0.0.0.0/0", "10.1.0.1", 100) in eth.routes
    assert Route("::/0", "2001:db8:2::1", 600) in wlan.routes
    assert found["eth0-far"].unusable == "no address"


async def test_the_dump_is_what_ip_shows(two_links: None) -> None:
    run(
        "ip link add br0 type bridge",
        "ip link set wlan0-far master br0",
        "ip address add 10.1.0.3/24 dev eth0",
        "ip address add 10.8.0.2 peer 10.8.0.1/32 dev eth0",
        "ip address add 2001:db8:1::3/64 dev eth0 nodad preferred_lft 0",
        "ip route add 172.16.0.0/12 via 10.1.0.1 table 200",
        "ip route add 172.20.0.0/16 nexthop via 10.1.0.1 dev eth0 nexthop via 10.2.0.1 dev wlan0",
        "ip route add 198.51.100.0/24 via inet6 2001:db8:1::1 dev eth0",
        "ip route add 2001:db8:99::/48 nexthop via 2001:db8:1::1 nexthop via 2001:db8:2::1",
        "ip route add blackhole 203.0.113.0/24",
        "ip rule add from 10.1.0.0/24 lookup 200 priority 100",
        "ip rule add oif wlan0 lookup 201 priority 101",
        "ip rule add not fwmark 0xca6c lookup 202 priority 102",
        "ip rule add lookup main suppress_prefixlength 0 priority 103",
        "ip rule add from 10.7.0.0/24 prohibit priority 104",
        "ip rule add to 10.9.0.0/24 ipproto tcp dport 443 lookup 203 priority 105",
        "ip rule add uidrange 0-0 lookup 205 priority 107",
        "ip rule add tos 0x10 lookup 206 priority 108",
        "ip rule add iif eth0 lookup 207 priority 109",
        "ip rule add sport 5000-5010 lookup 208 priority 110",
        "ip rule add goto 32766 priority 111",
    )
    run("ip -6 rule add fwmark 0x1/0xff lookup 204 priority 106")
    state = await dump()
    names = {link.index: link.name for link in state.links}

    for shown in json.loads(run("ip -j link")):
        link = state.links_by_index[shown["ifindex"]]
        assert link.name == shown["ifname"]
        assert link.up == ("UP" in shown["flags"])
        assert link.carrier == ("LOWER_UP" in shown["flags"])
        assert (names[link.master] if link.master else None) == shown.get("master")

    shown_addresses = {
        (
            entry["ifindex"],
            info["local"],
            info["prefixlen"],
            info.get("address"),
            bool(info.get("deprecated")),
        )
        for entry in json.loads(run("ip -j address"))
        for info in entry["addr_info"]
    }
    assert {
        (a.index, a.address, a.prefix_length, a.peer, a.deprecated) for a in state.addresses
    } == shown_addresses
    assert Address(socket.if_nametoindex("eth0"), "10.1.0.3", 24, secondary=True) in state.addresses

    unicast = {
        (names[r.index], r.destination, r.gateway, r.metric, r.table) for r in state.routes if not r.local
    }
    assert unicast == set(shown_routes("ip -j -4 route show table all", 4)) | set(
        shown_routes("ip -j -6 route show table all", 6)
    )
    assert KernelRoute(socket.if_nametoindex("eth0"), "198.51.100.0/24", "2001:db8:1::1") in state.routes

    assert [rule for rule in state.rules if 100 <= rule.priority < 200] == [
        PolicyRule(4, 100, 200, source="10.1.0.0/24"),
        PolicyRule(4, 101, 201, output_device="wlan0"),
        PolicyRule(4, 102, 202, mark=0xCA6C, mark_mask=0xFFFFFFFF, invert=True),
        PolicyRule(4, 103, 254, suppress_length=0),
        PolicyRule(4, 104, None, terminal=True, source="10.7.0.0/24"),
        PolicyRule(4, 105, 203, destination="10.9.0.0/24", conditional=True),
        PolicyRule(4, 107, 205, conditional=True),
        PolicyRule(4, 108, 206, conditional=True),
        PolicyRule(4, 109, 207, input_device="eth0"),
        PolicyRule(4, 110, 208, conditional=True),
        PolicyRule(4, 111, None),
        PolicyRule(6, 106, 204, mark=1, mark_mask=0xFF),
    ]


def shown_routes(command: str, family: int) -> Iterator[tuple[str, str, str | None, int, int]]:
    """The unicast routes of ``ip -j route``, one for each next hop, without the loopback's."""
    tables = {"main": 254, "default": 253, "local": 255}
    for shown in json.loads(run(command)):
        if shown.get("type", "unicast") != "unicast" or "linkdown" in shown["flags"]:
            continue
        destination = shown["dst"].replace("default", "::/0" if family == 6 else "0.0.0.0/0")
        network = str(ipaddress.ip_network(destination))
        table = shown.get("table", "main")
        for leg in shown.get("nexthops", [shown]):
            gateway = leg.get("gateway") or leg.get("via", {}).get("host")
            if leg["dev"] != "lo":
                yield leg["dev"], network, gateway, shown.get("metric", 0), int(tables.get(table, table))


async def test_neighbours_that_have_answered_are_known_by_their_link_layer_address(two_links: None) -> None:
    run(
        "ip neigh replace 10.1.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud stale",
        "ip neigh replace fe80::9 lladdr 02:00:00:00:00:09 dev wlan0 nud permanent",
        "ip neigh replace 10.1.0.7 lladdr 02:00:00:00:00:07 dev eth0 nud noarp",
        "ip neigh replace 10.1.0.8 dev eth0 nud failed",
    )
    eth, wlan = socket.if_nametoindex("eth0"), socket.if_nametoindex("wlan0")
    neighbours = (await dump()).neighbours
    assert neighbours[eth, "10.1.0.1"] == "02:00:00:00:00:01"
    assert neighbours[wlan, "fe80::9"] == "02:00:00:00:00:09"
    assert not {(eth, "10.1.0.7"), (eth, "10.1.0.8")} & set(neighbours)


async def test_a_tentative_address_is_not_used(two_links: None) -> None:
    """RFC 4862 s5.4: while the kernel asks whether anybody else has it."""
    sysctl("net/ipv6/conf/eth0/dad_transmits", 60)
    run("ip address add 2001:db8:1::99/64 dev eth0")
    state = await dump()
    assert [a.usable for a in state.addresses if a.address == "2001:db8:1::99"] == [False]


@pytest.mark.parametrize(
    ("everywhere", "own", "effective"), [(0, 0, False), (1, 0, True), (0, 1, True), (2, 1, False)]
)
async def test_check_9_strict_rp_filter_is_reported(
    two_links: None, everywhere: int, own: int, effective: bool
) -> None:
    sysctl("net/ipv4/conf/all/rp_filter", everywhere)
    sysctl("net/ipv4/conf/wlan0/rp_filter", own)
    sysctl("net/ipv4/conf/eth0/rp_filter", own)
    state = await dump()
    assert state.is_strict(socket.if_nametoindex("wlan0")) is effective
    found = {pvd.name: pvd for pvd in implicit_pvds(state)}
    assert found["eth0"].families == (6, 4)
    assert found["wlan0"].families == ((6,) if effective else (6, 4))
    assert any("rp_filter is strict" in note for note in found["wlan0"].notes) is effective


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
@pytest.mark.parametrize("rule", [None, "from 10.2.0.2", "oif wlan0"])
async def test_control_what_is_said_of_rp_filter_is_what_the_kernel_does(
    two_links: None, rp_filter: int, rule: str | None
) -> None:
    """A datagram from far away comes in by wlan0: it is delivered just if IPv4 is said to work."""
    if rule:
        run(
            f"ip rule add {rule} lookup 200 priority 100",
            "ip route add default via 10.2.0.1 dev wlan0 table 200",
        )
    sysctl("net/ipv4/conf/all/rp_filter", rp_filter)
    found = {pvd.name: pvd for pvd in implicit_pvds(await dump())}
    mac = json.loads(run("ip -j link show dev wlan0"))[0]["address"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wlan0")
        receiver.bind(("10.2.0.2", 5300))
        receiver.settimeout(0.2)
        inject("wlan0-far", mac, udp_packet("198.51.100.1", "10.2.0.2", 53, 5300, b"answer"))
        try:
            delivered = receiver.recv(100) == b"answer"
        except TimeoutError:
            delivered = False
    assert (4 in found["wlan0"].families) is delivered


def inject(device: str, mac: str, packet: bytes) -> None:
    """Put an IPv4 packet on a wire, from the far end of a veth in this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        wire.send(bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x01" + b"\x08\0" + packet)


def udp_packet(source: str, destination: str, source_port: int, port: int, payload: bytes) -> bytes:
    udp = b"".join(n.to_bytes(2, "big") for n in (source_port, port, 8 + len(payload), 0)) + payload
    head = bytearray(b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0")
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(int.from_bytes(head[n : n + 2], "big") for n in range(0, 20, 2))
    head[10:12] = (0xFFFF - (total % 0xFFFF)).to_bytes(2, "big")
    return bytes(head) + udp


async def test_link_down_and_no_carrier(two_links: None) -> None:
    run("ip link set eth0 down", "ip link set wlan0-far down")
    found = {pvd.name: pvd.unusable for pvd in implicit_pvds(await dump())}
    assert (found["eth0"], found["wlan0"]) == ("link down", "no carrier")


async def test_a_dump_of_many_parts(two_links: None) -> None:
    """More than one buffer, and more than is taken apart in the loop's thread."""
    count = 2000
    run(*(f"ip route add 172.{16 + n // 256}.{n % 256}.0/24 via 10.1.0.1" for n in range(count)))
    state = await dump()
    assert sum(r.destination.startswith("172.") for r in state.routes) == count


def test_events_are_seen_and_drained(two_links: None) -> None:
    kernel = Kernel()
    try:
        assert not kernel.changed()
        run("ip address add 10.1.0.9/24 dev eth0")
        assert kernel.changed()
        assert not kernel.changed()
    finally:
        kernel.close()


CHANGES = [
    "ip link set eth0 down",
    "ip link delete eth0",
    "ip address add 10.1.0.9/24 dev eth0",
    "ip address del 2001:db8:1::2/64 dev eth0",
    "ip route add 172.16.0.0/12 via 10.1.0.1",
    "ip -6 route del default dev eth0",
    "ip rule add oif eth0 lookup 7",
    "ip -6 rule add oif eth0 lookup 7",
]


@pytest.mark.parametrize("command", CHANGES)
def test_every_kind_of_change_is_an_event(two_links: None, command: str) -> None:
    events = open_events()
    try:
        drain(events)
        run(command)
        assert drain(events)
    finally:
        events.close()


def test_rp_filter_is_an_event_too(two_links: None) -> None:
    events = open_events()
    try:
        drain(events)
        sysctl("net/ipv4/conf/wlan0/rp_filter", 1)
        assert drain(events)
    finally:
        events.close()


def test_enobufs_lost_events_are_events(two_links: None) -> None:
    events = open_events()
    try:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)  # the least there is
        run(*(f"ip route add 172.16.{n}.0/24 via 10.1.0.1" for n in range(200)))
        # The control: the overflow did happen.
        assert events.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENOBUFS
        assert drain(events)
        assert not drain(events)
    finally:
        events.close()


async def test_a_socket_stays_in_the_namespace_in_which_it_was_opened() -> None:
    """Also when its dump is asked for from elsewhere, as a worker thread or a later call may."""
    with network_namespace():
        add_link("eth0", 1, metric=100)
        kernel = Kernel()
    try:
        state = await kernel.dump()
        assert "eth0-far" in {link.name for link in state.links}
    finally:
        kernel.close()
    with pytest.raises(OSError, match="no interface with this name"):
        socket.if_nametoindex("eth0-far")


async def test_what_the_kernel_refuses_is_an_oserror(namespace: None) -> None:
    kernel = Kernel()
    try:
        with pytest.raises(OSError, match="not supported"):
            kernel._ask(9999, bytes(8))
        assert (await kernel.dump()).links  # and the next question is answered
    finally:
        kernel.close()


async def test_no_descriptor_is_left(two_links: None) -> None:
    await dump()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await dump()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_check_11_unprivileged(two_links: None) -> None:
    """A process without any capability (capabilities(7)) sees the same, and hears of changes."""
    program = """
import ctypes, socket, anyio
from pvdrace.discovery.kernel import Kernel

libc = ctypes.CDLL(None, use_errno=True)
version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert libc.capset(version_3, (ctypes.c_uint32 * 6)()) == 0
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
except PermissionError:
    print("no capability")

async def look():
    kernel = Kernel()
    state = await kernel.dump()
    print(sorted(link.name for link in state.links if link.up), len(state.rp_filter) > 2, kernel.changed())

anyio.run(look)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "no capability\n['eth0', 'eth0-far', 'lo', 'wlan0', 'wlan0-far'] True False\n"


async def test_only_what_is_new_is_taken_apart_again(two_links: None) -> None:
    kernel = Kernel()
    try:
        first = await kernel.dump()
        assert kernel._decoder.unknown(kernel.read()) == 0
        run("ip route add 172.16.0.0/12 via 10.1.0.1")
        raw = kernel.read()
        assert 0 < kernel._decoder.unknown(raw) < 100
        second = kernel._decoder.decode(raw)
        assert set(second.routes) - set(first.routes) == {
            KernelRoute(socket.if_nametoindex("eth0"), "172.16.0.0/12", "10.1.0.1")
        }
        assert second == Decoder().decode(raw)
    finally:
        kernel.close()


async def test_alternative_names(two_links: None) -> None:
    run("ip link property add dev eth0 altname enp3s0 altname office")
    state = await dump()
    assert state.link_named("enp3s0") is state.link_named("office") is state.link_named("eth0") is not None


async def test_ebusy_a_dump_that_was_broken_off_is_not_in_the_way(two_links: None) -> None:
    run(*(f"ip route add 172.{16 + n // 256}.{n % 256}.0/24 via 10.1.0.1" for n in range(1500)))
    kernel = Kernel()
    try:
        request = struct.pack("=IHHII", 28, RTM_GETROUTE, NLM_F_REQUEST_DUMP, 99, 0) + bytes(12)
        kernel._requests.send(request)
        state = await kernel.dump()
        assert sum(r.destination.startswith("172.") for r in state.routes) == 1500
    finally:
        kernel.close()


def test_nlm_f_dump_intr_a_dump_that_changed_under_way_is_asked_for_again() -> None:
    """The kernel's side is played: when it is interrupted cannot be chosen."""
    kernel = Kernel()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    real, kernel._requests = kernel._requests, ours
    try:
        theirs.send(message(1, flags=NLM_F_DUMP_INTR, body=b"old.") + message(1, kind=NLMSG_DONE))
        theirs.send(message(1, body=b"late"))  # of the first dump, after its end
        theirs.send(message(2, body=b"new."))
        theirs.send(message(2, kind=NLMSG_DONE))
        assert [m[16:] for m in kernel._ask(RTM_GETROUTE, bytes(12))] == [b"new."]
        assert [struct.unpack_from("=IHHI", theirs.recv(100)) for _ in range(2)] == [
            (28, RTM_GETROUTE, NLM_F_REQUEST_DUMP, sequence) for sequence in (1, 2)
        ]
    finally:
        for opened in (ours, theirs, real):
            opened.close()
        kernel.close()


def message(sequence: int, *, kind: int = 24, flags: int = 2, body: bytes = bytes(4)) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 7) + body
