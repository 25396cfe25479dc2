"""Who holds which exclusive PvD, and with what priority. Pure: whether a connection is still there is asked.

Nothing is taken from anybody of the same priority, and 0 is everybody's who does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .model import PvdSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .policy import Policy

IN_USE = "in use by a higher priority"


@dataclass(eq=False, slots=True)
class Holding:
    """One connection in an exclusive PvD. ``there`` says whether it still is."""

    pvd: str
    priority: int
    there: Callable[[], bool]
    preempted: bool = False
    listeners: list[Callable[[], object]] = field(default_factory=list)
    """Called when it is preempted."""

    def preempt(self) -> None:
        """It has lost its PvD to a higher priority."""
        self.preempted = True
        for listener in self.listeners:
            listener()


class Holdings:
    """The connections of one connector in exclusive PvDs."""

    def __init__(self) -> None:
        self._held: list[Holding] = []
        self._seen: tuple[PvdSet, frozenset[str], PvdSet] | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    def take(self, holding: Holding) -> list[Holding]:
        """A connection was made in an exclusive PvD. Returns those that lose the PvD, itself among them.

        It is itself where somebody with a higher priority came while it was being made.
        """
        self._sweep()
        others = [other for other in self._held if other.pvd == holding.pvd]
        self._held.append(holding)
        highest = max(held.priority for held in (*others, holding))
        lost = [held for held in (*others, holding) if held.priority < highest]
        self._held = [held for held in self._held if held not in lost]
        return lost

    def as_seen_by(self, pvds: PvdSet, priority: int) -> PvdSet:
        """The PvDs as those of a priority may use them: what a higher one holds is unusable.

        The same object for as long as nothing changes.
        """
        self._sweep()
        busy = frozenset(held.pvd for held in self._held if held.priority > priority and held.pvd in pvds)
        if not busy:
            return pvds
        if self._seen is None or self._seen[0] is not pvds or self._seen[1] != busy:
            marked = tuple(
                replace(pvd, unusable=IN_USE) if pvd.name in busy and pvd.unusable is None else pvd
                for pvd in pvds
            )
            self._seen = pvds, busy, PvdSet(marked, pvds.generation)
        return self._seen[2]

    def _sweep(self) -> None:
        self._held = [held for held in self._held if held.there()]


def priority_of(policies: Sequence[tuple[str, Policy]]) -> int:
    """The priority of a call: the closest layer that has one counts."""
    return next((policy.priority for _, policy in policies if policy.priority), 0)
