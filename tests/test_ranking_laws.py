"""What holds for every ranking, whatever the PvDs, the policies and what was learnt of them.

*Raised*: a better place, an earlier head start, or back from having been left out.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

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
        st.sampled_from([(), (), (22,), (443,)]),
        st.sampled_from([(), (), (22,)]),
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
laws = settings(deadline=None, max_examples=60)


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


# ---------------------------------------------------------------------- term by term


class Term(NamedTuple):
    """What one rule looks at. ``levels``, best first, each with ways to be at it: fields that say so."""

    rule: str
    levels: tuple[tuple[dict[str, Any], ...], ...]


def level(field: str, *several: Any) -> tuple[dict[str, Any], ...]:
    return tuple({field: value} for value in several)


def costs(*several: tuple[CostClass, str]) -> tuple[dict[str, Any], ...]:
    return tuple({"cost": Cost(kind, frozenset(words.split()))} for kind, words in several)


def families(state: Reachability, *ports: int, **more: Any) -> dict[str, Any]:
    return {
        "reached": tuple(Reached(family, state, "a test", 0.0, ports=ports, **more) for family in (6, 4)),
        "reachability": state,
    }


def routes(*prefixes: str) -> tuple[Route, ...]:
    return tuple(Route(prefix, "192.168.1.1", 9) for prefix in ("0.0.0.0/0", *prefixes))


FREE, UNKNOWN, FIXED, VARIABLE = (
    *(CostClass.UNMETERED, CostClass.UNKNOWN),
    *(CostClass.FIXED, CostClass.VARIABLE),
)
WISHES: dict[str, Any] = {"prefer": ["type:wifi", "type:vpn"], "avoid": ["type:cellular"]}
# Written down here, not asked of the code. In the usual order of the rules, then the optional ones.
TERMS = {
    "route": Term(
        "route",
        (
            level("routes", routes("10.0.0.0/8", "10.1.2.0/24")),
            level("routes", routes("10.1.0.0/16")),
            level("routes", routes("10.0.0.0/8")),
            level("routes", routes(), routes("10.9.0.0/16")),
        ),
    ),
    "user preference": Term(
        "preference", tuple(level("type", t) for t in ("wifi", "vpn", "none", "cellular"))
    ),
    "failure": Term(
        "reachability",
        (
            ({}, {"blocked": (6,)}),
            level("distrusted", True),
            ({"blocked": (6, 4)}, {"blocked": (4, 6), "distrusted": True}),
        ),
    ),
    "cost": Term(
        "cost",
        (
            costs((FREE, ""), (VARIABLE, "temp_unmetered"), (FREE, "temp_unmetered")),
            costs((FREE, "constrained"), (FREE, "congested"), (FIXED, "temp_unmetered roaming")),
            costs((FREE, "constrained congested")),
            costs((UNKNOWN, "")),
            costs((UNKNOWN, "roaming")),
            costs((FIXED, "")),
            costs((FIXED, "roaming"), (FIXED, "constrained")),
            costs((VARIABLE, "")),
            costs((VARIABLE, "roaming"), (VARIABLE, "congested")),
            costs((VARIABLE, "roaming congested")),
            costs((FREE, "over_limit"), (VARIABLE, "over_limit"), (FIXED, "over_limit temp_unmetered")),
        ),
    ),
    "validated": Term(
        "validated",
        (
            (
                families(Reachability.VALIDATED),
                families(Reachability.PARTIAL, 80, PORT),
                families(Reachability.PARTIAL, PORT, lost=(22,)),
                families(Reachability.PARTIAL, PORT, blocked=(22,)),
            ),
            (
                {},
                families(Reachability.PARTIAL, 80, lost=(22,)),
                families(Reachability.PARTIAL, 80, blocked=(22,)),
            ),
            (families(Reachability.PARTIAL), families(Reachability.PARTIAL, 80, lost=(PORT,))),
        ),
    ),
    "latency": Term("time", tuple(level("ready", t) for t in (0.02, 0.035, 0.06, 0.1, 0.3, 2.0))),
    "stability": Term(
        "stability",
        (level("flaps", 0, 1, 3), level("flaps", 4, 7), level("flaps", 8, 15), level("flaps", 16, 31)),
    ),
    "incumbent": Term("incumbent", (level("incumbent", True), level("incumbent", False))),
    "metric": Term("hints", tuple(level("configured_metric", m) for m in (0, 9, 100))),
    "route preference": Term("hints", tuple(level("route_preference", p) for p in (1, 0, -1))),
    "link quality": Term(
        "hints",
        (
            level("link_quality", 0.75, 0.99),
            level("link_quality", 0.5, 0.74, None),
            level("link_quality", 0.25, 0.49),
            level("link_quality", 0.0, 0.24),
        ),
    ),
    "security": Term("security", tuple(level("secure", s) for s in (True, None, False))),
    "bandwidth": Term("rate", (*(level("rate", r) for r in (9e6, 5e6, 1e6)), level("rate", None))),
    "error rate": Term(
        "errors", (level("errors", 0.0, 0.04), level("errors", 0.3, 0.34), level("errors", 1.0, 0.96))
    ),
}
USUAL = tuple(dict.fromkeys(term.rule for term in TERMS.values()))[:9]
#: What every PvD of a term's world is, where it is nothing else.
ALIKE = {"routes": routes(), "addresses": (V6, V4), "type": "none", "ready": 0.02}


class Leveled:
    """PvDs that may all run, and that are at such levels of such terms; alike in all else."""

    def __init__(self, names: list[str], policy: Policy, endpoint: Endpoint) -> None:
        self.policy, self.endpoint = policy, endpoint
        self.fields: dict[str, dict[str, Any]] = {name: dict(ALIKE) for name in names}
        self.levels: dict[str, dict[str, int]] = {name: {} for name in names}

    def put(self, name: str, term: str, at: int, way: int = 0) -> None:
        """Put a PvD at a level of a term, in one of the ways to be there."""
        ways = TERMS[term].levels[at]
        for field in {field for each in TERMS[term].levels for way_ in each for field in way_}:
            self.fields[name].pop(field, None)
            if field in ALIKE:
                self.fields[name][field] = ALIKE[field]
        self.fields[name].update(ways[way % len(ways)])
        self.levels[name][term] = at

    def ranking(self) -> Ranking:
        found, expected = [], {}
        for name, fields in self.fields.items():
            known = {field: value for field, value in fields.items() if field in Expectation._fields}
            rest = {field: value for field, value in fields.items() if field not in known}
            found.append(ProvisioningDomain(name, interface=f"{name}0", **rest))
            expected[name] = Expectation(**known)
        layers = [("call", self.policy)] if self.policy else []
        return rank(PvdSet(tuple(found)), self.endpoint, layers, expected=expected)

    def order(self) -> list[str]:
        return [entry.pvd.name for entry in self.ranking().ranked]

    def wanted(self) -> list[str]:
        """The order that the first rule gives that separates two, and the names where none does."""
        chain = [rule for rule in self.policy.rank_by or USUAL if self._counts(rule)]
        terms = [term for rule in chain for term in TERMS if TERMS[term].rule == rule]
        return sorted(self.levels, key=lambda name: ([self.levels[name].get(t, 0) for t in terms], name))

    def _counts(self, rule: str) -> bool:
        if rule == "cost":
            return self.policy.latency_budget != 0
        return rule != "route" or self.endpoint.host[0].isdigit()


@st.composite
def leveled(draw: st.DrawFn, term: str | None = None, most: int = 4) -> Leveled:
    """PvDs that differ in a few terms, among them this one, compared by the usual rules or by some."""
    kinds = draw(st.lists(st.sampled_from(sorted(TERMS)), min_size=1, max_size=most, unique=True))
    kinds = list(dict.fromkeys([term or kinds[0], *kinds]))
    rules = draw(st.just(()) | st.permutations([TERMS[kind].rule for kind in kinds]))
    if term is not None and not rules and TERMS[term].rule not in USUAL:
        rules = [TERMS[kind].rule for kind in kinds]
    policy = Policy(
        **(WISHES if "user preference" in kinds or draw(st.booleans()) else {}),
        rank_by=tuple(dict.fromkeys(rules)),
        latency_budget=draw(st.sampled_from([None, 0.3, inf] + [0] * (term != "cost"))),
    )
    host = "10.1.2.3" if term == "route" else draw(st.sampled_from(["10.1.2.3", "www.example.com"]))
    names = draw(st.permutations(NAMES))[: draw(st.integers(2, 5))]
    world = Leveled(names, policy, Endpoint(host, PORT))
    for kind in kinds:
        levels = st.integers(0, len(TERMS[kind].levels) - 1)
        for name in names:
            world.put(name, kind, draw(levels), draw(st.integers(0, 5)))
    return world


@given(leveled())
@settings(laws, max_examples=400)
@pytest.mark.row("3.14", "3.27")
def test_the_first_rule_that_separates_two_decides(world: Leveled) -> None:
    """Whatever the rules after it say, and however much."""
    assert world.order() == world.wanted()


@pytest.mark.parametrize("earlier", [term for term in TERMS if TERMS[term].rule in USUAL])
@pytest.mark.row("3.14", "3.27")
def test_no_later_term_outweighs_an_earlier_one(earlier: str) -> None:
    """A little better in one, and as bad as can be in a later one: still first, by whatever name."""
    terms = [term for term in TERMS if TERMS[term].rule in USUAL]
    for later in terms[terms.index(earlier) + 1 :]:
        for names in (["a", "b"], ["b", "a"]):
            world = Leveled(names, Policy(**WISHES), Endpoint("10.1.2.3", PORT))
            world.put(names[0], earlier, 0)
            world.put(names[1], earlier, 1)
            world.put(names[0], later, len(TERMS[later].levels) - 1)
            world.put(names[1], later, 0)
            assert world.order() == names, later


@pytest.mark.parametrize("term", TERMS)
@given(st.data())
@settings(laws, max_examples=40)
@pytest.mark.row("3.14", "3.27")
def test_with_all_else_equal_the_better_is_first(term: str, data: st.DataObject) -> None:
    """Two to five PvDs that differ in this term alone: each before all that are worse in it, by this rule."""
    rule = TERMS[term].rule
    usual = rule in USUAL
    rank_by = [] if usual and data.draw(st.booleans()) else [rule]
    names = data.draw(st.permutations(NAMES))[: data.draw(st.integers(2, 5))]
    world = Leveled(names, Policy(**WISHES, rank_by=rank_by), Endpoint("10.1.2.3", PORT))
    for name in names:
        for other in TERMS:
            if other != term:
                world.put(name, other, 1, 0)
        world.put(
            name, term, data.draw(st.integers(0, len(TERMS[term].levels) - 1)), data.draw(st.integers(0, 5))
        )
    ranking = world.ranking()
    assert [entry.pvd.name for entry in ranking.ranked] == sorted(
        names, key=lambda name: (world.levels[name][term], name)
    )
    at = [world.levels[entry.pvd.name][term] for entry in ranking.ranked]
    for better, worse, left, right in zip(at, at[1:], ranking.ranked, ranking.ranked[1:], strict=False):
        decided = rule if better < worse else "name"
        assert decided in [reason.rule for reason in left.because]
        assert decided in [reason.rule for reason in right.because]


@pytest.mark.parametrize("term", TERMS)
@given(st.data())
@settings(laws, max_examples=40)
@pytest.mark.row("3.14", "3.27", "3.43")
def test_to_get_worse_in_one_term_never_raises(term: str, data: st.DataObject) -> None:
    """One PvD gets worse in this term alone: no better place, no earlier head start."""
    world = data.draw(leveled(term))
    name = data.draw(st.sampled_from(sorted(world.levels)))
    better = data.draw(st.integers(0, len(TERMS[term].levels) - 2))
    worse = data.draw(st.integers(better + 1, len(TERMS[term].levels) - 1))
    way = data.draw(st.integers(0, 5))
    world.put(name, term, better, way)
    before, wanted_before = world.ranking(), world.wanted()
    relieved = world.fields[name].get("cost", Cost()).flags
    world.put(name, term, worse, way)
    relieved -= world.fields[name].get("cost", Cost()).flags
    after, wanted_after = world.ranking(), world.wanted()
    assert place(after, name)[0] >= place(before, name)[0]
    # Who is congested, say, waits for the budget: who is dearer and that no more waits less, but later.
    assert relieved or place(after, name)[1] >= place(before, name)[1]
    assert place(before, name)[0] == wanted_before.index(name)
    assert place(after, name)[0] == wanted_after.index(name)


# ---------------------------------------------------------------------- what is as good


steps = st.floats(0.05, 0.95)


@given(st.data())
@settings(laws, max_examples=200)
@pytest.mark.row("3.14", "3.27")
def test_times_compare_by_steps_of_a_third_or_10_ms_from_the_fastest(data: st.DataObject) -> None:
    """Wherever the fastest is: less than a step is noise. Who was not measured is as good as the fastest."""
    names = data.draw(st.permutations(NAMES))[: data.draw(st.integers(2, 5))]
    short = data.draw(st.booleans())
    fastest = data.draw(st.floats(0.0, 0.005) if short else st.floats(0.03, 1.0))
    known, at = {names[0]: Expectation(ready=fastest)}, {names[0]: 0}
    for name in names[1:]:
        at[name] = data.draw(st.integers(0, 1 if short else 4))
        more = at[name] + data.draw(steps)
        ready: float | None = fastest + 0.010 * more if short else fastest * 1.5**more
        if at[name] == 0 and data.draw(st.booleans()):
            ready = None
        known[name] = Expectation(ready=ready)
    assert order_of(names, known) == sorted(names, key=lambda name: (at[name], name))


@given(st.permutations(NAMES), st.lists(st.sampled_from([None, 0.02]), min_size=5, max_size=5), st.booleans())
@laws
def test_who_served_last_stays_before_those_that_were_measured(
    names: list[str], ready: list[float | None], somebody: bool
) -> None:
    """The first of these names served last, or nobody did: then names alone count."""
    known = {name: Expectation(ready=time) for name, time in zip(names, ready, strict=True)}
    known[names[0]] = Expectation(ready=0.02, incumbent=somebody)

    def displaced(name: str) -> bool:
        return somebody and name != names[0] and known[name].ready is not None

    assert order_of(names, known) == sorted(names, key=lambda name: (displaced(name), name))


def order_of(
    names: list[str],
    known: Expectations = MappingProxyType({}),
    *policies: Policy,
    host: str = "www.example.com",
    **changed: dict[str, Any],
) -> list[str]:
    """The order of PvDs that are alike but for what is expected of them, and for these fields."""
    found = [
        ProvisioningDomain(name, **{"addresses": (V6, V4), "routes": routes(), **changed.get(name, {})})
        for name in names
    ]
    layers = [("call", policy) for policy in policies]
    ranking = rank(PvdSet(tuple(found)), Endpoint(host, PORT), layers, expected=known)
    return [entry.pvd.name for entry in ranking.ranked]


def test_who_is_not_trusted_raises_itself_by_nothing_that_it_says() -> None:
    """Neither by a route nor by RFC 4191's preference; a low one counts."""
    specific, high, low = {"routes": routes("10.1.0.0/16")}, {"route_preference": 1}, {"route_preference": -1}
    for claim in (specific, high):
        assert order_of(["a", "b"], host="10.1.2.3", b=claim) == ["b", "a"]
        assert order_of(["a", "b"], host="10.1.2.3", b={**claim, "trusted": False}) == ["a", "b"]
    assert order_of(["a", "b"], a={**low, "trusted": False}) == ["b", "a"]


