"""Races as OpenTelemetry spans and metrics. A hook: ``Connector(hooks=[OpenTelemetrySink()])``.

The names are the semantic conventions': ``network.*``, ``dns.*``, ``server.*``, ``tls.*``, ``error.type``;
the spans are those that .NET's experimental conventions have for the setup of a connection. What is ours
begins with ``pvdrace.``. Needs the extra ``pvdrace[opentelemetry]``.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import anyio
from opentelemetry import metrics, trace

from .._version import __version__
from ..redaction import redact

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from ..model import ProvisioningDomain
    from ..race.records import AttemptRecord, LookupRecord
    from ..race.report import RaceReport

    Attributes = dict[str, AttributeValue]

#: Seconds. The semantic conventions give these for ``dns.lookup.duration`` and for connections.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
#: ``network.connection.type`` of our types of PvDs; of any other it is not said.
CONNECTION_TYPES = {"wifi": "wifi", "wired": "wired", "cellular": "cell"}


class OpenTelemetrySink:
    """Makes a span of each race when it is over; below it one for each lookup, connect and TLS handshake.

    The race's parent is the span that the caller was in. Times are those of the race. Who loses is
    *cancelled* (``pvdrace.outcome``), which is no error; what failed is one, with ``error.type``. User
    information and query strings of URLs are in none of it. The histograms name PvDs, but no hosts.

    ``tracer_provider`` and ``meter_provider``: by default the global ones.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer("pvdrace", __version__, tracer_provider)
        meter = metrics.get_meter("pvdrace", __version__, meter_provider)
        self._lookups, self._attempts, self._races = (
            meter.create_histogram(name, "s", words, explicit_bucket_boundaries_advisory=BUCKETS)
            for name, words in (
                ("dns.lookup.duration", "How long a question to the resolvers of a PvD took"),
                ("pvdrace.attempt.duration", "How long a connection attempt took, until ready or failed"),
                ("pvdrace.race.duration", "How long a race took, from the name to a winner"),
            )
        )

    def __call__(self, report: RaceReport) -> None:
        """Take in one race; called where it was awaited, so that its parent is known."""
        self._measure(report)
        elapsed = _elapsed(report)
        started = time.time_ns() - round(elapsed * 1e9)
        host, port = report.endpoint
        span = self._tracer.start_span(
            f"connection_setup {report.endpoint}",
            start_time=started,
            attributes={"server.address": host, "server.port": port},
        )
        if span.is_recording():
            _Race(self._tracer, report, started, elapsed).tell(span)
        span.end(started + round(elapsed * 1e9))

    def _measure(self, report: RaceReport) -> None:
        for lookup in report.lookups:
            if lookup.ended is not None and not lookup.cached and lookup.outcome != "cancelled":
                labels: Attributes = {"pvdrace.pvd.name": lookup.pvd}
                if lookup.outcome == "failed":
                    labels["error.type"] = error_type(lookup.error)
                self._lookups.record(lookup.ended - lookup.started, labels)
        for attempt in report.attempts:
            if attempt.ended is not None:
                self._attempts.record(attempt.ended - attempt.started, _bounded(attempt, attempt.outcome))
        winner = report.winner
        labels = {"pvdrace.outcome": report.outcome} if winner is None else _bounded(winner, report.outcome)
        self._races.record(report.elapsed, labels)


