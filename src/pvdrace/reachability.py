"""What a PvD reaches, from what each of its families reaches. Pure.

RFC 7556 s5.3: connectivity is a matter of the PvD; that the families of one PvD differ is the rule where
something stands in between (a portal for IPv4 alone, IPv6 that leads nowhere).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .model import PvdSet, Reachability, Reached

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import ProvisioningDomain

#: A PvD's attachment, and what is known of its families since then.
Known = tuple[int, tuple[Reached, ...]]


def summed_up(reached: Iterable[Reached], families: Iterable[int] = (6, 4)) -> Reachability:
    """What a PvD with these families reaches: as much as the best of them.

    A portal in one family and nothing known of the other is a portal. Nothing reached in one family, and
    nothing known of another that the PvD has, is not known.
    """
    states = {one.family: one.state for one in reached}
    found = set(states.values())
    for state in (Reachability.VALIDATED, Reachability.PARTIAL, Reachability.PORTAL):
        if state in found:
            return state
    if Reachability.NONE in found and all(states.get(f) is Reachability.NONE for f in families):
        return Reachability.NONE
    return Reachability.UNKNOWN


#: How the reason begins for which a PvD is left out of a race, or leaves it.
BEHIND_PORTAL = "behind a captive portal"


def portal_words(pvd: ProvisioningDomain) -> str:
    """``behind a captive portal (https://portal.example/login)``, for people."""
    page = portal_page(pvd)
    return f"{BEHIND_PORTAL} ({page})" if page else BEHIND_PORTAL


def portal_page(pvd: ProvisioningDomain) -> str | None:
    """The page to show to the user, where one is known (RFC 8908 s5)."""
    return next((one.portal for one in pvd.reached if one.portal), None)


def with_reached(pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> ProvisioningDomain:
    """The PvD with what is known of its families; none: nothing is known any more."""
    return replace(pvd, reached=reached, reachability=summed_up(reached, pvd.families))


def same_verdict(old: tuple[Reached, ...], new: tuple[Reached, ...]) -> bool:
    """Whether two findings say the same, their words and times apart."""
    return {_verdict(one) for one in old} == {_verdict(one) for one in new}


def overlay(plain: PvdSet, known: Mapping[str, Known], generation: int) -> PvdSet:
    """A snapshot with what is known of its PvDs, each as long as its attachment lasts."""
    pvds = []
    for pvd in plain:
        attachment, reached = known.get(pvd.name, (pvd.attachment, ()))
        usable = reached and attachment == pvd.attachment and pvd.unusable is None
        pvds.append(with_reached(pvd, reached) if usable else pvd)
    return PvdSet(tuple(pvds), generation)


def _verdict(one: Reached) -> tuple[object, ...]:
    return one.family, one.state, one.portal, one.ports, one.blocked, one.lost
