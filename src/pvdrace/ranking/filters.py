"""Who is left out of a race, and why. The first filter that has a reason gives it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..capacity import cost_key, free_only, is_metered
from ..model import ProvisioningDomain, Reachability, Reason
from ..race.nat64 import needs_synthesis
from ..race.ordering import unusable
from ..reachability import portal_words
from ..zones import Verdict
from .question import Question, admits_portal, behind_portal, carried, packets_of, target

if TYPE_CHECKING:
    from collections.abc import Sequence


def left_out(pvd: ProvisioningDomain, question: Question, filters: Sequence[Filter]) -> Reason | None:
    """The first reason why a PvD may not run, or None."""
    for check in filters:
        if reason := check(pvd, question):
            return reason
    return None


def filters_for(question: Question) -> tuple[Filter, ...]:
    """The filters that can have something to say for this destination."""
    policy = _POLICY_FILTERS if question.layers else ()
    return policy + _STATE_FILTERS + (_LITERAL_FILTERS if question.literal else _NAME_FILTERS)


def _prohibited(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    for layer, policy in question.layers:
        if selector := policy.prohibited_by(pvd):
            return Reason("prohibit", f"prohibited by {selector} ({layer})")
    return None


def _not_required(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    for layer, policy in question.layers:
        if alternatives := policy.lacking(pvd):
            wanted = " or ".join(map(str, alternatives))
            return Reason("require", f"not {wanted}, which is required ({layer})")
    return None


def _too_slow(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    if pvd.rate is None:
        return None
    for layer, policy in question.layers:
        if policy.min_rate is not None and pvd.rate < policy.min_rate:
            return Reason("rate", f"{pvd.rate:.0f} bit/s, {policy.min_rate:.0f} are required ({layer})")
    return None


def _too_dear(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    free = free_only(question.layers)
    if free is None or not is_metered(cost_key(pvd.cost)):
        return None
    words = ", ".join((pvd.cost.kind, *sorted(pvd.cost.flags)))
    return Reason("capacity", f"cost: {words}, and {free[0]} uses nothing metered ({free[1]})")


def _unusable(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    return Reason("usable", pvd.unusable) if pvd.unusable else None


def _portal(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    """Where one family is free of the portal, the PvD runs in that one."""
    if pvd.reachability is not Reachability.PORTAL and not pvd.reached:
        return None
    held = behind_portal(pvd)
    if not held or admits_portal(pvd, question):
        return None
    if pvd.reached:
        open_to = packets_of(pvd, question)
        if open_to or not _packets_before_portal(pvd, question, held):
            return None
    return Reason("reachability", portal_words(pvd))


def _packets_before_portal(pvd: ProvisioningDomain, question: Question, held: tuple[int, ...]) -> bool:
    """Whether it is the portal that takes a family away, and not policy or the PvD's addresses."""
    families = [f for f in carried(pvd, question.literal) if f in question.families]
    wanted = 6 if needs_synthesis(pvd) else question.literal.family if question.literal else None
    return any(f in held for f in families if wanted in (None, f))


def _other_interface(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    """A scoped literal (RFC 4007 s11) belongs to one link."""
    zone = question.literal.zone if question.literal else None
    here = zone is None or zone in (pvd.interface, str(pvd.ifindex))
    return None if here else Reason("scope", f"%{zone} is another interface")


def _other_zone(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    found = question.zones[pvd.name]
    if question.owners and found != question.owned:
        return Reason("zone", f"{question.owned.zone} belongs to {', '.join(question.owners)}")
    if found.verdict is Verdict.NO:
        return Reason("zone", f"the name is outside its zones {', '.join(pvd.zones)}")
    return None


def _unreachable(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    if question.literal is None or pvd.proxy is not None:
        return None  # what a proxy reaches is not in the PvD's routes
    why = unusable(pvd, target(pvd, question.literal))
    return Reason("route", why) if why else None


def _no_family(pvd: ProvisioningDomain, question: Question) -> Reason | None:
    """Whether policy leaves none of the families that packets to the destination would have."""
    if packets_of(pvd, question):
        return None
    if not carried(pvd, question.literal):
        return Reason("family", "only link-local addresses")
    selectors = [
        f"{selector} is {'required' if selector in policy.require else 'prohibited'} ({layer})"
        for layer, policy in question.layers
        for selector in (*policy.prohibit, *policy.require)
        if selector.kind == "family"
    ]
    return Reason("family", f"no family left: {', '.join(selectors)}")


Filter = Callable[[ProvisioningDomain, Question], Reason | None]
_POLICY_FILTERS: tuple[Filter, ...] = (_prohibited, _not_required, _too_slow, _too_dear)
_STATE_FILTERS: tuple[Filter, ...] = (_unusable, _portal)
_NAME_FILTERS: tuple[Filter, ...] = (_other_zone, _no_family)
_LITERAL_FILTERS: tuple[Filter, ...] = (_other_interface, _unreachable, _no_family)
