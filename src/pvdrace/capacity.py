"""What the purpose of a connection may cost: RFC 9622 s8.1.6's capacity profiles as a table. Pure.

Cost stands above speed in the ranking, so speed alone never makes a metered PvD carry anything. What does is
that the cheaper ones are not *adequate*: not ready within the latency budget of the profile.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from .model import Cost, CostClass
from .policy import CapacityProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .policy import Policy


class Terms(NamedTuple):
    """``latency_budget``: the seconds in which a cheaper PvD is adequate. ``metered``: may it cost?"""

    latency_budget: float
    metered: bool = True


#: RFC 9622 s8.1.6 names the profiles and leaves to the system what they mean. The default is RFC 8305 s8's
#: Maximum Connection Attempt Delay: who has waited so long for one path has waited long enough.
TERMS = {
    CapacityProfile.DEFAULT: Terms(2.0),
    CapacityProfile.SCAVENGER: Terms(inf, metered=False),
    CapacityProfile.INTERACTIVE: Terms(0.3),
    CapacityProfile.NON_INTERACTIVE: Terms(1.0),
    CapacityProfile.STREAMING: Terms(2.0),
    CapacityProfile.CAPACITY_SEEKING: Terms(inf),
}


def latency_budget(layers: Sequence[tuple[str, Policy]]) -> float:
    """The budget of the closest layer that has one, by number or by its capacity profile; in seconds."""
    for _, policy in layers:
        if policy.latency_budget is not None:
            return policy.latency_budget
        if policy.capacity_profile is not None:
            return TERMS[policy.capacity_profile].latency_budget
    return TERMS[CapacityProfile.DEFAULT].latency_budget


def free_only(layers: Sequence[tuple[str, Policy]]) -> tuple[CapacityProfile, str] | None:
    """The profile of the closest layer that has one, and that layer, if nothing metered is for it."""
    for layer, policy in layers:
        if policy.capacity_profile is not None:
            return None if TERMS[policy.capacity_profile].metered else (policy.capacity_profile, layer)
    return None


def cost_key(cost: Cost) -> tuple[int, int]:
    """How dear, smaller is cheaper: the class, then the number of circumstances.

    Unknown is its own class, dearer than unmetered. ``temp_unmetered`` is unmetered while it lasts. What is
    over its limit is dearer than anything else.
    """
    kind, flags = cost
    if not flags:
        return _order(kind), 0
    free = "temp_unmetered" in flags
    order = _OVER_LIMIT if "over_limit" in flags else 0 if free else _order(kind)
    return order, len(flags) - free


def is_metered(key: tuple[int, int]) -> bool:
    """Whether money or a limit is known to be at stake, by `cost_key`."""
    return key[0] >= _METERED or key[1] > 0


def is_rationed(cost: Cost) -> bool:
    """Whether what is left of its volume is to be kept for when nothing else works."""
    return not cost.flags.isdisjoint(_RATIONED)


def _order(kind: CostClass) -> int:
    """Identity, and no dictionary: to hash a member of an enumeration takes longer than all else here."""
    return 0 if kind is _UNMETERED else 1 if kind is _UNKNOWN else _METERED if kind is _FIXED else 3


_UNMETERED, _UNKNOWN, _FIXED = CostClass.UNMETERED, CostClass.UNKNOWN, CostClass.FIXED
_METERED, _OVER_LIMIT = 2, 4
_RATIONED = frozenset({"near_limit", "over_limit"})
#: Dearer than every cost there is.
DEAREST = (_OVER_LIMIT + 1, 0)
