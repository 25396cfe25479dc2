"""What was answered where nothing decides between PvDs: once for a set of networks. Pure.

Who was asked at home is not asked there again, and is asked anew where the choice is another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import ProvisioningDomain, Ranked

    #: A network by what recognises it again, else by the PvD and its attachment.
    Network = str | tuple[str, int]

CHOICES_KEPT = 256


class Choices:
    """The answers so far, the oldest first."""

    def __init__(self) -> None:
        self._made: dict[frozenset[Network], Network | None] = {}

    def made(self, between: Sequence[Ranked]) -> bool:
        """Whether the question was put for these networks, whatever came of it."""
        return networks(between) in self._made

    def of(self, between: Sequence[Ranked]) -> str | None:
        """The name of the PvD that was chosen between these; None if none was."""
        chosen = self._made.get(networks(between))
        for ranked in between if chosen is not None else ():
            if network(ranked.pvd) == chosen:
                return ranked.pvd.name
        return None

    def make(self, between: Sequence[Ranked], answer: str | None) -> None:
        """Keep an answer; None: the ranking stands. Raises ValueError for a name that is not among these."""
        chosen = next((network(ranked.pvd) for ranked in between if ranked.pvd.name == answer), None)
        if len(self._made) >= CHOICES_KEPT:
            del self._made[next(iter(self._made))]
        self._made[networks(between)] = chosen
        if answer is not None and chosen is None:
            names = ", ".join(ranked.pvd.name for ranked in between)
            raise ValueError(f"on_ambiguous must return one of {names} or None, not {answer!r}")


def networks(between: Sequence[Ranked]) -> frozenset[Network]:
    """The networks that there is a choice between."""
    return frozenset([network(ranked.pvd) for ranked in between])


def network(pvd: ProvisioningDomain) -> Network:
    """What a network is recognised by."""
    return pvd.identity or (pvd.name, pvd.attachment)
