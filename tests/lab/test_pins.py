"""The three ways of keeping a socket in its PvD, and the rows of what must work that are about them."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.pinning import inject, next_syn, pinned, rp_filter, rules_for, syn_ack, wire
from lab.racing import PATH_DELAY, SLACK, configuration, opened, ordinary, policy, pvds_of, reach, sent
from namespaces import run
from pvdrace.config import Configuration, parse
from pvdrace.lab import Lab
from pvdrace.net.sockets import PinError, describe, open_pinned, start_connect

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")
FAMILIES = ("ipv4", "ipv6")


class Pinned:
    """T2, with what its PvDs are pinned by."""

    def __init__(self, lab: Lab, pin: str) -> None:
        self.lab = lab
        self.pin = pin
        self.config = pinned(lab, pin)


@pytest.fixture(params=["device", "source", "mark"])
def mode(t2: Lab, request: pytest.FixtureRequest) -> Iterator[Pinned]:
    """T2 with the rules that the mode needs, made by hand."""
    with rules_for(t2, request.param):
        yield Pinned(t2, request.param)


# ---------------------------------------------------------------------- the core races in each mode
# BlackBerry multi-attach, one stack or many: device-bound or source-bound modes; suite run in both modes.


@pytest.mark.row("3.26")
async def test_use_this_provisioning_domain(mode: Pinned) -> None:
    """All four of PvD and family reach the server by their own link, and the other sees nothing."""
    lab = mode.lab
    async with opened(lab, mode.config) as connector:
        for name, other in (NAMES, NAMES[::-1]):
            for family in FAMILIES:
                lab.reset_counters()
                required = policy(require=f"pvd:{name} family:{family}")
                word, report = await reach(connector, lab, policy=required)
                assert (word, report.winner and report.winner.pvd) == (name, name)
                assert sent(lab[other]) == []
                assert sent(lab[name]) != []


@pytest.mark.row("3.26")
async def test_a_dead_link_costs_a_head_start(mode: Pinned) -> None:
    mode.lab["wA"].blackhole()
    async with opened(mode.lab, mode.config) as connector:
        word, report = await reach(connector, mode.lab)
    assert word == "wB"
    assert report.elapsed < PATH_DELAY + SLACK


@pytest.mark.row("3.26")
async def test_the_best_link_wins_alone(mode: Pinned) -> None:
    async with opened(mode.lab, mode.config) as connector:
        word, report = await reach(connector, mode.lab)
    assert (word, pvds_of(report)) == ("wA", {"wA"})


@pytest.mark.row("3.26", "3.29")
async def test_each_link_has_its_own_dns(mode: Pinned) -> None:
    """BlackBerry per-interface DNS: a bound application uses that interface's; answers do not cross."""
    lab = mode.lab
    own = {"wA": {"198.51.100.21", "2001:db8:99::21"}, "wB": {"198.51.100.22", "2001:db8:99::22"}}
    async with opened(lab, mode.config) as connector:
        for name, other in (NAMES, NAMES[::-1]):
            lab.reset_counters()
            word, report = await reach(connector, lab, PRIVATE, 17, policy=policy(require=f"pvd:{name}"))
            assert word == name
            assert {address for lookup in report.lookups for address in lookup.addresses} == own[name]
            assert {p.dns_name.lower() for p in sent(lab[name]) if p.dns_name} == {PRIVATE}
            assert sent(lab[other]) == []


@pytest.mark.row("3.29")
async def test_control_a_bound_socket_alone_asks_the_dns_of_the_first_link(t2: Lab) -> None:
    """BlackBerry per-interface DNS, the ordinary stack: the name is asked for on wA."""
    ordinary(t2, PRIVATE, 17, how="blocking", source=t2["wB"].address4)
    assert {packet.dns_name for packet in sent(t2["wA"]) if packet.dns_name} == {PRIVATE}
    assert not any(packet.dns_name for packet in sent(t2["wB"]))


@pytest.mark.row("3.26")
async def test_what_is_required_and_dead_is_an_error(mode: Pinned) -> None:
    mode.lab["wA"].reset()
    async with opened(mode.lab, mode.config) as connector:
        with pytest.raises(pvdrace.ConnectFailed, match="refused"):
            await reach(connector, mode.lab, policy=policy(require="pvd:wA"))
    assert sent(mode.lab["wB"]) == []


