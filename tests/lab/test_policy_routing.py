"""``Connector(policy_routing=True)``: rules and routes for each PvD, made and taken away again."""

from __future__ import annotations

import errno
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

import pvdrace
from lab.pinning import ip, pinned, routing, rp_filter, wire
from lab.racing import opened, ordinary, policy, reach, sent
from namespaces import network_namespace, run, settle
from pvdrace.config import parse
from pvdrace.lab import Lab
from pvdrace.net.rule_plan import PROTOCOL
from pvdrace.net.sockets import PinError, open_pinned, start_connect

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")
OURS = f"proto {PROTOCOL}"


@pytest.fixture
def strict(t2: Lab) -> Iterator[Lab]:
    """T2 with both families and the strict reverse path filter."""
    with rp_filter(1):
        yield t2


# ---------------------------------------------------------------------- Android (2011) policy routing + marks


@pytest.mark.row("3.30")
@pytest.mark.parametrize("pin", ["device", "source", "mark"])
async def test_every_pin_works_under_a_strict_filter(strict: Lab, pin: str) -> None:
    """Android policy routing: with CAP_NET_ADMIN and rp_filter=1 all four of PvD and family pass."""
    before = routing()
    async with opened(strict, pinned(strict, pin), policy_routing=True) as connector:
        assert [(pvd.unusable, pvd.notes) for pvd in await connector.snapshot()] == [(None, ())] * 2
        for name, other in (NAMES, NAMES[::-1]):
            for family in ("ipv4", "ipv6"):
                strict.reset_counters()
                required = policy(require=f"pvd:{name} family:{family}")
                word, _ = await reach(connector, strict, policy=required)
                assert word == name
                assert sent(strict[other]) == []
        assert OURS in routing()
    assert routing() == before


@pytest.mark.row("3.30")
async def test_control_a_strict_filter_without_the_rules(strict: Lab) -> None:
    """The same connector without them says that it cannot; the ordinary socket times out."""
    async with opened(strict) as connector:
        with pytest.raises(pvdrace.NoUsablePvd):
            await reach(connector, strict, policy=policy(require="pvd:wB family:ipv4"))
    plain = ordinary(strict, strict.address4, 17, how="blocking", device="wB", limit=0.5)
    assert plain.error == "TimeoutError"


KILLED = """
import anyio, sys, pvdrace

async def main():
    async with pvdrace.Connector(sys.argv[1], policy_routing=True) as connector:
        print("ready", flush=True)
        await anyio.sleep(60)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.row("3.30")
async def test_nothing_is_left_also_after_a_kill(t2: Lab, anyio_backend: str) -> None:
    """Android policy routing: rules and routes are as before after kill -9 and the next start."""
    before = routing()
    command = [sys.executable, "-c", KILLED, t2.config_file, anyio_backend]
    with t2.popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        during = routing()
        killed.send_signal(signal.SIGKILL)
    assert routing() == during != before, "what a killed process made stays, until somebody looks"
    async with opened(t2, policy_routing=True) as connector:
        word, _ = await reach(connector, t2, policy=policy(require="pvd:wB"))
        assert word == "wB"
    assert routing() == before


async def test_the_rules_follow_the_links(t2: Lab) -> None:
    """A link goes and comes back: its rules with it, and every connection finds its way."""
    before = routing()
    async with opened(t2, pinned(t2, "source"), policy_routing=True) as connector:
        whole = routing()
        t2["wB"].link_down()
        word, _ = await reach(connector, t2)
        assert word == "wA"
        assert f"from {t2['wB'].address4}" not in routing()
        t2["wB"].link_up()
        word, _ = await reach(connector, t2, policy=policy(require="pvd:wB"))
        assert word == "wB"
        assert rules_of(routing()) == rules_of(whole)
    assert rules_of(routing()) == rules_of(before)
    assert OURS not in routing()


def rules_of(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if " lookup " in line)


# ---------------------------------------------------------------------- Linux/BSD: 252 extra tables

# One rule of each kind that the row names: by destination, ToS, output device, source and mark.
ADMINISTRATOR = (
    "rule add to 198.51.100.7 lookup 21",
    "rule add tos 0x10 lookup 22",
    "rule add oif wB lookup 23",
    "rule add from 192.168.1.2 dport 2222 ipproto tcp lookup 24",
    "rule add fwmark 99 lookup 25",
    *(f"route add default via 192.168.2.1 dev wB table {table}" for table in range(21, 26)),
)


@pytest.mark.row("4.13")
async def test_the_rules_of_others_stay_as_they_are(t2: Lab) -> None:
    """Linux/BSD 252 extra tables: the snapshot of rules and routes is the same before and after."""
    ip(4, *ADMINISTRATOR)
    try:
        before = routing()
        async with opened(t2, policy_routing=True) as connector:
            for name in NAMES:
                word, _ = await reach(connector, t2, policy=policy(require=f"pvd:{name}"))
                assert word == name
            during = routing()
        left = [line for line in during.splitlines() if OURS not in line]
        assert left == before.splitlines()
        assert routing() == before
    finally:
        ip(4, *(command.replace(" add ", " del ") for command in ADMINISTRATOR))


async def test_one_connector_at_a_time(t2: Lab) -> None:
    async with opened(t2, policy_routing=True):
        with pytest.raises(OSError, match="another process manages the rules") as caught:
            async with opened(t2, policy_routing=True):
                pass
        assert caught.value.errno == errno.EBUSY
        assert OURS in routing()


# ---------------------------------------------------------------------- what the kernel sends by itself


async def test_the_kernels_own_answers_stay_in_their_pvd(t2: Lab) -> None:
    """A SYN-ACK for a socket that is gone is answered with RST: by the rules, out of the link it came by."""
    for managed, strays in ((False, True), (True, False)):
        t2.reset_counters()
        async with opened(t2, policy_routing=managed) as connector:
            pvd = (await connector.snapshot())["wB"]
            with wire("wA" if strays else "wB") as capture:
                with open_pinned(pvd, socket.SOCK_STREAM, t2.address4, 17) as sock:
                    assert start_connect(sock, pvd, t2.address4, 17) == errno.EINPROGRESS
                await_rst(capture)
            assert any(packet.protocol == "tcp" for packet in t2["wA"].packets()) is strays


def await_rst(capture: socket.socket) -> None:
    while True:
        frame = capture.recv(2048)
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP and frame[47] & 0x04:
            return


# ---------------------------------------------------------------------- one link, two routers

TWO_ROUTERS = """
    discover = []
    [[pvd]]
    name = "x"
    interface = "eth0"
    addresses = ["10.1.0.2", "2001:db8:1::2"]
    pin = "PIN"
    [[pvd]]
    name = "y"
    interface = "eth0"
    addresses = ["10.2.0.2", "2001:db8:2::2"]
    pin = "PIN"
