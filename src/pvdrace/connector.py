"""The straight line: snapshot, ranking, race, driver, report. It decides nothing and calls nothing back."""

from __future__ import annotations

import logging
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from .answers import Answer
from .calls import (
    check_endpoint,
    check_functions,
    check_label,
    check_policy,
    check_settings,
    readiness,
    tls_name,
)
from .changes import RaceChanges
from .choosing import Chooser
from .config.policy_file import PolicyFile
from .connection import Connection
from .course import Asked, Courses
from .decisions import NO_PVDS, Decisions
from .dns.resolver import PvdResolver
from .drivers.aio import drive
from .drivers.stages import Noting, StreamStage, discard, tls_context, wrap
from .files import read_configuration
from .following import Following
from .history import History
from .history_store import open_store
from .monitor import Monitor
from .net.lingering import LeavingSocket, Lingering
from .net.rule_manager import RuleManager
from .probing import Finding, Probing
from .provisional import Beginning
from .race.race import DEFAULT_PACING
from .resolving import Resolving

if TYPE_CHECKING:
    import os
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from anyio.abc import ByteStream

    from .answers import Origin
    from .calls import Readiness
    from .choosing import OnAmbiguous
    from .config.configuration import Configuration
    from .course import Course, Hook, Observer
    from .drivers.aio import Driven
    from .drivers.roles import Stage
    from .drivers.warmup import OnNeed
    from .holdings import Holding
    from .model import Candidate, PvdSet
    from .policy import Policy
    from .race.pacing import Pacing
    from .race.report import RaceReport

    TlsSetting = bool | ssl.SSLContext

T = TypeVar("T")
log = logging.getLogger("pvdrace")


