"""What a new snapshot means for a race that runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.membership import changes
from pvdrace.model import (
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Reachability,
    Reached,
    Route,
)
from pvdrace.policy import Policy
from pvdrace.race.events import Event, PvdAdded, PvdWithdrawn
from pvdrace.race.race import Race
from pvdrace.ranking import rank
from pvdrace.reachability import with_reached

WIFI = ProvisioningDomain("wifi", addresses=(LocalAddress("10.0.1.2", 24),), routes=(Route("0.0.0.0/0"),))
LTE = replace(WIFI, name="lte")
ETH = replace(WIFI, name="eth")
DOWN = replace(WIFI, unusable="no carrier")
ANEW = replace(WIFI, attachment=1)
HELD = with_reached(WIFI, (Reached(4, Reachability.PORTAL, "", 0, portal="http://10.0.1.1/"),))
HALF_HELD = with_reached(WIFI, (*HELD.reached, Reached(6, Reachability.VALIDATED, "", 0)))
ENDPOINT = Endpoint("www.example.com", 443)


def words(event: Event) -> str:
    if isinstance(event, PvdAdded):
        return f"+{event.ranked.pvd.name}@{event.position}"
    assert isinstance(event, PvdWithdrawn)
    return f"-{event.pvd}: {event.reason}"


@pytest.mark.parametrize(
    ("running", "new", "expected"),
    [
        ([WIFI], [WIFI], []),
        ([WIFI, LTE], [LTE], ["-wifi: gone"]),
        ([LTE], [WIFI, LTE], ["+wifi@1"]),
        ([WIFI, LTE], [DOWN, LTE], ["-wifi: no carrier"]),
        ([DOWN, LTE], [WIFI, LTE], ["+wifi@1"]),
        ([DOWN, LTE], [LTE], []),
        ([LTE], [DOWN, LTE], []),
        ([LTE, WIFI], [ANEW, LTE], ["+wifi@1"]),
        ([WIFI, LTE], [ANEW, LTE], ["+wifi@1"]),
        ([WIFI], [ANEW], ["+wifi@0"]),
        ([WIFI], [replace(WIFI, resolvers=())], []),
        # One that turns out to be behind a portal leaves, and comes back after a login.
        ([WIFI, LTE], [HELD, LTE], ["-wifi: behind a captive portal (http://10.0.1.1/)"]),
        ([WIFI], [HELD, LTE], ["+lte@0", "-wifi: behind a captive portal (http://10.0.1.1/)"]),
        ([LTE], [HELD, LTE], []),
        ([LTE], [with_reached(WIFI, HELD.reached[:0]), LTE], ["+wifi@1"]),
        ([WIFI, LTE], [HALF_HELD, LTE], []),
        # Who comes is said before who goes; the place counts those that are about to go.
        ([WIFI], [LTE], ["+lte@0", "-wifi: gone"]),
        ([ETH, LTE], [LTE, WIFI], ["+wifi@2", "-eth: gone"]),
        ([LTE, WIFI], [ETH, LTE], ["+eth@0", "-wifi: gone"]),
        ([WIFI, LTE], [ETH, LTE, ANEW], ["+eth@0", "+wifi@2"]),
        ([WIFI, ETH], [replace(ETH, attachment=1), LTE, ANEW], ["+eth@0", "+lte@1", "+wifi@2"]),
    ],
)
def test_changes(
    running: list[ProvisioningDomain], new: list[ProvisioningDomain], expected: list[str]
) -> None:
    snapshot = PvdSet(tuple(new))
    ranking = rank(snapshot, ENDPOINT)
    here = [pvd for pvd in running if pvd.unusable is None]
    events = changes(here, snapshot, ranking)
    assert [words(event) for event in events] == expected
    assert changes(after(here, events), snapshot, ranking) == []


def after(running: list[ProvisioningDomain], events: list[Event]) -> tuple[ProvisioningDomain, ...]:
    """Who runs then, by the race itself."""
    race = Race(ENDPOINT, Ranking(tuple(map(Ranked, running))))
    race.start(0.0)
    for event in events:
        race.handle(event, 0.1)
    return race.running


MANY = [replace(WIFI, name=name, attachment=n) for name in ("a", "b", "c", "d") for n in range(2)]
some = st.permutations(MANY).flatmap(
    lambda pvds: st.integers(0, 8).map(lambda n: list({pvd.name: pvd for pvd in pvds[:n]}.values()))
)


@given(some, some)
def test_afterwards_the_race_runs_what_the_new_ranking_has(
    running: list[ProvisioningDomain], new: list[ProvisioningDomain]
) -> None:
    """Whatever comes, goes and is attached anew in one moment; and who comes stands behind its forerunner."""
    ranking = Ranking(tuple(map(Ranked, new)))
    events = changes(running, PvdSet(tuple(new)), ranking)
    added = [event.ranked.pvd for event in events if isinstance(event, PvdAdded)]
    assert not any(isinstance(event, PvdAdded) for event in events[len(added) :])
    runs = after(running, events)
    assert set(runs) == (set(new) if running else set())
    for before, pvd in pairwise(new):
        if running and pvd in added:
            assert runs.index(before) < runs.index(pvd)


def test_a_prohibited_pvd_is_not_added() -> None:
    snapshot = PvdSet((WIFI, LTE))
    ranking = rank(snapshot, ENDPOINT, [("call", Policy(prohibit=["pvd:lte"]))])
    assert changes([WIFI], snapshot, ranking) == []


def test_a_pvd_attached_anew_that_may_not_run_any_more_is_withdrawn() -> None:
    snapshot = PvdSet((ANEW, LTE))
    ranking = rank(snapshot, ENDPOINT, [("call", Policy(prohibit=["pvd:wifi"]))])
    assert [words(event) for event in changes([WIFI, LTE], snapshot, ranking)] == ["-wifi: attached anew"]


def test_a_portal_that_is_required_stays() -> None:
    snapshot = PvdSet((HELD, LTE))
    ranking = rank(snapshot, ENDPOINT, [("call", Policy(require=["pvd:wifi"]))])
    assert changes([WIFI], snapshot, ranking) == []


@pytest.mark.parametrize(
    ("policy", "becomes", "reason"),
    [
        (
            Policy(prohibit=["cost:variable"]),
            {"cost": Cost(CostClass.VARIABLE)},
            "prohibited by cost:variable",
        ),
        (Policy(require=["type:wifi"]), {"type": "vpn"}, "not type:wifi, which is required"),
        (None, {"zones": ("corp.example",)}, "the name is outside its zones"),
    ],
)
def test_one_that_policy_forbids_from_now_on_leaves(
    policy: Policy | None, becomes: dict[str, Any], reason: str
) -> None:
    """A prohibited PvD sees zero packets, also where it became one while the race was running."""
    wifi = replace(WIFI, type="wifi")
    new = PvdSet((replace(wifi, **becomes), replace(LTE, type="wifi")))
    layers = [("call", policy)] if policy else []
    (event,) = changes([wifi, replace(LTE, type="wifi")], new, rank(new, ENDPOINT, layers))
    assert isinstance(event, PvdWithdrawn)
    assert event.pvd == "wifi"
    assert event.reason.startswith(reason)
