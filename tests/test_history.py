"""What a race teaches of the PvDs in it, and for how long."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.discovery.diff import PvdChange
from pvdrace.drivers.virtual import simulate
from pvdrace.expectation import EXPECT_NOTHING, NOTHING_KNOWN, Expectation
from pvdrace.history import History, instance
from pvdrace.history.blackholes import FIRST_BLOCK, FORGOTTEN_AFTER, LONGEST_BLOCK
from pvdrace.history.estimates import TIMES_MAX_AGE
from pvdrace.history.evidence import courses, doubts, outdone
from pvdrace.history.flaps import FLAP_WINDOW
from pvdrace.history.history import ANSWERS_KEPT, INSTANCES_KEPT, PASSED_LATELY, SAMPLE_INTERVAL
from pvdrace.history.places import PLACES_KEPT, levels
from pvdrace.history.prospects import EXPLORE_AFTER, PROBE_SOON
from pvdrace.model import Endpoint, ProvisioningDomain, PvdSet, Route
from pvdrace.policy import Policy
from pvdrace.race.events import Ready
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Race
from pvdrace.race.report import RaceReport
from pvdrace.ranking import rank
from pvdrace.testing.scenario import (
    PvdScript,
    ScriptedWorld,
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
HOST = A_FAILS.endpoint.host


def expectation(
    known: History, name: str, now: float, port: int = 443, pvds: PvdSet = PVDS, host: str = HOST
) -> Expectation:
    return known.expected(pvds, Endpoint(host, port), "tcp", now).get(name, NOTHING_KNOWN)


def distrusted(
    known: History, now: float, port: int = 443, pvds: PvdSet = PVDS, host: str = HOST
) -> set[str]:
    return {pvd.name for pvd in pvds if expectation(known, pvd.name, now, port, pvds, host).distrusted}


def again(**changes: Any) -> PvdSet:
    """The same PvDs, attached anew."""
    return PvdSet(tuple(replace(each, attachment=each.attachment + 1, **changes) for each in PVDS))


def to(host: str, port: int, report: RaceReport = A_FAILS) -> RaceReport:
    return replace(report, endpoint=Endpoint(host, port))


def test_nothing_is_known_in_the_beginning() -> None:
    assert not History()
    assert History().expected(PVDS, Endpoint(HOST, 443), "tcp", 0) is EXPECT_NOTHING


def test_a_distrust_ends_by_itself() -> None:
    known = History()
    known.learn(A_FAILS, 100)
    assert distrusted(known, 100) == {"a"}
    assert distrusted(known, 100 + FIRST_BLOCK - 0.001) == {"a"}
    assert distrusted(known, 100 + FIRST_BLOCK) == set()


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
    assert distrusted(known, 51) == set()
    known.learn(A_FAILS, 52)
    assert distrusted(known, 52) == {"a"}
    assert distrusted(known, 52 + FIRST_BLOCK) == set()


@pytest.mark.parametrize("report", [NOBODY_WINS, SAYS_NOTHING["all failed"], SAYS_NOTHING["loopback"]])
def test_what_nobody_won_changes_nothing(report: RaceReport) -> None:
    known = History()
    before = dict(known.expected(PVDS, Endpoint(HOST, 443), "tcp", 0))
    known.learn(NOBODY_WINS, 0)
    assert not known
    assert before == {}
    known.learn(A_FAILS, 1)
    known.learn(NOBODY_WINS, 2)
    assert distrusted(known, 1 + FIRST_BLOCK - 0.1) == {"a"}
    assert distrusted(known, 1 + FIRST_BLOCK) == set()


def test_the_loopback_teaches_nothing() -> None:
    known = History()
    known.learn(raced(a=replace(GOOD, attributes={"interface": "lo"})), 1)
    assert not known


def test_many_races_at_once_are_one_piece_of_evidence() -> None:
    known = History()
    for n in range(100):
        known.learn(A_FAILS, n / 1000)
    assert distrusted(known, FIRST_BLOCK) == set()
    # It began before the distrust ran out, though it ended after.
    known.learn(A_FAILS, FIRST_BLOCK + A_FAILS.elapsed - 0.01)
    assert distrusted(known, FIRST_BLOCK + A_FAILS.elapsed) == set()


@pytest.mark.row("6.7")
def test_one_port_says_nothing_of_another() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    assert distrusted(known, 0, port=22) == set()
    assert expectation(known, "a", 0, port=22) == NOTHING_KNOWN
    known.learn(raced(a=DEAD, b=GOOD, port=22), 1)
    known.learn(A_WINS, 2)
    assert distrusted(known, 2, port=22) == {"a"}
    assert distrusted(known, 2) == set()


@pytest.mark.row("1.5")
@pytest.mark.row("1.5", "6.7")
def test_the_ports_of_a_pvd_that_passed_and_those_that_are_blocked() -> None:
    """By family, whatever the host; until it is time to try again, or it works; in this attachment alone."""
    history = History()
    report = raced(a=DEAD, b=GOOD)
    a, b = (entry.pvd for entry in report.ranking.ranked)
    assert history.ports(a, 4, 0) == ((), (), inf)
    history.learn(to("h.example", 22, report), 100)
    history.learn(to("h.example", 443, raced(a=GOOD, b=GOOD)), 101)
    assert report.winner is not None
    won = report.winner.family
    for family in (6, 4):
        passed = (443,) if family == won else ()
        assert history.ports(a, family, 102) == (passed, (22,), 100 + FIRST_BLOCK)
        assert history.ports(a, family, 100 + FIRST_BLOCK) == (passed, (), inf)
        assert history.ports(b, family, 102) == ((22,) if family == won else (), (), inf)
        assert history.ports(replace(a, attachment=9), family, 102) == ((), (), inf)
        assert history.ports(replace(a, identity="x"), family, 102) == ((), (), inf)
    assert history.ports(a, won, 101 + PASSED_LATELY) == ((), (), inf)
    before = history.version
    history.learn(to("other.example", 22, raced(a=GOOD, b=DEAD)), 103)
    assert history.ports(a, won, 103) == ((22, 443), (), inf)
    assert history.version != before


def test_what_fails_at_one_host_is_expected_of_the_port_until_it_works_at_another() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    assert distrusted(known, 1, host="other.example") == {"a"}
    known.learn(to("other.example", 443, A_WINS), 2)
    assert distrusted(known, 2, host="other.example") == set()
    assert distrusted(known, 2, host="third.example") == set(), "the port works"
    assert distrusted(known, 2) == {"a"}, "but for this host nothing has worked since"
    known.learn(A_FAILS, 20)
    assert distrusted(known, 20, host="third.example") == {"a"}
    assert distrusted(known, 20, host="other.example") == {"a"}, "it failed later than it worked here"


def test_rfc_8305_s4_one_attachment_says_nothing_of_another() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    assert distrusted(known, 0, pvds=again()) == set()
    assert known.expected(again(), Endpoint(HOST, 443), "tcp", 0) == {}


def test_a_report_of_an_older_attachment_is_ignored() -> None:
    known = History()
    known.learn(A_FAILS, 0, again())
    assert not known
    known.learn(A_FAILS, 0, PvdSet((PVDS["a"], again()["b"])))
    assert {one[0] for one in known.known} == {"a"}
    known.learn(A_FAILS, 0, PvdSet((PVDS["b"],)))
    assert {one[0] for one in known.known} == {"a", "b"}


def test_what_is_recognised_again_is_known_and_what_was_blocked_is_tried_at_once() -> None:
    """The same network, attached anew: times hold, a failure of the last attachment is no longer news."""
    home = {"identity": "prefix 2001:db8:1::/64"}
    a, b = replace(DEAD, attributes=home), replace(GOOD, attributes={"identity": "prefix 2001:db8:2::/64"})
    known = History()
    known.learn(raced(a=a, b=b), 0)
    pvds = build_pvds({"a": a, "b": b})
    assert distrusted(known, 1, pvds=pvds) == {"a"}
    anew = PvdSet(tuple(replace(each, attachment=5) for each in pvds))
    assert distrusted(known, 1, pvds=anew) == set()
    assert expectation(known, "b", 1, pvds=anew).soon is not None
    known.learn(raced(a=replace(a, attributes={**home, "attachment": 5}), b=b), 2)
    assert distrusted(known, 3, pvds=anew) == {"a"}
    assert distrusted(known, 2 + FIRST_BLOCK + 1, pvds=anew) == {"a"}, "the second time is twice as long"
    elsewhere = PvdSet(tuple(replace(each, identity="prefix 2001:db8:9::/64") for each in pvds))
    assert known.expected(elsewhere, Endpoint(HOST, 443), "tcp", 1) == {}


def test_who_was_distrusted_and_fails_the_other_is_distrusted_in_turn() -> None:
    """b dies while a is distrusted: a, behind it, wins and is trusted again."""
    known = History()
    known.learn(A_FAILS, 0)
    known.learn(raced(a=GOOD, b=DEAD, policy=Policy(prefer=["pvd:b"])), 1)
    assert distrusted(known, 1) == {"b"}


def test_a_short_head_start_is_weak_evidence_and_needs_a_second_time() -> None:
    ranked = A_FAILS.ranking.ranked
    short = A_FAILS.ranking._replace(ranked=(ranked[0], ranked[1]._replace(head_start=0.05)))
    race = Race(A_FAILS.endpoint, short)
    simulate(race, ScriptedWorld({"a": DEAD, "b": GOOD}))
    report = RaceReport.of(race)
    assert report.elapsed < 0.2
    assert outdone(report) == []
    assert [(doubt.pvd.name, doubt.weight) for doubt in doubts(report, courses(report))] == [("a", 0.5)]
    known = History()
    known.learn(report, 0)
    assert distrusted(known, 0) == set()
    known.learn(report, 1)
    assert distrusted(known, 1) == {"a"}


# ---------------------------------------------------------------------- cost

FREE: dict[str, Any] = {"cost": "unmetered"}
DEAR: dict[str, Any] = {"cost": "variable"}
IMPATIENT = Policy(latency_budget=0)


def test_what_a_caller_pays_for_is_no_evidence_against_a_free_network_that_answers() -> None:
    """Evidence stands above cost: what is adequate for others must not be lost to who buys latency."""
    slow = raced(free=pvd(v6=ok(600), **FREE), lte=pvd(v6=ok(10), **DEAR), policy=IMPATIENT)
    assert slow.winner is not None
    assert (slow.winner.pvd, names(outdone(slow))) == ("lte", [])
    alike = raced(free=pvd(v6=ok(600), **FREE), other=pvd(v6=ok(10), **FREE))
    assert names(outdone(alike)) == ["free"], "what costs the same is compared by a head start"


def test_a_free_network_that_answers_slowly_is_not_silent() -> None:
    """1.2 s of round trip: its name server took so long, and its handshake had not the time."""
    report = raced(free=pvd(dns=1200, v6=ok(1200), **FREE), lte=pvd(v6=ok(10), **DEAR))
    assert report.winner is not None
    assert (report.winner.pvd, names(outdone(report))) == ("lte", [])
    dead = raced(free=pvd(dns=30, v6=blackhole, v4=blackhole, **FREE), lte=pvd(v6=ok(10), **DEAR))
    assert names(outdone(dead)) == ["free"], "silent for the whole budget"


def test_one_host_out_of_reach_sends_no_other_to_a_network_that_costs_more() -> None:
    unreachable = {"free": pvd(v6=refused(10), v4=refused(10), **FREE), "lte": pvd(v6=ok(10), **DEAR)}
    pvds = build_pvds(unreachable)

    def sinks(known: History, host: str) -> bool:
        expected = known.expected(pvds, Endpoint(host, 443), "tcp", 3.0)
        return rank(pvds, Endpoint(host, 443), expected=expected).ranked[0].pvd.name == "lte"

    known = History()
    for now in range(3):
        known.learn(raced(host="one.example", **unreachable), float(now))
    assert sinks(known, "one.example")
    assert not sinks(known, "two.example")
    known.learn(raced(host="two.example", **unreachable), 3.0)
    assert sinks(known, "three.example"), "now it is the network"


# ---------------------------------------------------------------------- one family

V6_DEAD = pvd(v6=blackhole, v4=ok(30))


def test_a_family_that_does_not_work_is_marked_and_the_pvd_is_not() -> None:
    """Dual stack is two networks: a is not demoted as a whole."""
    report = raced(a=V6_DEAD, b=GOOD)
    assert report.winner is not None
    assert (report.winner.pvd, report.winner.family) == ("b", 6)
    known = History()
    alone = raced(a=V6_DEAD)
    known.learn(alone, 0)
    assert expectation(known, "a", 0).blocked == (), "once may be chance"
    known.learn(alone, 1)
    found = expectation(known, "a", 1)
    assert (found.blocked, found.distrusted) == ((6,), False)
    assert expectation(known, "a", 1 + LONGEST_BLOCK).blocked == (), "it is tried again"
    known.learn(raced(a=GOOD), 2)
    assert expectation(known, "a", 2).blocked == ()


def test_a_server_without_one_family_says_nothing_of_the_port_two_servers_do() -> None:
    known = History()
    alone = raced(a=pvd(v6=refused(10), v4=ok(10)))
    for now in range(4):
        known.learn(alone, now)
    assert expectation(known, "a", 4).blocked == (6,)
    assert expectation(known, "a", 4, host="new.example").blocked == ()
    for now, host in enumerate(("one.example", "two.example", "three.example"), 5):
        known.learn(to(host, 443, alone), now)
    assert expectation(known, "a", 8, host="new.example").blocked == (6,)


def test_a_pvd_that_failed_has_failed_in_the_families_that_it_tried() -> None:
    known = History()
    known.learn(raced(a=pvd(v4=blackhole, v6=()), b=GOOD), 0)
    known.learn(raced(a=pvd(v4=blackhole, v6=()), b=GOOD), FIRST_BLOCK + 1)
    assert expectation(known, "a", FIRST_BLOCK + 2).blocked == (4,)


# ---------------------------------------------------------------------- times


def test_the_time_to_ready_runs_from_the_first_question_of_the_pvd() -> None:
    known = History()
    known.learn(A_FAILS, 0)  # b asks 50 ms before its head start ends: 50 ms, of which 20 are the lookup
    found = expectation(known, "b", 0)
    assert found.ready == pytest.approx(0.080)
    assert found.soon == pytest.approx(3 * 0.080), "RFC 6298 s2.2: the first sample, and 4 x half of it"
    assert known.known[instance(PVDS["b"])].dns is not None


def test_an_unknown_host_is_expected_to_be_as_the_port_and_an_unknown_port_as_the_pvd() -> None:
    known = History()
    known.learn(A_WINS, 0)
    assert expectation(known, "a", 0, host="new.example").soon == expectation(known, "a", 0).soon
    assert expectation(known, "a", 0, host="new.example", port=8080).soon == expectation(known, "a", 0).soon
    slow = raced(a=pvd(v6=ok(190), v4=ok(190)), host="far.example", port=8443)
    known.learn(slow, 1)
    assert expectation(known, "a", 1).ready == pytest.approx(0.050)
    assert expectation(known, "a", 1, host="x", port=8443).ready == pytest.approx(0.210)


def test_times_compare_at_one_level_only() -> None:
    """a is known for a far host; of b only the general level is: that is no reason to think b quicker."""
    known = History()
    known.learn(raced(a=pvd(v6=ok(190)), b=GOOD, host="far.example"), 0)
    for now in range(1, 30):
        known.learn(raced(a=GOOD, b=GOOD, host="near.example"), now)
    known.learn(raced(a=GOOD, b=GOOD, host="near.example", policy=Policy(prefer=["pvd:b"])), 30)
    a, b = (expectation(known, name, 30, host="far.example") for name in "ab")
    assert a.ready is not None
    assert b.ready is not None
    assert a.ready == expectation(known, "a", 30, host="new.example").ready, "the port's, as b's is"
    assert a.soon is not None
    assert a.soon > 0.2, "its head start is the far host's"


def test_readiness_tells_times_apart() -> None:
    known = History()
    known.learn(replace(A_WINS, ready="tls"), 0)
    assert expectation(known, "a", 0).ready is None
    assert known.expected(PVDS, Endpoint(HOST, 443), "tls", 0)["a"].ready == pytest.approx(0.050)


def test_who_was_only_slower_took_at_least_so_long() -> None:
    """b wins by 10 ms before a's head start is over for good: a is expected to be slower than that."""
    known = History()
    known.learn(A_WINS, 0)
    before = expectation(known, "a", 0).ready
    late = raced(a=pvd(v6=stalls(10), v4=stalls(10)), b=pvd(v6=ok(5)), pacing=Pacing(path_delay=0.4))
    known.learn(late, 1)
    after = known.known[instance(PVDS["a"])].places[levels(HOST, 443)[0]].times["tcp"]
    assert before is not None
    assert after.mean > before
    assert after.bound
    known.learn(A_WINS, 20)
    assert after.mean == pytest.approx(0.050), "the next measurement counts alone"


