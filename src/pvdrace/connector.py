"""The straight line: snapshot, ranking, race, driver, report. It decides nothing and calls nothing back."""

from __future__ import annotations

import logging
import os
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from .calls import check_endpoint, check_policy, check_timeout, failure, forbids, readiness, tls_name
from .changes import RaceChanges
from .config import Configuration, parse
from .connection import Connection
from .dns.resolver import PvdResolver
from .drivers.aio import Driven, Stage, drive
from .drivers.stages import StreamStage, discard, wrap
from .errors import ConfigurationError
from .history import NOBODY, History
from .model import Endpoint, PvdSet, is_loopback
from .monitor import Monitor
from .net.lingering import LeavingSocket, Lingering, close_now
from .probe_settings import ProbeSettings
from .probing import Probing
from .race.race import DEFAULT_PACING, Race, Won
from .race.report import RaceReport
from .ranking import rank
from .rules import layers

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from anyio.abc import ByteStream, TaskGroup

    from .calls import Readiness
    from .discovery.diff import PvdChange
    from .model import Candidate, Ranking, Reached
    from .policy import Policy
    from .race.pacing import Pacing

    TlsSetting = bool | ssl.SSLContext
    Hook = Callable[[RaceReport], object]
    Observer = Callable[[Race], object]

T = TypeVar("T")
log = logging.getLogger("pvdrace")

RANKINGS_KEPT = 1024
NO_PVDS = PvdSet()  # what the ranking of a loopback destination depends on


