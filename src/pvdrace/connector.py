"""The straight line: snapshot, ranking, race, driver, report. It decides nothing and calls nothing back."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import aclosing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from .changes import RaceChanges
from .config import Configuration, parse
from .connection import Connection
from .dns.resolver import PvdResolver
from .drivers.aio import Driven, Stage, drive
from .drivers.stages import StreamStage, discard, wrap
from .errors import ConfigurationError, ConnectFailed, NoUsablePvd, ResolutionFailed
from .model import Endpoint, PvdSet, is_loopback, parse_literal
from .monitor import Monitor
from .net.lingering import Lingering
from .policy import layers
from .race.race import DEFAULT_PACING, Race, Won
from .race.report import RaceReport
from .ranking import rank

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from anyio.abc import ByteStream

    from .discovery.diff import PvdChange
    from .model import Ranking
    from .policy import Policy
    from .race.pacing import Pacing

    ReadyCheck = Callable[[ByteStream], Awaitable[Any]]
    Readiness = Literal["tcp", "tls"] | ReadyCheck | None
    TlsSetting = bool | ssl.SSLContext
    Hook = Callable[[RaceReport], object]
    Observer = Callable[[Race], object]

T = TypeVar("T")
log = logging.getLogger("pvdrace")

RANKINGS_KEPT = 1024
FORBIDDING = ("prohibit", "require", "zone")
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
        self.configuration = read_configuration(config)
        self.policy = policy
        self.pacing = pacing
        self.hooks = tuple(hooks)
        self.observe = observe
        self.resolver = PvdResolver(timeout=dns_timeout)
        self._monitor = Monitor(self.configuration)
        self._lingering = Lingering(time.monotonic)
        self._opened = False
        self._rankings: dict[tuple[str, int, Policy | None], Ranking] = {}
        self._ranked_snapshot: PvdSet | None = None

    async def __aenter__(self) -> Self:
        await self.snapshot()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    async def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""
        if not self._opened:
            await self._monitor.open()
            self._opened = True
        elif self._monitor.stale():
            await self._monitor.refresh()
        return self._monitor.snapshot

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
        level, check = readiness(ready, context)
        if context is None and check is None:
            sock, report = await self.connect(host, port, policy=policy, timeout=timeout)
            return self._connection(await wrap(sock), report)
        stage = StreamStage(context, server_hostname or host.split("%")[0] if context else None, check)
        hold = level == "tcp"
        driven, report = await self._race(
            host, port, policy, timeout, stage=stage, discard=discard, hold=hold, ready=level
        )
        assert driven.product is not None
        return self._connection(driven.product, report)

    def _connection(self, stream: ByteStream, report: RaceReport) -> Connection:
        return Connection(stream, report, self._lingering.release if forbids(report.ranking) else None)

    async def connect(
        self, host: str, port: int, *, policy: Policy | None = None, timeout: float | None = None
    ) -> tuple[socket.socket, RaceReport]:
        """Race to ``host``:``port``; returns the winning socket, connected and non-blocking, and the report.

        ``timeout`` is for the whole race, in seconds. Raises as `open_connection`.
        """
        driven: Driven[Any]
        driven, report = await self._race(host, port, policy, timeout)
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

        The stage gets the connected socket and returns a product, or closes the socket and raises: then
        that attempt has lost, and the race goes on. ``discard`` closes a product that came too late.
        ``ready`` is what the report calls the stage. Raises as `open_connection`.
        """
        driven, report = await self._race(
            host, port, policy, timeout, stage=stage, discard=discard, ready=ready
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
        discard: Callable[[T], Awaitable[None]] | None = None,
        hold: bool = False,
        ready: str = "tcp",
    ) -> tuple[Driven[T], RaceReport]:
        endpoint = check_endpoint(host, port)
        local = is_loopback(host)
        pvds = NO_PVDS if local else await self.snapshot()
        ranking = self._rank(pvds, endpoint, policy)
        race = Race(endpoint, ranking, self.pacing, hold=hold, timeout=timeout)
        if self.observe is not None:
            self.observe(race)
        changes = None
        if not local:
            changes = RaceChanges(self._monitor, pvds, race, lambda new: self._rank(new, endpoint, policy))
        self._lingering.sweep()
        release = self._lingering.release if ranking.excluded and forbids(ranking) else socket.socket.close
        try:
            driven = await drive(
                race, self.resolver, changes=changes, stage=stage, discard=discard, release=release
            )
        finally:
            report = RaceReport.of(race, ready)
            self._tell(report)
        if not isinstance(race.outcome, Won):
            raise failure(report)
        return driven, report

    def _rank(self, pvds: PvdSet, endpoint: Endpoint, policy: Policy | None) -> Ranking:
        """`rank`, remembered for as long as the snapshot holds: it is pure."""
        if pvds is not self._ranked_snapshot and pvds is not NO_PVDS:
            self._rankings.clear()
            self._ranked_snapshot = pvds
        key = (endpoint.host, endpoint.port, policy)
        ranking = self._rankings.get(key)
        if ranking is None:
            if len(self._rankings) >= RANKINGS_KEPT:
                self._rankings.clear()
            policies = layers(endpoint, call=policy, rules=self.configuration.rules, application=self.policy)
            ranking = rank(pvds, endpoint, policies, path_delay=self.pacing.path_delay)
            self._rankings[key] = ranking
        return ranking

    def _tell(self, report: RaceReport) -> None:
        for hook in self.hooks:
            try:
                hook(report)
            except Exception:
                log.exception("hook %r failed on the report of %s", hook, report.endpoint)