def test_times_expire() -> None:
    known = History()
    known.learn(A_WINS, 0)
    assert expectation(known, "a", TIMES_MAX_AGE - 1).ready is not None
    assert known.expected(PVDS, Endpoint(HOST, 443), "tcp", TIMES_MAX_AGE) == {}


def test_one_that_was_slower_is_tried_in_its_place_again_for_one_race() -> None:
    """HEv3 s5: what is known is set aside now and then, at a bounded price."""
    known = History()
    slow = pvd(v6=ok(200), v4=ok(200))
    known.learn(raced(a=slow, b=GOOD), 0)
    b_first = raced(a=slow, b=GOOD, policy=Policy(prefer=["pvd:b"]))
    now = 1.0
    while now < EXPLORE_AFTER - 1:
        known.learn(b_first, now)
        now += 10
    a, b = (expectation(known, name, EXPLORE_AFTER - 1) for name in "ab")
    assert a.ready is not None
    assert b.ready is not None
    assert a.ready > b.ready
    a, b = (expectation(known, name, EXPLORE_AFTER + 0.5) for name in "ab")
    assert (a.ready, b.ready, a.soon) == (None, None, PROBE_SOON)
    assert b.soon is not None
    known.learn(b_first, EXPLORE_AFTER + 1)
    a, b = (expectation(known, name, EXPLORE_AFTER + 1) for name in "ab")
    assert a.ready is not None, "one race was enough, though policy did not let it try"
    assert expectation(known, "a", 2 * EXPLORE_AFTER + 2).ready is None


