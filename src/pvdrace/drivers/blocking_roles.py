"""What the blocking driver needs of others, as `pvdrace.drivers.roles` for the asynchronous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator, Sequence

    from ..dns.conversations import Release
    from ..dns.messages import Answer, DnsFailure
    from ..model import Candidate, ProvisioningDomain
    from ..race.events import Event


class Closable(Protocol):
    """A product of a stage."""

    def close(self) -> object:
        """Nobody wants it."""


P = TypeVar("P", bound=Closable)
P_co = TypeVar("P_co", bound=Closable, covariant=True)


class BlockingStage(Protocol[P_co]):
    """What an attempt does after the transport handshake, on a connected socket that is then its own."""

    def __call__(self, sock: socket.socket, candidate: Candidate) -> Generator[int, None, P_co]:
        """Yield EPOLLIN or EPOLLOUT where it has to wait; return the product, or close the socket and raise.

        It waits on the descriptor that the socket had. Closed in the midst of it, it closes the socket.
        """


class BlockingLookups(Protocol):
    """What the driver needs of a resolver: see `pvdrace.dns.asking.BlockingResolver`."""

    def cached(self, pvd: ProvisioningDomain, name: str, type: str) -> Answer | None:
        """The answer, if it is known; no I/O."""

    def begin(
        self, pvd: ProvisioningDomain, name: str, type: str, *, families: tuple[int, ...], release: Release
    ) -> BlockingPending:
        """Ask inside the PvD, at once, in these families; what is done with goes to ``release``."""


class BlockingPending(Protocol):
    """A question that has left."""

    @property
    def outcome(self) -> Answer | DnsFailure | None:
        """What came of it."""

    def fileno(self) -> int:
        """Readable when there is something to `proceed` with; the same until `close`."""

    def due(self) -> float:
        """Seconds until it is time to `proceed` in any case."""

    def proceed(self) -> None:
        """Take in what has come; never waits."""

    def close(self) -> None:
        """Give up what it holds."""


class BlockingChanges(Protocol):
    """What the driver needs of a monitor, see `pvdrace.drivers.roles.Changes`."""

    def open(self) -> Sequence[int]:
        """One of these is readable when PvDs may have changed since the race was made."""

    def events(self) -> Sequence[Event]:
        """`PvdAdded` and `PvdWithdrawn` since the last call. An OSError is logged, and the race goes on."""

    def close(self) -> None:
        """Called in the end if `open` was."""
