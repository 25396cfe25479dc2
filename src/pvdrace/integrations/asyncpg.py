"""asyncpg, and whatever else takes an event loop as an argument: `RacingLoop`.

::

    connection = await asyncpg.connect("postgresql://db.example.com/", loop=RacingLoop())
    pool = asyncpg.create_pool("postgresql://db.example.com/", loop=RacingLoop())

asyncpg has no hook for its connections (asyncpg#1054), but it opens them by the ``create_connection`` of the
loop that it is given. This one is the running loop, but for that method: nothing is replaced in the loop
itself or in asyncpg, and no other connection of the program is concerned. It needs nothing of asyncpg's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..calls import check_label, check_policy
from ..default import given_or_default
from .asyncio import reported_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..connector import Connector
    from ..policy import Policy
    from ..race.report import RaceReport


class RacingLoop:
    """The loop that is running, but that ``create_connection`` to a host and port races.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None). ``policy``,
    ``label`` and ``timeout`` (seconds, for a whole race) as in `Connector.open_connection`; ``policy`` may be
    set anew. ``report`` is that of the last race. TLS that the client asks of ``create_connection`` is a
    stage of the race; what it does by ``start_tls`` afterwards is not.

    Raises RuntimeError where no loop is running, TypeError for a connector that blocks. Its connections fail
    as those of `pvdrace.integrations.asyncio.create_connection`.
    """

    def __init__(
        self,
        *,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connector = given_or_default(connector)
        self.policy = check_policy(policy)
        self.label = check_label(label)
        self.timeout = timeout
        self.report: RaceReport | None = None

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """As `asyncio.loop.create_connection`, by a race; with ``sock`` it is the loop's own."""
        if host is None or port is None:
            own: Any = self._loop.create_connection
            made: tuple[asyncio.Transport, asyncio.BaseProtocol] = await own(
                protocol_factory, host, port, **options
            )
            return made
        transport, waiting, self.report = await reported_connection(
            _Waiting,
            host,
            port,
            connector=self._connector,
            policy=self.policy,
            label=self.label,
            timeout=self.timeout,
            **options,
        )
        protocol = protocol_factory()  # one, for the winner: clients share what belongs to a connection
        waiting.hand_over(protocol)
        return transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class _Waiting(asyncio.Protocol):
    """Keeps what a peer says before the client's protocol is there."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.told.append(("data_received", (data,)))

    def eof_received(self) -> bool:
        self.told.append(("eof_received", ()))
        return True  # whether to close is the client's to say

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(("connection_lost", (error,)))

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        transport = self.transport
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for name, arguments in self.told:
            keep_open = getattr(protocol, name)(*arguments)
            if name == "eof_received" and not keep_open:
                transport.close()
