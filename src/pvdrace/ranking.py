"""Who may run, in which order, with which head start, and why. Pure.

Filters leave PvDs out, `_RULES` compare those that remain; a new one is a new entry in its list. The rules
are compared one after the other (lexicographically), never added up, so each place in the ranking has a
`Reason` that names the one rule that decided it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from .expectation import EXPECT_NOTHING, NOTHING_KNOWN
from .model import (
    LOOPBACK,
    Cost,
    CostClass,
    Endpoint,
    Literal,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Reachability,
    Reason,
    is_link_local,
    is_loopback,
    parse_literal,
)
from .race.nat64 import needs_synthesis, synthesise
from .race.ordering import route_length, unusable
from .race.race import DEFAULT_PACING
from .reachability import behind_portal
from .zones import MAYBE, Verdict, ZoneMatch, match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .expectation import Expectations
    from .policy import Policy
    from .race.pacing import Pacing

#: The host itself: what `rank` uses instead of the snapshot for a destination that never leaves it.
#: Without addresses: the source of such a connection is the kernel's to choose.
LOOPBACK_PVD = ProvisioningDomain(
    name=LOOPBACK,
    interface="lo",
    type="loopback",
    cost=Cost(CostClass.UNMETERED),
    reachability=Reachability.VALIDATED,
    sources=("built in",),
)


def rank(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]] = (),
    *,
    pacing: Pacing = DEFAULT_PACING,
    expected: Expectations = EXPECT_NOTHING,
) -> Ranking:
    """Rank the PvDs of a snapshot for one destination.

    ``layers`` are the policies that apply and what to call them, the closest to the caller first:
    ``[("call", p), ("rule 2", q), ("application", r)]``. Prohibitions and requirements of every layer hold;
    preferences of an earlier layer outrank those of a later one. They are applied in the order prohibit,
    require, prefer, avoid (RFC 9623 s4.1.3).

    ``head_start``: the n-th PvD may begin after n x ``pacing.path_delay`` seconds. But a PvD that is avoided,
    or costs more than one before it, runs only when all before it have failed (None), and so does everything
    after it. Cost that is *unknown* comes after unmetered and is staggered, not held back, behind it.

    ``expected`` is what `pvdrace.history` expects of the PvDs, by name. Those that are *distrusted* lost to
    one behind them a moment ago: they come behind the others, whatever those cost, unless policy prefers
    them; none is left out for it.
    """
    snapshot = (LOOPBACK_PVD,) if is_loopback(endpoint.host) else pvds.pvds
    question = _question(snapshot, endpoint, layers, expected)
    running: list[_Runner] = []
    excluded: list[Ranked] = []
    filters = _filters(question)
    for pvd in snapshot:
        for check in filters:
            if reason := check(pvd, question):
                excluded.append(Ranked(pvd, None, (), (), reason))
                break
        else:
            running.append(_Runner(tuple([rule.key(pvd, question) for rule in _RULES]), pvd))
    running.sort()
    excluded.sort(key=lambda left_out: left_out.pvd.name)
    return Ranking(tuple(_placed(running, question, pacing.path_delay)), tuple(excluded))


@dataclass(slots=True)
class _Question:
    """What a rule may look at besides the PvD: destination, policy layers, history, who owns the name."""

    literal: Literal | None
    layers: Sequence[tuple[str, Policy]]
    expected: Expectations
    families: tuple[int, ...]
    zones: dict[str, ZoneMatch]
    owned: ZoneMatch
    owners: tuple[str, ...]


class _Runner(NamedTuple):
    keys: tuple[Any, ...]
    pvd: ProvisioningDomain


def _question(
    snapshot: Sequence[ProvisioningDomain],
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    expected: Expectations,
) -> _Question:
    literal = parse_literal(endpoint.host)
    zones: dict[str, ZoneMatch] = {}
    owned = MAYBE
    owners: tuple[str, ...] = ()
    if literal is None:
        # Unusable and prohibited PvDs own their names too: such a name fails here, and leaks nowhere else.
        zones = {pvd.name: match(pvd, endpoint.host) for pvd in snapshot}
        owned = max(zones.values(), default=MAYBE)
        if owned.verdict is Verdict.YES:
            owners = tuple(sorted(name for name, found in zones.items() if found == owned))
    families: tuple[int, ...] = (6, 4)
    for _, policy in layers:
        if policy.families != families:
            families = tuple(f for f in families if f in policy.families)
    return _Question(literal, layers, expected, families, zones, owned, owners)


# Who is left out. The first filter that has a reason gives it.


def _prohibited(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    for layer, policy in question.layers:
        if selector := policy.prohibited_by(pvd):
            return Reason("prohibit", f"prohibited by {selector} ({layer})")
    return None


def _not_required(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    for layer, policy in question.layers:
        if alternatives := policy.lacking(pvd):
            wanted = " or ".join(map(str, alternatives))
            return Reason("require", f"not {wanted}, which is required ({layer})")
    return None


def _unusable(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    return Reason("usable", pvd.unusable) if pvd.unusable else None


def _portal(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    if pvd.reachability is not Reachability.PORTAL:
        return None
    required = [s for _, policy in question.layers for s in policy.require]
    if any(s.kind == "pvd" and "*" not in s.pattern and s.matches(pvd) for s in required):
        return None
    return Reason("reachability", behind_portal(pvd))


def _other_interface(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    """A scoped literal (RFC 4007 s11) belongs to one link."""
    zone = question.literal.zone if question.literal else None
    here = zone is None or zone in (pvd.interface, str(pvd.ifindex))
    return None if here else Reason("scope", f"%{zone} is another interface")


def _other_zone(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    found = question.zones[pvd.name]
    if question.owners and found != question.owned:
        return Reason("zone", f"{question.owned.zone} belongs to {', '.join(question.owners)}")
    if found.verdict is Verdict.NO:
        return Reason("zone", f"the name is outside its zones {', '.join(pvd.zones)}")
    return None


def _unreachable(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    why = unusable(pvd, _target(pvd, question.literal)) if question.literal else None
    return Reason("route", why) if why else None


def _no_family(pvd: ProvisioningDomain, question: _Question) -> Reason | None:
    """Whether policy leaves none of the families that packets to the destination would have."""
    families = _carried(pvd, question.literal)
    if not families:
        return Reason("family", "only link-local addresses")
    if needs_synthesis(pvd):
        families = (6,)
    elif question.literal is not None:
        families = (question.literal.family,)
    for family in families:
        if family in question.families:
            return None
    selectors = [
        f"{selector} is {'required' if selector in policy.require else 'prohibited'} ({layer})"
        for layer, policy in question.layers
        for selector in (*policy.prohibit, *policy.require)
        if selector.kind == "family"
    ]
    return Reason("family", f"no family left: {', '.join(selectors)}")


_Filter = Callable[[ProvisioningDomain, _Question], Reason | None]
_POLICY_FILTERS: tuple[_Filter, ...] = (_prohibited, _not_required)
_STATE_FILTERS: tuple[_Filter, ...] = (_unusable, _portal)
_NAME_FILTERS: tuple[_Filter, ...] = (_other_zone, _no_family)
_LITERAL_FILTERS: tuple[_Filter, ...] = (_other_interface, _unreachable, _no_family)


def _filters(question: _Question) -> tuple[_Filter, ...]:
    policy = _POLICY_FILTERS if question.layers else ()
    return policy + _STATE_FILTERS + (_LITERAL_FILTERS if question.literal else _NAME_FILTERS)


# How those that remain compare. A smaller key is better; the text says what the rule saw.


def _preference(pvd: ProvisioningDomain, question: _Question) -> tuple[tuple[int, bool], ...]:
    return tuple([(p.preferred_by(pvd), p.avoided_by(pvd) is not None) for _, p in question.layers])


def _say_preference(pvd: ProvisioningDomain, question: _Question) -> str:
    for _, policy in question.layers:
        position = policy.preferred_by(pvd)
        if position < len(policy.prefer):
            return f"preferred: {policy.prefer[position]}"
        if avoided := policy.avoided_by(pvd):
            return f"avoided: {avoided}"
    return "not preferred" if any(policy.prefer for _, policy in question.layers) else "not avoided"


def _history(pvd: ProvisioningDomain, question: _Question) -> bool:
    """Before cost: a dead network that is free would make the one that is not wait each time."""
    return question.expected.get(pvd.name, NOTHING_KNOWN).distrusted


def _say_history(pvd: ProvisioningDomain, question: _Question) -> str:
    return "did not work in time a moment ago" if _history(pvd, question) else "nothing known against it"


def _route(pvd: ProvisioningDomain, question: _Question) -> int:
    """The most specific route to an IP literal, as the longest zone is for a name; unknown is a default."""
    return -max(route_length(pvd, _target(pvd, question.literal)), 0) if question.literal else 0


def _say_route(pvd: ProvisioningDomain, question: _Question) -> str:
    length = -_route(pvd, question)
    return f"route /{length}" if length else "no specific route"


def _cost(pvd: ProvisioningDomain, question: _Question) -> tuple[int, int]:
    """The class, then the number of circumstances; ``temp_unmetered`` is unmetered while it lasts."""
    kind, flags = pvd.cost
    if "temp_unmetered" in flags:
        return 0, len(flags) - 1
    return _COST_ORDER[kind], len(flags)


_COST_ORDER = {CostClass.UNMETERED: 0, CostClass.UNKNOWN: 1, CostClass.FIXED: 2, CostClass.VARIABLE: 3}
_DEARER_THAN_ALL = (len(_COST_ORDER), 0)


def _is_metered(cost: tuple[int, int]) -> bool:
    """Whether money or a limit is known to be at stake."""
    return cost[0] >= _COST_ORDER[CostClass.FIXED] or cost[1] > 0


def _say_cost(pvd: ProvisioningDomain, question: _Question) -> str:
    words = ", ".join((pvd.cost.kind, *sorted(pvd.cost.flags)))
    return words if _cost(pvd, question) == (0, 0) else f"cost: {words}"


class _Rule(NamedTuple):
    name: str
    key: Callable[[ProvisioningDomain, _Question], Any]
    text: Callable[[ProvisioningDomain, _Question], str]


_RULES = (
    _Rule("preference", _preference, _say_preference),
    _Rule("route", _route, _say_route),
    _Rule("history", _history, _say_history),
    _Rule("cost", _cost, _say_cost),
    _Rule("metric", lambda pvd, _: pvd.metric, lambda pvd, _: f"metric {pvd.metric}"),
    _Rule("name", lambda pvd, _: pvd.name, lambda pvd, _: "by name"),
)

_COST_RULE = [rule.name for rule in _RULES].index("cost")


# Places, head starts and reasons.


def _placed(running: list[_Runner], question: _Question, path_delay: float) -> list[Ranked]:
    placed: list[Ranked] = []
    gaps = [_separating(a.keys, b.keys) for a, b in pairwise(running)]
    held_back, all_avoided, cheapest = False, True, _DEARER_THAN_ALL
    for position, (keys, pvd) in enumerate(running):
        cost, avoided = keys[_COST_RULE], bool(question.layers) and _avoided(pvd, question)
        # Who waits: the avoided behind one that is not, the metered behind a cheaper one, and all after.
        held_back = held_back or (avoided and not all_avoided) or (_is_metered(cost) and cost > cheapest)
        all_avoided, cheapest = all_avoided and avoided, min(cheapest, cost)
        head_start = None if held_back else position * path_delay
        because = _because(pvd, gaps[:position], gaps[position:], question)
        families = _carried(pvd, question.literal)
        if families != question.families:
            families = tuple([f for f in families if f in question.families])
        if blocked := question.expected.get(pvd.name, NOTHING_KNOWN).blocked:
            families = tuple(sorted(families, key=blocked.__contains__))
        placed.append(Ranked(pvd, head_start, because, families))
    return placed


def _avoided(pvd: ProvisioningDomain, question: _Question) -> bool:
    """Whether the first layer that has an opinion about a PvD avoids it."""
    for _, policy in question.layers:
        if policy.avoided_by(pvd):
            return True
        if policy.preferred_by(pvd) < len(policy.prefer):
            return False
    return False


def _because(
    pvd: ProvisioningDomain, before: list[int], behind: list[int], question: _Question
) -> tuple[Reason, ...]:
    """The rules that separate a PvD from any other here, each with what it saw in this PvD.

    ``before`` and ``behind`` are the rules that separate neighbours. What separates two that are further
    apart is the earliest rule between them, so only a rule earlier than those nearer by is one more reason.
    """
    separating = set()
    for gaps in (reversed(before), behind):
        earliest = len(_RULES)
        for rule in gaps:
            if rule < earliest:
                separating.add(rule)
                earliest = rule
    reasons = [Reason(_RULES[n].name, _RULES[n].text(pvd, question)) for n in sorted(separating)]
    if question.owners:
        reasons.insert(0, Reason("zone", f"owns {question.owned.zone}"))
    return tuple(reasons)


def _separating(keys: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    """The first rule by which two PvDs differ: by name, if by nothing else."""
    number = 0
    while keys[number] == other[number]:
        number += 1
    return number


def _carried(pvd: ProvisioningDomain, literal: Literal | None) -> tuple[int, ...]:
    """The families that a PvD can carry; both where its addresses are unknown, IPv4 also by NAT64."""
    if not pvd.addresses or needs_synthesis(pvd):
        return (6, 4)
    if literal is not None and is_link_local(literal.address):
        return tuple(f for f in (6, 4) if any(a.family == f for a in pvd.addresses))
    return pvd.families


def _target(pvd: ProvisioningDomain, literal: Literal) -> str:
    """A literal as this PvD reaches it: IPv4 through its NAT64 is IPv6."""
    if literal.family == 4 and needs_synthesis(pvd):
        return synthesise(pvd, (literal.address,))[0]
    return literal.address
