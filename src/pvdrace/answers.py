"""Addresses that know which PvD gave them: RFC 7556 s5.2.1, for who looks up on its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .errors import NoUsablePvd, PolicyProhibited
from .policy import Policy
from .ranking.question import ANSWER
from .selectors import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Endpoint, ProvisioningDomain, PvdSet


@dataclass(frozen=True, slots=True)
class Answer:
    """An address of ``name`` that the PvD ``pvd`` gave, in its ``attachment`` of then.

    Given for a host to `Connector.open_connection` or `Connector.connect`, it is dialled in that PvD only.
    ``server`` is the resolver; ``ttl`` is in seconds from then.
    """

    name: str
    address: str
    pvd: str
    attachment: int
    server: str | None
    ttl: float

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return self.address


def kept_from(answer: Answer, policies: Sequence[tuple[str, Policy]], pvd: ProvisioningDomain) -> str | None:
    """Which policy puts an answer into another PvD than the one that gave it; None if none does."""
    for layer, policy in policies:
        if selector := policy.prohibited_by(pvd):
            return f"{answer.address} is an answer of {pvd}, which is prohibited by {selector} ({layer})"
        if wanted := policy.lacking(pvd):
            words = " or ".join(map(str, wanted))
            return f"{answer.address} is an answer of {pvd}, and {words} is required ({layer})"
    return None


def crosses(policies: Sequence[tuple[str, Policy]]) -> bool:
    """Whether policy lets an answer be dialled in another PvD than the one that gave it."""
    return any(policy.cross_pvd for _, policy in policies)


class Origin(NamedTuple):
    """What an address was the answer to, and the PvD that it is kept in; None: any will do."""

    asked: Endpoint
    pvd: str | None

    def layers(self) -> list[tuple[str, Policy]]:
        """The layer that keeps it there."""
        return [] if self.pvd is None else [(ANSWER, Policy(require=[Selector("pvd", self.pvd)]))]


def void(answer: Answer, pvds: PvdSet) -> str | None:
    """Why an answer is good for nothing any more, in a few words; None if it may be dialled."""
    pvd = pvds.get(answer.pvd)
    if pvd is None:
        return f"{answer.pvd}, which gave the answer, is gone"
    if pvd.attachment != answer.attachment:
        return f"{answer.pvd} was attached anew since it gave the answer"
    return None


def origin_of(
    answer: Answer, endpoint: Endpoint, policies: Sequence[tuple[str, Policy]], pvds: PvdSet
) -> Origin:
    """Where an answer comes from and has to stay; raises `NoUsablePvd` if it has no PvD any more."""
    if crosses(policies):
        return Origin(endpoint, None)
    if reason := void(answer, pvds):
        raise NoUsablePvd(f"{endpoint}: {answer.address} is void: {reason}")
    if reason := kept_from(answer, policies, pvds[answer.pvd]):
        raise PolicyProhibited(f"{endpoint}: {reason}")
    return Origin(endpoint, answer.pvd)