def test_one_whose_distrust_has_ended_is_in_its_place_for_one_race_at_a_bounded_price() -> None:
    known = History()
    known.learn(A_WINS, 0)
    known.learn(A_FAILS, 5)
    found = expectation(known, "a", 5 + FIRST_BLOCK)
    assert (found.distrusted, found.ready) == (False, None)
    assert found.soon is not None
    assert found.soon <= PROBE_SOON
    known.learn(A_WINS, 6 + FIRST_BLOCK)
    found = expectation(known, "a", 6 + FIRST_BLOCK)
    assert found.ready == pytest.approx(0.050), "it has healed, and is as quick as it ever was"


def test_the_same_object_while_nothing_changed() -> None:
    known, endpoint = History(), Endpoint(HOST, 443)
    known.learn(A_FAILS, 0)
    known.learn(A_WINS, 20)
    first = known.expected(PVDS, endpoint, "tcp", 20)
    for n in range(1, 2000):
        now = 20 + n * 0.3
        known.learn(to(HOST, 443, A_WINS), now)
        assert known.expected(PVDS, endpoint, "tcp", now).get("a") is not None
    settled = known.expected(PVDS, endpoint, "tcp", now)
    assert settled == known.expected(PVDS, endpoint, "tcp", now)
    for n in range(1, 200):
        known.learn(to(HOST, 443, A_WINS), now + n * 0.3)
        assert known.expected(PVDS, endpoint, "tcp", now + n * 0.3) is settled
    known.learn(A_FAILS, now + 100)
    assert known.expected(PVDS, endpoint, "tcp", now + 100) is not settled
    assert first is not settled