@given(st.integers(0, 10**6))
@laws
def test_load_is_spread_by_host_and_one_pvd_less_moves_only_its_own(number: int) -> None:
    spread = Policy(rank_by=["spread"])
    whole = order_of(list(NAMES), {}, spread, host=f"host{number}.example")
    assert whole == order_of(list(reversed(NAMES)), {}, spread, host=f"host{number}.example")
    for gone in NAMES:
        left = [name for name in NAMES if name != gone]
        assert order_of(left, {}, spread, host=f"host{number}.example") == [n for n in whole if n != gone]


def test_load_is_spread_over_all() -> None:
    spread = Policy(rank_by=["spread"])
    firsts = {order_of(list(NAMES), {}, spread, host=f"host{number}.example")[0] for number in range(100)}
    assert firsts == set(NAMES)


# ---------------------------------------------------------------------- in which family, and when


@pytest.mark.parametrize("family", [6, 4])
@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({"blocked": True}, True),
        ({"state": Reachability.NONE}, True),
        ({"state": Reachability.PARTIAL, "ports": (80,)}, True),
        ({"state": Reachability.PARTIAL, "ports": (80, PORT)}, False),
        ({"state": Reachability.PARTIAL, "ports": (80,), "blocked_ports": (PORT,)}, True),
        ({"state": Reachability.PARTIAL, "ports": (80,), "blocked_ports": (22,)}, False),
        ({"state": Reachability.PARTIAL, "ports": (80,), "lost": (22,)}, False),
        ({"state": Reachability.PARTIAL, "ports": (80,), "lost": (PORT,)}, False),
        ({"state": Reachability.PARTIAL}, False),
        ({"state": Reachability.VALIDATED}, False),
        ({"state": Reachability.UNKNOWN}, False),
        ({}, False),
    ],
    ids=str,
)
@pytest.mark.row("3.14", "3.27")
def test_a_family_that_fails_is_tried_last_and_sinks_nobody(
    family: int, fields: dict[str, Any], fails: bool
) -> None:
    """IPv6 first, otherwise. Only both families that fail sink a PvD, then below one that costs more."""
    other = 10 - family
    blocked = bool(fields.get("blocked"))
    dear = ProvisioningDomain("b", addresses=(V6, V4), cost=Cost(FIXED))
    for failing in ((family,), (6, 4)):
        reached: tuple[Reached, ...] = ()
        if "state" in fields:
            known_ports = [fields.get(key, ()) for key in ("ports", "blocked_ports", "lost")]
            reached = tuple(Reached(f, fields["state"], "a test", 0.0, None, *known_ports) for f in failing)
        pvd = ProvisioningDomain("a", addresses=(V6, V4), cost=Cost(FREE), reached=reached)
        known = {"a": Expectation(blocked=failing if blocked else ())}
        ranking = rank(PvdSet((dear, pvd)), Endpoint("www.example.com", PORT), expected=known)
        entry = next(entry for entry in ranking.ranked if entry.pvd is pvd)
        assert entry.families == ((other, family) if fails and len(failing) == 1 else (6, 4))
        sinks = fails and len(failing) == 2
        assert ranking.ranked[0].pvd.name == ("b" if sinks else "a")
        assert ranking.ranked[1].head_start is None or not sinks


