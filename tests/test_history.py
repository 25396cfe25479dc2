"""What a race teaches of the PvDs in it, and for how long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace import history
from pvdrace.history import FIRST_DISTRUST, KEYS_KEPT, LONGEST_DISTRUST, History, outdone
from pvdrace.model import Endpoint, ProvisioningDomain, PvdSet, Route
from pvdrace.policy import Policy
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Race
from pvdrace.race.report import RaceReport
from pvdrace.ranking import rank
from pvdrace.testing.scenario import (
    PvdScript,
    blackhole,
    build_pvds,
    impostor,
    nodata,
    ok,
    pvd,
    refused,
    scenario,
    servfail,
    silent,
    stalls,
)

GOOD = pvd(v6=ok(30), v4=ok(30))
DEAD = pvd(v6=blackhole, v4=blackhole)


def raced(**options: Any) -> RaceReport:
    return scenario(**options).report


def names(pvds: list[ProvisioningDomain]) -> list[str]:
    return [pvd.name for pvd in pvds]


# ---------------------------------------------------------------------- what a race says of a PvD

TROUBLE: dict[str, PvdScript] = {
    "black hole": DEAD,
    "DNS dead": pvd(dns=silent, v6=ok(10), v4=ok(10)),
    "SYN-ACK only": pvd(v6=stalls(10), v4=stalls(10)),
    "refused": pvd(v6=refused(10), v4=refused(10)),
    "wrong certificate": pvd(v6=impostor(10, 20), v4=impostor(10, 20)),
    "DNS fails": pvd(dns=servfail(5), v6=ok(10), v4=ok(10)),
    "refused by name server, then silent": pvd(aaaa=servfail(5), a=silent, v6=ok(10), v4=ok(10)),
    "slower than a head start and the next one": pvd(v6=ok(600), v4=ok(600)),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_race_speaks_against_a_pvd_that_did_not_do_what_another_did(trouble: str) -> None:
    report = raced(a=TROUBLE[trouble], b=GOOD)
    assert report.winner is not None
    assert report.winner.pvd == "b"
    assert names(outdone(report)) == ["a"]


def test_it_speaks_against_each_that_was_before_the_winner_and_nobody_behind() -> None:
    assert names(outdone(raced(a=DEAD, b=DEAD, c=GOOD, d=DEAD))) == ["a", "b"]


def test_a_dear_pvd_in_reserve_wins_only_against_what_has_failed() -> None:
    report = raced(a=pvd(v4=refused(10), cost="unmetered"), b=pvd(v4=ok(10), cost="variable"))
    assert names(outdone(report)) == ["a"]


SAYS_NOTHING: dict[str, RaceReport] = {
    "the first won": raced(a=GOOD, b=DEAD),
    "nobody won": raced(a=DEAD, b=DEAD, timeout=1.0),
    "all failed": raced(a=pvd(v4=refused(5)), b=pvd(v4=refused(5))),
    "nobody ran": raced(a=GOOD, policy=Policy(prohibit=["pvd:a"])),
    "no such name there": raced(a=pvd(dns=nodata(5)), b=GOOD),
    "no route there": raced(a=pvd(v4=ok(5), routes=(Route("2001:db8::/32"),)), b=GOOD),
    "it was withdrawn": raced(a=DEAD, b=GOOD, withdraw={"a": 100}),
    "the winner came in mid-race": raced(a=DEAD, add={"b": (100, GOOD)}),
    "loopback": raced(a=replace(DEAD, attributes={"interface": "lo"}), b=GOOD),
}
# The last is made only by hand: `rank` gives a loopback destination one PvD, which nobody is behind.


@pytest.mark.parametrize("case", SAYS_NOTHING)
def test_a_race_that_speaks_against_nobody(case: str) -> None:
    assert outdone(SAYS_NOTHING[case]) == []


def test_the_cases_that_say_nothing_are_what_they_say() -> None:
    winners = {case: report.winner and report.winner.pvd for case, report in SAYS_NOTHING.items()}
    assert winners == {
        "the first won": "a",
        "nobody won": None,
        "all failed": None,
        "nobody ran": None,
        "no such name there": "b",
        "no route there": "b",
        "it was withdrawn": "b",
        "the winner came in mid-race": "b",
        "loopback": "b",
    }


def test_a_race_that_its_caller_ended_speaks_against_nobody() -> None:
    race = Race(Endpoint("www.example.com", 443), rank(build_pvds({"a": DEAD, "b": GOOD}), Endpoint("x", 1)))
    race.start(0.0)
    race.tick(race.deadline)
    report = RaceReport.of(race)
    assert report.outcome == "cancelled"
    assert outdone(report) == []


def test_one_that_was_only_a_little_slower_is_not_spoken_against() -> None:
    """a's handshake holds b and c back until the same moment; b has 80 ms when c wins."""
    report = raced(
        a=pvd(v6=stalls(180), v4=stalls(180)), b=pvd(v6=ok(90), v4=ok(90)), c=pvd(v6=ok(30), v4=ok(30))
    )
    assert report.winner is not None
    assert report.winner.pvd == "c"
    assert {attempt.pvd for attempt in report.attempts} == {"a", "b", "c"}
    assert names(outdone(report)) == ["a"]


def test_its_chance_is_a_head_start_as_long_as_this_race_has_it() -> None:
    """a's handshake lets b and c begin at the same moment; c takes 300 ms, b asked 50 ms before."""
    b, c = DEAD, pvd(v6=ok(300), v4=ok(300))
    assert names(outdone(raced(a=pvd(v6=stalls(180)), b=b, c=c))) == ["a", "b"]
    patient = Pacing(path_delay=0.5)
    assert names(outdone(raced(a=pvd(v6=stalls(400)), b=b, c=c, pacing=patient))) == ["a"]


