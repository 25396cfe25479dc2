"""The race for whatever takes an anyio connectable: `PvdConnectable`, in the place of `anyio.TCPConnectable`.

::

    connectable = PvdConnectable("www.example.com", 443, tls=True)
    async with await connectable.connect() as stream:
        ...

On asyncio and on trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import ConnectionFailed
from anyio.abc import ByteStreamConnectable

from ..calls import check_endpoint
from ..default import given_or_default
from ..errors import PvdRaceError

if TYPE_CHECKING:
    from ..connection import Connection
    from ..connector import Connector, TlsSetting
    from ..policy import Policy
    from ..race.report import RaceReport


class RaceFailed(ConnectionFailed):
    """What anyio's callers expect, with the ``report``; pvdrace's own error is its cause."""

    def __init__(self, message: str, report: RaceReport | None) -> None:
        super().__init__(message)
        self.report = report


class PvdConnectable(ByteStreamConnectable):
    """Connects to ``host``:``port`` by a race across the PvDs, each time anew.

    ``tls``, ``server_hostname``, ``policy``, ``label`` and ``timeout`` (seconds, for the whole race) as in
    `Connector.open_connection`; ``connector``: whose PvDs, caches and policy to use (the default one of the
    thread that connects if None). ``policy`` may be set anew: it is for the connections to come.

    TLS belongs here, into ``tls=``: then it is a stage of the race, and a path that fails at it has lost, as
    one behind a portal that intercepts. Inside an `anyio.streams.tls.TLSConnectable` the race is over when
    TLS begins: what goes wrong then is an error.

    Raises ValueError for what is no host or port, TypeError for a connector that blocks.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: TlsSetting = False,
        server_hostname: str | None = None,
        connector: Connector | None = None,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> None:
        check_endpoint(host, port)
        if connector is not None:
            given_or_default(connector)  # the wrong kind of one is better said here
        self.host = host
        self.port = port
        self.tls = tls
        self.server_hostname = server_hostname
        self.connector = connector
        self.policy = policy
        self.label = label
        self.timeout = timeout

    async def connect(self) -> Connection:
        """Race and return the winner, whose ``report`` tells how; raises `anyio.ConnectionFailed`."""
        connector = given_or_default(self.connector)
        try:
            return await connector.open_connection(
                self.host,
                self.port,
                tls=self.tls,
                server_hostname=self.server_hostname,
                policy=self.policy,
                label=self.label,
                timeout=self.timeout,
            )
        except PvdRaceError as error:
            raise RaceFailed(str(error), error.report) from error

    def __repr__(self) -> str:
        return f"<PvdConnectable {self.host}:{self.port}>"
