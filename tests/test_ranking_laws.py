"""What holds for every ranking, whatever the PvDs, the policies and what was learnt of them.

*Raised*: a better place, an earlier head start, or back from having been left out.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvdrace.capacity import cost_key
from pvdrace.expectation import Expectation, Expectations
from pvdrace.model import (
    COST_FLAGS,
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

NAMES = "abcde"
V6, V4 = LocalAddress("2001:db8::2", 64), LocalAddress("192.168.1.2", 24)
PORT = 443
Layers = list[tuple[str, Policy]]

flags = st.just(frozenset[str]()) | st.frozensets(st.sampled_from(sorted(COST_FLAGS)), max_size=2)
reaches = st.lists(
    st.builds(
        Reached,
        st.sampled_from([4, 6]),
        st.sampled_from(Reachability),
        st.just("a test"),
        st.just(0.0),
        st.none(),
        st.sampled_from([(), (80,), (80, 443)]),
    ),
    max_size=2,
    unique_by=lambda reached: reached.family,
).map(tuple)
pvds = st.lists(
    st.builds(
        ProvisioningDomain,
        name=st.sampled_from(NAMES),
        interface=st.sampled_from(["eth0", "wlan0"]),
        addresses=st.sampled_from([(V6, V4), (V6, V4), (V6, V4), (), (V6,), (V4,)]),
        routes=st.sampled_from(
            [(), (Route("0.0.0.0/0", metric=9), Route("::/0", metric=9)), (Route("10.0.0.0/8", metric=50),)]
        ),
        zones=st.sampled_from([(), (), (), (), (), (".",), ("example.com",)]),
        type=st.sampled_from(["wifi", "vpn"]),
        cost=st.builds(Cost, st.sampled_from(CostClass), flags),
        reachability=st.sampled_from([Reachability.UNKNOWN] * 4 + list(Reachability)),
        reached=st.just(()) | st.just(()) | reaches,
        trusted=st.booleans(),
        rate=st.sampled_from([None, 1e6, 9e6]),
        warmup=st.sampled_from([0.0, 0.0, 1.0]),
        secure=st.sampled_from([None, True, False]),
        link_quality=st.sampled_from([None, 0.1, 0.9]),
        route_preference=st.sampled_from([0, 1, -1]),
        unusable=st.sampled_from([None] * 9 + ["no carrier"]),
    ),
    min_size=2,
    max_size=5,
    unique_by=lambda pvd: pvd.name,
)
seconds = st.sampled_from([0.0, 0.001, 0.009, 0.02, 0.021, 0.03, 0.045, 0.1, 0.101, 0.3, 5.0])
expectations = st.builds(
    Expectation,
    st.none() | seconds,
    st.none() | seconds,
    st.booleans(),
    st.sampled_from([(), (), (6,), (4,), (6, 4)]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 9),
)


def with_one_incumbent(known: Expectations, name: str | None) -> Expectations:
    if name is None or name not in known:
        return known
    return {**known, name: known[name]._replace(incumbent=True)}


expecteds = st.builds(
    with_one_incumbent,
    st.dictionaries(st.sampled_from(NAMES), expectations, max_size=5)
    | st.fixed_dictionaries(dict.fromkeys(NAMES, expectations)),
    st.none() | st.sampled_from(NAMES),
)
words = ["pvd:a", "pvd:b", "interface:eth*", "type:wifi", "family:ipv4", "family:ipv6"]
selectors = st.lists(st.sampled_from(words), max_size=2)
seldom = st.sampled_from([[], [], [], ["pvd:a"], ["type:wifi"], ["family:ipv6"]])
chains = st.lists(st.sampled_from(RANKING_RULES), max_size=5, unique=True)
policies = st.builds(
    Policy,
    *(seldom, selectors, selectors, seldom),
    capacity_profile=st.none() | st.sampled_from(CapacityProfile),
    latency_budget=st.sampled_from([None, None, 0, 0.7, inf]),
    min_rate=st.sampled_from([None, None, None, 5e6]),
    rank_by=chains,
    racing=st.sampled_from([None, None, None, "staggered", "failover"]),
)
layers = st.lists(st.tuples(st.sampled_from(["call", "rule 1"]), policies), max_size=2)
endpoints = st.sampled_from(
    [Endpoint(h, PORT) for h in ("www.example.com", "git.corp.example", "10.1.2.3", "2001:db8:5::1")]
)


class World:
    """A ranking, with one PvD of it that something is about to happen to."""

    def __init__(
        self, found: list[ProvisioningDomain], endpoint: Endpoint, policies: Layers, expected: Expectations
    ) -> None:
        self.pvds, self.endpoint, self.policies, self.expected = found, endpoint, policies, expected

    def ranking(self, **changed: ProvisioningDomain | Expectation) -> Ranking:
        """With these instead of the PvDs of these names, or instead of what is expected of them."""
        found, expected = [], dict(self.expected)
        for pvd in self.pvds:
            new = changed.get(pvd.name, pvd)
            if isinstance(new, Expectation):
                expected[pvd.name] = new
                new = pvd
            found.append(new)
        return rank(PvdSet(tuple(found)), self.endpoint, self.policies, expected=expected)

    def never_raises(self, name: str, worse: ProvisioningDomain | Expectation) -> None:
        """To be worse must not pay."""
        before, after = place(self.ranking(), name), place(self.ranking(**{name: worse}), name)
        assert after >= before
        assert after[1] >= before[1]

    def known(self, name: str) -> Expectation:
        return self.expected.get(name, Expectation())


def place(ranking: Ranking, name: str) -> tuple[int, float]:
    """Position and head start; larger is later, and who is left out comes after all."""
    for position, entry in enumerate(ranking.ranked):
        if entry.pvd.name == name:
            return position, inf if entry.head_start is None else entry.head_start
    return len(NAMES), inf


worlds = st.builds(World, pvds, endpoints, layers, expecteds)
laws = settings(deadline=None)


@given(worlds, st.randoms(use_true_random=False))
@laws
@pytest.mark.row("6.10", "4.2")
def test_the_order_in_which_pvds_came_never_changes_the_result(world: World, random: object) -> None:
    before = world.ranking()
    random.shuffle(world.pvds)  # type: ignore[attr-defined]
    assert world.ranking() == before
    assert ambiguous(PvdSet(tuple(world.pvds)), world.endpoint, world.policies) == ambiguous(
        PvdSet(tuple(world.pvds[::-1])), world.endpoint, world.policies
    )


@given(worlds, expecteds, st.lists(endpoints, max_size=3))
@laws
def test_what_is_kept_with_a_snapshot_changes_nothing(
    world: World, other: Expectations, hosts: list[Endpoint]
) -> None:
    """What does not depend on experience is worked out once: the same, whatever was asked before."""
    found = PvdSet(tuple(world.pvds))
    for endpoint in (*hosts, world.endpoint, Endpoint("a.name.test", PORT), Endpoint("b.test", 22)):
        for expected in (other, world.expected, {}, other):
            warm = rank(found, endpoint, world.policies, expected=expected)
            assert warm == rank(PvdSet(found.pvds), endpoint, world.policies, expected=expected)


@given(worlds)
@laws
def test_everybody_is_ranked_or_left_out_with_a_reason_and_runs_in_a_family(world: World) -> None:
    ranking = world.ranking()
    names = [entry.pvd.name for entry in (*ranking.ranked, *ranking.excluded)]
    assert sorted(names) == sorted(pvd.name for pvd in world.pvds)
    assert all(entry.excluded and entry.head_start is None for entry in ranking.excluded)
    assert all(entry.families and entry.excluded is None for entry in ranking.ranked)
    if len(ranking.ranked) > 1:
        assert all(entry.because for entry in ranking.ranked)


@given(worlds)
@laws
def test_what_is_left_out_never_runs(world: World) -> None:
    for entry in world.ranking().ranked:
        assert entry.pvd.unusable is None
        for _, policy in world.policies:
            assert not any(s.matches(entry.pvd) for s in policy.prohibit if s.kind != "family")
            assert policy.min_rate is None or entry.pvd.rate is None or entry.pvd.rate >= policy.min_rate


@given(worlds)
@laws
def test_head_starts_begin_at_zero_never_decrease_and_end_in_none(world: World) -> None:
    starts = [entry.head_start for entry in world.ranking().ranked]
    assert starts[:1] in ([], [0.0])
    timed = [start for start in starts if start is not None]
    assert starts == timed + [None] * (len(starts) - len(timed))
    assert timed == sorted(timed)
    assert all(start < inf for start in timed)


@pytest.mark.row("3.14", "3.27")
@given(worlds, st.data())
@laws
@pytest.mark.row("3.14", "3.27")
def test_more_cost_never_raises(world: World, data: st.DataObject) -> None:
    pvd = data.draw(st.sampled_from(world.pvds))
    cost = data.draw(st.builds(Cost, st.sampled_from(CostClass), flags))
    dearer = Cost(cost.kind, cost.flags | (pvd.cost.flags - {"temp_unmetered"}))
    if cost_key(dearer) >= cost_key(pvd.cost):
        world.never_raises(pvd.name, replace(pvd, cost=dearer))


@pytest.mark.row("3.14", "3.27")
@given(worlds, st.data())
@laws
@pytest.mark.row("3.14")
def test_a_failure_never_raises(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(world.pvds)).name
    world.never_raises(name, world.known(name)._replace(distrusted=True))
    more = tuple({*world.known(name).blocked, data.draw(st.sampled_from([4, 6]))})
    world.never_raises(name, world.known(name)._replace(blocked=more))
    world.never_raises(name, world.known(name)._replace(errors=1.0))


@given(worlds, st.data())
@laws
@pytest.mark.row("3.14", "3.43")
def test_flapping_never_raises(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(world.pvds)).name
    known = world.known(name)
    world.never_raises(name, known._replace(flaps=known.flaps + data.draw(st.integers(1, 9))))


@pytest.mark.row("3.14", "3.27")
@given(worlds, st.data())
@laws
@pytest.mark.row("3.14")
def test_latency_never_raises(world: World, data: st.DataObject) -> None:
    """Also that of the incumbent."""
    name = data.draw(st.sampled_from(world.pvds)).name
    known = world.known(name)
    slower = data.draw(seconds)
    if known.ready is not None:
        world.never_raises(name, known._replace(ready=known.ready + slower))
    if known.soon is not None:
        world.never_raises(name, known._replace(soon=known.soon + slower))


@given(worlds, st.data())
@laws
def test_not_to_serve_any_more_never_raises_one_that_was_measured(world: World, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(world.pvds)).name
    known = world.known(name)
    if known.ready is not None:
        world.never_raises(name, known._replace(incumbent=False))


WORSE: dict[str, list[Any]] = {
    "secure": [True, None, False],
    "rate": [9e6, 5e6, 1e6],
    "link_quality": [0.9, 0.5, 0.1, 0.0],
    "route_preference": [1, 0, -1],
    "configured_metric": [0, 9, 100],
    "warmup": [0.0, 2.0],
}


@pytest.mark.row("3.14", "3.27")
@pytest.mark.parametrize("term", sorted(WORSE))
@given(worlds, st.data())
@laws
@pytest.mark.row("3.14", "3.27")
def test_each_term_is_monotone(term: str, world: World, data: st.DataObject) -> None:
    pvd = data.draw(st.sampled_from(world.pvds))
    better = data.draw(st.integers(0, len(WORSE[term]) - 2))
    world.pvds[world.pvds.index(pvd)] = good = replace(pvd, **{term: WORSE[term][better]})
    for worse in WORSE[term][better + 1 :]:
        world.never_raises(pvd.name, replace(good, **{term: worse}))


@given(worlds, st.data())
@laws
def test_the_type_of_an_interface_counts_for_nothing(world: World, data: st.DataObject) -> None:
    """Only a policy that names it can make it count."""
    if any("type:wifi" in map(str, p.require + p.prefer + p.avoid + p.prohibit) for _, p in world.policies):
        return
    pvd = data.draw(st.sampled_from(world.pvds))
    before, after = world.ranking(), world.ranking(**{pvd.name: replace(pvd, type="cellular")})
    assert [(e.pvd.name, e.head_start) for e in before.ranked] == [
        (e.pvd.name, e.head_start) for e in after.ranked
    ]


@pytest.mark.row("4.2")
@given(st.permutations(["a", "b", "c", "d"]), endpoints)
@pytest.mark.row("4.2")
def test_ties_go_by_name(names: list[str], endpoint: Endpoint) -> None:
    found = tuple(ProvisioningDomain(name, interface=f"{name}0", addresses=(V6, V4)) for name in names)
    assert [entry.pvd.name for entry in rank(PvdSet(found), endpoint).ranked] == ["a", "b", "c", "d"]


@given(worlds, st.sampled_from([None, *NAMES]))
@laws
def test_the_ambiguous_are_the_first_and_the_choice_of_one_makes_it_the_first(
    world: World, chosen: str | None
) -> None:
    found = PvdSet(tuple(world.pvds))
    pacing = Pacing()
    several = ambiguous(found, world.endpoint, world.policies, pacing=pacing, expected=world.expected)
    ranking = rank(
        found, world.endpoint, world.policies, pacing=pacing, expected=world.expected, chosen=chosen
    )
    before = world.ranking()
    assert several == before.ranked[: len(several)]
    names = [entry.pvd.name for entry in several]
    if chosen in names:
        assert ranking.ranked[0].pvd.name == chosen
    assert len(names) != 1
