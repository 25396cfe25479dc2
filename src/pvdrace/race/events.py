"""What the world tells the core. Late events are legal: they change nothing and are answered by nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import Ranked


@dataclass(slots=True)
class LookupAnswered:
    """A lookup came back. No addresses: the name exists without such records, or not at all (negative)."""

    id: int
    addresses: tuple[str, ...]
    server: str | None = None
    cached: bool = False


@dataclass(slots=True)
class LookupFailed:
    """A lookup could not be answered: silence, SERVFAIL, a malformed reply, a pin that could not be set."""

    id: int
    error: str
    server: str | None = None


@dataclass(slots=True)
class Connected:
    """The transport handshake of an attempt is done, its readiness (TLS, a check) is not: progress.

    Through a proxy that is when the tunnel is there.
    """

    id: int
    rtt: float | None = None
    """The kernel's round-trip time of the handshake in seconds (TCP_INFO), where it gave one."""


@dataclass(slots=True)
class Ready:
    """The attempt has done everything that was asked of a winner."""

    id: int
    rtt: float | None = None
    local: str | None = None


@dataclass(slots=True)
class Failed:
    """The attempt is over without success. ``error`` is one line for people, e.g. ``refused``."""

    id: int
    error: str


@dataclass(slots=True)
class PvdAdded:
    """A PvD came up in mid-race: it joins at ``position`` among those that run (0 is first).

    One that runs already is replaced if this is another attachment of it; what it has under way is void.
    """

    ranked: Ranked
    position: int


@dataclass(slots=True)
class PvdWithdrawn:
    """A PvD went away in mid-race: its lookups and attempts are void."""

    pvd: str
    reason: str


Event = LookupAnswered | LookupFailed | Connected | Ready | Failed | PvdAdded | PvdWithdrawn