def test_a_report_read_back_says_the_same() -> None:
    report = raced(a=DEAD, b=GOOD)
    assert names(outdone(RaceReport.from_json(report.to_json()))) == ["a"]


# ---------------------------------------------------------------------- what is kept of it

PVDS = build_pvds({"a": DEAD, "b": GOOD})
A_FAILS, A_WINS = raced(a=DEAD, b=GOOD), raced(a=GOOD, b=DEAD)
NOBODY_WINS = raced(a=DEAD, b=DEAD, timeout=1.0)


def distrusted(known: History, now: float, port: int = 443, pvds: PvdSet = PVDS) -> set[str]:
    return set(known.distrusted(pvds, port, now))


def test_nothing_is_known_in_the_beginning() -> None:
    assert not History()
    assert distrusted(History(), 0) == set()


def test_a_distrust_ends_by_itself() -> None:
    known = History()
    known.learn(A_FAILS, 100)
    assert distrusted(known, 100) == {"a"}
    assert distrusted(known, 100 + FIRST_DISTRUST - 0.001) == {"a"}
    assert distrusted(known, 100 + FIRST_DISTRUST) == set()


def test_each_repetition_doubles_it_up_to_the_exploration_interval() -> None:
    known, now, spans = History(), 0.0, []
    for _ in range(7):
        known.learn(A_FAILS, now)
        began = now
        while distrusted(known, now):
            now += 1
        spans.append(now - began)
        now += A_FAILS.elapsed
    assert spans == [10, 20, 40, 80, 160, 300, 300]


def test_a_win_ends_it_and_its_repetitions() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    known.learn(A_FAILS, 50)
    known.learn(A_WINS, 51)
    assert not known
    assert distrusted(known, 51) == set()
    known.learn(A_FAILS, 52)
    assert distrusted(known, 52 + FIRST_DISTRUST) == set()


@pytest.mark.parametrize("report", [NOBODY_WINS, SAYS_NOTHING["all failed"]])
def test_what_nobody_won_changes_nothing(report: RaceReport) -> None:
    known = History()
    known.learn(report, 0)
    assert not known
    known.learn(A_FAILS, 1)
    known.learn(report, 2)
    assert distrusted(known, 1 + FIRST_DISTRUST - 0.1) == {"a"}
    assert distrusted(known, 1 + FIRST_DISTRUST) == set()


def test_many_races_at_once_are_one_piece_of_evidence() -> None:
    known = History()
    for n in range(100):
        known.learn(A_FAILS, n / 1000)
    assert distrusted(known, FIRST_DISTRUST) == set()
    # It began before the distrust ran out, though it ended after.
    known.learn(A_FAILS, FIRST_DISTRUST + A_FAILS.elapsed - 0.01)
    assert distrusted(known, FIRST_DISTRUST + A_FAILS.elapsed) == set()


def test_one_port_says_nothing_of_another() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    assert distrusted(known, 0, port=22) == set()
    known.learn(raced(a=DEAD, b=GOOD, port=22), 1)
    known.learn(A_WINS, 2)
    assert distrusted(known, 2, port=22) == {"a"}
    assert distrusted(known, 2) == set()


def test_rfc_8305_s4_one_attachment_says_nothing_of_another() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    again = PvdSet(tuple(replace(each, attachment=each.attachment + 1) for each in PVDS))
    assert distrusted(known, 0, pvds=again) == set()
    # A late win of the old attachment clears the old one alone.
    known.learn(raced(a=replace(DEAD, attributes={"attachment": 1}), b=GOOD), 1)
    known.learn(A_WINS, 2)
    assert distrusted(known, 2, pvds=again) == {"a"}


def test_who_was_distrusted_and_fails_the_other_is_distrusted_in_turn() -> None:
    """b dies while a is distrusted: a, behind it, wins and is trusted again."""
    known = History()
    known.learn(A_FAILS, 0)
    known.learn(raced(a=GOOD, b=DEAD, policy=Policy(prefer=["pvd:b"])), 1)
    assert distrusted(known, 1) == {"b"}


def test_the_number_of_keys_is_bounded_and_the_oldest_goes() -> None:
    known = History()
    for port in range(1, KEYS_KEPT + 11):
        known.learn(replace(A_FAILS, endpoint=Endpoint("www.example.com", port)), port / 1000)
    assert len(known) == KEYS_KEPT
    assert distrusted(known, 2, port=10) == set()
    assert distrusted(known, 2, port=11) == {"a"}
    assert distrusted(known, 2, port=KEYS_KEPT + 10) == {"a"}


def test_the_exploration_interval_is_no_shorter_than_the_first_distrust() -> None:
    assert 0 < FIRST_DISTRUST <= LONGEST_DISTRUST


@given(st.lists(st.tuples(st.floats(0, 1000), st.sampled_from([A_FAILS, A_WINS, NOBODY_WINS])), max_size=30))
def test_law_only_a_failure_since_the_last_win_counts_and_never_longer_than_the_interval(
    steps: list[tuple[float, RaceReport]],
) -> None:
    known, now, failed = History(), 0.0, -LONGEST_DISTRUST
    for gap, report in steps:
        now += gap
        nothing_against_it = not known
        known.learn(report, now)
        if report is A_FAILS:
            failed = now
            assert not nothing_against_it or distrusted(known, now) == {"a"}
        elif report is A_WINS:
            failed = -LONGEST_DISTRUST
            assert not known
        assert distrusted(known, now) <= ({"a"} if failed >= 0 else set())
        assert distrusted(known, failed + LONGEST_DISTRUST) == set()


def test_the_numbers_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "FIRST_DISTRUST", 0.5)
    known = History()
    known.learn(A_FAILS, 0)
    assert distrusted(known, 0.5) == set()
