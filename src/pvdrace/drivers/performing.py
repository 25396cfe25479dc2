"""How the driver for asyncio and trio carries out a race: its sockets, its tasks, its one place to wait."""

from __future__ import annotations

import logging
import socket
from collections import deque
from dataclasses import dataclass
from errno import EALREADY, EINPROGRESS, EISCONN
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from ..dns.messages import DnsFailure
from ..net.lingering import close_now
from ..net.sockets import describe, handshake, open_pinned, start_connect
from ..net.tunnel import TunnelFailed
from ..race.actions import Cancel, Connect, Lookup
from ..race.events import Connected, Failed, LookupAnswered, LookupFailed, Ready
from ..race.race import Won
from .stages import describe_stage
from .tunnel import open_tunnel
from .warmup import WarmUps
from .watching import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from ..dns.conversations import Release
    from ..race.actions import Action
    from ..race.events import Event
    from ..race.race import Race
    from .roles import Changes, Lookups, Pending, Stage
    from .warmup import OnNeed

T = TypeVar("T")
log = logging.getLogger("pvdrace")


@dataclass(slots=True)
class Driven(Generic[T]):
    """What a race brought: the winner's socket, or the product of its stage; neither if it was lost."""

    sock: socket.socket | None = None
    product: T | None = None


class Performing(Generic[T]):
    """What a race asks for, performed on real sockets; `drivers.aio` says when. Close it by `end`."""

    def __init__(
        self,
        race: Race,
        lookups: Lookups,
        changes: Changes | None,
        stage: Stage[T] | None,
        release: Release,
        on_need: OnNeed | None,
        clock: Callable[[], float],
    ) -> None:
        self.race = race
        self.lookups = lookups
        self.changes = changes
        self.stage = stage
        self.release = release
        self._clock = clock
        self._behind = 0.0  # seconds that the race stood still
        self._paused: float | None = None
        self.tasks: TaskGroup | None = None  # made when something has to await on its own
        self.inbox: deque[Event] = deque()
        self.sockets: dict[int, socket.socket] = {}  # every socket that is ours, by attempt
        self.connecting: dict[int, Connect] = {}  # by descriptor, while the handshake is under way
        self.scopes: dict[int, anyio.CancelScope] = {}  # tasks, by lookup or attempt
        self.products: dict[int, T] = {}
        self.spares: dict[int, socket.socket] = {}  # keep what a stage may close, where that is not enough
        self.warm_ups = None if on_need is None else WarmUps(on_need, self._resume, self._post)
        self.watch = Watch(changes)
        self.pausing = False  # at the first handshake
        self.connected: dict[int, Connect] = {}  # handshakes that wait for a stage, while pausing
        self.by_task: dict[int, Lookup | Connect] = {}  # what tasks work at: ended by a pause, and begun anew

    # ------------------------------------------------------------------ the loop

    async def run_with_tasks(self, actions: Sequence[Action]) -> None:
        """Perform actions until the race is over or pauses; what awaits on its own does so in tasks."""
        try:
            async with anyio.create_task_group() as self.tasks:
                for attempt in self.connected.values():
                    self._begin_stage(attempt)
                self.connected.clear()
                await self.run(actions)
                if self.pausing:
                    self.tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise sole(group) from None
        finally:
            self.tasks = None

    async def run(self, actions: Sequence[Action]) -> Sequence[Action]:
        """Perform actions until the race is over, pauses or, without a task group, some need one: these."""
        race = self.race
        inbox = self.inbox
        while True:
            deferred = self._perform(actions)
            if race.outcome is not None or deferred:
                return deferred
            if inbox:
                actions = race.handle(inbox.popleft(), self.clock())
                continue
            if self.pausing and self.connected:
                self._paused = self._clock()
                return ()
            now = self.clock()
            if race.deadline <= now:
                actions = race.tick(now)
                continue
            actions = ()
            await self._wait(race.deadline)

    def clock(self) -> float:
        """The race's own time: that of the clock without the pause."""
        return self._clock() - self._behind

    def _perform(self, actions: Sequence[Action]) -> Sequence[Action]:
        deferred: list[Action] = []
        for action in actions:
            if self.warm_ups is not None and self.warm_ups.keep(action, self.tasks, deferred):
                continue
            if isinstance(action, Connect):
                if action.through is not None and self.tasks is None:
                    deferred.append(action)
                else:
                    self._connect(action)
            elif isinstance(action, Lookup):
                if not self._lookup(action):
                    deferred.append(action)
            elif isinstance(action, Cancel):
                self._cancel(action.target.id)
        if self.warm_ups is not None and self.race.outcome is not None:
            self.warm_ups.end()
        return deferred

    def _resume(self, actions: Sequence[Action]) -> None:
        """Perform what a task has kept until now."""
        self._perform(actions)
        if self.inbox:
            self.watch.ring()

    async def _wait(self, deadline: float) -> None:
        """Wait for a socket, a task, a change of PvDs, or the deadline; what happened is in the inbox."""
        self.watch.open(self.connecting, tasks=self.tasks is not None, rung=bool(self.inbox))
        pvds_changed = False
        for descriptor, _ in await self.watch.wait(deadline + self._behind):
            attempt = self.connecting.get(descriptor)
            if attempt is not None:
                self._handshake_over(attempt)
            elif descriptor == self.watch.bell:
                self.watch.hush()
            else:
                pvds_changed = True
        if pvds_changed and self.changes is not None:
            try:
                self.inbox.extend(await self.changes.events())
            except OSError as error:
                log.warning("the race to %s goes on with the PvDs it has: %s", self.race.endpoint, error)

    def _post(self, event: Event) -> None:
        """A task has a result."""
        self.inbox.append(event)
        self.watch.ring()

    # ------------------------------------------------------------------ lookups

    def _lookup(self, action: Lookup) -> bool:
        answer = self.lookups.cached(action.pvd, action.name, action.type)
        if answer is not None:
            self.inbox.append(LookupAnswered(action.id, answer.addresses, answer.server, True))
        elif self.tasks is None:
            return False
        else:
            # RFC 8305 s3: AAAA, then A. The question leaves here: tasks start in any order (trio shuffles).
            try:
                pending = self.lookups.begin(
                    action.pvd, action.name, action.type, families=action.families, release=self.release
                )
            except (OSError, ValueError) as error:
                self.inbox.append(LookupFailed(action.id, str(error), None))
            else:
                self.by_task[action.id] = action
                self.tasks.start_soon(self._lookup_task, action, pending, self._scope(action.id))
        return True

    async def _lookup_task(self, action: Lookup, pending: Pending, scope: anyio.CancelScope) -> None:
        with scope:
            event: Event
            try:
                answer = await pending.answer()
            except (DnsFailure, OSError, ValueError) as error:
                event = LookupFailed(action.id, str(error), getattr(error, "server", None))
            else:
                event = LookupAnswered(action.id, answer.addresses, answer.server, answer.cached)
            self._task_over(action.id, event)

    # ------------------------------------------------------------------ attempts

    def _connect(self, action: Connect) -> None:
        pvd, local, remote, port, _ = action.candidate
        try:
            sock = open_pinned(pvd, socket.SOCK_STREAM, remote, port, local=local)
        except OSError as error:
            self.inbox.append(Failed(action.id, describe(error)))
            return
        self.sockets[action.id] = sock
        code = start_connect(sock, pvd, remote, port)
        if code == EINPROGRESS and pvd.is_loopback:
            # The host answers itself before connect() is back: ask once more before waiting.
            code = start_connect(sock, pvd, remote, port)
        if code in (0, EISCONN):
            self._established(action, sock)
        elif code in (EINPROGRESS, EALREADY):
            self.connecting[sock.fileno()] = action
            self.watch.add(sock)
        else:
            self._failed(action.id, describe(code))

    def _handshake_over(self, action: Connect) -> None:
        sock = self.sockets[action.id]
        del self.connecting[sock.fileno()]
        self.watch.remove(sock)
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
            assert self.tasks is not None  # the attempt was put off until there was one
            self.by_task[action.id] = action
            scope = self._scope(action.id)
            self.tasks.start_soon(self._tunnel_task, action, action.through, rtt, scope)

    def _connected(self, action: Connect, sock: socket.socket, rtt: float | None) -> None:
        """The transport to the endpoint is there."""
        if self.stage is None and not self.pausing:
            self._post(Ready(action.id, rtt, sock.getsockname()[0]))
            return
        self._post(Connected(action.id, rtt))
        if self.pausing:
            self.connected[action.id] = action
        else:
            self._begin_stage(action)

    def _begin_stage(self, action: Connect) -> None:
        assert self.tasks is not None  # a race with a stage has a task group from its start
        assert self.stage is not None
        self.tasks.start_soon(self._stage_task, self.stage, action, self._scope(action.id))

    async def _tunnel_task(
        self, action: Connect, proxy: str, rtt: float | None, scope: anyio.CancelScope
    ) -> None:
        sock = self.sockets.pop(action.id, None)
        if sock is None:
            return  # cancelled and closed before this task began
        with scope:
            try:
                await open_tunnel(sock, proxy, self.race.endpoint)
            except BaseException as error:
                self.release(sock)
                if not isinstance(error, TunnelFailed):
                    raise
                self._task_over(action.id, Failed(action.id, str(error)))
            else:
                if scope.cancel_called:  # in the same step: nobody would end what follows
                    self.release(sock)
                    return
                self.by_task.pop(action.id, None)
                self.sockets[action.id] = sock
                self._connected(action, sock, rtt)

    def _task_over(self, subject: int, event: Event) -> None:
        self.by_task.pop(subject, None)
        self._post(event)

    async def _stage_task(self, stage: Stage[T], action: Connect, scope: anyio.CancelScope) -> None:
        sock = self.sockets.pop(action.id, None)
        if sock is None:
            return  # cancelled and closed before this task began
        with scope:
            event: Event
            try:
                local = self._copy(action.id, sock)
                # The socket is the stage's own now.
                self.products[action.id] = await stage(sock, action.candidate)
            except Exception as error:  # whatever an application's check raises is this attempt's failure
                event = Failed(action.id, describe_stage(error))
            else:
                event = Ready(action.id, None, local)
            self._post(event)

    def _copy(self, attempt: int, sock: socket.socket) -> str:
        """The socket's address; and a second descriptor, where what a stage closes must not be gone."""
        try:
            if self.release is not close_now:
                self.spares[attempt] = sock.dup()
            return str(sock.getsockname()[0])
        except OSError:
            sock.close()
            raise

    def _failed(self, attempt: int, error: str) -> None:
        self.sockets.pop(attempt).close()
        self.inbox.append(Failed(attempt, error))

    def _cancel(self, subject: int) -> None:
        if self.warm_ups is not None:
            self.warm_ups.forget(subject)
        self.by_task.pop(subject, None)
        self.connected.pop(subject, None)
        scope = self.scopes.pop(subject, None)
        if scope is not None:
            scope.cancel()
        sock = self.sockets.pop(subject, None)
        if sock is not None:
            if self.connecting.pop(sock.fileno(), None) is not None:
                self.watch.remove(sock)
            self.release(sock)

    # ------------------------------------------------------------------ the pause, and the end

    def go_on(self) -> None:
        """The pause is over: the race's time runs on from where it stood."""
        self.pausing = False
        if self._paused is not None:
            self._behind += self._clock() - self._paused
            self._paused = None

    def settle(self) -> None:
        """The handshake that the race is paused at has won."""
        if self.race.outcome is None:
            attempt = next(iter(self.connected))
            local = str(self.sockets[attempt].getsockname()[0])
            self._perform(self.race.handle(Ready(attempt, None, local), self.clock()))

    def unfinished(self) -> Sequence[Action]:
        """What a pause has ended in the middle, to be performed anew."""
        kept = self.warm_ups.pause() if self.warm_ups is not None else []
        begun, self.by_task = list(self.by_task.values()), {}
        self.scopes.clear()
        return [*begun, *kept]

    def result(self) -> Driven[T]:
        """Take the winner out of the registry; the rest is closed by `close`."""
        outcome = self.race.outcome
        if not isinstance(outcome, Won):
            return Driven()
        winner = outcome.attempt.id
        if self.stage is None:
            return Driven(self.sockets.pop(winner))
        if winner in self.spares:
            self.spares.pop(winner).close()
        return Driven(None, self.products.pop(winner))

    async def end(self, discard: Callable[[T], Awaitable[None]] | None) -> None:
        """Close every descriptor that is still ours, and discard the products that came too late."""
        try:
            for sock in (*self.sockets.values(), *self.spares.values()):
                self.release(sock)
        finally:
            self.sockets.clear()
            self.spares.clear()
            self.watch.close()
        if discard is not None and self.products:
            with anyio.CancelScope(shield=True):
                for product in self.products.values():
                    await discard(product)

    def _scope(self, subject: int) -> anyio.CancelScope:
        scope = self.scopes[subject] = anyio.CancelScope()
        return scope


def sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that holds but one, however deep; else the group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
