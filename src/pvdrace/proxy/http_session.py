"""A client that speaks HTTP/1.1 to the proxy: a CONNECT tunnel, or http:// requests one after the other.

Each http:// request is a race of its own, on a connection of its own to the origin server; the client's
connection stays for the next one, whatever host that is for.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio
import h11

from ..errors import PvdRaceError
from .accounts import basic
from .http_messages import MAX_HEAD, BadRequest, Target, authorization, target, to_client, to_origin
from .relay import abort, part, receive, send
from .replies import CHALLENGE, ESTABLISHED, REASONS, http_answer, refusal
from .targets import TargetRefused

if TYPE_CHECKING:
    import socket

    from .dialling import Dialled
    from .session import Session

#: Seconds that a client's connection is kept for its next request.
KEEP_ALIVE = 60.0


class HttpSession:
    """One client's connection; ``session`` is what it shares with SOCKS."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._client = session.client
        self._flow = session.flow
        self._messages = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._responding = False

    async def run(self, first: bytes) -> None:
        """Serve requests until the client has no more, or a tunnel has ended. ``first`` is what it said."""
        self._messages.receive_data(first)
        while True:
            try:
                request = await self._request()
                if request is None:
                    return
                if not await self._serve(request) or self._flow.last:
                    break
            except BadRequest as error:
                await self._answer(error.status, str(error))
                break
            except h11.RemoteProtocolError as error:
                status = error.error_status_hint if error.error_status_hint in REASONS else 400
                await self._answer(status, str(error))
                break
            except (TargetRefused, PvdRaceError, ValueError) as error:
                _, status, kind, why = refusal(error)
                await self._answer(status, why, kind)
                break
            self._messages.start_next_cycle()
            self._flow.busy = self._responding = False
        await part(self._client)

    async def _request(self) -> h11.Request | None:
        """The next request; None where there is none. Raises `BadRequest` for half a one."""
        first = self._messages.their_state is h11.IDLE and not self._messages.trailing_data[0]
        patience = (
            min(KEEP_ALIVE, self._session.settings.idle_timeout)
            if first
            else self._session.settings.handshake_timeout
        )
        with anyio.move_on_after(patience):
            while (event := self._messages.next_event()) is h11.NEED_DATA:
                self._messages.receive_data(await receive(self._client))
            return event if isinstance(event, h11.Request) else None
        if self._messages.trailing_data[0]:
            raise BadRequest("the request did not come in time", 408)
        return None

    async def _serve(self, request: h11.Request) -> bool:
        """One request; whether the connection stays."""
        self._flow.busy = True
        if not self._authorized(request):
            await self._answer(407, "user and password of the proxy, please", fields=(CHALLENGE,))
            return False
        where = target(request)
        if request.method == b"CONNECT":
            await self._connect(where)
            return False
        return await self._forward(request, where)

    def _authorized(self, request: h11.Request) -> bool:
        field = authorization(request.headers)
        if field is None:
            self._session.user = None
            return self._session.anonymous
        given = basic(field)
        self._session.user = None if given is None else self._session.login(*given)
        return self._session.user is not None

    # ------------------------------------------------------------------ CONNECT

    async def _connect(self, where: Target) -> None:
        if not isinstance(self._messages.next_event(), h11.EndOfMessage):
            raise BadRequest("CONNECT has no content (RFC 9110 s9.3.6)")
        rest, _ = self._messages.trailing_data

        async def accept(bound: tuple[str, int]) -> None:
            await send(self._client, ESTABLISHED)

        await self._session.tunnel(where.host, where.port, accept, bytes(rest))

    # ------------------------------------------------------------------ http:// URLs

    async def _forward(self, request: h11.Request, where: Target) -> bool:
        origin = to_origin(request, where)
        if origin is None:
            raise BadRequest("Max-Forwards is 0, and the proxy itself does no such thing", 501)
        dialled = await self._session.dial(where.host, where.port, None)
        whole = False
        try:
            whole = await self._exchange(dialled, origin)
        finally:
            if whole:
                dialled.sock.close()
            else:
                with anyio.CancelScope(shield=True):
                    await self._session.dialler.drop(dialled)
        if not whole and self._responding:
            abort(self._client)  # it must not take half an answer for a whole one
        elif not whole:
            await self._answer(502, f"{where.host}: {self._flow.broken}", "connection_terminated")
        done = self._messages.our_state is h11.DONE and self._messages.their_state is h11.DONE
        return whole and done

    async def _exchange(self, dialled: Dialled, request: h11.Request) -> bool:
        """Pass the request on, and the answer back, each as it comes. Whether the answer is whole."""
        server = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        whole = False
        async with anyio.create_task_group() as tasks:

            async def upload() -> None:
                try:
                    await self._upload(dialled.sock, server, request)
                except h11.RemoteProtocolError as error:  # the client's mistake: half a request is none
                    self._flow.broken = str(error)
                    tasks.cancel_scope.cancel()
                except OSError:
                    pass  # an answer may have been sent before the connection was closed

            tasks.start_soon(upload)
            try:
                whole = await self._download(dialled.sock, server)
            except (OSError, h11.ProtocolError) as error:
                self._flow.broken = str(error)
            tasks.cancel_scope.cancel()
        return whole

    async def _upload(self, sock: socket.socket, server: h11.Connection, request: h11.Request) -> None:
        await send(sock, server.send(request) or b"")
        while True:
            event = self._messages.next_event()
            if event is h11.NEED_DATA:
                data = await receive(self._client)
                self._flow.up += len(data)
                self._messages.receive_data(data)
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                await send(sock, server.send(event) or b"")
                if isinstance(event, h11.EndOfMessage):
                    return
            else:
                return

    async def _download(self, sock: socket.socket, server: h11.Connection) -> bool:
        while True:
            event = server.next_event()
            if event is h11.NEED_DATA:
                data = await receive(sock)
                self._flow.down += len(data)
                server.receive_data(data)
                continue
            if isinstance(event, h11.InformationalResponse):
                if self._messages.their_http_version != b"1.0":
                    await self._say(to_client(event))
            elif isinstance(event, h11.Response):
                self._responding = True
                await self._say(to_client(event))
            elif isinstance(event, h11.Data):
                await self._say(event)
            elif isinstance(event, h11.EndOfMessage):
                await self._say(event)
                return True
            else:
                return False

    async def _say(self, event: h11.Event) -> None:
        await send(self._client, self._messages.send(event) or b"")

    async def _answer(
        self, status: int, why: str, error: str | None = None, fields: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """An answer of our own, and the end of the connection."""
        self._session.note(f"{status} {why}")
        with contextlib.suppress(OSError):
            await send(self._client, http_answer(status, why, error, fields))
