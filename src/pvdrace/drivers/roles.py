"""What the driver needs of others: who looks names up, who says what came and went, what follows TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ..dns.conversations import Release
    from ..dns.messages import Answer
    from ..model import Candidate, ProvisioningDomain
    from ..race.events import Event

Product_co = TypeVar("Product_co", covariant=True)


class Lookups(Protocol):
    """What the driver needs of a resolver."""

    def cached(self, pvd: ProvisioningDomain, name: str, type: str) -> Answer | None:
        """The answer, if it is known; no I/O."""

    def begin(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        families: tuple[int, ...],
        release: Release,
    ) -> Pending:
        """Ask inside the PvD, at once, in these families; what is done with goes to ``release``."""


class Pending(Protocol):
    """A question that has left."""

    async def answer(self) -> Answer:
        """Wait for the answer; it is cancelled if that is no longer wanted. Raises `DnsFailure`."""


class Changes(Protocol):
    """What the driver needs of a monitor: descriptors, and the events that their readiness stands for."""

    def open(self) -> Sequence[int]:
        """Called when the race has to wait: one is readable when PvDs may have changed since it was made."""

    async def events(self) -> Sequence[Event]:
        """`PvdAdded` and `PvdWithdrawn` since the last call. An OSError is logged, and the race goes on."""

    def close(self) -> None:
        """Called in the end if `open` was."""


class Stage(Protocol[Product_co]):
    """What an attempt does after the transport handshake, on a connected socket that is then its own."""

    async def __call__(self, sock: socket.socket, candidate: Candidate) -> Product_co:
        """Return the product, or close the socket and raise."""
