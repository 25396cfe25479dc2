"""Probes of a connector: which run when, one of a PvD at a time for all who want it, and who hears of it.

Does: it waits and asks; `probes.plan`, `schedule` and `suspicion` decide. Races never wait for it.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from .config.probe_settings import ProbeSettings
from .model import Reachability
from .probes.plan import plan
from .probes.runner import Probed, Prober
from .probes.schedule import Schedule
from .probes.suspicion import suspects
from .probes.verdict import limited
from .race.outcome import Won
from .reachability import same_verdict, summed_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from .config.configuration import Configuration
    from .dns.resolver import PvdResolver
    from .history import History
    from .model import ProvisioningDomain, PvdSet, Reached
    from .monitor import Monitor
    from .net.lingering import Lingering
    from .probes.plan import Layers, Probe
    from .race.report import RaceReport
    from .reachability import Known

log = logging.getLogger("pvdrace")


class Finding(ABC):
    """The part of a `Connector` that finds out what PvDs reach."""

    _probing: Probing

    @abstractmethod
    async def snapshot(self) -> PvdSet:
        """The PvDs of this host, as they are now."""

    @property
    def probes(self) -> bool:
        """Whether the configuration says what to ask in probes; otherwise nothing is."""
        return self._probing.enabled

    async def probe(self, *names: str) -> dict[str, tuple[Reached, ...]]:
        """Probe these PvDs now, or all: what each of their families reaches; also in the next `snapshot`.

        Nothing for a PvD that is not probed: policy prohibits it, it is unusable or has a proxy, or the
        configuration does not say what to ask. One probe serves all who want it at the same time. Raises
        ValueError for a name that is no PvD, OSError where this host cannot.
        """
        await self.snapshot()
        return await self._probing.probe(names)


class Probing:
    """The probes of one connector; ``enabled``: whether the configuration says what to ask.

    ``layers`` gives the policies for a destination, without a call's. ``resolver`` is told of a PvD whose
    answers may have been a portal's. ``lingering`` takes sockets over where policy asks for silence.
    ``history`` knows on which ports races were lost. Raises `ConfigurationError` as `Prober`.
    """

    def __init__(
        self,
        configuration: Configuration,
        monitor: Monitor,
        layers: Layers,
        resolver: PvdResolver,
        lingering: Lingering,
        history: History,
    ) -> None:
        settings = configuration.probe
        self.enabled = settings is not None or any(pvd.captive_api for pvd in configuration.pvds)
        self._settings = settings or ProbeSettings()
        self._monitor = monitor
        self._layers = layers
        self._resolver = resolver
        self._history = history
        self._found: dict[str, Known] = {}  # by probes alone
        self._seen = -1  # the version of the history that the snapshot shows
        self._until = math.inf  # and how long that holds
        self._prober = Prober(self._settings, release=lingering.release)
        self._schedule = Schedule(self._settings)
        self._running: dict[tuple[str, int], _Running] = {}
        self._bell: anyio.Event | None = None
        self._tasks: TaskGroup | None = None

    async def start(self) -> None:
        """Begin to probe in the background, if there is anything to ask; the same task has to `stop` it."""
        if self.enabled:
            self._tasks = await anyio.create_task_group().__aenter__()
            self._tasks.start_soon(self._run)

    async def stop(self) -> None:
        """End what `start` began."""
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            # Not with the caller's error, which a task group would wrap; what runs in it raises none.
            await tasks.__aexit__(None, None, None)

    async def probe(self, names: Sequence[str]) -> dict[str, tuple[Reached, ...]]:
        """Probe these PvDs of the monitor's snapshot now, or all; one that may not be probed has nothing.

        A probe that runs already is waited for instead. Raises ValueError for a name that is no PvD, OSError
        where this host cannot.
        """
        pvds = self._monitor.snapshot
        if unknown := [name for name in names if name not in pvds]:
            raise ValueError(f"no PvD is called {unknown[0]!r}")
        found: dict[str, tuple[Reached, ...]] = dict.fromkeys(names or [pvd.name for pvd in pvds], ())
        todo = plan(pvds, self._settings, self._layers) if self.enabled else {}
        errors: list[Exception] = []

        async def one(name: str) -> None:
            try:
                found[name] = (await self._shared(pvds[name], todo[name])).reached
            except Exception as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for name in found:
                if name in todo:
                    tasks.start_soon(one, name)
        if errors:
            raise errors[0]
        return found

    def heard(self, report: RaceReport) -> None:
        """A race has ended, and history knows of it: what it says against a PvD may be worth a look."""
        self.review(time.monotonic())
        if self._bell is None:
            return
        if isinstance(report.result, Won):
            self._schedule.trust(report.result.attempt.candidate.pvd.name, report.endpoint.port)
        if against := suspects(report):
            self._schedule.suspect(against, time.monotonic())
            self._ring()

    def review(self, now: float) -> None:
        """Show in the snapshot what history knows of the ports of PvDs that were probed."""
        if not self._found or (self._history.version == self._seen and now < self._until):
            return
        self._seen, self._until = self._history.version, math.inf
        pvds = self._monitor.snapshot
        for name, (attachment, reached) in list(self._found.items()):
            pvd = pvds.get(name)
            if pvd is None or pvd.attachment != attachment:
                del self._found[name]
                continue
            shown = []
            for one in reached:
                passed, blocked, until = self._history.ports(pvd, one.family, now)
                self._until = min(self._until, until)
                shown.append(limited(one, passed, blocked))
            self._monitor.learn(pvd, tuple(shown))
        if self._until < math.inf:
            self._ring()

    async def _run(self) -> None:
        """Probe in the background for as long as this is not cancelled. Raises nothing else."""
        self._schedule = Schedule(self._settings)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                while True:
                    pvds = self._monitor.snapshot
                    todo = plan(pvds, self._settings, self._layers)
                    now = time.monotonic()
                    self.review(now)
                    self._schedule.keep([pvd for pvd in pvds if pvd.name in todo], now)
                    for name in self._schedule.due(now):
                        self._schedule.begin(name, now)
                        tasks.start_soon(self._background, pvds[name], todo[name])
                    self._bell = anyio.Event()
                    with anyio.move_on_after(min(self._schedule.deadline, self._until) - now):
                        await self._bell.wait()
        except Exception:
            log.exception("probing has ended")
        finally:
            self._bell = None

    async def _watch(self) -> None:
        try:
            async with aclosing(self._monitor.changes()) as changes:
                async for _ in changes:
                    self._ring()
        except Exception:
            log.exception("changes are not heard of any more; probes go on by the clock")

    async def _background(self, pvd: ProvisioningDomain, probes: Sequence[Probe]) -> None:
        try:
            await self._shared(pvd, probes)
        except Exception:
            log.exception("the probe of %s failed", pvd.name)
        self._ring()

    async def _shared(self, pvd: ProvisioningDomain, probes: Sequence[Probe]) -> Probed:
        """Probe a PvD, or wait for whoever does. Who waits for one that is cancelled does it anew."""
        key = pvd.name, pvd.attachment
        while (running := self._running.get(key)) is not None and running.loop == current_token():
            await running.event.wait()
            if running.outcome is not None:
                return running.outcome
        running = self._running[key] = _Running()
        self._schedule.begin(pvd.name, time.monotonic())
        outcome: Probed | None = None
        try:
            outcome = running.outcome = await self._prober.probe(pvd, probes)
            self._learn(pvd, outcome.reached)
            return outcome
        finally:
            if self._running.get(key) is running:
                del self._running[key]
            self._end(pvd, outcome)
            running.event.set()

    def _end(self, pvd: ProvisioningDomain, outcome: Probed | None) -> None:
        now = time.monotonic()
        if outcome is None:
            self._schedule.end(pvd.name, Reachability.UNKNOWN, now)
            return
        state = summed_up(outcome.reached, pvd.families)
        self._schedule.end(pvd.name, state, now, retry_after=outcome.retry_after, expires=outcome.expires)

    def _learn(self, pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> None:
        before = self._monitor.snapshot.get(pvd.name)
        if before is None or before.attachment != pvd.attachment:
            return
        self._found[pvd.name] = pvd.attachment, reached
        self._seen = -1
        self.review(time.monotonic())
        if not same_verdict(before.reached, self._monitor.snapshot[pvd.name].reached):
            told = (*reached, *before.reached)
            if any(one.state is Reachability.PORTAL for one in told):
                self._resolver.forget(pvd.name)

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.set()


class _Running:
    """A probe that is under way. No outcome in the end: it was cancelled, or has failed."""

    def __init__(self) -> None:
        self.loop = current_token()
        self.event = anyio.Event()
        self.outcome: Probed | None = None
