"""When each PvD of a ranking may begin: by what is known of those before it. Pure.

RFC 9623 s4.1.2 staggers paths and leaves the delay open. Here it is the time by which the one before will
probably be ready, where that was learnt: who waits longer gains nothing, who waits less races for nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..capacity import DEAREST, cost_key, is_metered, is_rationed, latency_budget
from .rules import BROKEN, WORKS, is_avoided

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..expectation import Expectation, Expectations
    from ..model import ProvisioningDomain
    from ..race.pacing import Pacing
    from .question import Question


class Starter(NamedTuple):
    """What the head start of a PvD depends on, besides experience.

    ``budget``: the latency budget that it has to wait for behind cheaper ones, in seconds; 0 if it need not.
    """

    cost: tuple[int, int]
    budget: float
    avoided: bool
    failover: bool
    warmup: float


def starter_of(pvd: ProvisioningDomain, question: Question, rules: Collection[str]) -> Starter:
    """What is to be known of a PvD here; a rule that is not asked keeps nobody waiting either."""
    cost = cost_key(pvd.cost)
    budget = 0.0
    if "cost" in rules and is_metered(cost):
        budget = inf if is_rationed(pvd.cost) else latency_budget(question.layers)
    avoided = "preference" in rules and is_avoided(pvd, question)
    return Starter(cost, budget, avoided, _failover(question), pvd.warmup)


def head_starts(
    order: Sequence[Starter], sound: Sequence[int], known: Sequence[Expectation], pacing: Pacing
) -> list[float | None]:
    """The head start of each of the PvDs that stand in this order; ``sound`` is `rules.soundness`.

    Seconds from the race's start, never less than that of the one before. None: when all before have failed.
    So waits who is *avoided* behind one that is not, who is known not to work behind one that may, who has to
    save its volume behind a cheaper one, and everybody behind one who waits so.

    Nobody waits for a PvD of which worse is known than of one behind it: that stands ahead because policy
    prefers it, say. Who is metered waits for the latency budget behind a cheaper one that is as sound.
    """
    alike = sound.count(sound[0]) == len(sound)
    cheapest = [DEAREST] * (BROKEN + 1)  # of those so far that are as sound
    starts: list[float | None] = []
    start, held, all_avoided = 0.0, False, True
    for n, (cost, budget, avoided, failover, warmup) in enumerate(order):
        mine = sound[n]
        if n and not held:
            held = failover or (avoided and not all_avoided)
            if not alike:
                held = held or (mine == BROKEN and WORKS in sound[:n])
        if budget and cost > cheapest[mine]:
            held = held or budget == inf
            start = max(start, budget)
        for worse in range(mine, BROKEN + 1):
            if cost < cheapest[worse]:
                cheapest[worse] = cost
        starts.append(None if held else start)
        all_avoided = all_avoided and avoided
        if alike or mine <= min(sound[n:]):
            start += _wait_for(known[n].soon, warmup, pacing)
    return starts


def staggered(order: Sequence[Starter], known: Sequence[Expectation], pacing: Pacing) -> list[float | None]:
    """As `head_starts`, of PvDs that are all equally sound and that nothing else makes wait."""
    starts: list[float | None] = []
    start = 0.0
    for n, expected in enumerate(known):
        starts.append(start)
        start += _wait_for(expected.soon, order[n].warmup, pacing)
    return starts


def _wait_for(soon: float | None, warmup: float, pacing: Pacing) -> float:
    """How long those behind a PvD that may work leave it alone.

    RFC 8305 s5 bounds what is learnt for attempts, and its bounds are taken over for paths.
    """
    if soon is None:
        soon = pacing.path_delay
    elif soon < pacing.minimum_connection_attempt_delay:
        soon = pacing.minimum_connection_attempt_delay
    elif soon > pacing.maximum_connection_attempt_delay:
        soon = pacing.maximum_connection_attempt_delay
    return soon if soon > warmup else warmup


def _failover(question: Question) -> bool:
    """RFC 9623 s4.2.3: whether the closest layer that says something wants one at a time."""
    for _, policy in question.layers:
        if policy.racing is not None:
            return policy.racing == "failover"
    return False


def round_trip_times(expected: Expectations) -> Mapping[str, Mapping[str, float]]:
    """What was learnt of addresses, by PvD, as `pvdrace.race.race.Race` takes it (HEv3 s5)."""
    return {name: known.rtt for name, known in expected.items() if known.rtt}
