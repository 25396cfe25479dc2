"""Who may run, in which order, with which head start, and why. Pure.

`filters` leaves PvDs out, `rules` compares those that remain, `head_starts` says when each begins;
a new filter or rule is a new entry in its list. The rules are compared one after the other
(lexicographically), never added up, so each place in the ranking has a `Reason` that names the one rule that
decided it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..expectation import EXPECT_NOTHING, NOTHING_KNOWN
from ..model import (
    LOOPBACK,
    Cost,
    CostClass,
    Endpoint,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Reachability,
    is_loopback,
)
from ..race.race import DEFAULT_PACING
from .ground import Ground, ground_of
from .head_starts import head_starts, staggered
from .rules import ADVICE, soundness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..expectation import Expectation, Expectations
    from ..policy import Policy
    from ..race.pacing import Pacing
    from .ambiguity import Choices

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
    ground, order, gaps, known, _ = standing
    starts = _head_starts(standing, pacing)
    running, owner, reason, families = ground.running, ground.owner, ground.reason, ground.families
    same_gap = gaps.count(gaps[0]) == len(gaps) if gaps else True
    ranked = []
    for n, place in enumerate(order):
        mine = known[place]
        if same_gap:
            because = (*owner, reason(gaps[0], place, mine)) if gaps else owner
        else:
            because = (*owner, *[reason(rule, place, mine) for rule in _separating(gaps, n)])
        ranked.append(Ranked(running[place], starts[n], because, families(place, mine)))
    return Ranking(tuple(ranked), ground.excluded)


def ambiguous(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]] = (),
    *,
    pacing: Pacing = DEFAULT_PACING,
    expected: Expectations = EXPECT_NOTHING,
    label: str | None = None,
) -> tuple[Ranked, ...]:
    """The leading PvDs, two or more, that nothing but advice separates, and that wait for no failure.

    Advice is the network's own hints, and the name. Empty where something that counts decides.
    """
    standing = _standing(pvds, endpoint, layers, expected, label, None)
    count = 1
    for gap in standing.gaps:
        if standing.ground.rules[gap].name not in ADVICE:
            break
        count += 1
    if count == 1:
        return ()
    ranking = rank(pvds, endpoint, layers, pacing=pacing, expected=expected, label=label)
    leading = [entry for entry in ranking.ranked[:count] if entry.head_start is not None]
    return tuple(leading) if len(leading) > 1 else ()


def rank_by_choice(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    choices: Choices | None,
    *,
    pacing: Pacing = DEFAULT_PACING,
    expected: Expectations = EXPECT_NOTHING,
    label: str | None = None,
) -> tuple[Ranking, tuple[Ranked, ...]]:
    """`rank` by what was chosen where it is `ambiguous`; and the PvDs that there is still to choose between.

    Without ``choices`` nobody chooses.
    """
    between: tuple[Ranked, ...] = ()
    chosen = None
    if choices is not None:
        between = ambiguous(pvds, endpoint, layers, pacing=pacing, expected=expected, label=label)
        chosen = choices.of(between)
        if choices.made(between):
            between = ()
    ranking = rank(pvds, endpoint, layers, pacing=pacing, expected=expected, label=label, chosen=chosen)
    return ranking, between


class _Standing(NamedTuple):
    """Who runs, in which order. PvDs and rules go by their places in ``ground``.

    ``gaps`` are the rules that separate neighbours; ``known`` is what is expected of each PvD, and ``sound``
    whether it may work.
    """

    ground: Ground
    order: list[int]
    gaps: list[int]
    known: list[Expectation]
    sound: list[int]


def _standing(
    pvds: PvdSet,
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    expected: Expectations,
    label: str | None,
    chosen: str | None,
) -> _Standing:
    snapshot = (LOOPBACK_PVD,) if is_loopback(endpoint.host) else pvds.pvds
    ground = ground_of(pvds, snapshot, endpoint, layers, label, chosen)
    if expected:
        known = [expected.get(name, NOTHING_KNOWN) for name in ground.names]
    else:
        known = [NOTHING_KNOWN] * len(ground.names)
    sound = [
        ground.soundness(n, mine) if mine.blocked or mine.distrusted else ground.sound[n]
        for n, mine in enumerate(known)
    ]
    standing = _Standing(ground, [], [], known, sound)
    if known:
        _put_in_order(list(range(len(known))), 0, standing, bool(expected))
    return standing


def _put_in_order(group: list[int], first: int, standing: _Standing, learnt: bool) -> None:
    """Append those of a group, which the rules before ``first`` leave equal, to the order.

    A rule is asked only of those that it may still separate.
    """
    ground, order, gaps, known, sound = standing
    if len(group) > 1:
        question, running = ground.question, ground.running
        for number in ground.telling(learnt):
            if number < first:
                continue
            _, key, _, _, rule_learnt, among = ground.rules[number]
            if not (rule_learnt and learnt):
                all_keys = ground.keys(number)
                keys = [all_keys[place] for place in group]
            elif among is not None:
                keys = among([known[place] for place in group])
            elif key is soundness:
                keys = [sound[place] for place in group]
            else:
                keys = [key(running[place], known[place], question) for place in group]
            if keys.count(keys[0]) != len(keys):
                different = sorted(set(keys))
                if len(different) == len(keys):
                    order += [group[keys.index(key)] for key in different]
                    gaps += [number] * (len(keys) - 1)
                    return
                for n, key in enumerate(different):
                    if n:
                        gaps.append(number)
                    equal = [place for place, one in zip(group, keys, strict=True) if one == key]
                    _put_in_order(equal, number + 1, standing, learnt)
                return
    order += group


def _head_starts(standing: _Standing, pacing: Pacing) -> list[float | None]:
    ground, order, _, known, sound = standing
    if len(order) < 2:
        return [0.0] * len(order)
    starters = [ground.starters[place] for place in order]
    in_order = [known[place] for place in order]
    if ground.nobody_waits_longer and sound.count(sound[0]) == len(sound):
        return staggered(starters, in_order, pacing)
    return head_starts(starters, [sound[place] for place in order], in_order, pacing)


def _separating(gaps: list[int], position: int) -> list[int]:
    """The rules that separate a PvD from any other here, in their order.

    ``gaps`` are the rules that separate neighbours. What separates two that are further apart is the earliest
    rule between them, so only a rule earlier than those nearer by is one more reason.
    """
    found = set()
    for nearer in (reversed(gaps[:position]), gaps[position:]):
        earliest = inf
        for rule in nearer:
            if rule < earliest:
                found.add(rule)
                earliest = rule
    return sorted(found)