def test_a_burst_of_races_is_one_sample() -> None:
    known, endpoint = History(), Endpoint(HOST, 443)
    known.learn(A_WINS, 0)
    known.expected(PVDS, endpoint, "tcp", 0)
    times = known.known[instance(PVDS["a"])].places[levels(HOST, 443)[0]].times["tcp"]
    deviation = times.deviation
    for n in range(1, 50):
        known.learn(A_WINS, n * SAMPLE_INTERVAL / 50)
    assert times.deviation == deviation
    known.learn(A_WINS, SAMPLE_INTERVAL * 1.01)
    assert times.deviation < deviation


# ---------------------------------------------------------------------- shares, incumbents, flaps, addresses


def test_failures_are_counted_for_the_port_and_fade() -> None:
    known = History()
    for n in range(3):
        known.learn(A_FAILS, n * 400.0)
    share = expectation(known, "a", 800).errors
    assert share >= 0.7
    assert expectation(known, "b", 800).errors == 0.0
    assert expectation(known, "a", 800, port=22).errors == 0.0
    assert expectation(known, "a", 800, host="other.example").errors == share
    for n in range(8):
        known.learn(A_WINS, 801 + n)
    assert expectation(known, "a", 810).errors < share
    assert expectation(known, "a", 800 + 24 * 3600).errors == 0.0


