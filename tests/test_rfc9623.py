"""RFC 9623 s4, candidate gathering and racing across network paths, on virtual time.

And the rules of RFC 7556 that bind each path: an answer is dialled in the PvD that gave it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf

import pytest

from pvdrace.drivers.virtual import simulate
from pvdrace.membership import changes
from pvdrace.model import Endpoint, LocalAddress, ProvisioningDomain, Ranked, Ranking, Reachability, Route
from pvdrace.policy import Policy
from pvdrace.race.actions import Cancel, Connect, Lookup, Skip
from pvdrace.race.events import Event, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Lost, Race
from pvdrace.ranking import rank
from pvdrace.testing.scenario import (
    PvdScript,
    Scenario,
    ScriptedWorld,
    blackhole,
    build_pvds,
    nodata,
    ok,
    pvd,
    refused,
    same,
    scenario,
    servfail,
    silent,
)
from replayed import every_scenario_is_replayed as every_scenario_is_replayed


def check(race: Scenario, expected: str) -> None:
    assert same(race.timeline(), expected), f"\n{race.timeline()}"


# ---------------------------------------------------------------------- s4.1: staggered paths


def test_s4_1_2_each_path_has_its_head_start_and_a_timer_of_its_own() -> None:
    """250 ms between PvDs, 250 ms between the attempts inside each; LTE asks 50 ms before it may dial."""
    check(
        scenario(
            wifi=pvd(dns=20, v6=blackhole, v4=blackhole),
            lte=pvd(dns=20, v6=blackhole, v4=ok(600)),
        ),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
         200 ms  lte ? AAAA A
         250 ms  lte -> v6
         270 ms  wifi -> v4
         500 ms  lte -> v4
        1100 ms  lte won v4       wifi cancelled v6       lte cancelled v6       wifi cancelled v4
        """,
    )


def test_s4_1_2_the_head_start_buys_a_dialled_address_even_if_the_answer_is_slow() -> None:
    check(
        scenario(wifi=pvd(dns=silent), lte=pvd(dns=90, v6=ok(10))),
        """
          0 ms  wifi ? AAAA A
        200 ms  lte ? AAAA A
        290 ms  lte -> v6
        300 ms  lte won v6       wifi cancelled AAAA       wifi cancelled A
        """,
    )


def test_s4_1_2_a_dead_first_path_costs_one_head_start() -> None:
    race = scenario(wifi=pvd(dns=20, v6=blackhole, v4=blackhole), lte=pvd(dns=20, v6=ok(60)))
    assert race.ended == pytest.approx(250 + 60)


def test_s4_1_2_a_path_whose_forerunner_failed_starts_at_once() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=refused(10), v4=refused(10)), lte=pvd(dns=20, v6=ok(60))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         30 ms  wifi x v6 refused       wifi -> v4
         40 ms  wifi x v4 refused       lte ? AAAA A
         60 ms  lte -> v6
        120 ms  lte won v6
        """,
    )


@pytest.mark.parametrize("reply", [servfail(20), nodata(20)])
def test_s4_1_2_a_path_without_an_address_has_failed(reply: object) -> None:
    race = scenario(wifi=pvd(dns=reply), lte=pvd(dns=20, v6=ok(60)))  # type: ignore[arg-type]
    assert race.report.lookups[2].started == pytest.approx(0.020)
    assert race.ended == pytest.approx(100)


def test_s4_1_2_all_forerunners_must_have_failed_not_only_the_last() -> None:
    check(
        scenario(
            wifi=pvd(dns=20, v6=blackhole),
            lan=pvd(dns=5, v6=refused(5)),
            lte=pvd(dns=20, v6=ok(300)),
        ),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        200 ms  lan ? AAAA A
        250 ms  lan -> v6
        255 ms  lan x v6 refused
        450 ms  lte ? AAAA A
        500 ms  lte -> v6
        800 ms  lte won v6       wifi cancelled v6
        """,
    )


