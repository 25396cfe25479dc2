"""A dead default PvD costs at most one head start, once; healed, it is the default again."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import anyio
import pytest

from lab.racing import ATTEMPT_DELAY, PATH_DELAY, PATIENT, SLACK, Fault, opened, policy, pvds_of, reach, sent
from lab.test_slides import LOUD, SILENT
from pvdrace.history import blackholes
from pvdrace.lab import Lab
from pvdrace.race.pacing import Pacing
from pvdrace.race.report import RaceReport

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

FAULTS: dict[str, Fault] = {**SILENT, **LOUD}
NOISE = 0.1  # seconds; still less than a head start
LEAD = Pacing().resolution_lead


def order(report: RaceReport) -> list[str]:
    return [ranked.pvd.name for ranked in report.ranking.ranked]


async def alone(lab: Lab, name: str) -> float:
    """Seconds to a verified TLS stream when only this PvD may be used: the control, a median of three.

    By a connector of its own: what it learns is nothing to the one that is tested.
    """
    times = []
    async with opened(lab) as connector:
        for _ in range(3):
            word, report = await reach(connector, lab, policy=policy(require=f"pvd:{name}"))
            assert word == name
            times.append(report.elapsed)
    return median(times)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.row("1.6", "6.4")
async def test_a_dead_default_costs_at_most_one_head_start_once(t2: Lab, fault: str) -> None:
    """ "Wi-Fi and ethernet both provide default route, only one works": next connect ≈ RTT_B.

    T2x, all variants: the first race finds out, at the cost of a head start; the second one begins where
    the first has won, and sends nothing into the dead link.
    """
    async with opened(t2) as connector:
        control = await alone(t2, "wB")
        FAULTS[fault](t2["wA"])
        word, first = await reach(connector, t2)
        assert (word, order(first)) == ("wB", ["wA", "wB"])
        assert first.elapsed < PATH_DELAY + control + SLACK
        await anyio.sleep(0.1)  # the good-byes of the first race
        t2.reset_counters()
        times = []
        for _ in range(3):
            word, again = await reach(connector, t2)
            assert (word, order(again)) == ("wB", ["wB", "wA"])
            assert again.attempts[0].pvd == "wB"
            times.append(again.elapsed)
            if again.elapsed < PATH_DELAY - LEAD:
                assert pvds_of(again) == {"wB"}
        assert min(times) < PATH_DELAY - LEAD, "at least one was not disturbed by a busy machine"
        assert median(times) < control + 0.060 + NOISE
        if max(times) < PATH_DELAY - LEAD:
            assert sent(t2["wA"]) == []
        reasons = [
            (ranked.pvd.name, reason.text) for ranked in again.ranking.ranked for reason in ranked.because
        ]
    assert ("wA", "did not work in time a moment ago") in reasons


@pytest.mark.row("1.6")
async def test_a_healed_default_is_the_first_again_within_the_exploration_interval(
    t2: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "... only one works": after A heals it is retried within the exploration interval."""
    monkeypatch.setattr(blackholes, "FIRST_BLOCK", 1.5)
    async with opened(t2) as connector:
        t2["wA"].blackhole()
        assert (await reach(connector, t2))[0] == "wB"
        learnt = anyio.current_time()
        t2["wA"].heal()
        word, report = await reach(connector, t2)
        if anyio.current_time() < learnt + 1.0:
            assert (word, order(report)) == ("wB", ["wB", "wA"]), "it is not tried at once"
        await anyio.sleep(learnt + 1.6 - anyio.current_time())
        for _ in range(2):
            word, report = await reach(connector, t2)
            assert (word, order(report)) == ("wA", ["wA", "wB"])
            assert report.elapsed < PATH_DELAY