class Connector:
    """The long-lived owner of what races share: the snapshot of PvDs, the DNS caches, the policy.

    ``config`` is a file's path, or a `Configuration`; None: the kernel's interfaces and nothing else.
    ``policy`` is the application's, held by every call. ``hooks`` get each report; one that raises is logged.
    ``observe`` gets each race just before it starts, to look at while it runs, never to touch:
    `RaceReport.of` works at any moment.
    Use it as an asynchronous context manager, on asyncio or trio; one connector belongs to one thread.

    Raises `ConfigurationError` if the configuration is wrong.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Configuration | None = None,
        *,
        policy: Policy | None = None,
        pacing: Pacing = DEFAULT_PACING,
        hooks: Iterable[Hook] = (),
        observe: Observer | None = None,
        dns_timeout: float = 5.0,
    ) -> None:
        if not check_timeout(dns_timeout, "dns_timeout"):
            raise ValueError(f"dns_timeout must be a number above 0, not {dns_timeout!r}")
        self._configuration = read_configuration(config)
        self._policy = check_policy(policy)
        self._pacing = pacing
        self.hooks = tuple(hooks)
        self.observe = observe
        self.resolver = PvdResolver(timeout=dns_timeout)
        self._monitor = Monitor(self._configuration)
        self._lingering = Lingering(time.monotonic)
        self._probing = self._probes()
        self._tasks: TaskGroup | None = None
        self._opened = False
        self._history = History()
        self._rankings: dict[tuple[str, int, Policy | None, frozenset[str]], tuple[Ranking, bool]] = {}
        self._ranked_snapshot: PvdSet | None = None

    @property
    def configuration(self) -> Configuration:
        """What the connector was given, for good."""
        return self._configuration

    @property
    def policy(self) -> Policy | None:
        """The application's policy, for good: another one is another connector, or a call's own."""
        return self._policy

    @property
    def pacing(self) -> Pacing:
        """The timers of its races, for good."""
        return self._pacing

    @property
    def probes(self) -> bool:
        """Whether the configuration says what to ask in probes; otherwise nothing ever is."""
        return self._probing is not None

    async def __aenter__(self) -> Self:
        await self.snapshot()
        if self._probing is not None:
            self._tasks = await anyio.create_task_group().__aenter__()
            self._tasks.start_soon(self._probing.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        try:
            if tasks is not None:
                tasks.cancel_scope.cancel()
                # Without the error, which a task group would wrap; what it runs raises none.
                await tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._lingering.settle()
            self.close()

    def close(self) -> None:
        """Give back what the connector holds: the netlink socket and the caches.

        Leaving the context manager does it too, and first waits until the losers of races under a
        prohibition have gone quietly: `pvdrace.net.lingering.PATIENCE` seconds at most.
        """
        self._lingering.close()
        self._monitor.close()
        self._opened = False

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
        elif self._monitor.stale():
            await self._monitor.refresh()
        return self._monitor.snapshot

    async def probe(self, *names: str) -> dict[str, tuple[Reached, ...]]:
        """Probe these PvDs now, or all: what each of their families reaches, with the evidence.

        What is found is part of the next `snapshot`. A PvD that policy prohibits, that is unusable or has a
        proxy is not probed, nor is any unless the configuration says what to ask: it has nothing. One probe
        of a PvD serves all who want it at the same time; it takes the configured ``timeout`` at most. Within
        ``async with`` a connector that has something to ask probes in the background, too.

        Raises ValueError for a name that is no PvD, OSError where this host cannot.
        """
        pvds = await self.snapshot()
        if unknown := [name for name in names if name not in pvds]:
            raise ValueError(f"no PvD is called {unknown[0]!r}")
        wanted = names or tuple(pvd.name for pvd in pvds)
        if self._probing is None:
            return dict.fromkeys(wanted, ())
        return await self._probing.probe(wanted)

    async def watch(self) -> AsyncGenerator[PvdChange, None]:
        """PvDs as they come, go and change after the last `snapshot`, until the caller stops asking.

        Close it when you stop before its end (`contextlib.aclosing`), as trio asks of every async generator.
        """
        if not self._opened:
            await self.snapshot()
        async with aclosing(self._monitor.changes()) as changes:
            async for change in changes:
                yield change

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        tls: TlsSetting = False,
        server_hostname: str | None = None,
        ready: Readiness = None,
        policy: Policy | None = None,
        timeout: float | None = None,
    ) -> Connection:
        """Race to ``host``:``port`` across the PvDs and return the winning stream.

        ``tls``: True for the system's trust store, or a context; ``server_hostname`` is the name to verify
        (the host by default). ``ready``: what a winner must have done: ``"tcp"``, ``"tls"`` (the default
        where ``tls`` is set) or an asynchronous function on the stream, which says no by raising or by
        returning False. ``timeout`` is for the whole race, in seconds.

        Raises `NoUsablePvd`, `ResolutionFailed` or `ConnectFailed`, each with its report; ValueError if the
        arguments contradict each other.
        """
        context = tls_context(tls)
        if server_hostname is not None and context is None:
            raise ValueError("server_hostname is for tls=True or a context")
        level, check = readiness(ready, secure=context is not None)
        driven: Driven[ByteStream]
        if context is None and check is None:
            driven, report, farewell = await self._race(host, port, policy, timeout)
            assert driven.sock is not None
            return Connection(await wrap(driven.sock), report, farewell)
        check_endpoint(host, port)
        stage = StreamStage(context, server_hostname or tls_name(host) if context else None, check)
        hold = level == "tcp"
        driven, report, farewell = await self._race(
            host, port, policy, timeout, stage=stage, discard=discard, hold=hold, ready=level
        )
        assert driven.product is not None
        return Connection(driven.product, report, farewell)

    async def connect(
        self, host: str, port: int, *, policy: Policy | None = None, timeout: float | None = None
    ) -> tuple[socket.socket, RaceReport]:
        """Race to ``host``:``port``; returns the winning socket, connected and non-blocking, and the report.

        ``timeout`` is for the whole race, in seconds. Raises as `open_connection`.
        """
        driven: Driven[Any]
        driven, report, _ = await self._race(host, port, policy, timeout)
        assert driven.sock is not None
        return driven.sock, report

    async def race_for(
        self,
        stage: Stage[T],
        host: str,
        port: int,
        *,
        discard: Callable[[T], Awaitable[None]],
        policy: Policy | None = None,
        timeout: float | None = None,
        ready: str = "stage",
    ) -> tuple[T, RaceReport]:
        """Race with a stage of one's own after the transport handshake: for adapters that bring their TLS.

        The stage gets the connected socket (on asyncio: trio takes no socket of another class, see
        `pvdrace.net.lingering.LeavingSocket`) and returns a product, or closes the socket and raises: then
        that attempt has lost, and the race goes on. ``discard`` closes a product that came too late.
        ``ready`` is what the report calls the stage. Raises as `open_connection`.
        """

        async def quietly(sock: socket.socket, candidate: Candidate) -> T:
            return await stage(LeavingSocket.of(sock, self._lingering), candidate)

        driven, report, _ = await self._race(
            host, port, policy, timeout, stage=stage, quietly=quietly, discard=discard, ready=ready
        )
        assert driven.product is not None
        return driven.product, report

    # ------------------------------------------------------------------ the straight line

    async def _race(
        self,
        host: str,
        port: int,
        policy: Policy | None,
        timeout: float | None,
        *,
        stage: Stage[T] | None = None,
        quietly: Stage[T] | None = None,
        discard: Callable[[T], Awaitable[None]] | None = None,
        hold: bool = False,
        ready: str = "tcp",
    ) -> tuple[Driven[T], RaceReport, Lingering | None]:
        """One race. The last value is where its sockets go in the end, if policy asks for silence.

        ``quietly`` is the stage for then, if it is another one.
        """
        endpoint = check_endpoint(host, port)
        timeout = check_timeout(timeout)
        check_policy(policy)
        local = is_loopback(host)
        pvds = NO_PVDS if local else await self.snapshot()
        ranking, quiet = self._rank(pvds, endpoint, policy)
        race = Race(endpoint, ranking, self._pacing, hold=hold, timeout=timeout)
        if self.observe is not None:
            self.observe(race)
        changes = None
        if not local:
            changes = RaceChanges(self._monitor, pvds, race, lambda new: self._rank(new, endpoint, policy)[0])
        self._lingering.sweep()
        farewell = self._lingering if quiet else None
        release = farewell.release if farewell is not None else close_now
        if farewell is not None and quietly is not None:
            stage = quietly
        try:
            driven = await drive(
                race, self.resolver, changes=changes, stage=stage, discard=discard, release=release
            )
        finally:
            report = RaceReport.of(race, ready)
            self._history.learn(report, time.monotonic())
            if self._probing is not None:
                self._probing.heard(report)
            self._tell(report)
        if not isinstance(race.outcome, Won):
            raise failure(report)
        return driven, report, farewell

    def _rank(self, pvds: PvdSet, endpoint: Endpoint, policy: Policy | None) -> tuple[Ranking, bool]:
        """`rank` and `forbids`, remembered for as long as the snapshot holds: they are pure."""
        history = self._history
        distrusted = history.distrusted(pvds, endpoint.port, time.monotonic()) if history else NOBODY
        if pvds is not self._ranked_snapshot and pvds is not NO_PVDS:
            self._rankings.clear()
            self._ranked_snapshot = pvds
        key = (endpoint.host, endpoint.port, policy, distrusted)
        found = self._rankings.get(key)
        if found is None:
            if len(self._rankings) >= RANKINGS_KEPT:
                self._rankings.clear()
            policies = self._layers(endpoint, policy)
            ranking = rank(
                pvds, endpoint, policies, path_delay=self._pacing.path_delay, distrusted=distrusted
            )
            found = self._rankings[key] = ranking, forbids(policies, ranking)
        return found

    def _layers(self, endpoint: Endpoint, policy: Policy | None = None) -> list[tuple[str, Policy]]:
        return layers(endpoint, call=policy, rules=self._configuration.rules, application=self._policy)

    def _probes(self) -> Probing | None:
        """None where nothing is to be asked."""
        settings = self._configuration.probe
        if settings is None:
            if not any(pvd.captive_api for pvd in self._configuration.pvds):
                return None
            settings = ProbeSettings()
        return Probing(
            settings,
            self._monitor,
            self._layers,
            forget=self.resolver.forget,
            release=self._lingering.release,
        )

    def _tell(self, report: RaceReport) -> None:
        for hook in self.hooks:
            try:
                hook(report)
            except Exception:
                log.exception("hook %r failed on the report of %s", hook, report.endpoint)


def read_configuration(config: str | os.PathLike[str] | Configuration | None) -> Configuration:
    """A configuration from what a caller may give for one; raises `ConfigurationError`."""
    if config is None:
        return Configuration()
    if isinstance(config, Configuration):
        return config
    try:
        text = Path(config).read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{os.fspath(config)}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{os.fspath(config)}: not UTF-8 at byte {error.start}") from error
    return parse(text, os.fspath(config))


def tls_context(tls: object) -> ssl.SSLContext | None:
    """The TLS context for a ``tls`` argument; ValueError for what only looks like one."""
    if tls is False:
        return None
    import ssl

    if tls is True:
        return ssl.create_default_context()
    if isinstance(tls, ssl.SSLContext):
        return tls
    raise ValueError(f"tls must be True, False or an ssl.SSLContext, not {tls!r}")