class _Race:
    """One race as spans. ``started`` is in nanoseconds of the wall clock, all else in seconds from there."""

    def __init__(self, tracer: Tracer, report: RaceReport, started: int, elapsed: float) -> None:
        self.tracer = tracer
        self.report = report
        self.started = started
        self.elapsed = elapsed
        ranked = (*report.ranking.ranked, *report.ranking.excluded)
        self.pvds = {each.pvd.name: each.pvd for each in ranked}
        self.ranks = {each.pvd.name: n for n, each in enumerate(report.ranking.ranked, 1)}

    def tell(self, span: Span) -> None:
        report = self.report
        span.set_attribute("pvdrace.outcome", report.outcome)
        span.set_attribute("pvdrace.ready", report.ready)
        span.set_attribute("pvdrace.ranking", list(self.ranks))
        if report.winner is not None:
            span.set_attributes(self._path(report.winner))
        if report.failure is not None:
            _fail(span, report.failure)
        for ranked in report.ranking.excluded:
            why: Attributes = {"pvdrace.pvd.name": ranked.pvd.name, "pvdrace.reason": _text(ranked.excluded)}
            span.add_event("pvdrace.pvd.excluded", why, self.started)
        below = trace.set_span_in_context(span)
        for lookup in report.lookups:
            self._lookup(lookup, below)
        for attempt in report.attempts:
            self._attempt(attempt, below)

    def _lookup(self, lookup: LookupRecord, below: Context) -> None:
        attributes = self._pvd(lookup.pvd) | {
            "dns.question.name": self.report.endpoint.host,
            "pvdrace.dns.question.type": lookup.type,
            "pvdrace.dns.cached": lookup.cached,
            "pvdrace.outcome": self._fate(lookup.outcome),
        }
        if lookup.server is not None:
            attributes["network.peer.address"] = redact(lookup.server)
        if lookup.outcome == "answered":
            attributes["dns.answers"] = list(lookup.addresses)
        name = f"DNS lookup {self.report.endpoint.host}"
        span = self._span(name, lookup.started, attributes, below)
        if lookup.outcome == "failed":
            _fail(span, lookup.error)
        self._end(span, lookup.ended)

    def _attempt(self, attempt: AttemptRecord, below: Context) -> None:
        """The handshake of the transport; and what came after it, TLS or the application's check."""
        at_transport = attempt.connected is None
        # With nothing after the handshake, both are the same moment.
        last = at_transport or attempt.connected == attempt.ended
        outcome = self._fate(attempt.outcome) if last else "connected"
        way = f"[{attempt.remote}]" if attempt.family == 6 else attempt.remote
        attributes = self._path(attempt) | {"pvdrace.outcome": outcome}
        span = self._span(f"socket connect {way}:{attempt.port}", attempt.started, attributes, below)
        if at_transport and attempt.outcome == "failed":
            _fail(span, attempt.error)
        self._end(span, attempt.ended if at_transport else attempt.connected)
        if last or attempt.connected is None:
            return
        host, port = self.report.endpoint
        secure = self.report.ready == "tls"
        name = f"TLS client handshake {host}" if secure else f"pvdrace ready {self.report.ready}"
        attributes |= {"server.address": host, "server.port": port}
        attributes["pvdrace.outcome"] = self._fate(attempt.outcome)
        if secure:
            attributes |= {"tls.protocol.name": "tls", "tls.established": attempt.outcome == "won"}
        span = self._span(name, attempt.connected, attributes, below)
        if attempt.outcome == "failed":
            _fail(span, attempt.error)
        self._end(span, attempt.ended)

    def _span(self, name: str, start: float, attributes: Attributes, below: Context) -> Span:
        return self.tracer.start_span(
            name, context=below, start_time=self.started + round(start * 1e9), attributes=attributes
        )

    def _end(self, span: Span, at: float | None) -> None:
        """What was under way when the race was given up ends with it."""
        span.end(self.started + round((self.elapsed if at is None else at) * 1e9))

    def _fate(self, outcome: str) -> str:
        return "cancelled" if outcome == "pending" else outcome

    def _path(self, attempt: AttemptRecord) -> Attributes:
        attributes = self._pvd(attempt.pvd) | {
            "network.transport": "tcp",
            "network.type": f"ipv{attempt.family}",
            "network.peer.address": attempt.remote,
            "network.peer.port": attempt.port,
        }
        if attempt.local is not None:
            attributes["network.local.address"] = attempt.local
        if attempt.through is not None:
            attributes["pvdrace.proxy"] = redact(attempt.through)
        if attempt.rtt is not None:
            attributes["pvdrace.rtt"] = attempt.rtt
        return attributes

    def _pvd(self, name: str) -> Attributes:
        attributes: Attributes = {"pvdrace.pvd.name": name}
        if name in self.ranks:
            attributes["pvdrace.pvd.rank"] = self.ranks[name]
        pvd: ProvisioningDomain | None = self.pvds.get(name)
        if pvd is not None:
            attributes["pvdrace.pvd.cost"] = pvd.cost.kind.value
            attributes["pvdrace.pvd.type"] = pvd.type
            if pvd.interface is not None:
                attributes["network.interface.name"] = pvd.interface
            if pvd.type in CONNECTION_TYPES:
                attributes["network.connection.type"] = CONNECTION_TYPES[pvd.type]
        return attributes


def error_type(error: str | None) -> str:
    """The few words with which an error begins: one of few, as ``error.type`` has to be."""
    found = re.match(r"[A-Za-z][A-Za-z_ ]{0,39}", error or "")
    return found[0].strip() if found else "_OTHER"


def _bounded(attempt: AttemptRecord, outcome: str) -> Attributes:
    return {
        "pvdrace.pvd.name": attempt.pvd,
        "network.type": f"ipv{attempt.family}",
        "pvdrace.outcome": outcome,
    }


def _fail(span: Span, error: str | None) -> None:
    span.set_attribute("error.type", error_type(error))
    span.set_status(trace.StatusCode.ERROR, _text(error))


def _text(words: object) -> str:
    return redact(str(words or ""))


def _elapsed(report: RaceReport) -> float:
    """Seconds from the race's start until now: a race that its caller ended may have been silent for long."""
    if report.ended is not None:
        return report.elapsed
    try:
        now = anyio.current_time()
    except Exception:  # in a blocking program: which error says so depends on the version of anyio
        now = time.monotonic()
    last = report.elapsed
    # A report from elsewhere has another clock.
    return now - report.started if last <= now - report.started < last + 3600 else last
