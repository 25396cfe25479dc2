"""The slides' Maastricht hotel: 80 and 443 really fast, nothing else; check 7."""

from __future__ import annotations

import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import PATH_DELAY, SLACK, described, opened, ordinary, reach, sent
from pvdrace.history import evidence
from pvdrace.lab import Lab, Link
from pvdrace.race.pacing import Pacing

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

# Metered links are for those who wait no longer than this, in seconds, for the free ones.
IN_A_HURRY = pvdrace.Policy(latency_budget=0.3)
LEAD = Pacing().resolution_lead


def syns(link: Link) -> set[int]:
    """The ports that connection attempts through this link went to."""
    return {packet.port for packet in sent(link) if packet.kind == "syn" and packet.port is not None}


@pytest.mark.row("1.5", "6.7")
@pytest.mark.parametrize("how", ["drop", "reject"])
async def test_a_network_of_two_ports_is_used_for_those_and_only_for_those(t2f: Lab, how: str) -> None:
    """ "Maastricht hotel: ... and I have to choose": nobody has to. Check 7.

    443 by the hotel; 22 by the other, which takes one head start the first time, none where the hotel says
    no, and none from then on; 443 still by the hotel, and so is 80.
    """
    t2f["wA"].ports([80, 443], how)
    async with opened(t2f) as connector:
        assert (await reach(connector, t2f))[0] == "wA"
        word, report = await reach(connector, t2f, port=22)
        assert word == "SSH-2.0-lab_wB"
        began = min(attempt.started for attempt in report.attempts if attempt.pvd == "wB")
        assert began < PATH_DELAY + SLACK
        assert (began >= PATH_DELAY) is (how == "drop"), str(report)
        t2f.reset_counters()
        word, report = await reach(connector, t2f, port=22)
        assert (word, report.attempts[0].pvd) == ("SSH-2.0-lab_wB", "wB")
        if report.elapsed < PATH_DELAY - LEAD:
            assert syns(t2f["wA"]) == set()
        for _ in range(2):
            word, report = await reach(connector, t2f)
            assert word == "wA"
            assert report.ranking.ranked[0].pvd.name == "wA"
        async with await connector.open_connection(t2f.name, 80, timeout=5) as connection:
            await connection.send(b"who\n")
            assert await connection.receive() == b"wA\n"


@pytest.mark.row("1.5", "6.7")
async def test_what_is_learnt_of_a_port_holds_for_other_hosts(
    t2f: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Maastricht hotel": it is the port that does not work there, not the host. Of 22 only.

    The hotel is free, the other one is not, and still 22 does not wait for what does not work there.
    """
    monkeypatch.setattr(evidence, "SILENCE", 0.2)
    free, dear = {"cost": pvdrace.CostClass.UNMETERED}, {"cost": pvdrace.CostClass.VARIABLE}
    async with opened(t2f, described(t2f, wA=free, wB=dear), policy=IN_A_HURRY) as connector:
        for host in (t2f.name, PRIVATE, "several.example.test"):
            word, _ = await reach(connector, t2f, host, 22)
            assert word == "SSH-2.0-lab_wB"
        t2f.reset_counters()
        word, report = await reach(connector, t2f, "v4only.example.test", 22)
        assert (word, report.attempts[0].pvd) == ("SSH-2.0-lab_wB", "wB")
        word, report = await reach(connector, t2f, PRIVATE)
        assert word == "wA"


@pytest.mark.row("1.5", "6.7")
async def test_control_the_ordinary_stack_has_one_network_for_all_ports(t2f: Lab) -> None:
    """ "Maastricht hotel", the control: 443 works, 22 does not, however often."""
    assert ordinary(t2f).word == "wA"
    assert [ordinary(t2f, port=22, limit=0.5).word for _ in range(2)] == [None, None]
    assert syns(t2f["wB"]) == set()