@pytest.mark.row("3.26", "3.35")
async def test_two_sockets_to_one_address_over_two_links_at_once(mode: Pinned) -> None:
    """Android ConnectivityManager, whose host route is for everybody: here each socket has its link."""
    words: dict[str, list[str]] = {name: [] for name in NAMES}
    async with opened(mode.lab, mode.config) as connector:
        connections = [
            await connector.open_connection(
                mode.lab.address4, 80, policy=policy(require=f"pvd:{name}"), timeout=10
            )
            for name in NAMES
        ]
        for _ in range(2):
            for name, connection in zip(NAMES, connections, strict=True):
                await connection.send(b"who\n")
                with anyio.fail_after(5):
                    words[name].append((await connection.receive()).decode().strip())
        for connection in connections:
            await connection.aclose()
    assert words == {name: [name, name] for name in NAMES}


# ---------------------------------------------------------------------- Android ConnectivityManager


@pytest.mark.row("3.35")
async def test_control_a_host_route_is_for_every_socket(t2: Lab) -> None:
    """Android ConnectivityManager: requestRouteToHost for wB takes along who wanted wA."""
    run(f"ip route add {t2.address4} via {t2['wB'].gateway4} dev wB")
    try:
        for source in (None, t2["wA"].address4):
            plain = ordinary(t2, t2.address4, 17, how="blocking", source=source)
            assert plain.word == "wB" if source is None else plain.error is not None
        assert sent(t2["wA"]) == []
    finally:
        run(f"ip route del {t2.address4} dev wB")


@pytest.mark.row("3.35")
async def test_links_that_come_and_go_are_told(t2: Lab) -> None:
    """Android ConnectivityManager: failover and change notices."""
    async with opened(t2, Configuration()) as connector, aclosing(connector.watch()) as changes:
        with anyio.fail_after(10):
            await anyio.to_thread.run_sync(t2["wB"].remove)
            assert str(await anext(changes)) == "wB withdrawn"
            await anyio.to_thread.run_sync(t2["wB"].link_up)
            assert str(await anext(changes)) == "wB added"


# ---------------------------------------------------------------------- a source address alone


@pytest.mark.row("3.28", "4.15")
async def test_a_bare_source_address_does_not_choose_the_link(t2: Lab) -> None:
    """BlackBerry many stacks, Linux source (control): the bare bind leaves by wA and times out."""
    plain = ordinary(t2, t2.address4, 17, how="blocking", source=t2["wB"].address4)
    assert plain.error == "TimeoutError"
    assert {(packet.kind, packet.source) for packet in sent(t2["wA"])} == {("syn", t2["wB"].address4)}
    assert sent(t2["wB"]) == []


@pytest.mark.row("3.28", "4.15")
async def test_the_source_address_identifies_the_stack(t2: Lab) -> None:
    """BlackBerry many stacks, Linux source: ours with the same source leaves by wB; no interface is named."""
    text = f'discover = []\n[[pvd]]\nname = "stack"\naddresses = ["{t2["wB"].address4}"]\nresolvers = []'
    async with opened(t2, parse(text)) as connector:
        word, report = await reach(connector, t2, t2.address4, 17)
    assert word == "wB"
    assert report.winner is not None
    assert report.winner.local == t2["wB"].address4
    assert {packet.source for packet in sent(t2["wB"])} == {t2["wB"].address4}
    assert sent(t2["wA"]) == []


@pytest.mark.row("3.28")
@pytest.mark.parametrize("pin", ["source", "mark"])
async def test_without_its_rule_such_a_pin_sends_nothing(t2: Lab, pin: str) -> None:
    """The failure of the control above, said at once and without a packet."""
    async with opened(t2, pinned(t2, pin)) as connector:
        for family in FAMILIES:
            with pytest.raises(
                pvdrace.PvdRaceError, match=r"(no rule|no mark 8) sends .* out of wB"
            ) as caught:
                await reach(connector, t2, policy=policy(require=f"pvd:wB family:{family}"))
            report = caught.value.report
            assert report is not None
            assert report.elapsed < SLACK
    assert not [packet for link in t2 for packet in sent(link) if packet.kind == "syn"]
    assert sent(t2["wA"]) == []


