"""What of a ranking does not depend on experience: worked out once for a snapshot and a destination. Pure.

Experience changes with every connection, all else with the network. So the filters and most rules are asked
once, and what they said is kept with the `PvdSet`, as an answer is kept with its PvD (`race.ordering`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..expectation import NOTHING_KNOWN
from ..model import Endpoint, Ranked, Reason, parse_literal
from .filters import filters_for, left_out
from .head_starts import starter_of
from .question import fails_in, families_of, question_of
from .rules import WORKS, rules_for, soundness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..expectation import Expectation
    from ..model import ProvisioningDomain, PvdSet
    from ..policy import Policy

GROUNDS_KEPT = 1024


class Ground:
    """Who may run for one destination, who not, and by which rules they compare.

    PvDs and rules go by their places in ``running`` and ``rules`` here. ``sound`` is `rules.soundness`
    of PvDs of which nothing is expected. ``starters`` is what head starts depend on; ``nobody_waits_longer``
    than it takes those before to be ready, as far as that goes.
    """

    __slots__ = (
        "_asks_reachability",
        "_families",
        "_keys",
        "_reasons",
        "_telling",
        "excluded",
        "names",
        "nobody_waits_longer",
        "owner",
        "question",
        "rules",
        "running",
        "sound",
        "starters",
    )

    def __init__(
        self,
        snapshot: Sequence[ProvisioningDomain],
        endpoint: Endpoint,
        layers: tuple[tuple[str, Policy], ...],
        label: str | None,
        chosen: str | None,
    ) -> None:
        self.question = question_of(snapshot, endpoint, layers, label, chosen)
        filters = filters_for(self.question)
        self.running: list[ProvisioningDomain] = []
        excluded: list[Ranked] = []
        for pvd in snapshot:
            reason = left_out(pvd, self.question, filters)
            if reason is None:
                self.running.append(pvd)
            else:
                excluded.append(Ranked(pvd, None, (), (), reason))
        self.excluded = tuple(sorted(excluded, key=lambda ranked: ranked.pvd.name))
        self.rules = rules_for(self.question)
        self._keys: list[list[Any] | None] = [None] * len(self.rules)
        self._reasons: dict[tuple[int, int], tuple[Expectation, Reason]] = {}
        self._families: dict[int, tuple[int, ...]] = {}
        names = [rule.name for rule in self.rules]
        self._telling: dict[bool, list[int]] = {}
        self._asks_reachability = "reachability" in names
        self.sound = [self.soundness(n, NOTHING_KNOWN) for n in range(len(self.running))]
        self.names = [pvd.name for pvd in self.running]
        self.owner: tuple[Reason, ...] = ()
        if self.question.owners:
            self.owner = (Reason("zone", f"owns {self.question.owned.zone}"),)
        self.starters = [starter_of(pvd, self.question, names) for pvd in self.running]
        self.nobody_waits_longer = not any(s.budget or s.avoided or s.failover for s in self.starters)

    def keys(self, rule: int) -> list[Any]:
        """What a rule says of each PvD of which nothing is expected; empty where it separates nobody."""
        found = self._keys[rule]
        if found is None:
            key = self.rules[rule].key
            found = [key(pvd, NOTHING_KNOWN, self.question) for pvd in self.running]
            if found.count(found[0]) == len(found):
                found = []
            self._keys[rule] = found
        return found

    def telling(self, learnt: bool) -> list[int]:
        """The rules that can separate anybody here, where something was ``learnt`` and where nothing was."""
        found = self._telling.get(learnt)
        if found is None:
            rules = enumerate(self.rules)
            found = [number for number, rule in rules if (learnt and rule.learnt) or self.keys(number)]
            self._telling[learnt] = found
        return found

    def soundness(self, place: int, known: Expectation) -> int:
        """`rules.soundness`, where the rules ask for it."""
        return soundness(self.running[place], known, self.question) if self._asks_reachability else WORKS

    def reason(self, rule: int, place: int, known: Expectation) -> Reason:
        """What a rule saw in a PvD of which so much is expected."""
        found = self._reasons.get((rule, place))
        if found is not None and found[0] is known:
            return found[1]
        name, _, text, _, learnt, _ = self.rules[rule]
        if found is not None and not learnt:
            return found[1]
        reason = Reason(name, text(self.running[place], known, self.question))
        self._reasons[rule, place] = known, reason
        return reason

    def families(self, place: int, known: Expectation) -> tuple[int, ...]:
        """The families of a PvD, in the order of trying.

        One in which this port is known not to work comes behind one where it may.
        """
        if known.blocked:
            return self._in_order_of_trying(place, known)
        found = self._families.get(place)
        if found is None:
            found = self._families[place] = self._in_order_of_trying(place, NOTHING_KNOWN)
        return found

    def _in_order_of_trying(self, place: int, known: Expectation) -> tuple[int, ...]:
        pvd, question = self.running[place], self.question
        families = families_of(pvd, question)
        if not (known.blocked or pvd.reached):
            return families
        return tuple(sorted(families, key=lambda f: fails_in(pvd, known, f, question) is not None))


def ground_of(
    pvds: PvdSet,
    snapshot: Sequence[ProvisioningDomain],
    endpoint: Endpoint,
    layers: Sequence[tuple[str, Policy]],
    label: str | None,
    chosen: str | None,
) -> Ground:
    """The ground of a ranking; ``snapshot`` are the PvDs of the set that this destination may use.

    Where nobody has a zone, one name is as another, and they share theirs.
    """
    try:
        known: _Grounds = pvds.__dict__["_grounds"]
    except KeyError:
        known = pvds.__dict__["_grounds"] = _Grounds(pvds)
    layers = tuple(layers)
    host, port = endpoint
    any_name = known.without_zones and snapshot is pvds.pvds and parse_literal(host) is None
    if any_name and not any("spread" in policy.rank_by for _, policy in layers):
        endpoint = Endpoint("", port)
    key = (endpoint, layers, label, chosen)
    found = known.get(key)
    if found is None:
        if len(known) >= GROUNDS_KEPT:
            known.clear()
        found = known[key] = Ground(snapshot, endpoint, layers, label, chosen)
    return found


class _Grounds(dict[object, Ground]):
    """The grounds of one snapshot."""

    def __init__(self, pvds: PvdSet) -> None:
        self.without_zones = not any(pvd.zones and pvd.trusted for pvd in pvds)
