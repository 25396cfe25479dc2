"""Perform a lookup in one provisioning domain: the sockets and the waiting that `exchange` decides on.

No task is started: the first socket is awaited by itself; from the second on one epoll object stands for all.
The hosts file is not consulted: a name means what the PvD says. (``localhost`` never comes here.)
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from errno import EINPROGRESS, EPIPE
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from ..net.sockets import PinError, describe, open_pinned, start_connect
from .cache import AnswerCache
from .exchange import Close, Exchange, Resend, Send, search_names
from .messages import TYPES, Answer, DnsFailure, MalformedReply, Reply
from .servers import Standings
from .wire import build_query, parse_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.lowlevel import EventLoopToken

    from ..model import ProvisioningDomain
    from .exchange import Action
    from .messages import Query

__all__ = ["Answer", "DnsFailure", "PvdResolver"]


class PvdResolver:
    """Looks names up, each lookup inside one PvD, and remembers the answers per PvD.

    ``timeout`` is the time in seconds that one lookup may take, with all its resolvers, search domains and
    CNAMEs. Names with fewer dots than ``ndots`` are tried below the PvD's search domains first. ``clock``
    is a monotonic clock in seconds. One resolver serves any number of concurrent lookups of one event loop,
    and may outlive it.
    """

    def __init__(
        self,
        *,
        timeout: float = 5.0,
        ndots: int = 1,
        cache_size: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._ndots = ndots
        self._clock = clock
        self._cache = AnswerCache(cache_size)
        self._standings = Standings()
        self._running: dict[tuple[str, int, str, str], _Running] = {}

    def cached(self, pvd: ProvisioningDomain, name: str, type: str) -> Answer | None:
        """What ``pvd`` said about the name before, if that still holds. No I/O."""
        return self._cache.get(pvd, name, type, self._clock())

    async def lookup(
        self,
        pvd: ProvisioningDomain,
        name: str,
        type: str,
        *,
        release: Callable[[socket.socket], None] = socket.socket.close,
    ) -> Answer:
        """Ask the resolvers of ``pvd``, on sockets pinned to it, for the addresses of ``name``.

        ``type`` is ``A`` or ``AAAA``. The question leaves before the first await, so that two lookups that
        are started together leave together (RFC 8305 s3). The same lookup is not made twice at a time: who
        comes second waits for the first. Cancelling it closes all that it holds. ``release`` closes the
        sockets on which a reply may still come, at once or after it has (see `pvdrace.net.lingering`): a
        question that was sent twice is answered twice.

        A negative answer is an `Answer`. Raises `DnsFailure` when there is none, or the name is no name, and
        ValueError for another type.
        """
        if type not in TYPES:
            raise ValueError(f"{type!r} is no record type that is looked up: {', '.join(TYPES)}")
        key = (pvd.name, pvd.attachment, name.lower(), type)
        while True:
            answer = self._cache.get(pvd, name, type, self._clock())
            if answer is not None:
                return answer
            running = self._running.get(key)
            if running is None or running.loop != current_token():
                break  # one of another loop was abandoned with it: nobody will end that
            outcome = await running.wait()
            if outcome is not None:  # None: it was cancelled, and somebody else has to ask
                return _given(outcome)
        running = self._running[key] = _Running()
        try:
            running.outcome = await self._ask(pvd, name, type, release)
        finally:
            if self._running.get(key) is running:
                del self._running[key]
            running.end()
        return _given(running.outcome)

    async def _ask(
        self, pvd: ProvisioningDomain, name: str, type: str, release: Callable[[socket.socket], None]
    ) -> Answer | DnsFailure:
        try:
            names = search_names(pvd, name, self._ndots)
            exchange = Exchange(pvd, names, type, self._standings, timeout=self._timeout)
            outcome = await _Performer(pvd, exchange, self._clock, release).run()
        except ValueError as error:
            return DnsFailure(str(error))
        if isinstance(outcome, Answer):
            self._cache.put(pvd, name, type, outcome, self._clock())
        return outcome

    def forget(self, pvd_name: str) -> None:
        """Drop what was learnt in a PvD: its answers, and how its resolvers behaved."""
        self._cache.forget(pvd_name)
        self._standings.forget(pvd_name)


class _Running:
    """A lookup that is under way. Who wants the same meanwhile waits for it instead of asking again."""

    __slots__ = ("_event", "loop", "outcome")

    def __init__(self) -> None:
        self.loop = current_token()
        self.outcome: Answer | DnsFailure | None = None
        self._event: anyio.Event | None = None

    async def wait(self) -> Answer | DnsFailure | None:
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
        return self.outcome

    def end(self) -> None:
        if self._event is not None and self.loop == _loop_that_runs():
            self._event.set()  # those who waited in a loop that was abandoned wait no more


def _loop_that_runs() -> EventLoopToken | None:
    """None where the garbage collector ends what was abandoned with its loop."""
    try:
        return current_token()
    except anyio.NoEventLoopError:
        return None


def _given(outcome: Answer | DnsFailure) -> Answer:
    """The answer; a failure is raised anew, as several may wait for one lookup."""
    if isinstance(outcome, DnsFailure):
        raise DnsFailure(str(outcome), outcome.server)
    return outcome


class _Conversation:
    """The socket of one question: a datagram, or a stream of length-prefixed messages (RFC 1035 s4.2.2)."""

    __slots__ = ("outstanding", "query", "received", "send", "sock", "unsent", "watched")

    def __init__(self, send: Send, query: Query, sock: socket.socket) -> None:
        self.send = send
        self.query = query
        self.sock = sock
        self.unsent = b""
        self.received = b""
        self.watched = False
        self.outstanding = 1  # replies that are still to come: one to every sending of the question

    def drain(self) -> None:
        """Count the replies that have come and that nobody will read."""
        with contextlib.suppress(OSError):
            while self.outstanding:
                if self.sock.recv(_MAX_MESSAGE)[:2] == self.query.message[:2]:
                    self.outstanding -= 1


class _Performer:
    """Carries out one exchange. All sockets live in ``open``; one ``finally`` closes what is left."""

    __slots__ = ("clock", "epoll", "exchange", "open", "pvd", "release")

    def __init__(
        self,
        pvd: ProvisioningDomain,
        exchange: Exchange,
        clock: Callable[[], float],
        release: Callable[[socket.socket], None],
    ) -> None:
        self.release = release
        self.pvd = pvd
        self.exchange = exchange
        self.clock = clock
        self.open: dict[int, _Conversation] = {}
        self.epoll: select.epoll | None = None

    async def run(self) -> Answer | DnsFailure:
        try:
            self.perform(self.exchange.start(self.clock()))
            while self.exchange.outcome is None:
                await self.wait()
            return self.exchange.outcome
        finally:
            for send in [conversation.send for conversation in self.open.values()]:
                self.close(send)
            if self.epoll is not None:
                self.epoll.close()

    async def wait(self) -> None:
        """Until something can be read or written, or the deadline; then tell the exchange."""
        ready = list(self.open)
        with anyio.move_on_after(self.exchange.deadline - self.clock()):
            if self.epoll is None:
                await anyio.wait_readable(ready[0])
            else:
                await anyio.wait_readable(self.epoll.fileno())
                ready = [fd for fd, _ in self.epoll.poll(0)]
        # Results before the timer, when both are due: after a time-out too, every socket is looked at.
        for fd in ready:
            if fd in self.open:
                self.progress(self.open[fd])
        if self.exchange.outcome is None:
            self.perform(self.exchange.tick(self.clock()))

    # Actions

    def perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.ask(action)
                case Resend():
                    self.again(action.send)
                case Close():
                    self.close(action.send)

    def ask(self, send: Send) -> None:
        query = build_query(send.name, send.type, os.urandom, edns=send.edns)
        resolver = send.server.resolver
        kind = socket.SOCK_STREAM if send.tcp else socket.SOCK_DGRAM
        try:
            sock = open_pinned(self.pvd, kind, resolver.address, resolver.port, local=send.server.local)
        except OSError as error:
            self.failed(send, error)
            return
        conversation = self.open[sock.fileno()] = _Conversation(send, query, sock)
        try:
            if send.tcp:
                conversation.unsent = len(query.message).to_bytes(2, "big") + query.message
                number = start_connect(sock, self.pvd, resolver.address, resolver.port)
                if number not in (0, EINPROGRESS):
                    raise OSError(number, os.strerror(number))
            else:
                sock.send(query.message)
        except OSError as error:
            self.failed(send, error)
            return
        if send.tcp or len(self.open) > 1 or self.epoll is not None:
            self.watch()

    def again(self, send: Send) -> None:
        for conversation in self.open.values():
            if conversation.send is send:
                try:
                    conversation.sock.send(conversation.query.message)
                except OSError as error:
                    self.failed(send, error)
                else:
                    conversation.outstanding += 1
                return

    def close(self, send: Send) -> None:
        for fd, conversation in self.open.items():
            if conversation.send is send:
                del self.open[fd]
                if conversation.watched and self.epoll is not None:
                    self.epoll.unregister(fd)
                if not send.tcp:
                    conversation.drain()
                if conversation.outstanding == 0:
                    conversation.sock.close()
                else:
                    self.release(conversation.sock)
                return

    def watch(self) -> None:
        """Let one epoll object stand for all sockets that are not in it yet."""
        if self.epoll is None:
            self.epoll = select.epoll()
        for fd, conversation in self.open.items():
            if not conversation.watched:
                self.epoll.register(fd, select.EPOLLOUT if conversation.unsent else select.EPOLLIN)
                conversation.watched = True

    # Events

    def progress(self, conversation: _Conversation) -> None:
        """Read (or write on) a socket that is ready for it, and tell the exchange what came of it."""
        send = conversation.send
        try:
            data = self.converse(conversation) if send.tcp else conversation.sock.recv(_MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError as error:
            self.failed(send, error)
            return
        if data is None:
            return
        now = self.clock()
        try:
            reply = parse_reply(conversation.query, data, exact_case=not send.tcp)
        except MalformedReply as error:
            conversation.outstanding -= 1
            self.perform(self.exchange.malformed(send, str(error), now))
            return
        if isinstance(reply, Reply):
            conversation.outstanding -= 1
            self.perform(self.exchange.replied(send, reply, now))
        else:
            conversation.outstanding -= reply.case_only  # that was the reply all the same
            self.perform(self.exchange.stray(send, reply, now))

    def converse(self, conversation: _Conversation) -> bytes | None:
        """One step over TCP: a whole reply, or None while there is more to come."""
        sock = conversation.sock
        if conversation.unsent:
            sent = sock.send(conversation.unsent)
            conversation.unsent = conversation.unsent[sent:]
            if not conversation.unsent and self.epoll is not None:
                self.epoll.modify(sock.fileno(), select.EPOLLIN)
            return None
        data = sock.recv(_MAX_MESSAGE)
        if not data:
            raise BrokenPipeError(EPIPE, os.strerror(EPIPE))
        conversation.received += data
        received = conversation.received
        size = int.from_bytes(received[:2], "big")
        return received[2 : 2 + size] if len(received) >= 2 + size and len(received) >= 2 else None

    def failed(self, send: Send, error: OSError) -> None:
        words = f"{send.server}: {describe(error)}"
        unreachable = not isinstance(error, PinError)
        self.perform(self.exchange.failed(send, words, self.clock(), unreachable=unreachable))


_MAX_MESSAGE = 65537
