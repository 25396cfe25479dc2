"""The cross-check list of acceptance: each is a yes or no, from captures and reports."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby, permutations
from typing import Any

import anyio
import pytest

import pvdrace
from lab.racing import (
    AT_STAGE,
    PATH_DELAY,
    SLACK,
    Fault,
    configuration,
    opened,
    ordinary,
    policy,
    pvds_of,
    race,
    race_and_lose,
    reach,
    sent,
)
from pvdrace.lab import Lab, Link
from pvdrace.model import is_link_local
from pvdrace.race import timeline
from pvdrace.rules import Match, Rule

pytestmark = pytest.mark.lab


# ---------------------------------------------------------------------- 1: prohibited means nothing


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("layer", "selector"),
    [
        ("call", "pvd:wired"),
        ("application", "pvd:wired"),
        ("file", "pvd:wired"),
        ("file", "type:wired"),
    ],
)
@pytest.mark.row("6.1")
async def test_1_no_packet_on_a_prohibited_pvd(t3: Lab, layer: str, selector: str) -> None:
    """Check 1: no packet on a prohibited PvD (DNS, SYN): name or literal, and though the others are dead."""
    prohibited = policy(prohibit=selector)
    config = configuration(t3)
    options: dict[str, Any] = {}
    call: dict[str, Any] = {}
    if layer == "call":
        call = {"policy": prohibited}
    elif layer == "application":
        options = {"policy": prohibited}
    else:
        config = replace(config, rules=(Rule(Match(), prohibited),))
    async with opened(t3, config, **options) as connector:
        for host in (t3.name, t3.address4, t3.address6):
            word, report = await reach(connector, t3, host, 17, **call)
            assert word == "wifi"
            (left_out,) = report.ranking.excluded
            assert left_out.pvd.name == "wired"
            assert f"prohibited by {selector}" in str(left_out.excluded)
        for name in ("wifi", "cell"):
            t3[name].dead()
        for host in ("dead.example.test", t3.address4):
            with pytest.raises(pvdrace.PvdRaceError, match=r"wired skipped \(prohibited by"):
                await reach(connector, t3, host, 17, timeout=PATH_DELAY + 0.2, **call)
    assert sent(t3["wired"]) == []
    assert sent(t3["cell"]) != []


@pytest.mark.anyio
@pytest.mark.row("6.1")
async def test_1_control_the_ordinary_stack_cannot_be_told(t3: Lab) -> None:
    """Check 1, the control: the default route takes it all, DNS and SYN."""
    assert ordinary(t3).word == "wired"
    assert {"dns", "syn"} <= {packet.kind for packet in sent(t3["wired"])}


# ---------------------------------------------------------------------- 2: answers do not cross


SPOILT: Mapping[str, Fault] = {
    "none": lambda link: None,
    "blackhole": Link.blackhole,
    "reset": Link.reset,
    "stall": Link.stall,
    "lying": lambda link: link.dns("lying"),
    "portal": lambda link: link.portal(dns="portal"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.row("6.2")
async def test_2_no_answer_crosses_domains(t3: Lab, fault: str) -> None:
    """Check 2: no answer crosses PvDs. What a link's capture sees dialled is what that link's server said."""
    SPOILT[fault](t3["wired"])
    async with opened(t3) as connector:
        async with anyio.create_task_group() as tasks:
            for host in (t3.name, "alias.example.test", "example.test"):
                tasks.start_soon(partial(reach, connector, t3, host, server_hostname=t3.name))
        _, report = await reach(connector, t3, "local.example.test", 443, server_hostname=t3.name)
    assert report.winner is not None
    public = {t3.address4, t3.address6}
    lies = {"lying": {t3.dead4, t3.dead6}, "portal": set(t3["wired"].resolvers)}.get(fault)
    for link in t3:
        told = public | {link.plan.local4, link.plan.local6}
        if link.name == "wired" and lies is not None:
            told = lies
        assert dialled(link) <= told, link.name
    assert bool(pvds_of(report) - {"wired"}) is (fault != "none")


def dialled(link: Link) -> set[str]:
    return {packet.address for packet in sent(link) if packet.kind == "syn"}


# ---------------------------------------------------------------------- 3: overlap


@pytest.mark.anyio
@pytest.mark.parametrize("fault", ["none", "blackhole", "reset", "no_arp"])
@pytest.mark.row("6.3")
async def test_3_overlap_works(t2o: Lab, fault: str) -> None:
    """Check 3: overlap works. Two links that differ in nothing but the device: the one that works wins."""
    if fault != "none":
        getattr(t2o["wA"], fault)()
    word, report = await race(t2o)
    assert word == ("wA" if fault == "none" else "wB")
    assert report.winner is not None
    assert report.winner.pvd == word
    assert report.winner.local in (t2o["wA"].address4, t2o["wA"].address6)
    if fault != "none":
        assert ordinary(t2o, t2o.address4, 17).word is None


# ---------------------------------------------------------------------- 4: one path delay, once

DEAD: Mapping[str, Fault] = {
    "blackhole": lambda link: link.blackhole(),
    "dead": lambda link: link.dead(),
    "stall": lambda link: link.stall(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", DEAD)
@pytest.mark.row("6.4")
async def test_4_a_dead_default_costs_at_most_one_head_start_once(t2: Lab, fault: str) -> None:
    """Check 4: dead PvD costs at most one path delay once.

    Time to a verified TLS stream within 25 ms of (head start + the working path alone), medians of five runs
    each, taken in turn. Lookup, handshake and TLS of the dead PvD together cost one head start, not one each.
    """
    DEAD[fault](t2["wA"])
    alone, raced = [], []
    for _ in range(5):
        word, report = await race(t2, policy=policy(require="pvd:wB"))
        alone.append(report.elapsed)
        word, report = await race(t2)
        assert word == "wB"
        raced.append(report.elapsed)
    assert min(raced) >= PATH_DELAY
    assert statistics.median(raced) <= PATH_DELAY + statistics.median(alone) + 0.025, (raced, alone)


@pytest.mark.anyio
@pytest.mark.row("6.4")
async def test_4_several_dead_domains_cost_one_head_start_each_and_no_more(t3: Lab) -> None:
    """Check 4, of two dead PvDs: the third begins at its own head start, whatever the first is at."""
    t3["wired"].blackhole()
    t3["wifi"].dead()
    word, report = await race(t3)
    assert word == "cell"
    first = next(attempt for attempt in report.attempts if attempt.pvd == "cell")
    assert 2 * PATH_DELAY <= first.started < 2 * PATH_DELAY + SLACK


# ---------------------------------------------------------------------- 8: removal


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("how", "stage"),
    [
        ("removed", "lookup"),
        ("removed", "handshake"),
        ("removed", "TLS"),
        ("down", "lookup"),
        ("down", "handshake"),
        ("down", "TLS"),
        ("unplugged", "handshake"),
    ],
)
@pytest.mark.row("6.8")
async def test_8_link_removal_ends_pending_work(t2: Lab, how: str, stage: str) -> None:
    """Check 8: link removal ends pending attempts < 100 ms, and lookups; the median of three races."""
    link = t2["wA"]
    lose: dict[str, Callable[[], object]] = {
        "removed": link.remove,
        "down": link.link_down,
        "unplugged": partial(link.link_down, carrier=False),
    }
    took = []
    for _ in range(3):
        link.heal()
        AT_STAGE[stage](link)
        delay, report = await race_and_lose(t2, "wA", lose[how])
        assert report.winner is not None
        assert report.winner.pvd == "wB"
        assert "wA withdrawn" in str(report)
        took.append(delay)
    assert statistics.median(took) < 0.1, took


# ---------------------------------------------------------------------- 9: strict rp_filter


@pytest.mark.anyio
@pytest.mark.row("6.9")
async def test_9_strict_rp_filter_is_reported_not_suffered(t2_strict: Lab) -> None:
    """Check 9: strict rp_filter is reported, not suffered: in the snapshot, the report and the error."""
    async with opened(t2_strict) as connector:
        snapshot = await connector.snapshot()
        reason = snapshot["wB"].unusable
        assert reason is not None
        assert "rp_filter is strict" in reason
        assert snapshot["wA"].unusable is None
        word, report = await reach(connector, t2_strict)
        assert word == "wA"
        assert [str(ranked.excluded) for ranked in report.ranking.excluded] == [reason]
        with pytest.raises(pvdrace.NoUsablePvd, match="rp_filter is strict"):
            await reach(connector, t2_strict, policy=policy(require="pvd:wB"))
    assert sent(t2_strict["wB"]) == []
    plain = ordinary(t2_strict, t2_strict.address4, 17, how="blocking", device="wB")
    assert plain.error == "TimeoutError", "control: suffered"


# ---------------------------------------------------------------------- 10: bring-up order


@pytest.mark.anyio
@pytest.mark.row("6.10")
async def test_10_the_result_is_independent_of_bring_up_order(t3: Lab) -> None:
    """Check 10: result independent of bring-up order: three devices made anew in all six orders.

    The same snapshot, the same ranking, the same winner: with all well, and with the first a black hole.
    """
    names = ("wired", "wifi", "cell")
    seen = []
    for order in permutations(names):
        for name in names:
            t3[name].remove()
        for name in order:
            t3[name].link_up()
        async with opened(t3) as connector:
            snapshot = await connector.snapshot()
            winner, report = await reach(connector, t3)
            t3["wired"].blackhole()
            second, _ = await reach(connector, t3)
            t3["wired"].blackhole(False)
        seen.append(
            (
                [without_the_devices_own(pvd) for pvd in snapshot],
                [(ranked.pvd.name, ranked.head_start, ranked.because) for ranked in report.ranking.ranked],
                winner,
                second,
            )
        )
    assert all(one == seen[0] for one in seen)
    assert seen[0][2:] == ("wired", "wifi")


def without_the_devices_own(pvd: pvdrace.ProvisioningDomain) -> pvdrace.ProvisioningDomain:
    """But for the index and the link-local address: a device made anew has a new one of each."""
    kept = tuple(address for address in pvd.addresses if not is_link_local(address.address))
    return replace(pvd, ifindex=0, addresses=kept)


# ---------------------------------------------------------------------- 12: asyncio and trio

SCENES: dict[str, Callable[[Lab], object]] = {
    "all good": lambda lab: None,
    "wired a black hole": lambda lab: lab["wired"].blackhole(),
    "wired dead": lambda lab: lab["wired"].dead(),
    "wired without ARP": lambda lab: lab["wired"].no_arp(),
    "wired stalls": lambda lab: lab["wired"].stall(),
    "wired resets": lambda lab: lab["wired"].reset(),
    "wired unreachable": lambda lab: lab["wired"].icmp("host-unreach"),
    "wired's DNS dead": lambda lab: lab["wired"].dns("dead"),
    "wired's DNS refuses": lambda lab: lab["wired"].dns("refused"),
    "wired's DNS lies": lambda lab: lab["wired"].dns("lying"),
    "wired behind a portal": lambda lab: lab["wired"].portal(),
    "wired down": lambda lab: lab["wired"].link_down(),
    "wired and wifi dead": lambda lab: each(lab, Link.dead, "wired", "wifi"),
    "all reset": lambda lab: each(lab, Link.reset, "wired", "wifi", "cell"),
    "all portals": lambda lab: each(lab, Link.portal, "wired", "wifi", "cell"),
}


def each(lab: Lab, spoil: Fault, *names: str) -> None:
    for name in names:
        spoil(lab[name])


LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(scope="module")
def libuv() -> None:
    """The first of all its loops makes a pipe for signals, and keeps it."""
    anyio.run(anyio.sleep, 0, backend_options={"use_uvloop": True})


@pytest.mark.usefixtures("libuv")
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.row("6.12")
def test_12_the_same_results_on_asyncio_and_trio(t3: Lab, scene: str) -> None:
    """Check 12: same results on asyncio and trio (and uvloop): the winner, the error, the timeline."""
    SCENES[scene](t3)
    results = {
        loop: anyio.run(tell, t3, backend=backend, backend_options=options)
        for loop, (backend, options) in LOOPS.items()
    }
    assert results["trio"] == results["asyncio"]
    assert results["uvloop"] == results["asyncio"]


async def tell(lab: Lab) -> tuple[str, dict[str, list[str]]]:
    """The winner's name or the error, and each PvD's own timeline, without the times."""
    try:
        outcome, report = await race(lab)
    except pvdrace.PvdRaceError as error:
        assert error.report is not None
        outcome, report = f"{type(error).__name__}: {error}", error.report
    spoken: dict[str, list[str]] = {}
    for line in timeline.words(report.log, report.started, report.failure).splitlines():
        for phrase in line.split(" ms  ", 1)[1].split(timeline.GAP):
            subject, _, rest = phrase.partition(" ")
            spoken.setdefault(subject, []).append(rest)
    return outcome, {subject: in_order(phrases) for subject, phrases in spoken.items()}


def in_order(phrases: list[str]) -> list[str]:
    """Lookups that fail one right after the other failed at once: which was read first does not count."""
    ordered: list[str] = []
    for failed, run in groupby(phrases, lambda phrase: phrase.startswith(("x A ", "x AAAA "))):
        said = list(run)
        ordered += sorted(said) if failed else said
    return ordered