@pytest.mark.row("4.4")
async def test_the_source_is_the_one_that_the_route_prefers(t2: Lab) -> None:
    """Windows source: a secondary IPv4 address is present, and the chosen source is the route's prefsrc."""
    secondary = "192.168.1.77"
    try:
        run(f"ip addr add {secondary}/24 dev wA noprefixroute")
        async with opened(t2) as connector:
            _, report = await reach(connector, t2, t2.address4, 17)
            assert report.winner is not None
            assert report.winner.local == t2["wA"].address4, "the control: the first, as the route says"
            t2.reset_counters()
            run(f"ip route replace default via {t2['wA'].gateway4} dev wA src {secondary} metric 100")
            word, report = await reach(connector, t2, t2.address4, 17)
        assert report.winner is not None
        assert (word, report.winner.local) == ("wA", secondary)
        assert {packet.source for packet in sent(t2["wA"]) if packet.kind == "syn"} == {secondary}
    finally:
        run(f"ip addr del {secondary}/24 dev wA")
        t2["wA"].link_up()


# ---------------------------------------------------------------------- marks and strict filtering


@pytest.mark.row("4.14", "6.9")
@pytest.mark.parametrize("filtering", [0, 1, 2])
async def test_marks_and_the_reverse_path_filter(t2: Lab, filtering: int) -> None:
    """Linux netfilter marking: passes with rp_filter 0 and 2, reported unusable with 1."""
    required = policy(require="pvd:wB family:ipv4")
    with rules_for(t2, "mark"), rp_filter(filtering):
        async with opened(t2, pinned(t2, "mark")) as connector:
            found = (await connector.snapshot())["wB"]
            if filtering == 1:
                assert any("rp_filter is strict" in note for note in found.notes)
                with pytest.raises(pvdrace.NoUsablePvd):
                    await reach(connector, t2, policy=required)
                assert not [packet for packet in sent(t2["wB"]) if ":" not in packet.address]
            else:
                assert found.notes == ()
                word, _ = await reach(connector, t2, policy=required)
                assert word == "wB"


@pytest.mark.row("4.14")
async def test_a_mark_under_a_strict_filter_is_unusable_without_ipv6(t2_strict: Lab) -> None:
    """Linux netfilter marking, rp_filter 1 and IPv4 alone: the whole PvD is reported unusable."""
    with rules_for(t2_strict, "mark"):
        async with opened(t2_strict, pinned(t2_strict, "mark")) as connector:
            found = await connector.snapshot()
    assert found["wA"].unusable is None
    assert (found["wB"].unusable or "").startswith("IPv4: rp_filter is strict here")


@pytest.mark.row("4.14")
async def test_control_a_mark_under_a_strict_filter_is_a_silent_timeout(t2_strict: Lab) -> None:
    """What would happen else: the SYN leaves by wB, its answer is dropped here."""
    with rules_for(t2_strict, "mark"), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 8)
        sock.bind((t2_strict["wB"].address4 or "", 0))
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.connect((t2_strict.address4, 17))
    assert {packet.kind for packet in sent(t2_strict["wB"])} == {"syn"}
    assert sent(t2_strict["wA"]) == []


@pytest.mark.row("3.30")
@pytest.mark.parametrize("pin", ["device", "source"])
async def test_a_from_rule_works_under_a_strict_filter(t2_strict: Lab, pin: str) -> None:
    """Android policy routing, by hand: with rp_filter 1 the reverse lookup finds the rule."""
    with rules_for(t2_strict, "source"):
        async with opened(t2_strict, pinned(t2_strict, pin)) as connector:
            word, _ = await reach(connector, t2_strict, policy=policy(require="pvd:wB"))
    assert word == "wB"


@pytest.mark.row("6.9")
async def test_without_a_rule_the_strict_filter_is_reported(t2_strict: Lab) -> None:
    """The control: as it is for a device, so it is for a source."""
    for pin in ("device", "source"):
        async with opened(t2_strict, pinned(t2_strict, pin)) as connector:
            assert "rp_filter is strict" in ((await connector.snapshot())["wB"].unusable or "")


