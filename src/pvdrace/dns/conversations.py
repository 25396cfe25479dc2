"""Carry out one `exchange`: its sockets, and what is ready on them.

No task is started: the first socket is awaited by itself; from the second on one epoll object stands for all.
Who waits is the caller's matter: `Performer.run` does by anyio, and who has a loop of another kind watches
`Performer.fileno` until `Performer.due` and calls `Performer.proceed`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from errno import EINPROGRESS, EPIPE
from typing import TYPE_CHECKING, Protocol

import anyio

from ..net.sockets import PinError, describe, open_pinned, start_connect
from .exchange import Close, Resend, Send
from .messages import MalformedReply, Reply
from .wire import build_query, parse_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..model import ProvisioningDomain
    from .exchange import Action, Exchange
    from .messages import Answer, DnsFailure, Query


class Release(Protocol):
    """Takes a socket that is done with, and how many ``replies`` may still come on it."""

    def __call__(self, sock: socket.socket, replies: int = 1) -> None:
        """Close it, at once or when they have come."""


class Conversation:
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


class Performer:
    """Carries out one exchange: `start`, then `run`; and `end` in any case, which closes what is left."""

    __slots__ = ("clock", "epoll", "exchange", "open", "pvd", "release")

    def __init__(
        self,
        pvd: ProvisioningDomain,
        exchange: Exchange,
        clock: Callable[[], float],
        release: Release,
    ) -> None:
        self.release = release
        self.pvd = pvd
        self.exchange = exchange
        self.clock = clock
        self.open: dict[int, Conversation] = {}
        self.epoll: select.epoll | None = None

    def start(self) -> None:
        """Send the first question. Raises ValueError for what is no name."""
        self.perform(self.exchange.start(self.clock()))

    async def run(self) -> Answer | DnsFailure:
        """Until there is an outcome. Raises ValueError for a name that is none."""
        while self.exchange.outcome is None:
            with anyio.move_on_after(self.due()):
                await anyio.wait_readable(
                    next(iter(self.open)) if self.epoll is None else self.epoll.fileno()
                )
            self.proceed()
        return self.exchange.outcome

    def fileno(self) -> int:
        """One descriptor for all there is to wait for, the same until the `end`."""
        self.watch()
        assert self.epoll is not None
        return self.epoll.fileno()

    def due(self) -> float:
        """Seconds until `proceed` has something to do, whatever is ready then."""
        return self.exchange.deadline - self.clock()

    def end(self) -> None:
        """Close or release all that is open."""
        for send in [conversation.send for conversation in self.open.values()]:
            self.close(send)
        if self.epoll is not None:
            self.epoll.close()

    def proceed(self) -> None:
        """Read and write where that is possible, and tell the exchange; never waits. Raises as `run`."""
        # Results before the timer, when both are due: after a time-out too, every socket is looked at.
        ready = list(self.open) if self.epoll is None else [fd for fd, _ in self.epoll.poll(0)]
        for fd in ready:
            if fd in self.open:
                self.progress(self.open[fd])
        if self.exchange.outcome is None:
            self.perform(self.exchange.tick(self.clock()))

    # Actions

    def perform(self, actions: Sequence[Action]) -> None:
        """Do what the exchange asks for."""
        for action in actions:
            match action:
                case Send():
                    self.ask(action)
                case Resend():
                    self.again(action.send)
                case Close():
                    self.close(action.send)

    def ask(self, send: Send) -> None:
        """Send a question on a socket of its own."""
        query = build_query(send.name, send.type, os.urandom, edns=send.edns)
        resolver = send.server.resolver
        kind = socket.SOCK_STREAM if send.tcp else socket.SOCK_DGRAM
        try:
            sock = open_pinned(self.pvd, kind, resolver.address, resolver.port, local=send.server.local)
        except OSError as error:
            self.failed(send, error)
            return
        conversation = self.open[sock.fileno()] = Conversation(send, query, sock)
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
        """Send it once more, on the same socket."""
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
        """Close its socket; release it where replies are still to come."""
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
                    self.release(conversation.sock, conversation.outstanding)
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

    def progress(self, conversation: Conversation) -> None:
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

    def converse(self, conversation: Conversation) -> bytes | None:
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
        """Tell the exchange that the socket says no."""
        words = f"{send.server}: {describe(error)}"
        unreachable = not isinstance(error, PinError)
        self.perform(self.exchange.failed(send, words, self.clock(), unreachable=unreachable))


_MAX_MESSAGE = 65537
