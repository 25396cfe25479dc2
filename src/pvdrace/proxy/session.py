"""One client of the proxy, from its first byte to its last."""

from __future__ import annotations

import contextlib
import logging
from math import inf
from typing import TYPE_CHECKING

import anyio

from ..errors import PvdRaceError
from ..redaction import redact
from . import socks5
from .dialling import TooLate
from .http_session import HttpSession
from .relay import abort, part, receive, send
from .replies import refusal
from .socks5 import Socks5
from .targets import TargetRefused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..config.proxy_settings import Listen, ProxySettings, Way
    from .accounts import Accounts
    from .dialling import Accept, Dialled, Dialler
    from .relay import Flow, Relay

#: One line a connection, at DEBUG: there are host names in it. Never a path, a query or a password.
log = logging.getLogger("pvdrace.proxy")
TLS_RECORD = 0x16


class Session:
    """One client. ``dialler_of`` has the dialler of each way; the socket is the session's to close."""

    def __init__(
        self,
        client: socket.socket,
        peer: str,
        listen: Listen,
        settings: ProxySettings,
        accounts: Accounts,
        dialler_of: Callable[[Way], Dialler],
        relay: Relay,
        flow: Flow,
    ) -> None:
        self.client = client
        self.settings = settings
        self.flow = flow
        self.user: str | None = None
        self.anonymous = listen.is_loopback and not listen.authenticate
        self.login = accounts.login(anonymous=self.anonymous)
        self._peer = peer
        self._listen = listen
        self._accounts = accounts
        self._dialler_of = dialler_of
        self._relay = relay

    async def run(self) -> None:
        """Serve the client, and close everything. What a client or a target does wrong raises nothing."""
        try:
            with self.flow.scope, contextlib.suppress(OSError):
                await self._serve()
            if self.flow.scope.cancelled_caught:
                self.note(self.flow.broken or "not done in time")
        finally:
            self.client.close()

    async def _serve(self) -> None:
        self.flow.scope.deadline = anyio.current_time() + self.settings.handshake_timeout
        first = await receive(self.client)
        if not first:
            return
        if first[0] in (4, socks5.VERSION):
            await self._socks(first)
        elif 0x41 <= first[0] <= 0x7A:  # a letter: the method of an HTTP request
            self.flow.scope.deadline = inf  # a request that does not come in time gets an answer
            await HttpSession(self).run(first)
        else:
            what = "TLS, and this port does not" if first[0] == TLS_RECORD else "neither SOCKS nor HTTP"
            self.note(f"the client speaks {what}")

    # ------------------------------------------------------------------ SOCKS

    async def _socks(self, data: bytes) -> None:
        conversation = Socks5(self.login, anonymous=self.anonymous)
        while True:
            said = conversation.feed(data)
            if said:
                await send(self.client, said)
            if conversation.error is not None or conversation.target is not None:
                break
            data = await receive(self.client)
            if not data:
                return
        self.flow.scope.deadline = inf
        self.user = conversation.user
        if conversation.target is None:
            self.note(conversation.error or "")
            await part(self.client)
            return
        host, port = conversation.target

        async def accept(bound: tuple[str, int]) -> None:
            await send(self.client, conversation.reply(socks5.SUCCEEDED, bound))

        try:
            await self.tunnel(host, port, accept, conversation.rest)
        except (TargetRefused, PvdRaceError, ValueError) as error:
            await send(self.client, conversation.reply(refusal(error).reply))
            await part(self.client)

    # ------------------------------------------------------------------ what both protocols do

    @property
    def dialler(self) -> Dialler:
        """Who makes this client's connections."""
        return self._dialler_of(self.way)

    @property
    def way(self) -> Way:
        """How this client's connections are made: by its user, else by where it came in."""
        return self._accounts.way(self.user).over(self._listen.way)

    async def tunnel(self, host: str, port: int, accept: Accept, said: bytes) -> None:
        """Connect, tell the client by ``accept``, and relay until the end.

        Raises `TargetRefused`, `PvdRaceError` or ValueError where the client has not been told anything.
        """
        try:
            dialled = await self.dial(host, port, accept, said)
        except TooLate as error:
            with contextlib.suppress(OSError):
                await send(self.client, error.last)
            await part(self.client)
            return
        await self.relay(dialled)

    async def relay(self, dialled: Dialled) -> None:
        """Carry bytes both ways until both sides have ended or one broke."""
        ended = False
        try:
            await self._relay.run(self.client, dialled.sock, self.flow, dialled.left)
            ended = self.flow.broken is None
        finally:
            if ended:
                dialled.sock.close()
            else:
                abort(self.client)
                with anyio.CancelScope(shield=True):
                    await self.dialler.drop(dialled)
            self.note(f"{self.flow.up} bytes up, {self.flow.down} down, {self.flow.broken or 'ended'}")

    async def dial(
        self,
        host: str,
        port: int,
        accept: Accept | None,
        said: bytes = b"",
    ) -> Dialled:
        """Race to a target. Raises as `Dialler.dial`."""
        way = self.way
        client = self.client if accept is not None else None
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.flow.busy, self.flow.waiting = True, client
        try:
            dialled = await self._dialler_of(way).dial(host, port, way.label, accept, client, said)
        except (TargetRefused, TooLate, PvdRaceError, ValueError) as error:
            text = str(error)  # an error of a race has the host in front already
            self.note(text if text.startswith(where) else f"{where}: {text}")
            raise
        finally:
            self.flow.waiting = None
        self.note(f"{where} via {dialled.via}")
        return dialled

    def note(self, text: str) -> None:
        """One line of the access log, whatever the client calls a host."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s%s %s", self._peer, f" user={self.user}" if self.user else "", redact(text))
