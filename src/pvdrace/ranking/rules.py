"""How the PvDs that may run compare: named rules, lexicographically, never added up. Pure.

A smaller key is better, and equal keys leave the two to the next rule. The text says what the rule saw. What
was seen stands above what was announced: evidence beats advice.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import floor, log
from typing import TYPE_CHECKING, Any, NamedTuple

from ..capacity import cost_key, latency_budget
from ..model import Reachability
from ..race.ordering import route_length
from .question import fails_in, packets_of, reached_in, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..expectation import Expectation
    from ..model import ProvisioningDomain, Reached
    from .question import Question


class Rule(NamedTuple):
    """``key`` of a PvD of which so much is expected, ``text`` for people.

    ``applies``: whether it could separate any two PvDs here; one that cannot is not asked. ``learnt``: it
    reads what is expected; all others give the same for as long as the snapshot holds. ``among`` gives the
    keys of PvDs that all rules before leave equal, where they depend on each other.
    """

    name: str
    key: Callable[[ProvisioningDomain, Expectation, Question], Any]
    text: Callable[[ProvisioningDomain, Expectation, Question], str]
    applies: Callable[[Question], bool] | None = None
    learnt: bool = False
    among: Callable[[Sequence[Expectation]], list[Any]] | None = None


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


def _zone(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    return -question.zones[pvd.name].labels


def _say_zone(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    return f"owns {question.zones[pvd.name].zone}"


def _route(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    """The most specific route to an IP literal, as the longest zone is for a name; unknown is a default.

    A route is a claim, as a zone is: one of a PvD that is not trusted is no more than a default.
    """
    if not question.literal or not pvd.trusted or pvd.proxy is not None:
        return 0
    return -max(route_length(pvd, target(pvd, question.literal)), 0)


def _say_route(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    length = -_route(pvd, known, question)
    return f"route /{length}" if length else "no specific route"


def _preference(
    pvd: ProvisioningDomain, known: Expectation, question: Question
) -> tuple[tuple[int, bool], ...]:
    return tuple([(p.preferred_by(pvd), p.avoided_by(pvd) is not None) for _, p in question.layers])


def _say_preference(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    for layer, policy in question.layers:
        position = policy.preferred_by(pvd)
        if position < len(policy.prefer):
            return f"preferred: {policy.prefer[position]} ({layer})"
        if avoided := policy.avoided_by(pvd):
            return f"avoided: {avoided} ({layer})"
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


def soundness(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    """Whether a PvD is known not to work for this port, in every family that it would use.

    It stands before cost: a dead network that is free would make the one that is not wait each time. What is
    unknown and what is validated are equal here, so that no probe ever outweighs cost.
    """
    unknown = pvd.reachability is Reachability.UNKNOWN and not pvd.reached
    if (known.blocked or not unknown) and _why_broken(pvd, known, question):
        return BROKEN
    return DISTRUSTED if known.distrusted else WORKS


def _why_broken(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str | None:
    why = None
    for family in packets_of(pvd, question):
        why = fails_in(pvd, known, family, question)
        if why is None:
            return None
    return why


def _say_reachability(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    if why := _why_broken(pvd, known, question):
        return why
    distrusted = known.distrusted
    return "did not work in time a moment ago" if distrusted else "nothing known against it"


# ---------------------------------------------------------------------- cost


def _cost(pvd: ProvisioningDomain, known: Expectation, question: Question) -> tuple[int, int]:
    return cost_key(pvd.cost)


def _say_cost(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    words = ", ".join((pvd.cost.kind, *sorted(pvd.cost.flags)))
    return words if cost_key(pvd.cost) == (0, 0) else f"cost: {words}"


def cost_counts(question: Question) -> bool:
    """Whether cost is compared: not where latency is worth everything."""
    return not question.layers or latency_budget(question.layers) > 0


# ---------------------------------------------------------------------- validated


def _validated(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    """The best of its families: inside a PvD RFC 8305 finds the one that works."""
    if not pvd.reached:
        return _state_order(pvd.reachability)
    port, best = question.endpoint.port, 2
    for family in packets_of(pvd, question):
        reached = reached_in(pvd, family)
        best = min(best, _order_of_port(reached, port) if reached else _state_order(Reachability.UNKNOWN))
    return best


def _order_of_port(reached: Reached, port: int) -> int:
    """Where only some ports pass: that one does, that it was never tried, that it does not."""
    if reached.state is not Reachability.PARTIAL:
        return _state_order(reached.state)
    if port in reached.ports:
        return 0
    return 1 if (reached.blocked or reached.lost) and port not in (*reached.blocked, *reached.lost) else 2


def _state_order(state: Reachability) -> int:
    return 1 if state is Reachability.UNKNOWN else 0 if state is Reachability.VALIDATED else 2


def _say_validated(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    return ("validated", "not yet validated", "not validated")[_validated(pvd, known, question)]


# ---------------------------------------------------------------------- what was learnt

#: One PvD is faster than another if it is at least 10 ms and one third faster: less is noise.
FASTER_BY, FASTER_SHARE = 0.010, 1 / 3
_CORNER, _STEP = FASTER_BY / FASTER_SHARE, -log(1 - FASTER_SHARE)
_ROUNDING = 1e-9  # 30 ms less 20 ms are 10 ms


def _times(several: Sequence[Expectation]) -> list[int]:
    """How many steps slower than the fastest of them, each of one third and 10 ms at least; 0 for as fast.

    Buckets with fixed borders would let two PvDs that are 1 ms apart change places by noise. Steps counted
    from the fastest have no border near it: who is not clearly slower ties with it, and the incumbent rule
    lets the one that served last time stay. So it stays unless another is clearly faster, and the order is
    still total. A PvD of which nothing is known ties with the fastest: it is worth a try.
    """
    ready = [known.ready for known in several]
    fastest = min([seconds for seconds in ready if seconds is not None], default=0.0)
    slower = max(fastest + FASTER_BY, fastest / (1 - FASTER_SHARE)) - _ROUNDING
    steps = _steps(fastest)
    return [
        0 if seconds is None or seconds < slower else max(1, floor(_steps(seconds) - steps))
        for seconds in ready
    ]


def _steps(seconds: float) -> float:
    """A scale on which a third, or 10 ms where that is more, is about one."""
    if seconds <= _CORNER:
        return seconds / FASTER_BY
    return _CORNER / FASTER_BY + log(seconds / _CORNER) / _STEP


def _time(pvd: ProvisioningDomain, known: Expectation, question: Question) -> float | None:
    return known.ready


def _say_time(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    ready = known.ready
    return "not measured yet" if ready is None else f"ready in about {ready * 1000:.0f} ms"


def _stability(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    """By powers of two; to have gone once and come back is no flapping."""
    return max(0, known.flaps.bit_length() - 2)


def _say_stability(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    flaps = known.flaps
    return f"came or went {flaps} times lately" if flaps > 3 else "stable"


def _incumbents(several: Sequence[Expectation]) -> list[bool]:
    """Who served last stays, but for a PvD that was never measured here: between the two, advice decides.

    So one that is attached anew and comes first by its route metric gets one connection to show what it can
    do, and is measured from then on; one that does not come first displaces nobody. Where nobody of them
    served last, this rule has nothing to say.
    """
    somebody = any(known.incumbent for known in several)
    return [somebody and not known.incumbent and known.ready is not None for known in several]


def _incumbent(pvd: ProvisioningDomain, known: Expectation, question: Question) -> bool:
    return known.incumbent


def _say_incumbent(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    if known.incumbent:
        return "served last time"
    return "not tried yet" if known.ready is None else "did not serve last time"


# ---------------------------------------------------------------------- advice


def _hints(pvd: ProvisioningDomain, known: Expectation, question: Question) -> tuple[int, int, int]:
    """What the network says of itself: route metric, RFC 4191 s2.1's preference, quality of the link.

    Unknown quality is mediocre; quarters, because it never stands still. A PvD that is not trusted cannot
    raise itself.
    """
    preference = pvd.route_preference if pvd.trusted else min(pvd.route_preference, 0)
    quality = 2 if pvd.link_quality is None else int(pvd.link_quality * 4)
    return pvd.metric, -preference, -quality


def _say_hints(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    words = [f"metric {pvd.metric}"]
    if pvd.route_preference:
        words.append(f"route preference {'high' if pvd.route_preference > 0 else 'low'}")
    if pvd.link_quality is not None:
        words.append(f"link quality {pvd.link_quality:.0%}")
    return ", ".join(words)


# ---------------------------------------------------------------------- rules for `rank_by` alone


def _security(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    return {True: 0, None: 1, False: 2}[pvd.secure]


def _say_security(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    return ("encrypted link", "link of unknown security", "open link")[_security(pvd, known, question)]


def _say_rate(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    return "rate unknown" if pvd.rate is None else f"{pvd.rate:.0f} bit/s"


def _errors(pvd: ProvisioningDomain, known: Expectation, question: Question) -> int:
    """In tenths."""
    return round(known.errors * 10)


def _say_errors(pvd: ProvisioningDomain, known: Expectation, question: Question) -> str:
    return f"{known.errors:.0%} failed lately"


def _spread(pvd: ProvisioningDomain, known: Expectation, question: Question) -> bytes:
    """RFC 4311's load sharing, made sticky: the same use of the same host keeps to the same PvD.

    The highest random weight wins, so that one PvD less moves only what it carried.
    """
    text = f"{question.label or ''}\0{question.endpoint.host}\0{pvd.name}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()


# ---------------------------------------------------------------------- the chain


RULES = (
    Rule("zone", _zone, _say_zone, lambda question: bool(question.owners)),
    Rule("route", _route, _say_route, lambda question: question.literal is not None),
    Rule("preference", _preference, _say_preference, lambda question: bool(question.layers)),
    Rule("reachability", soundness, _say_reachability, learnt=True),
    Rule("cost", _cost, _say_cost, cost_counts),
    Rule("validated", _validated, _say_validated),
    Rule("time", _time, _say_time, learnt=True, among=_times),
    Rule("stability", _stability, _say_stability, learnt=True),
    Rule("incumbent", _incumbent, _say_incumbent, learnt=True, among=_incumbents),
    Rule(
        "choice",
        lambda pvd, known, question: pvd.name != question.chosen,
        lambda pvd, known, question: "chosen" if pvd.name == question.chosen else "not chosen",
        lambda question: question.chosen is not None,
    ),
    Rule("hints", _hints, _say_hints),
    Rule("name", lambda pvd, known, _: pvd.name, lambda pvd, known, _: "by name"),
)
OPTIONAL_RULES = (
    Rule("security", _security, _say_security),
    Rule("rate", lambda pvd, known, _: -(pvd.rate or 0.0), _say_rate),
    Rule("errors", _errors, _say_errors, learnt=True),
    Rule("spread", _spread, lambda pvd, known, _: "by the hash of the destination"),
)
_BY_NAME = {rule.name: rule for rule in (*RULES, *OPTIONAL_RULES)}

#: Rules that say nothing of what a PvD will do: where nothing else separates two, they are as good.
ADVICE = frozenset({"hints", "choice", "name"})