def test_s4_1_2_an_earlier_path_is_not_killed_because_a_later_starts() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=ok(400)), lte=pvd(dns=20, v6=ok(400))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        200 ms  lte ? AAAA A
        250 ms  lte -> v6
        420 ms  wifi won v6       lte cancelled v6
        """,
    )


def test_s4_1_3_failover_a_path_without_a_head_start_runs_only_after_all_others_failed() -> None:
    failover = Policy(racing="failover")
    check(
        scenario(
            policy=failover,
            wifi=pvd(dns=20, v6=ok(5000)),
            lte=pvd(dns=20, v6=ok(10)),
        ),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        5020 ms  wifi won v6
        """,
    )
    check(
        scenario(
            policy=failover,
            wifi=pvd(dns=20, v6=refused(30)),
            lte=pvd(dns=20, v6=ok(10)),
        ),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
         50 ms  wifi x v6 refused       lte ? AAAA A
         70 ms  lte -> v6
         80 ms  lte won v6
        """,
    )


def test_s4_1_3_a_metered_path_waits_for_the_latency_budget() -> None:
    """The free one is adequate for so long; without a limit, until it has failed."""
    wifi = pvd(dns=20, v6=blackhole, cost="unmetered")
    lte = pvd(dns=20, v6=ok(10), cost="variable")
    check(
        scenario(policy=Policy(capacity_profile="interactive"), wifi=wifi, lte=lte),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        250 ms  lte ? AAAA A
        300 ms  lte -> v6
        310 ms  lte won v6       wifi cancelled v6
        """,
    )
    check(
        scenario(policy=Policy(latency_budget=inf), pacing=Pacing(attempt_timeout=3.0), wifi=wifi, lte=lte),
        """
           0 ms  wifi ? AAAA A
          20 ms  wifi -> v6
        3020 ms  wifi x v6 timeout 3.0 s       lte ? AAAA A
        3040 ms  lte -> v6
        3050 ms  lte won v6
        """,
    )


def test_a_race_without_a_usable_path_is_lost_at_once() -> None:
    race = scenario()
    assert race.ended == 0
    check(race, "0 ms  lost: no usable provisioning domain")


def test_all_paths_failed() -> None:
    check(
        scenario(wifi=pvd(dns=20, v6=refused(10)), lte=pvd(dns=20, v6=refused(10))),
        """
         0 ms  wifi ? AAAA A
        20 ms  wifi -> v6
        30 ms  wifi x v6 refused       lte ? AAAA A
        50 ms  lte -> v6
        60 ms  lte x v6 refused       lost: all attempts failed
        """,
    )


# ---------------------------------------------------------------------- s4.1.3: policy


def test_s4_1_3_a_prohibited_path_is_in_no_action() -> None:
    """Not even when all others have failed, and not for a lookup."""
    race = scenario(
        policy=Policy(prohibit=["pvd:lte"]),
        wifi=pvd(dns=20, v6=refused(10)),
        lte=pvd(dns=20, v6=ok(10)),
    )
    assert not race.won
    assert involved(race) == {"wifi"}
    assert [r.pvd.name for r in race.report.ranking.excluded] == ["lte"]


def test_s4_1_3_a_requirement_never_falls_back() -> None:
    race = scenario(
        policy=Policy(require=["pvd:lte"]),
        wifi=pvd(dns=20, v6=ok(10)),
        lte=pvd(dns=20, v6=refused(10), cost="variable"),
    )
    check(
        race,
        """
         0 ms  lte ? AAAA A
        20 ms  lte -> v6
        30 ms  lte x v6 refused       lost: all attempts failed
        """,
    )


def test_s4_1_3_a_requirement_that_nobody_meets_is_lost_without_an_action() -> None:
    race = scenario(policy=Policy(require=["pvd:vpn"]), wifi=pvd(dns=20, v6=ok(10)))
    assert involved(race) == set()
    assert isinstance(race.race.outcome, Lost)


def test_s4_1_3_a_preferred_path_goes_first() -> None:
    race = scenario(
        policy=Policy(prefer=["pvd:lte"]), wifi=pvd(dns=20, v6=ok(10)), lte=pvd(dns=20, v6=ok(10))
    )
    assert involved(race) == {"lte"}


def test_s4_1_3_an_avoided_path_runs_only_after_the_others_failed() -> None:
    policy = Policy(avoid=["pvd:wifi"])
    race = scenario(policy=policy, wifi=pvd(dns=20, v6=ok(10)), lte=pvd(dns=20, v6=ok(2000)))
    assert involved(race) == {"lte"}
    race = scenario(policy=policy, wifi=pvd(dns=20, v6=ok(10)), lte=pvd(dns=20, v6=refused(10)))
    assert race.report.winner is not None
    assert race.report.winner.pvd == "wifi"


