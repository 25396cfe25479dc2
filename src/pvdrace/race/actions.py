"""What the core asks of the world. Every action is returned by the call that caused it.

A `Lookup` and a `Connect` is answered once (see `pvdrace.race.events`) or cancelled, never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import Candidate, ProvisioningDomain


#: How the reason of a `Cancel` begins that ends something for its silence, and the reason of one that may
#: have been a mistake: its candidate is tried again if the leader fails. The reason of what belongs to an
#: attachment that another one of the same PvD has replaced.
TIMEOUT = "timeout"
HELD_BACK = "held back"
ATTACHED_ANEW = "attached anew"


@dataclass(slots=True)
class Lookup:
    """Ask the resolvers of this PvD, on sockets pinned to it, for records of one type (``AAAA``, ``A``).

    ``families`` are those (6, 4) that policy lets it use here: a question goes out in no other.
    """

    id: int
    pvd: ProvisioningDomain
    name: str
    type: str
    families: tuple[int, ...] = (6, 4)


@dataclass(slots=True)
class Connect:
    """Start a connection attempt to a candidate (RFC 8305 s5), on a socket pinned to its PvD.

    ``through`` is the URL of the proxy that the candidate then is: the attempt is connected when the proxy
    has made the tunnel to the endpoint.
    """

    id: int
    candidate: Candidate
    through: str | None = None


@dataclass(slots=True)
class Cancel:
    """Stop a lookup or an attempt, close what it holds; its answer is not awaited any more."""

    target: Lookup | Connect
    reason: str

    @property
    def outcome(self) -> str:
        """What that is for the lookup or attempt: ``failed`` for silence, else ``cancelled``."""
        return "failed" if self.reason.startswith(TIMEOUT) else "cancelled"


@dataclass(slots=True)
class Skip:
    """Nothing to do: an address of this PvD's answer is not dialled, and why. There for the report."""

    pvd: str
    address: str
    reason: str


Action = Lookup | Connect | Cancel | Skip
