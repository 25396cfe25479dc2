"""Make the connections of one way through the proxy: one `Connector`, and what may be dialled with it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from ..calls import check_endpoint, forbids
from ..errors import PvdRaceError
from ..net.lingering import LeavingSocket
from .first_flight import FirstFlight, discard
from .guard import Guard, GuardedResolver
from .relay import abort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..config.proxy_settings import ProxySettings
    from ..connector import Connector
    from ..policy import Policy
    from ..race.report import RaceReport

    Accept = Callable[[tuple[str, int]], Awaitable[None]]

#: From where a connection is made whose path may still change: RFC 1928 s6 has no word for it.
NOT_YET = ("0.0.0.0", 0)


@dataclass(eq=False, slots=True)
class Dialled:
    """A connection to a target. ``left``: what the client has said that the target has not heard.

    ``quiet``: policy keeps some PvD silent, so that a socket whose peer still speaks is not just closed.
    """

    sock: socket.socket
    report: RaceReport
    left: bytes
    quiet: bool

    @property
    def via(self) -> str:
        """The PvD and the address, for people."""
        winner = self.report.winner
        return f"{winner.pvd} {winner.remote}" if winner else "?"


class Dialler:
    """``connector`` is its own: unless local targets are allowed, its resolver's answers are looked at."""

    def __init__(self, connector: Connector, settings: ProxySettings, policy: Policy | None) -> None:
        self.connector = connector
        self._settings = settings
        self._policy = policy
        self._guard: Guard | None = None
        if not settings.allow_local:
            self._guard = Guard()
            connector.resolver = GuardedResolver(connector.resolver, self._guard)

    async def dial(
        self,
        host: str,
        port: int,
        label: str | None,
        accept: Accept | None = None,
        client: socket.socket | None = None,
        said: bytes = b"",
    ) -> Dialled:
        """Race to a target; ``accept`` tells the client of it, once, and not where this fails first.

        ``client``: what it says first is part of the race where the port makes one expect TLS; ``said`` is
        what it has said already.
        ``accept`` gets the address that the connection is made from.
        Raises `TargetRefused`, `PvdRaceError` or ValueError; `TooLate` where that comes after ``accept``.
        """
        host = check_endpoint(host, port).host
        if self._guard is not None:
            self._guard.look(await self.connector.snapshot())
            self._guard.check(host)
        if client is not None and accept is not None and port in self._settings.tls_ports:
            return await self._watched(host, port, label, accept, FirstFlight(client, said))
        sock, report = await self.connector.connect(
            host, port, policy=self._policy, label=label, timeout=self._settings.connect_timeout
        )
        dialled = self._dialled(sock, report, said, label)
        try:
            if accept is not None:
                await accept(sock.getsockname()[:2])
        except OSError:
            pass  # the client has gone: whoever relays finds out
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.drop(dialled)
            raise
        return dialled

    async def _watched(
        self, host: str, port: int, label: str | None, accept: Accept, flight: FirstFlight
    ) -> Dialled:
        provisional = await self.connector.begin(
            host, port, policy=self._policy, label=label, timeout=self._settings.connect_timeout
        )
        try:
            with contextlib.suppress(OSError):  # as above
                await accept(NOT_YET)
            if await flight.read():
                sock, report = await provisional.finish(flight.stage, discard=discard, ready="tls")
            else:
                sock, report = await provisional.settle_socket()
        except PvdRaceError as error:
            raise TooLate(error, flight.alert) from error
        finally:
            await provisional.aclose()
        return self._dialled(sock, report, flight.left, label)

    async def drop(self, dialled: Dialled) -> None:
        """Close what broke. Where policy asks for silence, as quietly as it goes."""
        if isinstance(dialled.sock, LeavingSocket):
            dialled.sock.close()
        elif dialled.quiet:
            await self.connector.release(dialled.sock)
        else:
            abort(dialled.sock)

    def _dialled(self, sock: socket.socket, report: RaceReport, left: bytes, label: str | None) -> Dialled:
        with contextlib.suppress(OSError):  # what a client says at once goes on at once
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connector = self.connector
        layers = connector.configuration.layers(report.endpoint, connector.policy, self._policy, label)
        return Dialled(sock, report, left, forbids(layers, report.ranking))


class TooLate(Exception):
    """The race was lost after the client had been told that it is connected. ``last``: what it may hear."""

    def __init__(self, error: Exception, last: bytes) -> None:
        super().__init__(str(error))
        self.error = error
        self.last = last