def test_s4_1_3_a_prohibited_family_is_neither_asked_for_nor_dialled() -> None:
    race = scenario(policy=Policy(prohibit=["family:ipv6"]), wifi=pvd(dns=20, v6=ok(10), v4=ok(10)))
    assert [lookup.type for lookup in race.report.lookups] == ["A"]
    assert [a.family for a in race.report.attempts] == [4]


def test_a_captive_portal_is_not_raced() -> None:
    race = scenario(wifi=pvd(dns=20, v6=ok(10), reachability=Reachability.PORTAL), lte=pvd(dns=20, v6=ok(10)))
    assert involved(race) == {"lte"}


def involved(race: Scenario) -> set[str]:
    """The PvDs that appear in any action."""
    names = set()
    for _, entry in race.race.log:
        match entry:
            case Lookup(pvd=pvd) | Cancel(target=Lookup(pvd=pvd)):
                names.add(pvd.name)
            case Connect(candidate=candidate) | Cancel(target=Connect(candidate=candidate)):
                names.add(candidate.pvd.name)
            case Skip(pvd=name):
                names.add(name)
    return names


# ---------------------------------------------------------------------- RFC 7556 s5.2.1: answers stay at home


def test_rfc7556_s5_2_1_an_answer_is_dialled_only_in_the_pvd_that_gave_it() -> None:
    race = scenario(
        wifi=pvd(dns=20, answers=("198.51.100.1", "2001:db8:1:1::1"), v6=blackhole, v4=blackhole),
        vpn=pvd(dns=20, answers=("10.9.9.9", "2001:db8:2:2::2"), v6=blackhole, v4=ok(500)),
    )
    assert {(a.pvd, a.remote) for a in race.report.attempts} == {
        ("wifi", "198.51.100.1"),
        ("wifi", "2001:db8:1:1::1"),
        ("vpn", "10.9.9.9"),
        ("vpn", "2001:db8:2:2::2"),
    }


def test_rfc7556_s5_2_1_the_same_address_is_another_candidate_in_each_pvd() -> None:
    race = scenario(wifi=pvd(dns=20, v4=blackhole), lte=pvd(dns=20, v4=ok(10)))
    assert [(a.pvd, a.remote, a.local) for a in race.report.attempts] == [
        ("wifi", "198.51.100.1", "10.0.1.2"),
        ("lte", "198.51.100.1", "10.0.2.2"),
    ]


def test_rfc7556_s5_2_2_an_address_without_a_route_in_its_pvd_is_skipped_and_said() -> None:
    race = scenario(
        vpn=pvd(
            dns=20,
            answers=("198.51.100.1", "10.9.9.9"),
            v4=ok(10),
            addresses=(LocalAddress("10.9.0.2", 16),),
            routes=(Route("10.9.0.0/16"),),
        )
    )
    assert [a.remote for a in race.report.attempts] == ["10.9.9.9"]
    assert race.report.skipped == (Skip("vpn", "198.51.100.1", "no route"),)


def test_nothing_but_addresses_that_cannot_be_dialled() -> None:
    race = scenario(
        vpn=pvd(
            dns=20,
            answers=("198.51.100.1",),
            addresses=(LocalAddress("10.9.0.2", 16),),
            routes=(Route("10.9.0.0/16"),),
        )
    )
    check(
        race,
        """
         0 ms  vpn ? A
        20 ms  vpn skips 198.51.100.1: no route       lost: no usable address
        """,
    )


# ---------------------------------------------------------------------- paths come and go


