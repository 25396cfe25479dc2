"""The lab's topologies, one of each a module; every test finds its own healed, and runs inside it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pvdrace.lab import Lab, Link, Provider

TIME_WAIT, LISTEN = "06", "0A"  # /proc/net/tcp

# What each provider answers for one name of a private zone: each its own address.
PRIVATE = "intranet.corp.example"

T2 = (
    Provider("wA", delay=0.005, metric=100, zones={PRIVATE: ["198.51.100.21", "2001:db8:99::21"]}),
    Provider("wB", delay=0.015, metric=200, zones={PRIVATE: ["198.51.100.22", "2001:db8:99::22"]}),
)
T2D = (Provider("wA", delay=0.040, metric=100), Provider("wB", delay=0.005, metric=200))
T3 = (
    Provider("wired", delay=0.005, metric=100, type="wired"),
    Provider("wifi", delay=0.015, metric=200, type="wifi"),
    Provider("cell", delay=0.030, metric=300, type="cellular"),
)
# A tunnel whose metric is better than the LAN's: it takes everything, or only what it is for.
PRINTER = "printer.lan"
LAN = Provider("wA", delay=0.005, metric=100, zones={PRINTER: ["198.51.100.101", "2001:db8:99::101"]})
SPLIT_TUNNEL = Provider(
    "vpn",
    delay=0.015,
    metric=50,
    type="vpn",
    zones={PRIVATE: ["10.1.0.1"]},
    domains=["corp.example"],
    default_route=False,
    routes=["10.0.0.0/8"],
)
FULL_TUNNEL = replace(SPLIT_TUNNEL, default_route=True)
BROKEN: dict[str, Callable[[Link], None]] = {
    "black hole": Link.blackhole,
    "no ARP reply": Link.no_arp,
    "ICMP unreachable": lambda link: link.icmp("host-unreach"),
    "SYN-ACK only": Link.stall,
}
T4 = tuple(Provider(f"w{n}", delay=0.005 * n, metric=100 * n) for n in range(1, 5))


@pytest.fixture(scope="module")
def t2_lab() -> Iterator[Lab]:
    with Lab(T2) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2d_lab() -> Iterator[Lab]:
    with Lab(T2D) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2o_lab() -> Iterator[Lab]:
    with Lab(T2, overlapping=True) as lab:
        yield lab


@pytest.fixture(scope="module", params=[0, 2], ids=["rp_filter=0", "rp_filter=2"])
def t2o_loose_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(T2, overlapping=True, rp_filter=request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2o_strict_lab() -> Iterator[Lab]:
    with Lab(T2, overlapping=True, rp_filter=1) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2_strict_lab() -> Iterator[Lab]:
    with Lab([replace(provider, ipv6=False) for provider in T2], rp_filter=1) as lab:
        yield lab


@pytest.fixture(scope="module")
def t3_lab() -> Iterator[Lab]:
    with Lab(T3) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2v_lab() -> Iterator[Lab]:
    with Lab((LAN, FULL_TUNNEL)) as lab:
        yield lab


@pytest.fixture(scope="module")
def t2v_split_lab() -> Iterator[Lab]:
    with Lab((LAN, SPLIT_TUNNEL)) as lab:
        yield lab


@pytest.fixture(scope="module")
def t4_lab() -> Iterator[Lab]:
    with Lab(T4) as lab:
        yield lab


@pytest.fixture
def t2(t2_lab: Lab) -> Iterator[Lab]:
    """Links wA (default, 10 ms) and wB (30 ms), addresses of their own."""
    yield from visit(t2_lab)


@pytest.fixture
def t2d(t2d_lab: Lab) -> Iterator[Lab]:
    """T2 with a slow default link: wA 80 ms, wB 10 ms."""
    yield from visit(t2d_lab)


@pytest.fixture
def t2o(t2o_lab: Lab) -> Iterator[Lab]:
    """T2 with the same client address, gateway and server address on both links."""
    yield from visit(t2o_lab)


@pytest.fixture
def t2o_loose(t2o_loose_lab: Lab) -> Iterator[Lab]:
    """T2o with the reverse path filter off, and loose."""
    yield from visit(t2o_loose_lab)


@pytest.fixture
def t2o_strict(t2o_strict_lab: Lab) -> Iterator[Lab]:
    """T2o with the strict reverse path filter."""
    yield from visit(t2o_strict_lab)


@pytest.fixture
def t2_strict(t2_strict_lab: Lab) -> Iterator[Lab]:
    """T2 without IPv6, with the strict reverse path filter."""
    yield from visit(t2_strict_lab)


@pytest.fixture
def t3(t3_lab: Lab) -> Iterator[Lab]:
    """Three links: wired (10 ms), wifi (30 ms), cell (60 ms)."""
    yield from visit(t3_lab)


@pytest.fixture
def t2v(t2v_lab: Lab) -> Iterator[Lab]:
    """A LAN with a printer, and a VPN that takes everything: a default route of metric 50, and 10.0.0.0/8.

    The printer's name and address are the LAN's alone, ``intranet.corp.example`` is the VPN's.
    """
    yield from visit(t2v_lab)


@pytest.fixture
def t2v_split(t2v_split_lab: Lab) -> Iterator[Lab]:
    """T2v where the VPN has routes to 10.0.0.0/8 alone."""
    yield from visit(t2v_split_lab)


@pytest.fixture
def t2f(t2_lab: Lab) -> Iterator[Lab]:
    """T2 where wA forwards TCP ports 80 and 443, and loses the rest."""
    for lab in visit(t2_lab):
        lab["wA"].ports([80, 443])
        yield lab


@pytest.fixture(params=list(BROKEN))
def t2x(request: pytest.FixtureRequest, t2_lab: Lab) -> Iterator[Lab]:
    """T2 where wA accepts packets and drops all, in every way there is."""
    for lab in visit(t2_lab):
        BROKEN[request.param](lab["wA"])
        yield lab


@pytest.fixture
def t4(t4_lab: Lab) -> Iterator[Lab]:
    """Four links, w1 to w4, ever slower (10 ms to 40 ms)."""
    yield from visit(t4_lab)


def visit(lab: Lab) -> Iterator[Lab]:
    """The lab in good order, with this thread inside, for one test.

    A test that has changed the client's addresses or routes by hand puts them right by ``link_up()``.
    """
    for link in lab:
        link.heal()
    lab.reset_counters()
    with lab.enter():
        yield lab
        calm_down(lab)


def calm_down(lab: Lab) -> None:
    """What a test has sent has come to its end, so that the next one counts its own packets alone."""
    round_trip = 2 * max(link.provider.delay for link in lab)
    deadline = time.monotonic() + 0.05 + 2 * round_trip
    while (left := unfinished()) and time.monotonic() < deadline:
        time.sleep(0.005)
    if left:  # data on the way into a dead link: the kernel would repeat it for minutes
        lab.run(["ss", "--tcp", "--all", "--kill"], check=True)
    time.sleep(0.01 + round_trip)


def unfinished() -> int:
    """TCP sockets of this network namespace that may still send."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/thread-self/net", table).read_text().splitlines()[1:]
    ]
    return sum(line[3] not in (TIME_WAIT, LISTEN) for line in lines)


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """A test leaves no socket, epoll or eventfd behind (`lab.racing.opened` looks after the tasks)."""
    before = descriptors()
    yield
    deadline = time.monotonic() + 2
    while (left := descriptors() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert not left, f"left open: {sorted(left)}"


def descriptors() -> set[tuple[int, str]]:
    """All but pipes, which event loops make for themselves and let go of when they like."""
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:  # the directory's own
            continue
        if not target.startswith("pipe:"):
            found.add((int(entry.name), target))
    return found
