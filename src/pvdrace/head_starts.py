"""When each PvD of a ranking may begin: by what is known of those before it. Pure.

RFC 9623 s4.1.2 staggers paths and leaves the delay open. Here it is the time by which the one before will
probably be ready, where that was learnt: who waits longer gains nothing, who waits less races for nothing.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from .capacity import DEAREST, cost_key, is_metered, is_rationed, latency_budget
from .rank_rules import BROKEN, WORKS, is_avoided, soundness

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .expectation import Expectation, Expectations
    from .model import ProvisioningDomain
    from .race.pacing import Pacing
    from .rank_question import Question


def head_starts(
    order: Sequence[ProvisioningDomain], question: Question, rules: Collection[str], pacing: Pacing
) -> list[float | None]:
    """The head start of each of these PvDs, which stand in their order; ``rules`` are those that made it.

    Seconds from the race's start, never less than that of the one before. None: when all before have failed.
    So waits who is *avoided* behind one that is not, who is known not to work behind one that may, who has to
    save its volume behind a cheaper one, and everybody behind one who waits so.

    Nobody waits for a PvD of which worse is known than of one behind it: that stands ahead because policy
    prefers it, say. Who is metered waits for the latency budget behind a cheaper one that is as sound.
    """
    if len(order) == 1:
        return [0.0]
    failover = _failover(question)
    budget = latency_budget(question.layers) if "cost" in rules else 0.0
    sound = [soundness(pvd, question) if "reachability" in rules else WORKS for pvd in order]
    cheapest = [DEAREST] * (BROKEN + 1)  # of those so far that are as sound
    starts: list[float | None] = []
    start, held, all_avoided = 0.0, False, True
    for n, pvd in enumerate(order):
        avoided = bool(question.layers) and "preference" in rules and is_avoided(pvd, question)
        if n:
            held = held or failover or (avoided and not all_avoided)
            held = held or (sound[n] == BROKEN and WORKS in sound[:n])
        if budget > 0:
            cost = cost_key(pvd.cost)
            if cost > cheapest[sound[n]] and is_metered(cost):
                held = held or budget == inf or is_rationed(pvd.cost)
                start = max(start, budget)
            for worse in range(sound[n], BROKEN + 1):
                cheapest[worse] = min(cheapest[worse], cost)
        starts.append(None if held else start)
        all_avoided = all_avoided and avoided
        if sound[n] == WORKS or sound[n] <= min(sound[n:]):
            start += _wait_for(pvd, question.expectation(pvd), pacing)
    return starts


def _wait_for(pvd: ProvisioningDomain, expected: Expectation, pacing: Pacing) -> float:
    """How long those behind a PvD that may work leave it alone.

    RFC 8305 s5 bounds what is learnt for attempts, and its bounds are taken over for paths.
    """
    wait = pacing.path_delay
    if expected.soon is not None:
        wait = max(expected.soon, pacing.minimum_connection_attempt_delay)
        wait = min(wait, pacing.maximum_connection_attempt_delay)
    return max(wait, pvd.warmup)


def _failover(question: Question) -> bool:
    """RFC 9623 s4.2.3: whether the closest layer that says something wants one at a time."""
    for _, policy in question.layers:
        if policy.racing is not None:
            return policy.racing == "failover"
    return False


def round_trip_times(expected: Expectations) -> Mapping[str, Mapping[str, float]]:
    """What was learnt of addresses, by PvD, as `pvdrace.race.race.Race` takes it (HEv3 s5)."""
    return {name: known.rtt for name, known in expected.items() if known.rtt}