def test_s4_a_withdrawn_path_is_cancelled_and_the_next_starts_at_once() -> None:
    check(
        scenario(withdraw={"wifi": 100}, wifi=pvd(aaaa=20, a=500, v6=blackhole), lte=pvd(dns=20, v6=ok(60))),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  wifi withdrawn: link removed   wifi cancelled A   wifi cancelled v6   lte ? AAAA A
        120 ms  lte -> v6
        180 ms  lte won v6
        """,
    )


def test_a_withdrawn_path_that_had_not_begun_never_does() -> None:
    race = scenario(withdraw={"lte": 100}, wifi=pvd(dns=20, v6=ok(600)), lte=pvd(dns=20, v6=ok(60)))
    assert involved(race) == {"wifi"}
    assert race.won


def test_the_last_path_is_withdrawn() -> None:
    race = scenario(withdraw={"wifi": 100}, wifi=pvd(dns=20, v6=blackhole))
    assert isinstance(race.race.outcome, Lost)
    assert race.ended == pytest.approx(100)


def test_a_path_added_in_mid_race_joins_with_its_head_start() -> None:
    check(
        scenario(add={"lte": (100, pvd(dns=20, v6=ok(60)))}, wifi=pvd(dns=20, v6=blackhole)),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  lte added
        200 ms  lte ? AAAA A
        250 ms  lte -> v6
        310 ms  lte won v6       wifi cancelled v6
        """,
    )


def test_a_path_added_after_its_head_start_begins_at_once() -> None:
    check(
        scenario(add={"lte": (700, pvd(dns=20, v6=ok(60)))}, wifi=pvd(dns=20, v6=blackhole)),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        700 ms  lte added       lte ? AAAA A
        720 ms  lte -> v6
        780 ms  lte won v6       wifi cancelled v6
        """,
    )


def test_a_path_attached_anew_stands_where_the_new_ranking_puts_it() -> None:
    """wifi goes and comes back behind lte, for which it must wait."""
    wifi, lte = ProvisioningDomain("wifi"), ProvisioningDomain("lte")
    race = Race(Endpoint("www.example.com", 443), Ranking((Ranked(wifi), Ranked(lte, None))))
    race.start(0.0)
    race.handle(PvdAdded(Ranked(replace(wifi, attachment=1), None), 1), 0.1)
    asked = race.tick(race.deadline)
    assert [action.pvd.name for action in asked if isinstance(action, Lookup)] == ["lte", "lte"]
    for lookup in asked:
        assert isinstance(lookup, Lookup)
        race.handle(LookupFailed(lookup.id, "SERVFAIL"), 0.2)
    asked = race.tick(race.deadline)
    assert [action.pvd.name for action in asked if isinstance(action, Lookup)] == ["wifi", "wifi"]


def test_s4_the_last_path_goes_as_another_comes() -> None:
    """One snapshot says both: nobody has to notice the one before the other."""
    check(
        handover(["wifi"], {"lte": pvd(dns=20, v6=ok(60))}),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  lte added   wifi withdrawn: gone   wifi cancelled v6   lte ? AAAA A
        120 ms  lte -> v6
        180 ms  lte won v6
        """,
    )


@pytest.mark.parametrize("policy", [None, Policy(require=["pvd:wifi"])])
def test_s4_the_only_path_gets_another_address(policy: Policy | None) -> None:
    """What is under way is void, and it starts again from its new attachment."""
    check(
        handover(["wifi"], {"wifi": pvd(dns=20, v6=ok(60), attachment=1)}, policy),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  wifi added   wifi cancelled v6   wifi ? AAAA A
        120 ms  wifi -> v6
        180 ms  wifi won v6
        """,
    )


def test_s4_a_requirement_is_lost_with_its_path_whoever_else_comes() -> None:
    check(
        handover(["wifi"], {"lte": pvd(dns=20, v6=ok(60))}, Policy(require=["pvd:wifi"])),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  wifi withdrawn: gone   wifi cancelled v6   lost: no usable provisioning domain
        """,
    )


def test_s4_the_first_path_gets_another_address_and_keeps_its_place() -> None:
    check(
        handover(["wifi", "lte"], {"wifi": pvd(dns=20, v6=ok(60), attachment=1), "lte": STALE}),
        """
          0 ms  wifi ? AAAA A
         20 ms  wifi -> v6
        100 ms  wifi added   wifi cancelled v6   wifi ? AAAA A
        120 ms  wifi -> v6
        180 ms  wifi won v6
        """,
    )


STALE = pvd(dns=20, v6=blackhole)


