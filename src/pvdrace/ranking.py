"""Who may run, in which order, with which head start, and why. Pure.

`rank_filters` leaves PvDs out, `rank_rules` compares those that remain, `head_starts` says when each begins;
a new filter or rule is a new entry in its list. The rules are compared one after the other
(lexicographically), never added up, so each place in the ranking has a `Reason` that names the one rule that
decided it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .expectation import EXPECT_NOTHING
from .head_starts import head_starts
from .model import (
    LOOPBACK,
    Cost,
    CostClass,
    Endpoint,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Reachability,
    Reason,
    is_loopback,
)
from .race.race import DEFAULT_PACING
from .rank_filters import filters_for, left_out
from .rank_question import Question, fails_in, families_of, question_of
from .rank_rules import ADVICE, Rule, rules_for

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
    label: str | None = None,
    chosen: str | None = None,
) -> Ranking:
    """Rank the PvDs of a snapshot for one destination.

    ``layers`` are the policies that apply and what to call them, the closest to the caller first:
    ``[("call", p), ("rule 2", q), ("application", r)]``. Prohibitions and requirements of every layer hold;
    preferences of an earlier layer outrank those of a later one. They are applied in the order prohibit,
    require, prefer, avoid (RFC 9623 s4.1.3). Of what a path may cost and how paths are compared and raced,
    the closest layer that says something counts.

    ``expected`` is what `pvdrace.history` expects of the PvDs, by name; ``label`` what the application calls
    this use; ``chosen`` the PvD that `ambiguous` was answered with. `head_starts` says who waits for whom.
    """
    standing = _standing(pvds, endpoint, layers, expected, label, chosen)
    question, rules, gaps = standing.question, standing.rules, standing.gaps
    starts = head_starts(standing.order, question, [rule.name for rule in rules], pacing)
    owner = (Reason("zone", f"owns {question.owned.zone}"),) if question.owners else ()
    ranked = [
        Ranked(
            pvd,
            starts[n],
            owner + _because(pvd, gaps, n, rules, question) if len(starts) > 1 else owner,
            _in_order_of_trying(pvd, question),
        )
        for n, pvd in enumerate(standing.order)
    ]
    return Ranking(tuple(ranked), standing.excluded)


def ambiguous(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]] = (),
    *,
    pacing: Pacing = DEFAULT_PACING,
    expected: Expectations = EXPECT_NOTHING,
    label: str | None = None,
) -> tuple[Ranked, ...]:
    """The leading PvDs, two or more, that nothing but advice separates, and that would not wait for long.

    Advice is the network's own hints, and the name. Empty where something that counts decides.
    """
    gaps = _standing(pvds, endpoint, layers, expected, label, None).leading
    ranking = rank(pvds, endpoint, layers, pacing=pacing, expected=expected, label=label)
    leading = [entry for entry in ranking.ranked[:gaps] if entry.head_start is not None]
    return tuple(leading) if len(leading) > 1 else ()


class _Standing(NamedTuple):
    """Who runs, in order; ``gaps`` are the rules that separate neighbours, as places in ``rules``."""

    question: Question
    rules: list[Rule]
    order: list[ProvisioningDomain]
    gaps: list[int]
    excluded: tuple[Ranked, ...]

    @property
    def leading(self) -> int:
        """How many at the top only advice separates."""
        count = 1
        for gap in self.gaps:
            if self.rules[gap].name not in ADVICE:
                break
            count += 1
        return count


def _standing(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    expected: Expectations,
    label: str | None,
    chosen: str | None,
) -> _Standing:
    snapshot = (LOOPBACK_PVD,) if is_loopback(endpoint.host) else pvds.pvds
    question = question_of(snapshot, endpoint, layers, expected, label, chosen)
    filters = filters_for(question)
    running: list[ProvisioningDomain] = []
    excluded: list[Ranked] = []
    for pvd in snapshot:
        reason = left_out(pvd, question, filters)
        if reason is None:
            running.append(pvd)
        else:
            excluded.append(Ranked(pvd, None, (), (), reason))
    excluded.sort(key=lambda ranked: ranked.pvd.name)
    rules = rules_for(question)
    order: list[ProvisioningDomain] = []
    gaps: list[int] = []
    if running:
        _put_in_order(running, 0, rules, question, order, gaps)
    return _Standing(question, rules, order, gaps, tuple(excluded))


def _put_in_order(
    group: list[ProvisioningDomain],
    first: int,
    rules: list[Rule],
    question: Question,
    order: list[ProvisioningDomain],
    gaps: list[int],
) -> None:
    """Append those of a group to ``order``, which the rules before ``first`` leave equal.

    A rule is asked only of those that it may still separate.
    """
    number = first
    while len(group) > 1:
        rule = rules[number]
        if rule.among is not None:
            keys = rule.among(group, question)
        else:
            keys = [rule.key(pvd, question) for pvd in group]
        if keys.count(keys[0]) != len(keys):
            for n, key in enumerate(sorted(set(keys))):
                if n:
                    gaps.append(number)
                equal = [pvd for pvd, one in zip(group, keys, strict=True) if one == key]
                _put_in_order(equal, number + 1, rules, question, order, gaps)
            return
        number += 1
    order += group


def _because(
    pvd: ProvisioningDomain, gaps: list[int], position: int, rules: list[Rule], question: Question
) -> tuple[Reason, ...]:
    """The rules that separate a PvD from any other here, each with what it saw in this PvD.

    ``gaps`` are the rules that separate neighbours. What separates two that are further apart is the earliest
    rule between them, so only a rule earlier than those nearer by is one more reason.
    """
    separating = set()
    for nearer in (reversed(gaps[:position]), gaps[position:]):
        earliest = len(rules)
        for rule in nearer:
            if rule < earliest:
                separating.add(rule)
                earliest = rule
    return tuple([Reason(rules[n].name, rules[n].text(pvd, question)) for n in sorted(separating)])


def _in_order_of_trying(pvd: ProvisioningDomain, question: Question) -> tuple[int, ...]:
    """The families of a PvD; one in which this port is known not to work comes behind one where it may."""
    families = families_of(pvd, question)
    if len(families) < 2 or not (pvd.reached or question.expected):
        return families
    return tuple(sorted(families, key=lambda family: fails_in(pvd, family, question) is not None))