def test_the_incumbent_is_who_carried_the_last_connection_to_the_destination_or_to_the_port() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    assert expectation(known, "b", 0).incumbent
    known.learn(to("other.example", 443, A_WINS), 1)
    assert expectation(known, "b", 1).incumbent
    assert not expectation(known, "a", 1).incumbent
    assert expectation(known, "a", 1, host="other.example").incumbent
    assert expectation(known, "a", 1, host="new.example").incumbent
    assert not expectation(known, "a", 1, port=22).incumbent, "b may have won there because a cannot"
    assert not expectation(known, "a", 1 + 3600, host="new.example").incumbent


def test_who_won_while_another_was_away_is_no_incumbent_when_it_is_back() -> None:
    known = History()
    known.learn(raced(b=GOOD), 0)
    pvds = build_pvds({"b": GOOD})
    both = PvdSet((PVDS["a"], *pvds))
    assert expectation(known, "b", 1, pvds=both).incumbent
    known.moved([PvdChange("withdrawn", PVDS["a"])], 2)
    assert expectation(known, "b", 3, pvds=both).incumbent
    known.moved([PvdChange("added", PVDS["a"])], 4)
    assert not expectation(known, "b", 5, pvds=both).incumbent
    known.learn(raced(b=GOOD), 6)
    assert expectation(known, "b", 7, pvds=both).incumbent


