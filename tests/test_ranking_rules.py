"""Each filter and each rule of the ranking, and what makes a head start. Written as in `test_ranking`."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from textwrap import dedent
from typing import Any

import pytest

from pvdrace import capacity
from pvdrace.expectation import EXPECT_NOTHING, Expectation, Expectations
from pvdrace.model import (
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranking,
    Reachability,
    Reached,
    Route,
)
from pvdrace.policy import RANKING_RULES, CapacityProfile, Policy
from pvdrace.race.pacing import Pacing
from pvdrace.ranking import ambiguous, rank
from pvdrace.ranking.head_starts import round_trip_times
from pvdrace.ranking.rules import OPTIONAL_RULES, RULES
from test_ranking import DEFAULTS, FIXED, LTE, UNMETERED, VARIABLE, VPN, pvd, show

A, B, C = (pvd(name, cost=UNMETERED) for name in "abc")
VALIDATED, PORTAL, PARTIAL, NONE = (
    Reachability.VALIDATED,
    Reachability.PORTAL,
    Reachability.PARTIAL,
    Reachability.NONE,
)


def ranking_of(
    *pvds: ProvisioningDomain,
    to: str = "www.example.com",
    port: int = 443,
    policy: Policy | None = None,
    expected: Expectations = EXPECT_NOTHING,
    label: str | None = None,
) -> Ranking:
    layers = [("call", policy)] if policy else []
    return rank(PvdSet(pvds), Endpoint(to, port), layers, expected=expected, label=label)


def check(picture: str, *pvds: ProvisioningDomain, **given: object) -> Ranking:
    ranking = ranking_of(*pvds, **given)  # type: ignore[arg-type]
    assert show(ranking) == dedent(picture).strip()
    return ranking


def order_of(ranking: Ranking) -> str:
    return "".join(entry.pvd.name for entry in ranking.ranked)


def starts_of(ranking: Ranking) -> list[float | None]:
    return [entry.head_start for entry in ranking.ranked]


def reached(family: int, state: Reachability, *ports: int, portal: str | None = None) -> Reached:
    return Reached(family, state, "a test", 0.0, portal, ports)


def test_the_rules_that_a_policy_may_name_are_those_there_are() -> None:
    assert tuple(rule.name for rule in (*RULES, *OPTIONAL_RULES)) == RANKING_RULES
    with pytest.raises(
        ValueError, match=r"^rank_by: no ranking rule 'costs', did you mean 'cost'\?; there are"
    ):
        Policy(rank_by=["costs"])


# ---------------------------------------------------------------------- who is left out


def test_a_portal_is_out_and_its_page_is_named() -> None:
    hotel = pvd("hotel", reachability=PORTAL, reached=(reached(4, PORTAL, portal="https://login.example/"),))
    check("hotel out (behind a captive portal (https://login.example/))", hotel)


@pytest.mark.parametrize(
    ("require", "runs"),
    [
        ("pvd:hotel", True),
        ("interface:hotel0", True),
        ("reachability:portal", True),
        ("pvd:*", False),
        ("interface:hotel*", False),
        ("type:unknown", False),
    ],
)
def test_a_portal_runs_where_it_is_required_itself(require: str, runs: bool) -> None:
    hotel = pvd("hotel", reachability=PORTAL, reached=(reached(4, PORTAL),))
    ranking = ranking_of(hotel, policy=Policy(require=[require]))
    assert [entry.families for entry in ranking.ranked] == ([(6, 4)] if runs else [])


@pytest.mark.parametrize("summary", [PORTAL, VALIDATED, Reachability.UNKNOWN])
def test_a_pvd_of_which_one_family_is_behind_a_portal_runs_in_the_other(summary: Reachability) -> None:
    hotel = pvd("hotel", reachability=summary, reached=(reached(4, PORTAL), reached(6, VALIDATED)))
    (entry,) = ranking_of(hotel).ranked
    assert entry.families == (6,)
    check("hotel 0 ms", hotel, to="2001:db8:5::1")
    check("hotel out (behind a captive portal)", hotel, to="203.0.113.1")
    check(
        "hotel out (no family left: family:ipv4 is required (call))",
        replace(hotel, addresses=(LocalAddress("2001:db8::2", 64),)),
        policy=Policy(require=["family:ipv4"]),
    )
    check("hotel out (behind a captive portal)", hotel, policy=Policy(require=["family:ipv4"]))


def test_a_portal_in_one_family_of_a_pvd_that_is_behind_one_leaves_no_unknown_family() -> None:
    check(
        "hotel out (behind a captive portal)",
        pvd("hotel", reachability=PORTAL, reached=(reached(4, PORTAL),)),
    )


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (FIXED, "cost: fixed"),
        (VARIABLE, "cost: variable"),
        (Cost(CostClass.UNMETERED, frozenset({"roaming"})), "cost: unmetered, roaming"),
        (Cost(CostClass.VARIABLE, frozenset({"temp_unmetered", "congested"})), None),
        (Cost(CostClass.VARIABLE, frozenset({"temp_unmetered"})), None),
        (UNMETERED, None),
        (Cost(), None),
    ],
)
def test_a_scavenger_never_uses_what_is_known_to_be_metered(cost: Cost, text: str | None) -> None:
    lte = pvd("lte", cost=cost)
    out = bool(ranking_of(lte, policy=Policy(capacity_profile="scavenger")).excluded)
    assert out == (text is not None or "congested" in cost.flags)
    if text:
        check(
            f"lte out ({text}, and scavenger uses nothing metered (call))",
            lte,
            policy=Policy(capacity_profile="scavenger"),
        )


def test_the_capacity_profile_of_the_closest_layer_counts() -> None:
    layers = [
        ("call", Policy(capacity_profile="default")),
        ("application", Policy(capacity_profile="scavenger")),
    ]
    assert rank(PvdSet((LTE,)), Endpoint("x", 1), layers).ranked
    assert not rank(PvdSet((LTE,)), Endpoint("x", 1), layers[::-1]).ranked


def test_min_rate_holds_where_the_rate_is_known_and_for_every_layer() -> None:
    slow, fast = pvd("slow", rate=1e6), pvd("fast", rate=5e6)
    check(
        """
        any 0 ms (by name)
        fast 250 ms (by name)
        slow out (1000000 bit/s, 2000000 are required (call))
        """,
        *(slow, fast, pvd("any")),
        policy=Policy(min_rate=2e6),
    )
    layers = [("call", Policy(min_rate=1e5)), ("application", Policy(min_rate=2e6))]
    assert not rank(PvdSet((slow,)), Endpoint("x", 1), layers).ranked


@pytest.mark.row("1.10")
def test_rfc_7556_s7_1_the_zones_of_a_pvd_that_is_not_trusted_count_for_nothing() -> None:
    rogue = pvd("rogue", zones=("corp.example",), trusted=False)
    check(
        """
        vpn 0 ms (owns corp.example)
        rogue out (corp.example belongs to vpn)
        """,
        *(VPN, rogue),
        to="git.corp.example",
    )
    check("rogue 0 ms", rogue)


# ---------------------------------------------------------------------- the order


def test_zone_the_longer_one_and_route_the_more_specific_one_stand_before_preference() -> None:
    tunnel = pvd("vpn", addresses=(LocalAddress("10.8.0.2", 24),), routes=(Route("10.0.0.0/8"),))
    check(
        """
        vpn 0 ms (route /8)
        a 250 ms (no specific route)
        """,
        *(replace(A, routes=DEFAULTS), tunnel),
        to="10.1.2.3",
        policy=Policy(prefer=["pvd:a"]),
    )


def test_the_destination_on_the_link_of_a_pvd_goes_there() -> None:
    """The printer answers while the VPN takes everything."""
    vpn = pvd(
        "vpn",
        addresses=(LocalAddress("10.8.0.2", 32),),
        routes=(Route("0.0.0.0/0", metric=50),),
        cost=UNMETERED,
    )
    check(
        """
        a 0 ms (route /24)
        vpn 250 ms (no specific route)
        """,
        *(vpn, replace(A, routes=DEFAULTS)),
        to="192.168.1.77",
    )


def test_the_routes_of_a_pvd_that_is_not_trusted_are_no_better_than_a_default() -> None:
    rogue = pvd("rogue", routes=(Route("10.0.0.0/8"),), trusted=False, cost=UNMETERED)
    check(
        """
        a 0 ms (by name)
        rogue 250 ms (by name)
        """,
        *(rogue, replace(A, routes=DEFAULTS)),
        to="10.1.2.3",
    )


BAD = {
    "blocked": (A, Expectation(blocked=(6, 4)), "port 22 does not work here"),
    "nothing": (replace(A, reachability=NONE), Expectation(), "reaches nothing"),
    "nothing, each family": (
        replace(A, reached=(reached(6, NONE), reached(4, NONE)), reachability=NONE),
        Expectation(),
        "reaches nothing",
    ),
    "other ports": (
        replace(A, reached=(reached(6, PARTIAL, 443), reached(4, PARTIAL, 80, 443)), reachability=PARTIAL),
        Expectation(),
        "passes only ports 80, 443",
    ),
    "one port in the only family": (
        replace(A, addresses=(LocalAddress("192.168.1.2", 24),), reached=(reached(4, PARTIAL, 80),)),
        Expectation(),
        "passes only port 80",
    ),
    "blocked and other ports": (
        replace(A, reached=(reached(4, PARTIAL, 80, 443),)),
        Expectation(blocked=(6,)),
        "passes only ports 80, 443",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.row("1.6")
def test_what_is_known_not_to_work_comes_last_and_without_a_head_start(case: str) -> None:
    bad, expectation, why = BAD[case]
    check(
        f"""
        lte 0 ms (nothing known against it)
        a last ({why})
        """,
        *(bad, LTE),
        port=22,
        expected={"a": expectation},
    )


GOOD = {
    "one family blocked": (A, Expectation(blocked=(6,))),
    "this port passes": (replace(A, reached=(reached(4, PARTIAL, 22), reached(6, NONE))), Expectation()),
    "one family unknown": (replace(A, reached=(reached(4, NONE),)), Expectation()),
    "partial, nobody knows how": (
        replace(A, reached=(reached(4, PARTIAL),), reachability=PARTIAL),
        Expectation(),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_may_work_in_one_family_is_not_out_of_the_running(case: str) -> None:
    good, expectation = GOOD[case]
    check(
        """
        a 0 ms (unmetered)
        lte 2000 ms (cost: variable)
        """,
        *(LTE, good),
        port=22,
        expected={"a": expectation},
    )


def test_the_family_that_does_not_work_is_tried_last() -> None:
    for known, expectation in (
        (A, Expectation(blocked=(6,))),
        (replace(A, reached=(reached(6, NONE),)), Expectation()),
        (replace(A, reached=(reached(6, PARTIAL, 80),)), Expectation()),
    ):
        assert ranking_of(known, expected={"a": expectation}).ranked[0].families == (4, 6)
    assert ranking_of(A, expected={"a": Expectation(blocked=(4,))}).ranked[0].families == (6, 4)


@pytest.mark.row("4.2")
def test_equal_pvds_have_the_same_winner_in_50_runs_and_when_made_anew_in_reverse_order() -> None:
    for made in ((A, B, C), (C, B, A)):
        assert {order_of(ranking_of(*[replace(pvd) for pvd in made])) for _ in range(50)} == {"abc"}


@pytest.mark.row("1.5", "6.7")
def test_the_hotel_that_passes_the_web_alone_is_used_for_it_and_for_nothing_else() -> None:
    hotel = replace(
        A, reached=(reached(4, PARTIAL, 80, 443), reached(6, PARTIAL, 80, 443)), reachability=PARTIAL
    )
    assert order_of(ranking_of(hotel, B)) == "ab"
    assert order_of(ranking_of(hotel, replace(B, reachability=VALIDATED), port=443)) == "ab"
    assert order_of(ranking_of(hotel, B, port=22)) == "ba"


@pytest.mark.row("1.5", "6.7")
@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({"ports": (80, 443), "lost": (22,)}, {443: "ab", 22: "ba", 8443: "cab"}),
        ({"ports": (80, 443), "blocked": (22,)}, {443: "ab", 22: "ba", 8443: "cab"}),
        ({"ports": (80,), "blocked": (443,), "lost": (22,)}, {80: "ab", 443: "ba", 22: "ba", 8443: "cab"}),
    ],
)
def test_a_port_that_was_never_tried_is_not_held_for_blocked(
    known: dict[str, Any], wanted: dict[int, str]
) -> None:
    """It comes as what is unknown does: behind what is validated (c), by name before another such (b).

    What was lost in a race is in what is expected, and sinks by that.
    """
    hotel = replace(
        A, reached=tuple(Reached(f, PARTIAL, "", 0, **known) for f in (6, 4)), reachability=PARTIAL
    )
    for port, order in wanted.items():
        validated = replace(C, reachability=VALIDATED)
        others = (B, validated) if "c" in order else (B,)
        distrusted = Expectation(distrusted=port in known.get("lost", ()))
        ranking = ranking_of(hotel, *others, port=port, expected={"a": distrusted})
        assert order_of(ranking).startswith(order), port
        sinks = port in known.get("blocked", ())
        assert (ranking.ranked[-1].head_start is None) is sinks


def test_what_races_have_lost_weighs_as_much_as_history_says() -> None:
    """For a host where the port has worked since, say, it is nothing: the snapshot does not sink it again."""
    hotel = replace(A, reached=(Reached(4, PARTIAL, "", 0, ports=(443,), lost=(22,)),))
    assert order_of(ranking_of(hotel, LTE, port=22)) == "alte"


def test_distrusted_comes_before_known_not_to_work() -> None:
    check(
        """
        c 0 ms (nothing known against it)
        b 250 ms (did not work in time a moment ago)
        a last (reaches nothing)
        """,
        *(replace(A, reachability=NONE), B, C),
        expected={"b": Expectation(distrusted=True)},
    )


def test_validation_orders_and_never_outweighs_cost() -> None:
    check(
        """
        b 0 ms (unmetered; validated)
        a 250 ms (unmetered; not yet validated)
        c 500 ms (unmetered; not validated)
        lte 2000 ms (cost: variable)
        """,
        *(
            A,
            replace(B, reachability=VALIDATED),
            replace(C, reachability=PARTIAL),
            replace(LTE, reachability=VALIDATED),
        ),
    )


def test_over_its_limit_is_dearer_than_anything_and_the_last_resort() -> None:
    wifi = pvd("wifi", cost=Cost(CostClass.UNMETERED, frozenset({"over_limit"})))
    check(
        """
        lte 0 ms (cost: variable)
        wifi last (cost: unmetered, over_limit)
        """,
        *(wifi, LTE),
    )


# What was learnt.


def times(**milliseconds: float | None) -> Expectations:
    """What was learnt, in milliseconds; None: nothing."""
    return {
        name: Expectation() if ms is None else Expectation(ready=ms / 1000, soon=ms / 1000)
        for name, ms in milliseconds.items()
    }


def served(expected: Expectations, name: str) -> Expectations:
    return {**expected, name: expected[name]._replace(incumbent=True)}


@pytest.mark.parametrize(
    ("a", "b", "order"),
    [
        (100, 99, "ab"),
        (100, 67, "ab"),  # not quite a third
        (100, 66, "ba"),
        (29, 20, "ab"),  # a third, but not 10 ms
        (30, 20, "ba"),
        (36, 24.5, "ab"),
        (500, 20, "ba"),
        (20, 500, "ab"),
        (0, 0, "ab"),
    ],
)
def test_faster_is_one_third_and_10_ms_at_least(a: float, b: float, order: str) -> None:
    assert order_of(ranking_of(A, B, expected=times(a=a, b=b))) == order
    assert order_of(ranking_of(A, B, expected=served(times(a=a, b=b), "a"))) == order
    # Who served last time stays for as long as nobody is clearly faster.
    stays = "ba" if order == "ba" or b < a * 1.5 or b < a + 10 else "ab"
    assert order_of(ranking_of(A, B, expected=served(times(a=a, b=b), "b"))) == stays


def test_two_that_are_1_ms_apart_never_change_places_wherever_they_are() -> None:
    for tenths in range(10, 40_000, 7):
        one, other = tenths / 10, tenths / 10 + 1
        assert order_of(ranking_of(A, B, expected=times(a=one, b=other))) == "ab", tenths
        assert order_of(ranking_of(A, B, expected=times(a=other, b=one))) == "ab", tenths


def test_the_rule_says_what_it_saw() -> None:
    check(
        """
        c 0 ms (ready in about 20 ms)
        b 100 ms (ready in about 66 ms)
        a 200 ms (ready in about 100 ms)
        """,
        *(A, B, C),
        expected=times(a=100, b=66, c=20),
    )


def test_what_was_never_measured_displaces_the_incumbent_only_where_advice_has_it_first() -> None:
    """One that is attached anew gets a connection to show what it can do; then it is measured."""
    better = replace(A, configured_metric=1), replace(B, configured_metric=2)
    worse = replace(A, configured_metric=2), replace(B, configured_metric=1)
    known = times(a=None, b=50)
    assert order_of(ranking_of(*better, expected=served(known, "b"))) == "ab"
    assert order_of(ranking_of(*worse, expected=served(known, "b"))) == "ba"
    check(
        """
        a 0 ms (by name)
        b 250 ms (by name)
        """,
        *(A, B),
        expected=known,
    )
    assert order_of(ranking_of(A, B, expected=times(a=50, b=None))) == "ab", "nobody served last"


@pytest.mark.row("3.43")
def test_a_flapping_pvd_is_not_first_and_the_incumbent_cannot_help_it() -> None:
    expected = {"a": Expectation(ready=0.05, flaps=5, incumbent=True), "b": Expectation(ready=0.05)}
    check(
        """
        b 0 ms (stable)
        a 250 ms (came or went 5 times lately)
        """,
        *(A, B),
        expected=expected,
    )
    assert order_of(ranking_of(A, B, expected={**expected, "a": expected["a"]._replace(flaps=1)})) == "ab"


@pytest.mark.row("3.16")
def test_the_incumbent_stays() -> None:
    check(
        """
        b 0 ms (served last time)
        a 100 ms (did not serve last time)
        """,
        *(A, B),
        expected=served(times(a=50, b=50), "b"),
    )


# Advice.


def metric(value: int) -> tuple[Route, ...]:
    return (Route("0.0.0.0/0", "192.168.1.1", value), Route("::/0", "fe80::1", value))


def test_hints_metric_then_route_preference_then_link_quality() -> None:
    check(
        """
        c 0 ms (metric 0, route preference high)
        b 250 ms (metric 0, link quality 90%)
        a 500 ms (metric 0)
        d 750 ms (metric 0, route preference low)
        e 1000 ms (metric 5)
        """,
        *(A, replace(B, link_quality=0.9), replace(C, route_preference=1)),
        *(pvd("d", cost=UNMETERED, route_preference=-1), pvd("e", cost=UNMETERED, routes=metric(5))),
    )


@pytest.mark.row("1.10")
def test_a_rogue_router_cannot_raise_its_pvd() -> None:
    rogue = replace(B, route_preference=1, trusted=False)
    assert order_of(ranking_of(A, rogue)) == "ab"
    assert order_of(ranking_of(A, replace(rogue, trusted=True))) == "ba"


@pytest.mark.row("1.10")
def test_evidence_beats_advice() -> None:
    """The strongest signal there is, and nothing comes through: link quality must never veto evidence."""
    strong = replace(A, link_quality=1.0, route_preference=1)
    assert order_of(ranking_of(strong, B)) == "ab"
    assert order_of(ranking_of(strong, B, expected={"a": Expectation(distrusted=True)})) == "ba"


# Other orders.


@pytest.mark.parametrize(
    ("rank_by", "order", "why"),
    [
        (["security"], "bca", ["encrypted link", "link of unknown security", "open link"]),
        (["rate"], "cba", ["9000 bit/s", "5 bit/s", "rate unknown"]),
        (["errors"], "acb", ["0% failed lately", "21% failed lately", "50% failed lately"]),
        (["hints"], "cab", ["metric 1", "metric 2", "metric 3"]),
        (["name"], "abc", ["by name"] * 3),
        (["rate", "security"], "cba", ["9000 bit/s", "5 bit/s", "rate unknown"]),
    ],
)
def test_rank_by_selects_and_orders_the_rules(rank_by: list[str], order: str, why: list[str]) -> None:
    pvds = (
        replace(A, secure=False, routes=metric(2)),
        replace(B, secure=True, rate=5, routes=metric(3)),
        replace(C, rate=9000, routes=metric(1)),
    )
    expected = {"b": Expectation(errors=0.5), "c": Expectation(errors=0.21)}
    ranking = ranking_of(*pvds, policy=Policy(rank_by=rank_by), expected=expected)
    assert order_of(ranking) == order
    assert [str(entry.because[0]) for entry in ranking.ranked] == why


def test_the_rank_by_of_the_closest_layer_counts() -> None:
    pvds = PvdSet((replace(A, rate=1), replace(B, rate=2, secure=False)))
    layers = [("call", Policy(rank_by=["rate"])), ("system", Policy(rank_by=["security"]))]
    assert order_of(rank(pvds, Endpoint("x", 1), layers)) == "ba"
    assert order_of(rank(pvds, Endpoint("x", 1), layers[::-1])) == "ab"


def test_without_the_rule_of_cost_nobody_waits_for_it() -> None:
    wifi = replace(A, routes=metric(200))
    assert starts_of(
        ranking_of(replace(LTE, routes=metric(100)), wifi, policy=Policy(rank_by=["hints"]))
    ) == [0, 0.25]
    assert order_of(ranking_of(LTE, wifi, policy=Policy(rank_by=["hints"]))) == "ltea"


@pytest.mark.row("4.3")
def test_spread_shares_the_destinations_and_is_sticky() -> None:
    policy = Policy(rank_by=["spread"])
    firsts = [ranking_of(A, B, to=f"host{n}.example", policy=policy).ranked[0].pvd.name for n in range(200)]
    assert 80 <= firsts.count("a") <= 120
    again = [ranking_of(B, A, to=f"host{n}.example", policy=policy).ranked[0].pvd.name for n in range(200)]
    assert again == firsts
    # One more PvD takes its share, and nobody changes between the others.
    three = [ranking_of(A, B, C, to=f"host{n}.example", policy=policy).ranked[0].pvd.name for n in range(200)]
    assert all(new in (old, "c") for old, new in zip(firsts, three, strict=True))
    assert 40 <= three.count("c") <= 95
    labels = {order_of(ranking_of(A, B, policy=policy, label=f"app{n}")) for n in range(20)}
    assert labels == {"ab", "ba"}


# ---------------------------------------------------------------------- head starts


def test_a_follower_waits_for_what_the_one_before_probably_takes() -> None:
    def soon(seconds: float) -> Expectations:
        return {"a": Expectation(ready=seconds, soon=seconds, incumbent=True)}

    for seconds, wait in ((0.02, 0.1), (0.18, 0.18), (0.6, 0.6), (9.0, 2.0)):
        assert starts_of(ranking_of(A, B, expected=soon(seconds))) == [0, wait]
    assert starts_of(ranking_of(A, B, C, expected=soon(0.18))) == [0, 0.18, 0.18 + 0.25]
    assert starts_of(ranking_of(replace(A, warmup=3.0), B, expected=soon(0.18))) == [0, 3.0]
    assert starts_of(ranking_of(replace(A, warmup=3.0), B)) == [0, 3.0]
    pacing = Pacing(maximum_connection_attempt_delay=0.4, path_delay=0.5)
    ranking = rank(PvdSet((A, B, C)), Endpoint("x", 1), pacing=pacing, expected=soon(0.6))
    assert starts_of(ranking) == [0, 0.4, 0.9]


def test_an_unknown_pvd_behind_a_validated_one_waits_as_usual() -> None:
    assert starts_of(ranking_of(replace(A, reachability=VALIDATED), B)) == [0, 0.25]


def test_nobody_waits_for_what_is_known_to_be_broken() -> None:
    first = Policy(prefer=["pvd:a"])
    for broken, expectation in (
        (A, Expectation(distrusted=True)),
        (A, Expectation(blocked=(6, 4))),
        (replace(A, reachability=NONE, warmup=5.0), Expectation()),
    ):
        ranking = ranking_of(broken, B, C, policy=first, expected={"a": expectation})
        assert order_of(ranking) == "abc"
        assert starts_of(ranking) == [0, 0, 0.25]
        # It is not what a dearer one has to wait for, either.
        assert starts_of(ranking_of(broken, LTE, policy=first, expected={"a": expectation})) == [0, 0]


def test_where_all_are_equally_bad_they_are_staggered_as_usual() -> None:
    everybody = {name: Expectation(distrusted=True) for name in ("a", "b", "lte")}
    assert starts_of(ranking_of(A, B, LTE, expected=everybody)) == [0, 0.25, 2.0]
    nothing = [replace(p, reachability=NONE) for p in (A, B, LTE)]
    assert starts_of(ranking_of(*nothing)) == [0, 0.25, 2.0]


@pytest.mark.parametrize("profile", CapacityProfile)
@pytest.mark.row("1.11")
def test_a_metered_pvd_waits_for_the_budget_of_the_profile(profile: CapacityProfile) -> None:
    ranking = ranking_of(A, LTE, policy=Policy(capacity_profile=profile))
    terms = capacity.TERMS[profile]
    starts = [0, None if terms.latency_budget == inf else terms.latency_budget]
    assert starts_of(ranking) == starts[: 1 + terms.metered]


def test_the_budget_is_the_least_and_the_stagger_counts_too() -> None:
    five = [replace(A, name=f"a{n}") for n in range(4)]
    assert starts_of(ranking_of(*five, LTE, policy=Policy(latency_budget=0.1))) == [0, 0.25, 0.5, 0.75, 1.0]
    assert starts_of(ranking_of(A, LTE, replace(LTE, name="lte2"), policy=Policy(latency_budget=3))) == [
        0,
        3,
        3.25,
    ]


def test_the_closest_layer_that_has_a_budget_or_a_profile_counts() -> None:
    def wait(*policies: Policy) -> float | None:
        layers = [(f"layer {n}", policy) for n, policy in enumerate(policies)]
        return rank(PvdSet((A, LTE)), Endpoint("x", 1), layers).ranked[1].head_start

    assert wait(Policy(prefer=["pvd:a"]), Policy(latency_budget=0.7), Policy(latency_budget=5)) == 0.7
    assert wait(Policy(capacity_profile="interactive"), Policy(latency_budget=5)) == 0.3
    assert wait(Policy(capacity_profile="interactive", latency_budget=0.9)) == 0.9
    assert wait(Policy(capacity_profile="capacity-seeking"), Policy(latency_budget=5)) is None


def test_a_budget_of_0_lets_latency_beat_cost() -> None:
    expected = {"a": Expectation(ready=0.08, soon=0.1), "lte": Expectation(ready=0.01, soon=0.02)}
    check(
        """
        lte 0 ms (ready in about 10 ms)
        a 100 ms (ready in about 80 ms)
        """,
        *(A, LTE),
        policy=Policy(latency_budget=0),
        expected=expected,
    )
    assert order_of(ranking_of(A, LTE, expected=expected)) == "alte"


def test_failover_is_one_at_a_time() -> None:
    assert starts_of(ranking_of(A, B, C, policy=Policy(racing="failover"))) == [0, None, None]
    layers = [("call", Policy(racing="staggered")), ("application", Policy(racing="failover"))]
    assert starts_of(rank(PvdSet((A, B)), Endpoint("x", 1), layers)) == [0, 0.25]


def test_round_trip_times_are_what_a_race_takes() -> None:
    expected = {"a": Expectation(rtt={"192.0.2.1": 0.02}), "b": Expectation(ready=0.1)}
    assert round_trip_times(expected) == {"a": {"192.0.2.1": 0.02}}


# ---------------------------------------------------------------------- ambiguity


@pytest.mark.parametrize(
    ("pvds", "policy", "expected", "names"),
    [
        ((A, B, C), None, {}, "abc"),
        ((A, replace(B, routes=metric(3)), LTE), None, {}, "ab"),
        ((A, LTE), None, {}, ""),
        ((A,), None, {}, ""),
        ((), None, {}, ""),
        ((A, B), Policy(prefer=["pvd:b"]), {}, ""),
        ((A, B), None, served(times(a=50, b=50), "a"), ""),
        ((A, B), None, times(a=50, b=52), "ab"),
        ((A, B), Policy(racing="failover"), {}, ""),
        ((A, B), Policy(rank_by=["spread"]), {}, ""),
        ((A, LTE), Policy(rank_by=["hints"]), {}, "alte"),
    ],
)
def test_ambiguous_are_the_leading_ones_that_advice_alone_separates(
    pvds: tuple[ProvisioningDomain, ...], policy: Policy | None, expected: Expectations, names: str
) -> None:
    layers = [("call", policy)] if policy else []
    found = ambiguous(PvdSet(pvds), Endpoint("x", 1), layers, expected=expected)
    assert "".join(entry.pvd.name for entry in found) == names


def test_the_choice_stands_before_all_advice_and_behind_all_that_counts() -> None:
    pvds = PvdSet((A, replace(B, routes=metric(300)), LTE))
    ranking = rank(pvds, Endpoint("x", 1), chosen="b")
    assert show(ranking).splitlines()[:2] == [
        "b 0 ms (unmetered; chosen)",
        "a 250 ms (unmetered; not chosen)",
    ]
    assert order_of(rank(pvds, Endpoint("x", 1), chosen="lte")) == "ablte"
    layers = [("call", Policy(rank_by=["cost", "hints"]))]
    assert order_of(rank(pvds, Endpoint("x", 1), layers, chosen="b")) == "balte"
