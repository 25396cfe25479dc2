"""The race for programs on asyncio streams: `open_connection` in the shape of `asyncio.open_connection`.

::

    reader, writer = await pvdrace.integrations.asyncio.open_connection("www.example.com", 443, ssl=True)
    print(writer.get_extra_info("pvdrace.report"))

asyncio makes the TLS handshake itself, as a stage of the race: a path that fails at TLS loses, and the race
goes on in the next PvD.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from typing import TYPE_CHECKING, Any

from ..default import default_connector

if TYPE_CHECKING:
    import socket

    from ..connector import Connector
    from ..model import Candidate
    from ..policy import Policy
    from ..race.report import RaceReport

#: `asyncio.open_connection`'s own.
DEFAULT_LIMIT = 2**16


class ReportingWriter(asyncio.StreamWriter):
    """A `StreamWriter` whose ``get_extra_info("pvdrace.report")`` is the `RaceReport`."""

    report: RaceReport | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As `asyncio.StreamWriter.get_extra_info`, and ``pvdrace.report``."""
        if name == "pvdrace.report":
            return self.report
        return super().get_extra_info(name, default)


async def open_connection(
    host: str,
    port: int,
    *,
    connector: Connector | None = None,
    policy: Policy | None = None,
    timeout: float | None = None,
    limit: int = DEFAULT_LIMIT,
    ssl: bool | ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Race to ``host``:``port`` and return the winner as ``(reader, writer)``.

    ``connector``: whose PvDs, caches and policy to use (this thread's default one if None). ``policy`` and
    ``timeout`` (seconds, for the whole race) as in `Connector.open_connection`; the other arguments as in
    `asyncio.open_connection`. ``happy_eyeballs_delay`` and ``interleave`` are taken and have no effect: a
    race is always staggered, by the connector's `Pacing`.

    Raises as `Connector.open_connection`; all of it but `NoUsablePvd` and `ResolutionFailed` is an OSError.
    """
    context = ssl_module.create_default_context() if ssl is True else ssl or None
    hostname = (server_hostname or host.split("%")[0]) if context else None

    async def stream(
        sock: socket.socket, candidate: Candidate
    ) -> tuple[asyncio.StreamReader, ReportingWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        tls: dict[str, Any] = {}
        if context is not None:
            tls = {
                "ssl": context,
                "server_hostname": hostname,
                "ssl_handshake_timeout": ssl_handshake_timeout,
                "ssl_shutdown_timeout": ssl_shutdown_timeout,
            }
        try:
            transport, _ = await loop.create_connection(lambda: protocol, sock=sock, **tls)
        except BaseException:
            sock.close()
            raise
        return reader, ReportingWriter(transport, protocol, reader, loop)

    async def discard(product: tuple[asyncio.StreamReader, ReportingWriter]) -> None:
        product[1].transport.abort()

    (reader, writer), report = await (connector or default_connector()).race_for(
        stream,
        host,
        port,
        discard=discard,
        policy=policy,
        timeout=timeout,
        ready="tls" if context else "tcp",
    )
    writer.report = report
    return reader, writer