def handover(names: list[str], after: dict[str, PvdScript], policy: Policy | None = None) -> Scenario:
    """Race over PvDs that are black holes; after 100 ms a new snapshot has others."""
    endpoint, layers = Endpoint("www.example.com", 443), [("call", policy)] if policy else []
    pvds = build_pvds(dict.fromkeys(names, STALE))
    later = build_pvds(after)
    race = Race(endpoint, rank(pvds, endpoint, layers))
    first, second = ScriptedWorld(dict.fromkeys(names, STALE)), ScriptedWorld(after)

    class World:
        """Each attachment has a world of its own."""

        def lookup(self, action: Lookup) -> Iterable[tuple[float, Event]]:
            return (first if action.pvd in pvds.pvds else second).lookup(action)

        def connect(self, action: Connect) -> Iterable[tuple[float, Event]]:
            return (first if action.candidate.pvd in pvds.pvds else second).connect(action)

    events = changes([ranked.pvd for ranked in race.ranking.ranked], later, rank(later, endpoint, layers))
    end = simulate(race, World(), changes=[(0.1, event) for event in events])
    return Scenario(race, end * 1000)


def test_a_path_that_is_there_already_is_not_added_twice() -> None:
    wifi = ProvisioningDomain("wifi")
    race = Race(Endpoint("www.example.com", 443), Ranking((Ranked(wifi),)))
    race.start(0.0)
    before = list(race.log)
    assert race.handle(PvdAdded(Ranked(wifi), 0), 0.1) == ()
    assert race.log == before


def test_an_answer_of_a_withdrawn_path_is_void() -> None:
    wifi, lte = ProvisioningDomain("wifi"), ProvisioningDomain("lte")
    race = Race(Endpoint("www.example.com", 443), Ranking((Ranked(wifi), Ranked(lte, 0.25))))
    aaaa = race.start(0.0)[0]
    assert isinstance(aaaa, Lookup)
    race.handle(PvdWithdrawn("wifi", "gone"), 0.01)
    assert race.handle(LookupAnswered(aaaa.id, ("2001:db8::1",)), 0.02) == ()


# ---------------------------------------------------------------------- literals and the host itself


def test_a_literal_is_raced_over_all_paths() -> None:
    check(
        scenario("198.51.100.1", wifi=pvd(v4=blackhole), lte=pvd(v4=ok(60))),
        """
          0 ms  wifi -> v4
        250 ms  lte -> v4
        310 ms  lte won v4       wifi cancelled v4
        """,
    )


def test_a_scoped_literal_is_dialled_only_on_its_interface() -> None:
    link_local = (LocalAddress("fe80::2", 64), LocalAddress("2001:db8:1::2", 64))
    race = scenario(
        "fe80::1%lte0",
        wifi=pvd(v6=ok(10), addresses=link_local),
        lte=pvd(v6=ok(10), addresses=link_local),
    )
    assert [(a.pvd, a.remote) for a in race.report.attempts] == [("lte", "fe80::1")]
    assert race.won


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "api.localhost"])
def test_rfc6761_s6_3_localhost_is_neither_looked_up_nor_sent_out(host: str) -> None:
    race = scenario(host, loopback=pvd(v6=refused(0), v4=ok(1)), wifi=pvd(v6=ok(1), v4=ok(1)))
    check(
        race,
        """
         0 ms  loopback -> v6       loopback x v6 refused
        10 ms  loopback -> v4
        11 ms  loopback won v4
        """,
    )
    assert [a.remote for a in race.report.attempts] == ["::1", "127.0.0.1"]


def test_a_loopback_literal_stays_on_the_host() -> None:
    race = scenario("127.0.0.1", loopback=pvd(v4=ok(1)), wifi=pvd(v4=ok(1)))
    assert [(a.pvd, a.remote) for a in race.report.attempts] == [("loopback", "127.0.0.1")]


def test_a_pvd_that_can_ask_for_nothing_says_so() -> None:
    """NAT64 carries IPv4 destinations, but not if policy takes IPv6 away."""
    wifi = ProvisioningDomain(
        "wifi", addresses=(LocalAddress("2001:db8:1::2", 64),), pref64=("64:ff9b::/96",)
    )
    race = Race(Endpoint("www.example.com", 443), Ranking((Ranked(wifi, families=(4,)),)))
    (skip,) = race.start(0.0)
    assert skip == Skip("wifi", "www.example.com", "no family that this PvD has and policy allows")
    assert race.outcome == Lost("no usable address")
