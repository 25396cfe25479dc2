"""How the PvDs that may run compare: named rules, lexicographically, never added up. Pure.

A smaller key is better, and equal keys leave the two to the next rule. The text says what the rule saw. What
was seen stands above what was announced: evidence beats advice.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import floor, log
from typing import TYPE_CHECKING, Any, NamedTuple

from .capacity import cost_key, latency_budget
from .model import Reachability
from .race.ordering import route_length
from .rank_question import fails_in, packets_of, reached_in, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model import ProvisioningDomain
    from .rank_question import Question


class Rule(NamedTuple):
    """``key`` of a PvD, ``text`` for people.

    ``applies``: whether it could separate any two PvDs here; one that cannot is not asked. ``among`` gives
    the keys of PvDs that all rules before leave equal, where they depend on each other.
    """

    name: str
    key: Callable[[ProvisioningDomain, Question], Any]
    text: Callable[[ProvisioningDomain, Question], str]
    applies: Callable[[Question], bool] | None = None
    among: Callable[[Sequence[ProvisioningDomain], Question], list[Any]] | None = None


def rules_for(question: Question) -> list[Rule]:
    """The rules for one destination, in order: those that the closest layer names, or the usual ones.

    The choice stands before all advice, the name always last, so that the order is total.
    """
    chain: Sequence[Rule] = RULES
    for _, policy in question.layers:
        if policy.rank_by:
            chain = _chain(policy.rank_by)
            break
    return [rule for rule in chain if rule.applies is None or rule.applies(question)]


@lru_cache(maxsize=256)
def _chain(names: tuple[str, ...]) -> tuple[Rule, ...]:
    named = [name for name in dict.fromkeys(names) if name not in ("choice", "name")]
    named.insert(named.index("hints") if "hints" in named else len(named), "choice")
    return tuple(_BY_NAME[name] for name in (*named, "name"))


# ---------------------------------------------------------------------- what policy and topology say


def _zone(pvd: ProvisioningDomain, question: Question) -> int:
    return -question.zones[pvd.name].labels


def _say_zone(pvd: ProvisioningDomain, question: Question) -> str:
    return f"owns {question.zones[pvd.name].zone}"


def _route(pvd: ProvisioningDomain, question: Question) -> int:
    """The most specific route to an IP literal, as the longest zone is for a name; unknown is a default.

    A route is a claim, as a zone is: one of a PvD that is not trusted is no more than a default.
    """
    if not question.literal or not pvd.trusted:
        return 0
    return -max(route_length(pvd, target(pvd, question.literal)), 0)


def _say_route(pvd: ProvisioningDomain, question: Question) -> str:
    length = -_route(pvd, question)
    return f"route /{length}" if length else "no specific route"


def _preference(pvd: ProvisioningDomain, question: Question) -> tuple[tuple[int, bool], ...]:
    return tuple([(p.preferred_by(pvd), p.avoided_by(pvd) is not None) for _, p in question.layers])


def _say_preference(pvd: ProvisioningDomain, question: Question) -> str:
    for _, policy in question.layers:
        position = policy.preferred_by(pvd)
        if position < len(policy.prefer):
            return f"preferred: {policy.prefer[position]}"
        if avoided := policy.avoided_by(pvd):
            return f"avoided: {avoided}"
    return "not preferred" if any(policy.prefer for _, policy in question.layers) else "not avoided"


def is_avoided(pvd: ProvisioningDomain, question: Question) -> bool:
    """Whether the first layer that has an opinion about a PvD avoids it."""
    for _, policy in question.layers:
        if policy.avoided_by(pvd):
            return True
        if policy.preferred_by(pvd) < len(policy.prefer):
            return False
    return False


# ---------------------------------------------------------------------- known bad sinks


WORKS, DISTRUSTED, BROKEN = 0, 1, 2


def soundness(pvd: ProvisioningDomain, question: Question) -> int:
    """Whether a PvD is known not to work for this port, in every family that it would use.

    It stands before cost: a dead network that is free would make the one that is not wait each time. What is
    unknown and what is validated are equal here, so that no probe ever outweighs cost.
    """
    if _why_broken(pvd, question):
        return BROKEN
    return DISTRUSTED if question.expectation(pvd).distrusted else WORKS


def _why_broken(pvd: ProvisioningDomain, question: Question) -> str | None:
    unknown = not pvd.reached and pvd.reachability is Reachability.UNKNOWN
    if unknown and not question.expectation(pvd).blocked:
        return None
    why = None
    for family in packets_of(pvd, question):
        why = fails_in(pvd, family, question)
        if why is None:
            return None
    return why


def _say_reachability(pvd: ProvisioningDomain, question: Question) -> str:
    if why := _why_broken(pvd, question):
        return why
    distrusted = question.expectation(pvd).distrusted
    return "did not work in time a moment ago" if distrusted else "nothing known against it"


# ---------------------------------------------------------------------- cost


def _cost(pvd: ProvisioningDomain, question: Question) -> tuple[int, int]:
    return cost_key(pvd.cost)


def _say_cost(pvd: ProvisioningDomain, question: Question) -> str:
    words = ", ".join((pvd.cost.kind, *sorted(pvd.cost.flags)))
    return words if cost_key(pvd.cost) == (0, 0) else f"cost: {words}"


def cost_counts(question: Question) -> bool:
    """Whether cost is compared: not where latency is worth everything."""
    return not question.layers or latency_budget(question.layers) > 0


# ---------------------------------------------------------------------- validated


def _validated(pvd: ProvisioningDomain, question: Question) -> int:
    """The best of its families: inside a PvD RFC 8305 finds the one that works."""
    if not pvd.reached:
        return _VALIDATED[pvd.reachability]
    port, best = question.endpoint.port, _VALIDATED[Reachability.NONE]
    for family in packets_of(pvd, question):
        reached = reached_in(pvd, family)
        state = reached.state if reached else Reachability.UNKNOWN
        if reached and state is Reachability.PARTIAL and port in reached.ports:
            state = Reachability.VALIDATED
        best = min(best, _VALIDATED[state])
    return best


_VALIDATED = {
    Reachability.VALIDATED: 0,
    Reachability.UNKNOWN: 1,
    Reachability.PARTIAL: 2,
    Reachability.PORTAL: 2,
    Reachability.NONE: 2,
}


def _say_validated(pvd: ProvisioningDomain, question: Question) -> str:
    return ("validated", "not yet validated", "not validated")[_validated(pvd, question)]


# ---------------------------------------------------------------------- what was learnt

#: One PvD is faster than another if it is at least 10 ms and one third faster: less is noise.
FASTER_BY, FASTER_SHARE = 0.010, 1 / 3


def _times(pvds: Sequence[ProvisioningDomain], question: Question) -> list[int]:
    """How many steps slower than the fastest of them, each of one third and 10 ms at least; 0 for as fast.

    Buckets with fixed borders would let two PvDs that are 1 ms apart change places by noise. Steps counted
    from the fastest have no border near it: who is not clearly slower ties with it, and the incumbent rule
    lets the one that served last time stay. So it stays unless another is clearly faster, and the order is
    still total. A PvD of which nothing is known ties with the fastest: it is worth a try, and the incumbent
    rule says when.
    """
    ready = [question.expectation(pvd).ready for pvd in pvds]
    fastest = min([seconds for seconds in ready if seconds is not None], default=0.0)
    return [0 if seconds is None else _slower(seconds, fastest) for seconds in ready]


def _slower(seconds: float, fastest: float) -> int:
    gained = round(seconds - fastest, 6)
    if gained < FASTER_BY or gained < round(seconds * FASTER_SHARE, 6):
        return 0
    return max(1, floor(_steps(seconds) - _steps(fastest)))


def _steps(seconds: float) -> float:
    """A scale on which a third, or 10 ms where that is more, is about one."""
    corner = FASTER_BY / FASTER_SHARE
    if seconds <= corner:
        return seconds / FASTER_BY
    return corner / FASTER_BY + log(seconds / corner) / -log(1 - FASTER_SHARE)


def _time(pvd: ProvisioningDomain, question: Question) -> float | None:
    return question.expectation(pvd).ready


def _say_time(pvd: ProvisioningDomain, question: Question) -> str:
    ready = question.expectation(pvd).ready
    return "not measured yet" if ready is None else f"ready in about {ready * 1000:.0f} ms"


def _stability(pvd: ProvisioningDomain, question: Question) -> int:
    """By powers of two; to have gone once is no flapping."""
    return max(0, question.expectation(pvd).flaps.bit_length() - 1)


def _say_stability(pvd: ProvisioningDomain, question: Question) -> str:
    flaps = question.expectation(pvd).flaps
    return f"came and went {flaps} times lately" if flaps > 1 else "stable"


def _incumbent(pvd: ProvisioningDomain, question: Question) -> int:
    """Who served last stays; where nobody does, a PvD of which nothing is known is tried before one that is.

    So a PvD that was never measured displaces no known good one, until history sets the incumbent aside: then
    it is its turn, for one connection, and from then on it is measured too.
    """
    expected = question.expectation(pvd)
    return 0 if expected.incumbent else 1 if expected.ready is None else 2


def _say_incumbent(pvd: ProvisioningDomain, question: Question) -> str:
    return ("served last time", "not tried yet", "did not serve last time")[_incumbent(pvd, question)]


# ---------------------------------------------------------------------- advice


def _hints(pvd: ProvisioningDomain, question: Question) -> tuple[int, int, int]:
    """What the network says of itself: route metric, RFC 4191 s2.1's preference, quality of the link.

    Unknown quality is mediocre; quarters, because it never stands still. A PvD that is not trusted cannot
    raise itself.
    """
    preference = pvd.route_preference if pvd.trusted else min(pvd.route_preference, 0)
    quality = 2 if pvd.link_quality is None else int(pvd.link_quality * 4)
    return pvd.metric, -preference, -quality


def _say_hints(pvd: ProvisioningDomain, question: Question) -> str:
    words = [f"metric {pvd.metric}"]
    if pvd.route_preference:
        words.append(f"route preference {'high' if pvd.route_preference > 0 else 'low'}")
    if pvd.link_quality is not None:
        words.append(f"link quality {pvd.link_quality:.0%}")
    return ", ".join(words)


# ---------------------------------------------------------------------- rules for `rank_by` alone


def _security(pvd: ProvisioningDomain, question: Question) -> int:
    return {True: 0, None: 1, False: 2}[pvd.secure]


def _say_security(pvd: ProvisioningDomain, question: Question) -> str:
    return ("encrypted link", "link of unknown security", "open link")[_security(pvd, question)]


def _say_rate(pvd: ProvisioningDomain, question: Question) -> str:
    return "rate unknown" if pvd.rate is None else f"{pvd.rate:.0f} bit/s"


def _errors(pvd: ProvisioningDomain, question: Question) -> int:
    """In tenths."""
    return round(question.expectation(pvd).errors * 10)


def _say_errors(pvd: ProvisioningDomain, question: Question) -> str:
    return f"{question.expectation(pvd).errors:.0%} failed lately"


def _spread(pvd: ProvisioningDomain, question: Question) -> bytes:
    """RFC 4311's load sharing, made sticky: the same use of the same host keeps to the same PvD.

    The highest random weight wins, so that one PvD less moves only what it carried.
    """
    text = f"{question.label or ''}\0{question.endpoint.host}\0{pvd.name}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()


# ---------------------------------------------------------------------- the chain


def _learnt(question: Question) -> bool:
    return bool(question.expected)


RULES = (
    Rule("zone", _zone, _say_zone, lambda question: bool(question.owners)),
    Rule("route", _route, _say_route, lambda question: question.literal is not None),
    Rule("preference", _preference, _say_preference, lambda question: bool(question.layers)),
    Rule("reachability", soundness, _say_reachability),
    Rule("cost", _cost, _say_cost, cost_counts),
    Rule("validated", _validated, _say_validated),
    Rule("time", _time, _say_time, _learnt, _times),
    Rule("stability", _stability, _say_stability, _learnt),
    Rule("incumbent", _incumbent, _say_incumbent, _learnt),
    Rule(
        "choice",
        lambda pvd, question: pvd.name != question.chosen,
        lambda pvd, question: "chosen" if pvd.name == question.chosen else "not chosen",
        lambda question: question.chosen is not None,
    ),
    Rule("hints", _hints, _say_hints),
    Rule("name", lambda pvd, _: pvd.name, lambda pvd, _: "by name"),
)
OPTIONAL_RULES = (
    Rule("security", _security, _say_security),
    Rule("rate", lambda pvd, _: -(pvd.rate or 0.0), _say_rate),
    Rule("errors", _errors, _say_errors, _learnt),
    Rule("spread", _spread, lambda pvd, _: "by the hash of the destination"),
)
_BY_NAME = {rule.name: rule for rule in (*RULES, *OPTIONAL_RULES)}

#: Rules that say nothing of what a PvD will do: where nothing else separates two, they are as good.
ADVICE = frozenset({"hints", "choice", "name"})