@pytest.mark.row("1.6")
async def test_a_default_that_stays_dead_costs_another_head_start_ever_more_seldom(
    t2: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "... only one works": the second distrust is twice as long as the first."""
    monkeypatch.setattr(blackholes, "FIRST_BLOCK", 1.0)
    t2["wA"].blackhole()
    async with opened(t2) as connector:
        assert order((await reach(connector, t2))[1]) == ["wA", "wB"]
        await anyio.sleep(1.1)
        assert order((await reach(connector, t2))[1]) == ["wA", "wB"], "it is tried again"
        learnt = anyio.current_time()
        await anyio.sleep(1.1)
        word, report = await reach(connector, t2)
        if anyio.current_time() < learnt + 2.0:
            assert (word, order(report)) == ("wB", ["wB", "wA"])
        await anyio.sleep(learnt + 2.1 - anyio.current_time())
        assert order((await reach(connector, t2))[1]) == ["wA", "wB"]


async def test_what_fails_on_one_port_is_not_held_against_another(t2: Lab) -> None:
    """ "... only one works": a PvD is distrusted for the port on which it failed."""
    t2["wA"].stall()
    async with opened(t2) as connector:
        assert (await reach(connector, t2))[0] == "wB"
        assert order((await reach(connector, t2))[1]) == ["wB", "wA"]
        t2["wA"].heal()
        word, report = await reach(connector, t2, port=17)
        assert (word, order(report)) == ("wA", ["wA", "wB"])


async def test_a_new_attachment_begins_with_a_clean_slate(t2: Lab) -> None:
    """RFC 8305 s4: what was learnt is forgotten where the network is another one."""
    t2["wA"].blackhole()
    async with opened(t2) as connector:
        assert (await reach(connector, t2))[0] == "wB"
        assert order((await reach(connector, t2))[1]) == ["wB", "wA"]
        t2["wA"].heal()
        t2["wA"].link_down()
        assert order((await reach(connector, t2))[1]) == ["wB"]
        t2["wA"].link_up()
        await anyio.sleep(0.1)
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wA", ["wA", "wB"])


async def test_control_a_new_connector_knows_nothing(t2: Lab) -> None:
    """What is learnt belongs to one connector: another one pays the head start again."""
    t2["wA"].blackhole()
    for _ in range(2):
        async with opened(t2) as connector:
            word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wB", ["wA", "wB"])
        assert report.elapsed >= PATH_DELAY


async def test_a_second_connector_begins_with_what_the_first_has_learnt(t2: Lab, tmp_path: Path) -> None:
    """The same file: the dead default costs its head start once, not once for each program."""
    file = tmp_path / "history.db"
    t2["wA"].blackhole()
    async with opened(t2, history=file) as connector:
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wB", ["wA", "wB"])
    async with opened(t2, history=file) as connector:
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wB", ["wB", "wA"])
        assert report.attempts[0].pvd == "wB"


async def test_a_broken_history_costs_no_connection(t2: Lab, tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    for content in (b"no database", bytes(4096)):
        file.write_bytes(content)
        async with opened(t2, history=file) as connector:
            assert (await reach(connector, t2))[0] == "wA"
    async with opened(t2, history=tmp_path) as connector:
        assert (await reach(connector, t2))[0] == "wA"


async def test_a_family_that_does_not_work_is_learnt_and_the_pvd_keeps_its_place(t2: Lab) -> None:
    """Dual stack is two networks: IPv6 of wA is tried behind IPv4 after two races; wA stays the first.

    wB waits so long that nobody but wA can win.
    """
    t2["wA"].ipv6_broken()
    async with opened(t2, pacing=PATIENT) as connector:
        for _ in range(2):
            word, report = await reach(connector, t2)
            assert (word, order(report)) == ("wA", ["wA", "wB"])
            assert report.attempts[0].family == 6
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wA", ["wA", "wB"])
        assert [attempt.family for attempt in report.attempts] == [4]
        assert report.elapsed < ATTEMPT_DELAY


async def test_one_success_elsewhere_while_the_default_was_away_moves_nothing(t2: Lab) -> None:
    """HTC, "last successfully attached first": wA, whose metric is better, is the first again."""
    async with opened(t2) as connector:
        assert order((await reach(connector, t2))[1]) == ["wA", "wB"]
        t2["wA"].link_down()
        assert (await reach(connector, t2))[0] == "wB"
        t2["wA"].link_up()
        await anyio.sleep(0.1)
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wA", ["wA", "wB"])