PLAIN = "www.example.com"
BUDGETS = {
    CapacityProfile.DEFAULT: 2.0,
    CapacityProfile.INTERACTIVE: 0.3,
    CapacityProfile.NON_INTERACTIVE: 1.0,
    CapacityProfile.STREAMING: 2.0,
    CapacityProfile.CAPACITY_SEEKING: None,
}
METERED = {"FIXED": Cost(FIXED), "VARIABLE": Cost(VARIABLE), "flag": Cost(FREE, frozenset({"roaming"}))}


def starts(cost: Cost, *layers: Policy) -> dict[str, float | None]:
    """The head starts of one PvD that is free and one that costs this."""
    found = (
        ProvisioningDomain("free", addresses=(V6, V4), cost=Cost(FREE)),
        ProvisioningDomain("dear", addresses=(V6, V4), cost=cost),
    )
    ranking = rank(PvdSet(found), Endpoint(PLAIN, PORT), [("", policy) for policy in layers])
    return {entry.pvd.name: entry.head_start for entry in ranking.ranked}


@pytest.mark.parametrize("cost", METERED.values(), ids=METERED)
@pytest.mark.parametrize("profile", BUDGETS)
def test_who_costs_more_waits_for_the_budget_of_the_profile(profile: CapacityProfile, cost: Cost) -> None:
    wanted = {"free": 0.0, "dear": BUDGETS[profile]}
    assert starts(cost, Policy(capacity_profile=profile)) == wanted
    assert starts(cost, Policy(capacity_profile=profile), Policy(latency_budget=0.7)) == wanted
    closer = Policy(latency_budget=0.7)
    assert starts(cost, closer, Policy(capacity_profile=profile)) == {"free": 0.0, "dear": 0.7}
    if profile is CapacityProfile.DEFAULT:
        assert starts(cost) == wanted