def test_rtt_is_known_by_address_and_stays_the_same_object() -> None:
    report = measured(0.030)
    known = History()
    known.learn(report, 0)
    first = expectation(known, "a", 0).rtt
    assert first == {"2001:db8:99::1": 0.030}
    for n in range(1, 20):
        known.learn(measured(0.031 if n % 2 else 0.029), n)
        assert expectation(known, "a", n).rtt is first
    for n in range(20, 40):
        known.learn(measured(0.080), n)
    assert expectation(known, "a", 40).rtt["2001:db8:99::1"] > 0.060
    assert expectation(known, "a", 40, host="other.example").rtt == {}


def measured(rtt: float) -> RaceReport:
    """A race that a won, whose kernel has measured the handshake."""
    log = [
        (time, replace(entry, rtt=rtt) if isinstance(entry, Ready) else entry) for time, entry in A_WINS.log
    ]
    return replace(A_WINS, log=log)


@pytest.mark.row("3.43")
def test_flaps_count_in_a_window_and_a_quiet_one_forgives() -> None:
    known, a = History(), PVDS["a"]
    for n in range(3):
        down = replace(a, unusable="no carrier", attachment=n)
        known.moved([PvdChange("changed", down)], 4 * n)
        known.moved([PvdChange("changed", down)], 4 * n + 1)  # something else about it
        known.moved([PvdChange("changed", replace(a, attachment=n + 1))], 4 * n + 2)
    assert expectation(known, "a", 10).flaps == 6
    assert expectation(known, "b", 10) == NOTHING_KNOWN
    assert 0 < expectation(known, "a", 5 + FLAP_WINDOW).flaps < 6
    assert expectation(known, "a", 10 + FLAP_WINDOW).flaps == 0


