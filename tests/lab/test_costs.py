"""The slides' LTE and Wi-Fi: what a connection is for decides what may be paid for it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import pvdrace
from lab.racing import SLACK, described, opened, policy, pvds_of, reach, sent
from pvdrace.config import Configuration
from pvdrace.lab import Lab
from pvdrace.model import CostClass

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

BUDGET = 0.3  # seconds, of CapacityProfile.INTERACTIVE
SLOW = 1.5  # seconds one way: not adequate by anybody's budget


def priced(lab: Lab) -> Configuration:
    """wA is free Wi-Fi of 80 ms, wB metered LTE of 10 ms."""
    return described(
        lab,
        wA={"cost": CostClass.UNMETERED, "type": "wifi"},
        wB={"cost": CostClass.VARIABLE, "type": "cellular"},
    )


def wants(profile: str, **more: Any) -> pvdrace.Policy:
    return pvdrace.Policy(capacity_profile=profile, **more)


@pytest.mark.row("1.4", "6.5", "3.15")
async def test_a_hundred_connections_cost_nothing_while_the_free_link_will_do(t2d: Lab) -> None:
    """ "LTE + Wi-Fi, LTE faster, Wi-Fi adequate, next bill surprising": 100 wins on A, no packet on B."""
    words: list[str] = []

    async def some(connector: pvdrace.Connector) -> None:
        words.extend([(await reach(connector, t2d, port=17))[0] for _ in range(5)])

    async with opened(t2d, priced(t2d)) as connector, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(some, connector)
    assert words == ["wA"] * 100
    assert sent(t2d["wB"]) == []


@pytest.mark.row("1.4")
async def test_the_dearer_link_is_there_when_the_free_one_is_gone(t2d: Lab) -> None:
    """ "LTE + Wi-Fi": drop A ⇒ B is used, at once."""
    async with opened(t2d, priced(t2d)) as connector:
        t2d["wA"].link_down()
        word, report = await reach(connector, t2d)
        assert (word, pvds_of(report)) == ("wB", {"wB"})
        assert report.elapsed < BUDGET + SLACK


@pytest.mark.row("1.4", "1.11")
async def test_the_dearer_link_is_used_at_once_where_the_free_one_refuses(t2d: Lab) -> None:
    """ "guidance insufficient", ``default`` uses B only on failure: there is one."""
    t2d["wA"].reset()
    async with opened(t2d, priced(t2d)) as connector:
        word, report = await reach(connector, t2d)
    assert word == "wB"
    assert report.ranking.ranked[0].pvd.name == "wA"


@pytest.mark.row("1.4")
async def test_a_link_of_three_seconds_is_not_adequate(t2d: Lab) -> None:
    """ "LTE + Wi-Fi": raise A to 3 s ⇒ B is used, when the latency budget is spent and not before."""
    t2d["wA"].set(delay=SLOW)
    budget = pvdrace.Policy(latency_budget=0.4)
    async with opened(t2d, priced(t2d), policy=budget) as connector:
        word, report = await reach(connector, t2d, port=17)
    assert word == "wB"
    assert min(attempt.started for attempt in report.attempts if attempt.pvd == "wB") >= 0.4
    assert report.elapsed < 0.4 + SLACK


@pytest.mark.row("1.4")
async def test_who_buys_latency_gets_it(t2d: Lab) -> None:
    """ "LTE + Wi-Fi", latency may cost: B wins, once it is known to be faster, though A would do."""
    async with opened(t2d, priced(t2d)) as connector:
        for name in ("wA", "wB"):
            await reach(connector, t2d, port=17, policy=policy(require=f"pvd:{name}"))
        word, _ = await reach(connector, t2d, port=17, policy=pvdrace.Policy(latency_budget=0))
        assert word == "wB"
        t2d.reset_counters()
        assert (await reach(connector, t2d, port=17))[0] == "wA", "who does not, does not"
    assert sent(t2d["wB"]) == []


@pytest.mark.row("1.4", "6.5")
async def test_who_buys_latency_buys_it_for_nobody_else(t2d: Lab) -> None:
    """ "Next bill surprising": one call that pays teaches the others nothing against a link that will do."""
    t2d["wA"].set(delay=0.15)  # more than a head start for name and handshake
    async with opened(t2d, priced(t2d)) as connector:
        word, _ = await reach(connector, t2d, port=17, policy=pvdrace.Policy(latency_budget=0))
        assert word == "wB"
        await anyio.sleep(0.2)  # the loser's good-bye
        t2d.reset_counters()
        for host in (t2d.name, "alias.example.test", "example.test"):
            assert (await reach(connector, t2d, host, 17))[0] == "wA"
    assert sent(t2d["wB"]) == []


@pytest.mark.row("1.4", "6.5")
@pytest.mark.parametrize("how", ["black hole", "DNS dead", "link down"])
async def test_what_may_not_cost_fails_rather_than_cost(t2d: Lab, how: str) -> None:
    """ "LTE + Wi-Fi", prohibit metered with A dead ⇒ an error, and still nothing on B."""
    link = t2d["wA"]
    {"black hole": link.blackhole, "DNS dead": lambda: link.dns("dead"), "link down": link.link_down}[how]()
    free = policy(prohibit="cost:fixed cost:variable")
    async with opened(t2d, priced(t2d)) as connector:
        with pytest.raises(pvdrace.PvdRaceError, match=r"wB skipped \(prohibited by cost:variable"):
            await reach(connector, t2d, policy=free, timeout=0.5)
    assert sent(t2d["wB"]) == []


# ---------------------------------------------------------------------- "I can't say when that is"


@pytest.mark.row("1.11", "6.5")
@pytest.mark.parametrize("fault", ["none", "slow", "dead"])
async def test_a_scavenger_never_pays(t2d: Lab, fault: str) -> None:
    """ "guidance insufficient": ``scavenger`` never uses B, whatever becomes of A."""
    if fault == "dead":
        t2d["wA"].dead()
    elif fault == "slow":
        t2d["wA"].set(delay=SLOW)
    async with opened(t2d, priced(t2d)) as connector:
        if fault == "none":
            assert (await reach(connector, t2d, policy=wants("scavenger")))[0] == "wA"
        else:
            with pytest.raises(pvdrace.PvdRaceError, match="wB skipped"):
                await reach(connector, t2d, policy=wants("scavenger"), timeout=BUDGET + 0.3)
    assert sent(t2d["wB"]) == []


@pytest.mark.row("1.11")
async def test_who_is_interactive_pays_when_the_free_link_is_slow(t2d: Lab) -> None:
    """ "guidance insufficient": ``interactive`` uses B after its latency budget; while A will do, not at all.

    ``default`` has not paid by then.
    """
    async with opened(t2d, priced(t2d)) as connector:
        word, report = await reach(connector, t2d, port=17, policy=wants("interactive"))
        if report.elapsed < BUDGET:
            assert (word, sent(t2d["wB"])) == ("wA", [])
    t2d["wA"].dead()
    t2d.reset_counters()
    async with opened(t2d, priced(t2d)) as connector:
        with pytest.raises(pvdrace.PvdRaceError):
            await reach(connector, t2d, port=17, timeout=BUDGET + 0.2)
        assert sent(t2d["wB"]) == []
    async with opened(t2d, priced(t2d)) as connector:
        word, report = await reach(connector, t2d, port=17, policy=wants("interactive"))
    assert word == "wB"
    assert min(attempt.started for attempt in report.attempts if attempt.pvd == "wB") >= BUDGET
    assert report.elapsed < BUDGET + SLACK


@pytest.mark.row("1.4")
@pytest.mark.parametrize(
    ("flags", "runs"), [((), "at the budget"), (("near_limit",), "last"), (("over_limit",), "last")]
)
async def test_a_volume_that_is_nearly_used_up_is_kept_for_the_last(
    t2d: Lab, flags: tuple[str, ...], runs: str
) -> None:
    """ "next bill surprising", the budget tag: used up, B waits until A has failed, not until A is slow."""
    dear = {"cost": CostClass.FIXED, "cost_flags": frozenset(flags)}
    async with opened(t2d, described(t2d, wA={"cost": CostClass.UNMETERED}, wB=dear)) as connector:
        _, report = await reach(connector, t2d, port=17, policy=wants("interactive"))
    first, second = report.ranking.ranked
    assert (first.pvd.name, first.head_start) == ("wA", 0)
    assert (second.head_start is None) is (runs == "last")


@pytest.mark.row("1.4")
async def test_control_whoever_is_first_is_used_when_cost_is_not_told(t2d: Lab) -> None:
    """ "LTE + Wi-Fi, LTE faster", the control: by latency alone the metered link is used.

    Nobody says what the links cost, and both begin at once: the faster one wins.
    """
    impatient = pvdrace.Pacing(
        path_delay=0.01,
        connection_attempt_delay=0.01,
        minimum_connection_attempt_delay=0.01,
        resolution_lead=0,
    )
    async with opened(t2d, pacing=impatient) as connector:
        word, _ = await reach(connector, t2d, port=17)
    assert word == "wB"
    assert sent(t2d["wB"]) != []
