"""What a further source of provisioning domains is: a protocol to implement, in one file per source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..model import ProvisioningDomain


@runtime_checkable
class Source(Protocol):
    """Somebody who knows of PvDs: a VPN client, a modem manager, a fleet's inventory.

    `pvdrace.testing.sources.check_source` tells whether an implementation keeps the promises below.
    """

    name: str
    """One word, unique among the sources; each PvD carries it in its ``sources``."""

    async def snapshot(self) -> tuple[ProvisioningDomain, ...]:
        """The PvDs as they are now, whole: interface, addresses, resolvers. Equal while nothing changes."""
        ...

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields when `snapshot` would give something else than it gave last.

        Also at once, when that was already so before anybody waited: nothing is lost between a snapshot and
        the wait that follows. Ends when there can be no more changes. May be cancelled and begun again.
        """
        ...