def test_coming_and_going_are_flaps_also_where_nobody_saw_it_and_a_change_of_zones_is_none() -> None:
    known, a = History(), PVDS["a"]
    known.moved([PvdChange("withdrawn", a)], 0)
    assert expectation(known, "a", 0).flaps == 1
    known.moved([PvdChange("added", a)], 1)
    known.moved([PvdChange("changed", replace(a, zones=("corp.example",)))], 2)
    assert expectation(known, "a", 2).flaps == 2
    known.moved([PvdChange("changed", replace(a, attachment=7))], 3)
    assert expectation(known, "a", 3).flaps == 3


def test_what_will_not_be_recognised_again_is_dropped() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    known.moved([PvdChange("withdrawn", PVDS["a"])], 1)
    assert {one[0] for one in known.known} == {"b"}
    known.moved([PvdChange("changed", again()["b"])], 1)
    assert not known.known


def test_what_becomes_recognisable_keeps_what_is_known() -> None:
    known = History()
    known.learn(A_FAILS, 0)
    a = replace(PVDS["a"], identity="router 02:00:00:00:00:01")
    known.moved([PvdChange("changed", a)], 1)
    assert {one[0]: one[1] for one in known.known} == {"a": "router 02:00:00:00:00:01", "b": 0}
    assert distrusted(known, 2, pvds=PvdSet((a, PVDS["b"]))) == {"a"}


# ---------------------------------------------------------------------- bounds and laws


def test_the_number_of_destinations_is_bounded_and_the_longest_unused_goes() -> None:
    known = History()
    for port in range(1, PLACES_KEPT + 11):
        known.learn(to("www.example.com", port), port)
    assert len(known) <= 2 * PLACES_KEPT
    assert levels(HOST, 1)[0] not in known.known[instance(PVDS["a"])].places
    assert levels(HOST, PLACES_KEPT + 10)[0] in known.known[instance(PVDS["a"])].places


def test_the_number_of_pvds_and_answers_is_bounded() -> None:
    known = History()
    for n in range(INSTANCES_KEPT + 10):
        known.learn(raced(**{f"pvd{n}": GOOD}), n)
    assert len(known.known) == INSTANCES_KEPT
    for port in range(1, ANSWERS_KEPT + 10):
        known.expected(PVDS, Endpoint(HOST, port), "tcp", 0)
    assert len(known._answers) == ANSWERS_KEPT


