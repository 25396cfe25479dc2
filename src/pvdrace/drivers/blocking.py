"""The core on one epoll, in the thread that wants the connection: no event loop, no other thread.

Connection attempts, lookups, tunnels and stages are all descriptors of the same epoll. What takes several
steps (a tunnel, TLS) is a generator that says what it waits for: see `BlockingStage`.

A race can be *paused* at its first transport handshake (`BlockingDriver.run`): what it holds stays open, and
its clock stands still, so that how long its owner takes for the next step is nobody's failure.

Results are handled before the timer when both are due.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from collections import deque
from contextlib import ExitStack, suppress
from errno import EALREADY, EINPROGRESS, EISCONN
from typing import TYPE_CHECKING, Any, Generic

from ..net.lingering import close_now
from ..net.sockets import describe, handshake, open_pinned, start_connect
from ..net.tunnel import TunnelFailed
from ..race.actions import Cancel, Connect, Lookup
from ..race.events import Connected, Failed, Ready
from ..race.race import Won
from .asking import Questions
from .blocking_roles import P
from .stages import describe_stage
from .tunnel import tunnelling

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..dns.conversations import Release
    from ..race.actions import Action
    from ..race.events import Event
    from ..race.race import Race
    from .blocking_roles import BlockingChanges, BlockingLookups, BlockingStage

log = logging.getLogger("pvdrace")
WRITABLE = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP
#: Seconds that one wait lasts at most; epoll counts milliseconds in 31 bits.
LONGEST_WAIT = 3600.0


class BlockingDriver(Generic[P]):
    """One race. `start`, `run`, then `winner` or `product`; `close` in any case.

    ``provisional``: what follows the transport handshake is not known yet; `run` can stop there, and `go_on`
    says. Otherwise it is ``stage``, or nothing. ``release`` takes the losers' sockets: it closes them, at
    once or when their peers have had their say. ``errors`` are the exceptions of stages, by attempt.
    """

    def __init__(
        self,
        race: Race,
        lookups: BlockingLookups,
        *,
        changes: BlockingChanges | None = None,
        stage: BlockingStage[P] | None = None,
        provisional: bool = False,
        release: Release = close_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.race = race
        self.changes = changes
        self.stage = stage
        self.provisional = provisional
        self.release = release
        self.errors: dict[int, Exception] = {}
        self._clock = clock
        self._behind = 0.0  # seconds that the race stood still
        self._paused: float | None = None
        self._inbox: deque[Event] = deque()
        self._sockets: dict[int, socket.socket] = {}  # every socket that is ours, by attempt
        self._connecting: dict[int, Connect] = {}  # by descriptor, while the handshake is under way
        self._ready: dict[int, Connect] = {}  # connected, waiting for a stage to be named
        self._steps: dict[int, _Steps] = {}  # tunnels and stages, by attempt
        self._stepping: dict[int, int] = {}  # attempts, by the descriptor of their tunnel or stage
        self._questions = Questions(lookups, release, self._inbox)
        self._products: dict[int, P] = {}
        self._spares: dict[int, socket.socket] = {}  # keep what a stage may close, where that is not enough
        self._epoll: select.epoll | None = None

    # ------------------------------------------------------------------ the loop

    def start(self) -> None:
        """Begin the race."""
        self._perform(self.race.start(self.clock()))

    def run(self, *, pause: bool = False) -> None:
        """Until the race is over; with ``pause`` also until an attempt waits for a stage to be named."""
        self.resume()
        race, inbox = self.race, self._inbox
        looked = False  # since anything was started: what is there counts before the timer does
        while race.outcome is None:
            if inbox:
                event = inbox.popleft()
                self._perform(race.handle(event, self.clock()))
                if pause and self._ready and not inbox:  # what has happened is known before anybody is asked
                    self._paused = self._clock()
                    return
                continue
            now = self.clock()
            if race.deadline > now or not looked:
                self._wait(race.deadline - now)
                looked = True
            else:
                self._perform(race.tick(now))
                looked = False

    def resume(self) -> float:
        """Let the race's clock run on, if it stands still; what it shows."""
        if self._paused is not None:
            self._behind += self._clock() - self._paused
            self._paused = None
        return self.clock()

    def clock(self) -> float:
        """The race's own time: that of the clock without the pauses."""
        return self._clock() - self._behind

    def go_on(self, stage: BlockingStage[P] | None) -> None:
        """What follows the transport handshake: this stage; or nothing, then who was first has won."""
        self.resume()
        self.provisional, self.stage = False, stage
        ready, self._ready = list(self._ready.values()), {}
        for action in ready:
            if stage is not None:
                self._begin_stage(action, self._sockets[action.id])
            else:
                local = self._sockets[action.id].getsockname()[0]
                self._perform(self.race.handle(Ready(action.id, None, local), self.clock()))
                return

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Connect):
                self._connect(action)
            elif isinstance(action, Lookup):
                self._questions.ask(action)
            elif isinstance(action, Cancel):
                self._cancel(action.target.id)

    def _wait(self, seconds: float) -> None:
        """Wait for a descriptor, or so long; what happened is in the inbox."""
        if self._epoll is None:
            self._epoll = self._watched()
        seconds = min(seconds, self._questions.due())
        pvds_changed = False
        for descriptor, _ in self._epoll.poll(min(max(seconds, 0.0), LONGEST_WAIT)):
            if descriptor in self._connecting:
                self._handshake_over(self._connecting[descriptor])
            elif descriptor in self._questions:
                self._questions.heard(descriptor)
            elif descriptor in self._stepping:
                self._step(self._stepping[descriptor])
            else:
                pvds_changed = True
        self._questions.tick()
        if pvds_changed and self.changes is not None:
            try:
                self._inbox.extend(self.changes.events())
            except OSError as error:
                log.warning("the race to %s goes on with the PvDs it has: %s", self.race.endpoint, error)

    def _watched(self) -> select.epoll:
        epoll = select.epoll()
        for descriptor in self._connecting:
            epoll.register(descriptor, WRITABLE)
        self._questions.watch(epoll)
        for attempt in self._stepping.values():
            steps = self._steps[attempt]
            epoll.register(steps.descriptor, steps.wanted | select.EPOLLONESHOT)
            steps.registered = True
        for descriptor in self.changes.open() if self.changes is not None else ():
            epoll.register(descriptor, select.EPOLLIN)
        return epoll

    # ------------------------------------------------------------------ attempts

    def _connect(self, action: Connect) -> None:
        pvd, local, remote, port, _ = action.candidate
        try:
            sock = open_pinned(pvd, socket.SOCK_STREAM, remote, port, local=local)
        except OSError as error:
            self._inbox.append(Failed(action.id, describe(error)))
            return
        self._sockets[action.id] = sock
        code = start_connect(sock, pvd, remote, port)
        if code == EINPROGRESS and pvd.is_loopback:
            # The host answers itself before connect() is back: ask once more before waiting.
            code = start_connect(sock, pvd, remote, port)
        if code in (0, EISCONN):
            self._established(action, sock)
        elif code in (EINPROGRESS, EALREADY):
            self._connecting[sock.fileno()] = action
            if self._epoll is not None:
                self._epoll.register(sock, WRITABLE)
        else:
            self._failed(action.id, describe(code))

    def _handshake_over(self, action: Connect) -> None:
        sock = self._sockets[action.id]
        del self._connecting[sock.fileno()]
        if self._epoll is not None:
            self._epoll.unregister(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._failed(action.id, describe(code))
        else:
            self._established(action, sock)

    def _established(self, action: Connect, sock: socket.socket) -> None:
        measured = handshake(sock)
        rtt = measured.rtt if measured is not None else None
        if action.through is None:
            self._connected(action, sock, rtt)
        else:
            tunnel = _Tunnel(action, rtt, sock, tunnelling(sock, action.through, self.race.endpoint))
            self._steps[action.id] = tunnel
            self._step(action.id)

    def _connected(self, action: Connect, sock: socket.socket, rtt: float | None) -> None:
        """The transport to the endpoint is there."""
        if self.stage is None and not self.provisional:
            self._inbox.append(Ready(action.id, rtt, sock.getsockname()[0]))
            return
        self._inbox.append(Connected(action.id, rtt))
        if self.stage is None:
            self._ready[action.id] = action
        else:
            self._begin_stage(action, sock)

    def _begin_stage(self, action: Connect, sock: socket.socket) -> None:
        assert self.stage is not None
        try:
            local = str(sock.getsockname()[0])
            if self.release is not close_now:
                self._spares[action.id] = sock.dup()
        except OSError as error:
            self._failed(action.id, describe(error))
            return
        del self._sockets[action.id]  # it is the stage's own now
        steps = _Stage(action, local, sock.fileno(), self.stage(sock, action.candidate))
        self._steps[action.id] = steps
        self._step(action.id)

    def _step(self, attempt: int) -> None:
        """Let a tunnel or a stage go on as far as it can without waiting."""
        steps = self._steps[attempt]
        try:
            steps.wanted = next(steps.run)
        except StopIteration as end:
            self._over(attempt, steps)
            if isinstance(steps, _Tunnel):
                self._connected(steps.action, steps.sock, steps.rtt)
            elif isinstance(steps, _Stage):
                self._products[attempt] = end.value
                self._inbox.append(Ready(attempt, None, steps.local))
        except Exception as error:  # whatever an application's check raises is this attempt's failure
            self._over(attempt, steps)
            if isinstance(steps, _Tunnel):
                self.release(self._sockets.pop(attempt))
                if not isinstance(error, TunnelFailed):
                    raise
                self._inbox.append(Failed(attempt, str(error)))
            else:
                self.errors[attempt] = error
                self._inbox.append(Failed(attempt, describe_stage(error)))
        else:
            self._stepping[steps.descriptor] = attempt
            if self._epoll is not None:
                # Once, so that a descriptor that a stage has closed, and that has a copy, says no more.
                register = self._epoll.modify if steps.registered else self._epoll.register
                register(steps.descriptor, steps.wanted | select.EPOLLONESHOT)
                steps.registered = True

    def _over(self, attempt: int, steps: _Steps) -> None:
        del self._steps[attempt]
        self._stepping.pop(steps.descriptor, None)
        self._unregister(steps)

    def _unregister(self, steps: _Steps) -> None:
        if steps.registered and self._epoll is not None:
            steps.registered = False
            with suppress(OSError):  # it is closed, and with that gone from the epoll object
                self._epoll.unregister(steps.descriptor)

    def _failed(self, attempt: int, error: str) -> None:
        self._sockets.pop(attempt).close()
        self._inbox.append(Failed(attempt, error))

    def _cancel(self, subject: int) -> None:
        self._questions.forget(subject)
        self._ready.pop(subject, None)
        steps = self._steps.pop(subject, None)
        if steps is not None:
            self._stepping.pop(steps.descriptor, None)
            self._unregister(steps)
            steps.run.close()
        sock = self._sockets.pop(subject, None)
        if sock is not None:
            if self._connecting.pop(sock.fileno(), None) is not None and self._epoll is not None:
                self._epoll.unregister(sock)
            self.release(sock)

    # ------------------------------------------------------------------ the end

    def winner(self) -> socket.socket:
        """The socket of the attempt that has won without a stage: the caller's from now on."""
        return self._sockets.pop(self._winner())

    def product(self) -> P:
        """What the stage of the winner has made: the caller's from now on."""
        winner = self._winner()
        if winner in self._spares:
            self._spares.pop(winner).close()
        return self._products.pop(winner)

    def leader(self) -> socket.socket:
        """The socket that the race is paused at. It stays the driver's."""
        return self._sockets[next(iter(self._ready))]

    def _winner(self) -> int:
        outcome = self.race.outcome
        assert isinstance(outcome, Won)
        return outcome.attempt.id

    def close(self) -> None:
        """Close all that is still ours. Harmless when done twice."""
        owned = (self._spares, self._sockets, self._products, self._steps)
        if self._epoll is None and not any(owned) and not self._questions:
            return  # the usual end of a race that had not to wait
        with ExitStack() as ends:  # each of them, whatever another raises
            if self._epoll is not None:
                ends.callback(self._epoll.close)
                if self.changes is not None:
                    ends.callback(self.changes.close)
            for sock in (*self._spares.values(), *self._sockets.values()):
                ends.callback(self.release, sock)
            for product in self._products.values():
                ends.callback(product.close)
            for steps in self._steps.values():
                ends.callback(steps.run.close)
            ends.callback(self._questions.close)
        for mine in (*owned, self._connecting, self._ready, self._stepping):
            mine.clear()


class _Steps:
    """Something that takes several steps on one socket."""

    def __init__(self, action: Connect, descriptor: int, run: Generator[int, None, Any]) -> None:
        self.action = action
        self.descriptor = descriptor
        self.run = run
        self.wanted = 0
        self.registered = False


class _Tunnel(_Steps):
    def __init__(
        self, action: Connect, rtt: float | None, sock: socket.socket, run: Generator[int, None, None]
    ) -> None:
        super().__init__(action, sock.fileno(), run)
        self.rtt = rtt
        self.sock = sock


class _Stage(_Steps):
    def __init__(self, action: Connect, local: str, descriptor: int, run: Generator[int, None, Any]) -> None:
        super().__init__(action, descriptor, run)
        self.local = local
