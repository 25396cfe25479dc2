"""Asking the user, and telling: `on_ambiguous` in the place of a prompt, `Connector.explain`."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import PATH_DELAY, SLACK, STEADY, described, opened, policy, reach, sent
from pvdrace import choosing
from pvdrace.lab import Lab
from pvdrace.model import Ranked

pytestmark = [pytest.mark.anyio, pytest.mark.lab]


class User:
    """Who is asked: keeps what was asked, and gives one answer to all of it."""

    def __init__(self, answer: str | None, *, after: float = 0.0) -> None:
        self.asked: list[list[str]] = []
        self._answer = answer
        self._after = after

    async def __call__(self, between: Sequence[Ranked]) -> str | None:
        self.asked.append([ranked.pvd.name for ranked in between])
        await anyio.sleep(self._after)
        return self._answer


# ---------------------------------------------------------------------- centralised connection manager


@pytest.mark.row("2.1")
@pytest.mark.parametrize("answer", ["wA", "wB"])
async def test_who_is_unsure_asks_once_and_does_as_told(t2: Lab, answer: str) -> None:
    """D2.1 centralised connection manager asks the user if unsure: here the application, once.

    It gets the ranked PvDs; its answer holds for all destinations, and for those who wait for it meanwhile.
    """
    user = User(answer, after=0.05)
    words: list[str] = []

    async def one(connector: pvdrace.Connector, host: str) -> None:
        word, report = await reach(connector, t2, host, 17)
        assert report.ranking.ranked[0].pvd.name == answer
        words.append(word)

    async with opened(t2, pacing=STEADY, on_ambiguous=user) as connector:
        async with anyio.create_task_group() as tasks:
            for host in (t2.name, t2.address4, "several.example.test"):
                tasks.start_soon(one, connector, host)
        await one(connector, t2.name)
    assert user.asked == [["wA", "wB"]]
    assert words == [answer] * 4


@pytest.mark.row("2.1")
async def test_who_does_not_answer_in_time_gets_the_default(t2: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """D2.1, a modal prompt holds everything up: here silence is an answer, the order as it stands."""
    monkeypatch.setattr(choosing, "PATIENCE", 0.2)
    user = User("wB", after=60)
    async with opened(t2, on_ambiguous=user) as connector:
        with anyio.fail_after(5):
            word, report = await reach(connector, t2)
            assert (word, report.ranking.ranked[0].pvd.name) == ("wA", "wA")
            assert report.elapsed < PATH_DELAY + SLACK, "the race has not waited"
            assert (await reach(connector, t2))[0] == "wA"
    assert user.asked == [["wA", "wB"]]


@pytest.mark.row("2.1")
async def test_who_is_sure_asks_nobody(t2: Lab) -> None:
    """D2.1: not where policy, zone, cost or what is known decides; and nobody is asked about one."""
    user = User("wB")
    costs = {"wA": {"cost": pvdrace.CostClass.UNMETERED}, "wB": {"cost": pvdrace.CostClass.VARIABLE}}
    async with opened(t2, described(t2, **costs), on_ambiguous=user) as connector:
        assert (await reach(connector, t2))[0] == "wA"
        assert (await reach(connector, t2, policy=policy(require="pvd:wB")))[0] == "wB"
    owned = {"wA": {"zones": ("corp.example", ".")}}
    async with opened(
        t2, described(t2, **owned), on_ambiguous=user, policy=policy(prefer="pvd:wA")
    ) as connector:
        assert (await reach(connector, t2, PRIVATE, 17))[0] == "wA"
        assert (await reach(connector, t2))[0] == "wA"
    assert user.asked == []


@pytest.mark.row("3.5")
@pytest.mark.parametrize("left", [["wA"], ["wB"], ["wA", "wB"]], ids="+".join)
async def test_the_same_networks_are_not_asked_about_again(t2: Lab, left: list[str]) -> None:
    """S60 manual selection asks at each start: here the answer is remembered by network.

    The second connect does not ask, nor does one after networks were left and are there again.
    """
    user = User("wB")
    t2["wB"].set(delay=0.005)  # so that neither is better than the other in use
    identified = {name: {"id": f"network-of-{name}"} for name in ("wA", "wB")}
    async with opened(t2, described(t2, **identified), pacing=STEADY, on_ambiguous=user) as connector:
        for _ in range(2):
            assert (await reach(connector, t2))[0] == "wB"
        for name in left:
            t2[name].link_down()
        await connector.snapshot()
        for name in left:
            t2[name].link_up()
        word, report = await reach(connector, t2)
        assert (word, report.ranking.ranked[0].pvd.name) == ("wB", "wB")
    assert user.asked == [["wA", "wB"]]


# ---------------------------------------------------------------------- what would be done


@pytest.mark.row("4.11")
async def test_who_would_be_asked_for_a_name_is_told(t2: Lab) -> None:
    """Windows' effective server list per name, computed and exposed: PvD, server, reason, in order.

    What is told is what is done, and the telling sends nothing.
    """
    config = described(t2, wA={"zones": ("corp.example", ".")})
    async with opened(t2, config) as connector:
        told = await connector.explain(PRIVATE, 17)
        general = await connector.explain(t2.name, 17)
        assert [sent(link) for link in t2] == [[], []]
        _, report = await reach(connector, t2, PRIVATE, 17)
    only, left_out = told.pvds
    assert (only.pvd, only.excluded) == ("wA", None)
    assert set(only.resolvers) == set(t2["wA"].resolvers)
    assert [str(reason) for reason in only.because] == ["owns corp.example"]
    assert (left_out.pvd, str(left_out.excluded)) == ("wB", "corp.example belongs to wA")
    assert {str(lookup.server) for lookup in report.lookups} == {only.resolvers[0]}
    assert [pvd.pvd for pvd in general.pvds] == ["wA", "wB"]
    assert [pvd.head_start for pvd in general.pvds] == [0.0, PATH_DELAY]
    for pvd in general.pvds:
        assert set(pvd.resolvers) == set(t2[pvd.pvd].resolvers)
        assert pvd.because