class Connector(Beginning, Following, Resolving, Finding):
    """The long-lived owner of what races share: the snapshot of PvDs, the DNS caches, the policy.

    ``config`` is a file's path, or a `Configuration`; None: the kernel's interfaces and nothing else.
    ``policy`` is the application's, held by every call: a `Policy`, or a `PolicyFile` such as a `profile`.
    ``system`` is the system's policy file, or its path; by default the one that ``$PVDRACE_SYSTEM_POLICY``
    names, else ``/etc/pvdrace/policy.toml`` if it is there. ``label`` is what the application calls its use
    of connections, for rules that match it; a call may have one of its own. ``pacing``: the timers of its
    races (by default the closest file's that sets any). ``hooks`` get each report; one that raises is logged.
    ``observe`` gets each race just before it starts, to look at while it runs, never to touch:
    `RaceReport.of` works at any moment. ``on_need`` gets each PvD that has a ``warmup`` before the first
    packet of a race in it, and may be asynchronous: the time to open what is opened on demand. That PvD waits
    for it, no other does; what it raises is the end of the PvD in this race, and the end of the race cancels
    it.
    ``on_ambiguous`` gets the PvDs that lead a ranking and that nothing but the network's own hints tells
    apart, as `pvdrace.model.Ranked`; it returns the name of one, or None, or is asynchronous. It is asked
    once for a set of networks, before the first race between them, and has 2 s; what it raises is logged.
    ``policy_routing``: give each PvD a routing table and rules of its own while the connector is open
    (`pvdrace.net.rule_manager`); needs CAP_NET_ADMIN, and one connector in a network namespace can.
    ``history``: the file in which what the races taught is kept for the next time, shared by any number of
    processes; None: in memory only. Nothing that is wrong with it is an error, see `docs/history.md`.
    Use it as an asynchronous context manager, on asyncio or trio; one connector belongs to one thread.

    Raises `ConfigurationError` if the configuration or a policy file is wrong.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Configuration | None = None,
        *,
        policy: Policy | PolicyFile | None = None,
        system: str | os.PathLike[str] | PolicyFile | None = None,
        label: str | None = None,
        pacing: Pacing | None = None,
        hooks: Iterable[Hook] = (),
        observe: Observer | None = None,
        on_ambiguous: OnAmbiguous | None = None,
        on_need: OnNeed | None = None,
        dns_timeout: float = 5.0,
        policy_routing: bool = False,
        history: str | os.PathLike[str] | None = None,
    ) -> None:
        check_settings(dns_timeout, pacing)
        check_functions(observe=observe, on_ambiguous=on_ambiguous, on_need=on_need)
        self._configuration = read_configuration(config, policy, system)
        self._policy = None if isinstance(policy, PolicyFile) else check_policy(policy)
        self._label = check_label(label)
        self._pacing = pacing or self._configuration.effective_pacing or DEFAULT_PACING
        self.hooks = tuple(hooks)
        self.observe = observe
        self.on_need = on_need
        self.resolver = PvdResolver(timeout=dns_timeout)
        self._monitor = Monitor(self._configuration, rules=RuleManager() if policy_routing else None)
        self._lingering = Lingering(time.monotonic)
        self._opened = False
        self._store = open_store(history)
        layers = partial(self._configuration.layers, application=self._policy, label=self._label)
        learnt = History()
        self._probing = Probing(
            self._configuration, self._monitor, layers, self.resolver, self._lingering, learnt
        )
        self._chooser = Chooser(on_ambiguous) if on_ambiguous is not None else None
        choices = self._chooser.choices if self._chooser is not None else None
        self._decisions = Decisions(self._configuration, self._policy, self._pacing, learnt, choices)
        self._courses = Courses(
            self._decisions,
            self._monitor,
            partial(RaceChanges, self._monitor),
            self._lingering,
            self._pacing,
            self._store,
            self._probing.heard,
        )

    @property
    def configuration(self) -> Configuration:
        """What the connector was given, for good, with the policy files that govern it."""
        return self._configuration

    @property
    def policy(self) -> Policy | None:
        """The application's policy, for good: another one is another connector, or a call's own.

        None where a policy file was given: that is in `configuration`.
        """
        return self._policy

    @property
    def pacing(self) -> Pacing:
        """The timers of its races, for good."""
        return self._pacing

    async def __aenter__(self) -> Self:
        try:
            await self.snapshot()
            await self._probing.start()
        except BaseException:
            self._let_go()  # nobody will leave what was not entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._probing.stop()
        finally:
            with anyio.CancelScope(shield=True):
                await self._lingering.settle()
                if self._store is not None:
                    await self._store.finish(self._decisions.history)
            self._let_go()

    def close(self) -> None:
        """Give back what the connector holds: the netlink socket and the caches.

        Leaving the context manager does it too, and first waits until the losers of races under a
        prohibition have gone quietly: `pvdrace.net.lingering.PATIENCE` seconds at most; and what is left of
        history is written in a thread there, here it blocks.
        """
        try:
            self._let_go()
        finally:
            if self._store is not None:
                self._store.close(self._decisions.history)

    def _let_go(self) -> None:
        self._opened = False
        try:
            self._lingering.close()
        finally:
            self._monitor.close()

    async def release(self, sock: socket.socket) -> None:
        """Close a socket that `connect` gave, so that no stray packet follows it.

        What a peer sends to a socket that is gone is answered by the kernel, by the routing table: also
        out of a PvD that policy forbids. This says good-bye and waits for the peer's, a second at most.
        """
        self._lingering.release(sock)
        with anyio.CancelScope(shield=True):
            await self._lingering.settle(sock)

    async def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""
        if not self._opened:
            self._lingering.reopen()
            await self._monitor.open()
            self._opened = True
            if self._store is not None and self._store.is_new():
                self._store.restore(self._decisions.history, await anyio.to_thread.run_sync(self._store.load))
        elif self._monitor.stale():
            await self._monitor.catch_up()
        self._probing.review(time.monotonic())
        return self._monitor.snapshot

    async def open_connection(
        self,
        host: str | Answer,
        port: int,
        *,
        tls: TlsSetting = False,
        server_hostname: str | None = None,
        ready: Readiness = None,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Connection:
        """Race to ``host``:``port`` across the PvDs and return the winning stream.

        An `Answer` for a host is dialled in the PvD that gave it; policy that puts it elsewhere is an error
        (`PolicyProhibited`), unless it has ``cross_pvd``. The name to verify is the one that was asked for.
        ``tls``: True for the system's trust store, or a context; ``server_hostname`` is the name to verify
        (the host by default). ``ready``: what a winner must have done: ``"tcp"``, ``"tls"`` (the default
        where ``tls`` is set) or an asynchronous function on the stream, which says no by raising or by
        returning False. ``label``: what the application calls this use, for rules that match it (the
        connector's by default). ``timeout`` is for the whole race, in seconds.

        Raises `NoUsablePvd` (`PolicyProhibited` where it is policy that leaves nobody), `ResolutionFailed` or
        `ConnectFailed`, each with its report; ValueError if the arguments contradict each other.
        """
        context = tls_context(tls)
        if server_hostname is not None and context is None:
            raise ValueError("server_hostname is for tls=True or a context")
        level, check = readiness(ready, secure=context is not None)
        driven: Driven[ByteStream]
        if context is None and check is None:
            course = await self._prepare(host, port, policy, label, timeout, level)
            driven, report, held = await self._race(course)
            assert driven.sock is not None
            return Connection(await wrap(driven.sock), report, course.farewell, held, course.path)
        check_endpoint(str(host), port)
        name = tls_name(host.name if isinstance(host, Answer) else host)
        stage = Noting(StreamStage(context, server_hostname or name if context else None, check))
        course = await self._prepare(host, port, policy, label, timeout, level, hold=level == "tcp")
        driven, report, held = await self._race(course, stage, discard)
        assert driven.product is not None
        return Connection(driven.product, report, course.farewell, held, course.path)

    async def connect(
        self,
        host: str | Answer,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> tuple[socket.socket, RaceReport]:
        """Race to ``host``:``port``; returns the winning socket, connected and non-blocking, and the report.

        ``timeout`` is for the whole race, in seconds. Raises as `open_connection`.
        """
        driven: Driven[Any]
        driven, report, _ = await self._race(await self._prepare(host, port, policy, label, timeout, "tcp"))
        assert driven.sock is not None
        return driven.sock, report

    async def race_for(
        self,
        stage: Stage[T],
        host: str | Answer,
        port: int,
        *,
        discard: Callable[[T], Awaitable[None]],
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
        ready: str = "stage",
    ) -> tuple[T, RaceReport]:
        """Race with a stage of one's own after the transport handshake: for adapters that bring their TLS.

        The stage gets the connected socket (on asyncio: trio takes no socket of another class, see
        `pvdrace.net.lingering.LeavingSocket`) and returns a product, or closes the socket and raises: then
        that attempt has lost, and the race goes on. ``discard`` closes a product that came too late.
        ``ready`` is what the report calls the stage. Raises as `open_connection`.
        """
        noting = Noting(stage)

        async def quietly(sock: socket.socket, candidate: Candidate) -> T:
            return await noting(LeavingSocket.of(sock, self._lingering), candidate)

        course = await self._prepare(host, port, policy, label, timeout, ready)
        driven, report, _ = await self._race(course, noting, discard, quietly)
        assert driven.product is not None
        return driven.product, report

    # ------------------------------------------------------------------ the straight line

    async def _prepare(
        self,
        host: str | Answer,
        port: int,
        policy: Policy | None,
        label: str | None,
        timeout: float | None,
        ready: str,
        *,
        hold: bool = False,
        source: str | None = None,
    ) -> Course[RaceChanges]:
        """All that comes before the first packet."""
        label = check_label(label) or self._label
        origin: Origin | None = None
        if isinstance(host, Answer):
            origin = await self._dial(host, port, policy, label)
            host = host.address
        asked = Asked.of(host, port, policy, label, timeout, origin, source)
        pvds = NO_PVDS if asked.local else await self.snapshot()
        decision = self._courses.decide(asked, ready, pvds)
        if decision.between and self._chooser is not None:
            await self._chooser.ask(decision.between)
            self._decisions.forget()
            pvds = await self.snapshot()  # it may have taken its time
            decision = self._courses.decide(asked, ready, pvds)
        course = self._courses.begin(asked, ready, pvds, decision, hold=hold)
        if self.observe is not None:
            self.observe(course.race)
        return course

    async def _race(
        self,
        course: Course[RaceChanges],
        stage: Noting[T] | None = None,
        discard: Callable[[T], Awaitable[None]] | None = None,
        quietly: Stage[T] | None = None,
    ) -> tuple[Driven[T], RaceReport, Holding | None]:
        """One race. ``quietly`` is the stage where policy asks for silence, if it is another one then.

        The last value is of an exclusive PvD.
        """
        try:
            driven = await drive(
                course.race,
                self.resolver,
                changes=course.changes,
                stage=quietly if course.farewell is not None and quietly is not None else stage,
                discard=discard,
                release=course.release,
                on_need=self.on_need,
            )
        finally:
            report = self._courses.conclude(course, self.hooks)
        self._courses.check(course, report)
        if stage is not None:
            return driven, report, self._courses.hold(course, stage.socket_of(course.race))
        sock = driven.sock
        assert sock is not None
        return driven, report, self._courses.hold(course, lambda: weakref.ref(sock))