"""
ROUTERS = {"x": "02:00:00:00:00:01", "y": "02:00:00:00:00:02"}
OWN = {"x": ("10.1.0.2", "2001:db8:1::2"), "y": ("10.2.0.2", "2001:db8:2::2")}
REMOTES = ("203.0.113.1", "2001:db8:9::1")


@pytest.fixture
def shared_link() -> Iterator[None]:
    """T1m without router advertisements: two routers and two prefixes on one link; routes name their source.

    What leaves is told apart by the router's link-layer address; x's router is the better one for the kernel.
    """
    with network_namespace():
        run(
            "ip link add eth0 type veth peer name far",
            "ip link set eth0 addrgenmode none",
            "ip link set far addrgenmode none",
            "ip link set far up",
            "ip link set eth0 up",
        )
        for n, name in enumerate(ROUTERS, 1):
            run(
                f"ip addr add 10.{n}.0.2/24 dev eth0",
                f"ip addr add 2001:db8:{n}::2/64 dev eth0 nodad",
                f"ip route add default via 10.{n}.0.1 dev eth0 src 10.{n}.0.2 metric {n}00",
                f"ip neigh add 10.{n}.0.1 lladdr {ROUTERS[name]} dev eth0 nud permanent",
            )
            ip(
                6,
                f"route add default via 2001:db8:{n}::1 dev eth0 src 2001:db8:{n}::2 metric {n}00",
                f"neigh add 2001:db8:{n}::1 lladdr {ROUTERS[name]} dev eth0 nud permanent",
            )
        settle()
        yield


def router_of(pvd: pvdrace.ProvisioningDomain, remote: str, local: str) -> str:
    """Which router the SYN of a socket goes to: by the frame on the wire."""
    with wire("eth0") as capture, open_pinned(pvd, socket.SOCK_STREAM, remote, 443, local=local) as sock:
        assert start_connect(sock, pvd, remote, 443) == errno.EINPROGRESS
        wanted = socket.inet_pton(socket.AF_INET6 if ":" in local else socket.AF_INET, local)
        while True:
            frame = capture.recv(2048)
            (kind,) = struct.unpack_from("!H", frame, 12)
            source = frame[26:30] if kind == 0x0800 else frame[22:38]
            if source == wanted:
                address = ":".join(f"{byte:02x}" for byte in frame[:6])
                return next(name for name, router in ROUTERS.items() if router == address)


@pytest.mark.row("1.13")
@pytest.mark.parametrize("pin", ["device", "source"])
async def test_two_routers_on_one_link_each_get_their_own_prefix(shared_link: None, pin: str) -> None:
    """L "device behind multihomed router", with CAP_NET_ADMIN: nothing with y's source goes to x's router."""
    before = routing()
    configuration = parse(TWO_ROUTERS.replace("PIN", pin))
    async with pvdrace.Connector(configuration, policy_routing=True) as connector:
        for pvd in await connector.snapshot():
            assert pvd.unusable is None
            assert pvd.notes == ()
            for remote, local in zip(REMOTES, OWN[pvd.name], strict=True):
                assert router_of(pvd, remote, local) == pvd.name
    assert routing() == before


@pytest.mark.row("1.13")
async def test_control_a_bare_source_goes_to_the_better_router(shared_link: None) -> None:
    """L "device behind multihomed router" (control): y's source exits by x; our pin refuses."""
    async with pvdrace.Connector(parse(TWO_ROUTERS.replace("PIN", "source"))) as connector:
        found = (await connector.snapshot())["y"]
    for n, (remote, local) in enumerate(zip(REMOTES, OWN["y"], strict=True)):
        gateway = ("10.2.0.1", "2001:db8:2::1")[n]
        with pytest.raises(PinError, match=f"no rule sends {local} out of eth0 by {gateway}"):
            open_pinned(found, socket.SOCK_STREAM, remote, 443, local=local)
        bare = pvdrace.ProvisioningDomain("y", "eth0", found.ifindex, found.addresses, pin="source")
        assert router_of(bare, remote, local) == "x"
    async with pvdrace.Connector(parse(TWO_ROUTERS.replace("PIN", "device"))) as connector:
        assert all("leaves by router" in pvd.notes[0] for pvd in await connector.snapshot())
