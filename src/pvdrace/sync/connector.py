"""The connector for blocking code: `pvdrace.Connector` without an event loop, for any number of threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..answers import Answer
from ..calls import (
    check_endpoint,
    check_functions,
    check_label,
    check_policy,
    check_settings,
    tls_name,
)
from ..config.policy_file import PolicyFile
from ..decisions import NO_PVDS
from ..drivers.blocking_stages import SocketStage
from ..drivers.stages import tls_context
from ..files import read_configuration
from ..history_store import open_store
from ..model import is_loopback
from ..race.race import DEFAULT_PACING
from ..ranking.explanation import explain
from .connection import Connection
from .provisional import Provisional
from .races import Races
from .readiness import readiness

if TYPE_CHECKING:
    import os
    import socket
    import ssl
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from ..config.configuration import Configuration
    from ..course import Hook, Observer
    from ..dns.asking import BlockingResolver
    from ..model import PvdSet
    from ..paths import Path
    from ..policy import Policy
    from ..race.pacing import Pacing
    from ..race.report import RaceReport
    from ..ranking.explanation import Explanation
    from .readiness import Readiness

    TlsSetting = bool | ssl.SSLContext


class Connector:
    """The long-lived owner of what blocking races share: the snapshot of PvDs, the DNS caches, the policy.

    All arguments are those of `pvdrace.Connector`. What needs somebody at work in the background is not
    here: nothing is probed, and no PvD is brought up for a race (``on_need``). It may be used by any number
    of threads at once, all in the same network namespace, and starts none but, where ``history`` has a file,
    one for the moment in which that is written; a race runs in the thread that
    asked for it, whether that runs an event loop (which stands still meanwhile) or not. ``hooks`` and
    ``observe`` are called in that thread. After a fork the child needs one of its own.

    Use it as a context manager, or `close` it. Raises `ConfigurationError` if the configuration or a policy
    file is wrong.
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
        dns_timeout: float = 5.0,
        history: str | os.PathLike[str] | None = None,
    ) -> None:
        check_settings(dns_timeout, pacing)
        check_functions(observe=observe)
        self._configuration = read_configuration(config, policy, system)
        self._policy = None if isinstance(policy, PolicyFile) else check_policy(policy)
        self._pacing = pacing or self._configuration.effective_pacing or DEFAULT_PACING
        self._races = Races(
            self._configuration,
            self._policy,
            check_label(label),
            self._pacing,
            tuple(hooks),
            observe,
            dns_timeout,
            open_store(history),
        )

    @property
    def configuration(self) -> Configuration:
        """What the connector was given, for good, with the policy files that govern it."""
        return self._configuration

    @property
    def policy(self) -> Policy | None:
        """The application's policy, for good; None where a policy file was given."""
        return self._policy

    @property
    def pacing(self) -> Pacing:
        """The timers of its races, for good."""
        return self._pacing

    @property
    def resolver(self) -> BlockingResolver:
        """What it looks names up with."""
        return self._races.resolver

    def __enter__(self) -> Self:
        self.snapshot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the connector holds: the netlink sockets; what is left of history is written.

        Sockets under a prohibition go quietly first: `pvdrace.net.lingering.PATIENCE` seconds at most. It
        can be used again afterwards.
        """
        self._races.close()

    def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""
        return self._races.snapshot()

    def objection(self, path: Path) -> str | None:
        """Why a connection may not be used any more, in a few words; None if it may.

        As `pvdrace.Connector.objection`, and it takes a new look itself: one system call, if nothing changed.
        """
        if is_loopback(path.endpoint.host):
            return None  # no PvD is asked for it
        races = self._races
        with races.lock:
            pvds, label = races.snapshot(), path.label or races.label
            return races.decisions.objection(path, pvds, label, time.monotonic())

    def explain(
        self,
        host: str,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        ready: str = "tls",
    ) -> Explanation:
        """Which PvDs a connection would run in, in which order, and why: as `pvdrace.Connector.explain`."""
        endpoint = check_endpoint(host, port)
        check_policy(policy)
        races = self._races
        label = check_label(label) or races.label
        with races.lock:
            pvds = NO_PVDS if is_loopback(host) else races.snapshot()
            decision = races.decisions.decide(pvds, endpoint, policy, label, ready, time.monotonic())
            layers = [name for name, _ in races.decisions.layers(endpoint, policy, label)]
        return explain(endpoint, decision.ranking, layers, races.resolver.servers)

    def open_connection(
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
        """Race to ``host``:``port`` across the PvDs and return the winning connection.

        Arguments and errors are those of `pvdrace.Connector.open_connection`, but for ``ready``: a function
        gets the socket, which does not block, and says no by raising or by returning False. Where it has to
        wait it is a generator function and yields ``select.EPOLLIN`` or ``select.EPOLLOUT``, the race goes on
        meanwhile. ``timeout`` is for the whole race, in seconds; what the socket does afterwards has the
        timeout of `socket.getdefaulttimeout`.
        """
        context = tls_context(tls)
        if server_hostname is not None and context is None:
            raise ValueError("server_hostname is for tls=True or a context")
        level, check = readiness(ready, secure=context is not None)
        stage = None
        if context is not None or check is not None:
            check_endpoint(str(host), port)
            name = tls_name(host.name if isinstance(host, Answer) else host)
            stage = SocketStage(context, server_hostname or name if context else None, check)
        hold = stage is not None and level == "tcp"
        course = self._races.prepare(host, port, policy, label, timeout, level, hold=hold)
        winner = self._races.drive(course, stage)
        return Connection(winner.sock, winner.report, course.path, winner.holding)

    def connect(
        self,
        host: str | Answer,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> tuple[socket.socket, RaceReport]:
        """Race to ``host``:``port``; returns the winning socket, connected, and the report.

        The socket blocks, with the timeout of `socket.getdefaulttimeout`. ``timeout`` is for the whole race,
        in seconds. Raises as `open_connection`.
        """
        winner = self._races.drive(self._races.prepare(host, port, policy, label, timeout, "tcp"))
        return winner.sock, winner.report

    def begin(
        self,
        host: str | Answer,
        port: int,
        *,
        policy: Policy | None = None,
        label: str | None = None,
        timeout: float | None = None,
        ready: str = "tls",
        source: str | None = None,
    ) -> Provisional:
        """Race to the first transport handshake and pause there: for clients whose TLS comes later.

        What comes next can still lose, and the race goes on then: see `Provisional`, and call one of its
        methods in any case. ``timeout`` is for the whole race, in seconds. ``ready``: what will most likely
        be asked of a winner; history knows of times by it. ``source``: an address of this host that the
        connection has to come from. Raises as `open_connection`.
        """
        course = self._races.prepare(host, port, policy, label, timeout, ready, source=source)
        return Provisional(self._races, course, self._races.begin(course))
