"""Races as Prometheus metrics. A hook: ``Connector(hooks=[PrometheusSink()])``.

Labels are bounded: PvDs (so many and no more), families and outcomes, never a host's name. Needs the extra
``pvdrace[prometheus]``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from ..model import Reachability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from ..model import ProvisioningDomain
    from ..race.report import RaceReport

#: What every PvD after the first ``pvds`` is called.
OTHER = "other"
#: Seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FAMILIES = {"AAAA": "ipv6", "A": "ipv4"}


class PrometheusSink:
    """Counts races, attempts and lookups, by PvD, family and outcome.

    ``registry``: by default the one that the process exports; a registry takes one sink, which any number of
    connectors may share, also those of several threads. ``pvds``: so many names of PvDs become values of the
    label, the first that are seen; those after them are ``other``.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, pvds: int = 32) -> None:
        self._room = pvds
        self._names: set[str] = set()
        self._seen: set[str] = set()  # of these it is said whether they are up
        self._lock = threading.Lock()
        labels = ("pvd", "family", "outcome")
        races = "Races, by the PvD and family that won; both are empty where nobody did."
        self._races = Counter("pvdrace_races", races, labels, registry=registry)
        self._attempts = Counter("pvdrace_attempts", "Connection attempts.", labels, registry=registry)
        self._lookups = Counter("pvdrace_lookups", "Questions to resolvers.", labels, registry=registry)
        connects = "Transport handshakes that were completed."
        self._connect = Histogram(
            "pvdrace_connect_seconds", connects, labels[:2], registry=registry, buckets=BUCKETS
        )
        won = "Races that were won, from the name to a winner."
        self._duration = Histogram(
            "pvdrace_race_seconds", won, labels[:2], registry=registry, buckets=BUCKETS
        )
        up = "Whether a PvD could carry something, as the last race knew it."
        self._up = Gauge("pvdrace_pvd_up", up, labels[:1], registry=registry)

    def __call__(self, report: RaceReport) -> None:
        """Take in one race."""
        for lookup in report.lookups:
            family, outcome = FAMILIES.get(lookup.type, ""), _fate(lookup.outcome)
            self._lookups.labels(self._name(lookup.pvd), family, outcome).inc()
        for attempt in report.attempts:
            name, family = self._name(attempt.pvd), f"ipv{attempt.family}"
            self._attempts.labels(name, family, _fate(attempt.outcome)).inc()
            if attempt.connected is not None:
                self._connect.labels(name, family).observe(attempt.connected - attempt.started)
        winner = report.winner
        if winner is None:
            self._races.labels("", "", report.outcome).inc()
        else:
            name, family = self._name(winner.pvd), f"ipv{winner.family}"
            self._races.labels(name, family, report.outcome).inc()
            self._duration.labels(name, family).observe(report.elapsed)
        pvds = [ranked.pvd for each in report.ranking for ranked in each]
        if any(not pvd.is_loopback for pvd in pvds):  # the race to a loopback address sees no other PvD
            self.see(pvds)

    def see(self, pvds: Iterable[ProvisioningDomain]) -> None:
        """Take in which PvDs there are, and say so in ``pvdrace_pvd_up``; each race does it.

        For a program that follows them by itself: with each snapshot of `Connector.watch`.
        """
        up: dict[str, bool] = {}
        for pvd in pvds:
            name = self._name(pvd.name)
            up[name] = up.get(name, False) or _is_up(pvd)  # of those that share a name, any
        with self._lock:
            self._seen |= up.keys()
            for name in self._seen:
                self._up.labels(name).set(up.get(name, False))

    def _name(self, pvd: str) -> str:
        with self._lock:
            if pvd not in self._names:
                if len(self._names) >= self._room:
                    return OTHER
                self._names.add(pvd)
        return pvd


def _is_up(pvd: ProvisioningDomain) -> bool:
    return pvd.unusable is None and pvd.reachability not in (Reachability.PORTAL, Reachability.NONE)


def _fate(outcome: str) -> str:
    """What was under way when a race was given up, was cancelled."""
    return "cancelled" if outcome == "pending" else outcome