# ---------------------------------------------------------------------- the module's own functions


async def open_connection(
    host: str,
    port: int,
    *,
    tls: TlsSetting = False,
    server_hostname: str | None = None,
    ready: Readiness = None,
    policy: Policy | None = None,
    timeout: float | None = None,
) -> Connection:
    """`Connector.open_connection` of the default connector of this thread (see `default_connector`)."""
    return await default_connector().open_connection(
        host, port, tls=tls, server_hostname=server_hostname, ready=ready, policy=policy, timeout=timeout
    )


async def connect(
    host: str, port: int, *, policy: Policy | None = None, timeout: float | None = None
) -> tuple[socket.socket, RaceReport]:
    """`Connector.connect` of the default connector of this thread (see `default_connector`)."""
    return await default_connector().connect(host, port, policy=policy, timeout=timeout)


_defaults = threading.local()


def default_connector() -> Connector:
    """The connector that the module's functions share, one a thread.

    Its configuration is the file that ``$PVDRACE_CONFIG`` names, if it is set. Never a file that happens to
    lie in the working directory: a library does not take orders from there.
    """
    connector: Connector | None = getattr(_defaults, "connector", None)
    if connector is None:
        connector = _defaults.connector = Connector(os.environ.get("PVDRACE_CONFIG") or None)
    return connector


# ---------------------------------------------------------------------- arguments and errors


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


@lru_cache(maxsize=1024, typed=True)
def check_endpoint(host: object, port: object) -> Endpoint:
    """The endpoint, or ValueError."""
    if not isinstance(host, str) or not host or host != host.strip():
        raise ValueError(f"host must be a name or an address, not {host!r}")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"port must be a number from 1 to 65535, not {port!r}")
    literal = parse_literal(host)
    if literal is None and (":" in host or "%" in host or "/" in host):
        raise ValueError(f"{host!r} is neither a host name nor an IP address")
    return Endpoint(host.strip("[]") if literal else host, port)


def tls_context(tls: TlsSetting) -> ssl.SSLContext | None:
    """The TLS context for a ``tls`` argument."""
    if tls is False:
        return None
    if tls is True:
        import ssl

        return ssl.create_default_context()
    return tls


def readiness(ready: Readiness, context: ssl.SSLContext | None) -> tuple[str, ReadyCheck | None]:
    """What decides (``tcp``, ``tls`` or the check's name), and the check. Raises ValueError."""
    if ready is None:
        return ("tls" if context else "tcp"), None
    if ready == "tls" and context is None:
        raise ValueError("ready='tls' asks for tls=True or a context")
    if ready in ("tcp", "tls"):
        return str(ready), None
    if not callable(ready):
        raise ValueError(f"ready must be 'tcp', 'tls' or an asynchronous function, not {ready!r}")
    return getattr(ready, "__name__", type(ready).__name__), ready


def forbids(ranking: Ranking) -> bool:
    """Whether policy keeps traffic off some PvD, so that not even the kernel may send a packet into it."""
    return any(r.excluded is not None and r.excluded.rule in FORBIDDING for r in ranking.excluded)


def failure(report: RaceReport) -> NoUsablePvd | ResolutionFailed | ConnectFailed:
    """The exception for a lost race."""
    kind: type[NoUsablePvd | ResolutionFailed | ConnectFailed]
    if not report.ranking.ranked:
        kind = NoUsablePvd
    elif report.attempts or report.skipped or not report.lookups:
        kind = ConnectFailed
    else:
        kind = ResolutionFailed
    return kind(report.summary(), report)