@pytest.mark.parametrize("cost", METERED.values(), ids=METERED)
def test_a_scavenger_uses_nothing_metered(cost: Cost) -> None:
    scavenger, greedy = (Policy(capacity_profile=word) for word in ("scavenger", "default"))
    assert starts(cost, scavenger) == starts(cost, scavenger, greedy) == {"free": 0.0}
    assert starts(cost, greedy, scavenger) == {"free": 0.0, "dear": 2.0}
    assert set(starts(Cost(UNKNOWN), scavenger)) == {"free", "dear"}


@pytest.mark.parametrize("flag", ["near_limit", "over_limit"])
def test_what_is_left_of_a_volume_is_kept_until_nothing_else_works(flag: str) -> None:
    rationed = Cost(VARIABLE, frozenset({flag}))
    assert starts(rationed, Policy(latency_budget=0.7)) == {"free": 0.0, "dear": None}


def test_a_cost_that_is_not_known_makes_nobody_wait_for_the_budget() -> None:
    assert starts(Cost(UNKNOWN)) == {"free": 0.0, "dear": Pacing().path_delay}


# ---------------------------------------------------------------------- in any world


@given(worlds, st.data())
@laws
@pytest.mark.row("3.14", "3.27", "3.43")
def test_in_any_world_to_get_worse_never_raises(world: World, data: st.DataObject) -> None:
    """Also under any policy, and also the incumbent."""
    pvd = data.draw(st.sampled_from(world.pvds))
    name, known = pvd.name, world.known(pvd.name)
    slower = data.draw(seconds)
    more = tuple({*known.blocked, data.draw(st.sampled_from([4, 6]))})
    worse = [
        known._replace(distrusted=True),
        known._replace(blocked=more),
        known._replace(errors=1.0),
        known._replace(flaps=known.flaps + data.draw(st.integers(1, 9))),
        *([known._replace(ready=known.ready + slower)] if known.ready is not None else []),
        *([known._replace(soon=known.soon + slower)] if known.soon is not None else []),
        *([known._replace(incumbent=False)] if known.ready is not None else []),
    ]
    for expectation in worse:
        world.never_raises(name, expectation)
    cost = data.draw(st.builds(Cost, st.sampled_from(CostClass), flags))
    dearer = Cost(cost.kind, cost.flags | (pvd.cost.flags - {"temp_unmetered"}))
    if cost_key(dearer) >= cost_key(pvd.cost):
        world.never_raises(name, replace(pvd, cost=dearer))


WORSE: dict[str, list[Any]] = {
    "secure": [True, None, False],
    "rate": [9e6, 5e6, 1e6],
    "link_quality": [0.9, 0.5, 0.1, 0.0],
    "route_preference": [1, 0, -1],
    "configured_metric": [0, 9, 100],
    "warmup": [0.0, 2.0],
}


@given(worlds, st.data())
@laws
@pytest.mark.row("3.14", "3.27")
def test_in_any_world_each_property_is_monotone(world: World, data: st.DataObject) -> None:
    term = data.draw(st.sampled_from(sorted(WORSE)))
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