REPORTS = {
    "a fails": A_FAILS,
    "a wins": A_WINS,
    "nobody wins": NOBODY_WINS,
    "a slow": raced(a=pvd(v6=ok(400), v4=ok(400)), b=GOOD),
    "b first": raced(a=GOOD, b=GOOD, policy=Policy(prefer=["pvd:b"])),
    "v6 dead": raced(a=V6_DEAD, b=DEAD),
    "b fails": raced(a=GOOD, b=DEAD, policy=Policy(prefer=["pvd:b"])),
}
STEPS = st.lists(st.tuples(st.floats(0, 400), st.sampled_from(sorted(REPORTS))), max_size=25)


@given(STEPS)
def test_law_only_a_failure_since_the_last_win_counts_and_never_longer_than_the_interval(
    steps: list[tuple[float, str]],
) -> None:
    known, now, failed = History(), 0.0, -LONGEST_BLOCK
    for gap, name in steps:
        now += gap
        known.learn(REPORTS[name], now)
        if name in ("a fails", "a slow"):
            failed = now
        elif name in ("a wins", "v6 dead", "b fails"):
            failed = -LONGEST_BLOCK
        assert distrusted(known, now) & {"a"} <= ({"a"} if failed >= 0 else set())
        assert "a" not in distrusted(known, failed + LONGEST_BLOCK)


@given(STEPS, STEPS)
def test_law_nothing_learnt_on_one_pvd_changes_what_is_expected_of_another(
    before: list[tuple[float, str]], others: list[tuple[float, str]]
) -> None:
    """The same races, once with c in them and once without: c is known by its own alone.

    Of the three levels of its times the one that compares is chosen; none of another's is used.
    """
    known, now = History(), 0.0
    c = raced(c=GOOD)
    known.learn(c, 0)
    pvds = build_pvds({"a": GOOD, "b": GOOD, "c": GOOD})
    for gap, name in before + others:
        now += gap / 40
        known.learn(REPORTS[name], now)
        found = expectation(known, "c", now, pvds=pvds)
        assert (found.distrusted, found.blocked, found.errors, found.flaps) == (False, (), 0.0, 0)
        assert found.ready in (None, c.elapsed)
        assert found.soon == pytest.approx(3 * c.elapsed) or found.soon is None or found.soon == PROBE_SOON


@given(STEPS, st.floats(0, 400))
def test_law_one_more_failure_never_makes_a_pvd_look_better(
    steps: list[tuple[float, str]], gap: float
) -> None:
    known, more, now = History(), History(), 0.0
    for each, name in steps:
        now += each
        known.learn(REPORTS[name], now)
        more.learn(REPORTS[name], now)
    now += gap
    more.learn(A_FAILS, now)
    without, after = expectation(known, "a", now), expectation(more, "a", now)
    assert after.distrusted >= without.distrusted
    assert set(after.blocked) >= set(without.blocked)
    assert after.errors >= without.errors
    if without.ready is not None and after.ready is not None:
        assert after.ready >= without.ready - 1e-9


@given(STEPS)
def test_law_expectations_decay_to_nothing(steps: list[tuple[float, str]]) -> None:
    known, now = History(), 0.0
    for gap, name in steps:
        now += gap
        known.learn(REPORTS[name], now)
    later = now + 48 * FORGOTTEN_AFTER
    assert known.expected(PVDS, Endpoint(HOST, 443), "tcp", later) == {}


@given(STEPS)
def test_law_an_answer_is_the_one_that_a_history_without_memory_gives(steps: list[tuple[float, str]]) -> None:
    """What `expected` remembers never differs from what it would work out."""
    known, now, endpoint = History(), 0.0, Endpoint(HOST, 443)
    for gap, name in steps:
        now += gap
        remembered = known.expected(PVDS, endpoint, "tcp", now)
        kept = known._answers.pop((HOST, 443, "tcp"), None)
        assert known.expected(PVDS, endpoint, "tcp", now) == remembered
        if kept is not None:
            known._answers[HOST, 443, "tcp"] = kept
        known.learn(REPORTS[name], now)
