"""What happened between two `PvdSet`s. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ..model import ProvisioningDomain, PvdSet


class PvdChange(NamedTuple):
    """A PvD came, went or became different. ``pvd`` is the newest that is known of it.

    *better*: it is the first choice for general traffic now; *preempted*: a connection with a higher priority
    has taken it. Both are of a connector only, see `Connector.watch`.

    A PvD that is still listed and can carry nothing any more has *changed*: its ``unusable`` says why.
    """

    kind: Literal["added", "withdrawn", "changed", "better", "preempted"]
    pvd: ProvisioningDomain

    def __str__(self) -> str:
        return f"{self.pvd.name} {self.kind}"


def diff(old: PvdSet, new: PvdSet) -> tuple[PvdChange, ...]:
    """The changes from ``old`` to ``new``: the withdrawn first, then the others in their order in ``new``."""
    if old is new:
        return ()
    changes = [PvdChange("withdrawn", pvd) for pvd in old if pvd.name not in new]
    for pvd in new:
        before = old.get(pvd.name)
        if before is None:
            changes.append(PvdChange("added", pvd))
        elif before != pvd:
            changes.append(PvdChange("changed", pvd))
    return tuple(changes)