# ---------------------------------------------------------------------- weak and strong hosts


@pytest.mark.row("3.31", "4.5", "4.17")
@pytest.mark.parametrize(
    ("pin", "accepted"), [("device", False), ("source", True), ("mark", True), (None, True)]
)
async def test_a_syn_ack_that_comes_in_by_the_wrong_link(t2: Lab, pin: str | None, accepted: bool) -> None:
    """Android weak host, Linux weak host model default, Windows weak host against strong host.

    A SYN-ACK for a wA attempt, injected via wB, is ignored where the device is bound. The plain socket (None)
    is the control; sockets that are bound by source or mark are as weak as it is.
    """
    t2["wA"].blackhole()  # the true answer never comes
    with rules_for(t2, pin or "device"), ExitStack() as stack:
        capture = stack.enter_context(wire("wA"))
        if pin is None:
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            assert sock.connect_ex((t2.address4, 17)) == errno.EINPROGRESS
        else:
            async with opened(t2, pinned(t2, pin)) as connector:
                pvd = (await connector.snapshot())["wA"]
            sock = stack.enter_context(open_pinned(pvd, socket.SOCK_STREAM, t2.address4, 17))
            assert start_connect(sock, pvd, t2.address4, 17) == errno.EINPROGRESS
        inject(t2, t2["wB"], syn_ack(next_syn(capture)))
        _, writable, _ = select.select([], [sock], [], 2.0 if accepted else 0.3)
        established = bool(writable) and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert established is accepted


@pytest.mark.row("3.31", "4.5", "4.17")
async def test_a_syn_ack_that_comes_in_by_the_right_link(t2: Lab) -> None:
    """The other control: what is injected is good enough where it belongs."""
    t2["wA"].blackhole()
    async with opened(t2) as connector:
        pvd = (await connector.snapshot())["wA"]
    with wire("wA") as capture, open_pinned(pvd, socket.SOCK_STREAM, t2.address4, 17) as sock:
        assert start_connect(sock, pvd, t2.address4, 17) == errno.EINPROGRESS
        inject(t2, t2["wA"], syn_ack(next_syn(capture)))
        _, writable, _ = select.select([], [sock], [], 2)
        assert writable
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


# ---------------------------------------------------------------------- an address table for one PvD


@pytest.mark.row("3.24")
async def test_an_address_table_flips_the_order_in_its_pvd_alone(t2: Lab) -> None:
    """WM/WP7 RFC 3484 + admin policy table: IPv4 first on wA, IPv6 first on wB, for one and the same name."""
    table = """
        [[address_table]]
        name = "ours"
        rows = [
            { prefix = "::/0", precedence = 40, label = 1 },
            { prefix = "198.51.100.0/24", precedence = 50, label = 4 },
            { prefix = "::ffff:0:0/96", precedence = 35, label = 4 },
        ]"""
    tables = parse(table).address_tables
    plain = configuration(t2)
    pvds = (replace(plain.pvds[0], address_table="ours"), *plain.pvds[1:])
    async with opened(t2, replace(plain, pvds=pvds, address_tables=tables)) as connector:
        for name, family in (("wA", 4), ("wB", 6)):
            for _ in range(
                2
            ):  # the first of two answers is not waited with: the second race has both at once
                word, report = await reach(connector, t2, policy=policy(require=f"pvd:{name}"))
            assert word == name
            assert [attempt.family for attempt in report.attempts] == [family]
            assert pvdrace.RaceReport.from_json(report.to_json()).ranking == report.ranking
    async with opened(t2) as connector:
        for _ in range(2):
            _, report = await reach(connector, t2, policy=policy(require="pvd:wA"))
        assert report.attempts[0].family == 6, "the control"


def test_a_pin_error_is_an_error_of_its_socket(t2: Lab) -> None:
    """What applications see who open sockets themselves."""
    pvd = pvdrace.ProvisioningDomain("gone", "gone0", pin="source")
    with pytest.raises(PinError) as caught:
        open_pinned(pvd, socket.SOCK_STREAM, t2.address4, 17)
    assert describe(caught.value) == "gone has no interface"
