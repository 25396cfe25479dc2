"""What OpenTelemetry gets of a race: spans with the race's own times, and histograms without hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import anyio
import anyio.abc
import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

import pvdrace
from pvdrace.config import parse
from pvdrace.policy import Policy
from pvdrace.race.report import RaceReport
from pvdrace.telemetry.opentelemetry import OpenTelemetrySink, error_type
from pvdrace.testing.scenario import blackhole, impostor, ok, pvd, refused, scenario, servfail
from telling_reports import SECRETS, with_secrets

NOTHING = parse("discover = []")
pytestmark = pytest.mark.anyio


class Otel:
    """A sink, and what it has exported."""

    def __init__(self, **options: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False, **options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.sink = OpenTelemetrySink(self.tracers, self.meters)

    def spans(self) -> list[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, span.name))

    def histograms(self) -> dict[str, dict[frozenset[tuple[str, Any]], tuple[int, float]]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: {
                frozenset(point.attributes.items()): (point.count, round(point.sum, 6))  # type: ignore[union-attr]
                for point in metric.data.data_points
            }
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def otel() -> Iterator[Otel]:
    otel = Otel()
    yield otel
    otel.tracers.shutdown()
    otel.meters.shutdown()


RACE = scenario(
    eth=pvd(v6=blackhole, v4=refused(10)),
    wifi=pvd(v6=impostor(10, 20), v4=ok(30, tls=15), type="wifi"),
    lte=pvd(v4=ok(1)),
    policy=Policy(prohibit=["pvd:lte"]),
)
REPORT = replace(RACE.report, ready="tls")


def rows(spans: list[ReadableSpan]) -> list[tuple[str, float, float, str, str]]:
    """Name, milliseconds of start and end, outcome, status."""
    zero = min(span.start_time or 0 for span in spans)
    return [
        (
            span.name,
            round(((span.start_time or 0) - zero) / 1e6, 3),
            round(((span.end_time or 0) - zero) / 1e6, 3),
            str((span.attributes or {})["pvdrace.outcome"]),
            span.status.status_code.name,
        )
        for span in spans
    ]


V6, V4, LOOKUP = "[2001:db8:99::1]:443", "198.51.100.1:443", "DNS lookup www.example.com"


def test_the_spans_of_a_race_have_the_times_of_the_race(otel: Otel) -> None:
    """And who loses is cancelled, which is no error."""
    before = time.time_ns()
    otel.sink(REPORT)
    spans = otel.spans()
    assert rows(spans) == [
        (LOOKUP, 0, 20, "answered", "UNSET"),
        (LOOKUP, 0, 20, "answered", "UNSET"),
        ("connection_setup www.example.com:443", 0, 325, "won", "UNSET"),
        (f"socket connect {V6}", 20, 325, "cancelled", "UNSET"),
        (LOOKUP, 200, 220, "answered", "UNSET"),
        (LOOKUP, 200, 220, "answered", "UNSET"),
        (f"socket connect {V6}", 250, 260, "connected", "UNSET"),
        ("TLS client handshake www.example.com", 260, 280, "failed", "ERROR"),
        (f"socket connect {V4}", 270, 280, "failed", "ERROR"),
        (f"socket connect {V4}", 280, 310, "connected", "UNSET"),
        ("TLS client handshake www.example.com", 310, 325, "won", "UNSET"),
    ]
    (race,) = [span for span in spans if span.parent is None]
    assert race.context is not None
    assert race.name.startswith("connection_setup")
    assert all(span.parent == race.context for span in spans if span is not race)
    assert all(span.kind is SpanKind.INTERNAL for span in spans)
    assert race.end_time is not None and before <= race.end_time <= time.time_ns()


def test_the_attributes_of_each_kind_of_span(otel: Otel) -> None:
    otel.sink(REPORT)
    attributes = [dict(span.attributes or {}) for span in otel.spans()]
    wifi = {
        "pvdrace.pvd.name": "wifi",
        "pvdrace.pvd.rank": 2,
        "pvdrace.pvd.type": "wifi",
        "pvdrace.pvd.cost": "unknown",
        "network.interface.name": "wifi0",
        "network.connection.type": "wifi",
    }
    path = wifi | {
        "network.transport": "tcp",
        "network.type": "ipv4",
        "network.peer.address": "198.51.100.1",
        "network.peer.port": 443,
        "network.local.address": "10.0.2.2",
    }
    server = {"server.address": "www.example.com", "server.port": 443}
    established = {"tls.protocol.name": "tls", "tls.established": True}
    race = {"pvdrace.ready": "tls", "pvdrace.ranking": ("eth", "wifi"), "pvdrace.outcome": "won"}
    assert attributes[2] == path | server | race
    assert attributes[-1] == path | server | established | {"pvdrace.outcome": "won"}
    assert attributes[-2] == path | {"pvdrace.outcome": "connected"}
    refusal = attributes[-3]
    assert (refusal["error.type"], refusal["pvdrace.pvd.name"]) == ("refused", "eth")
    assert "network.connection.type" not in refusal  # of its type nothing is known
    lookup = {
        "dns.question.name": "www.example.com",
        "dns.answers": ("198.51.100.1",),
        "pvdrace.dns.question.type": "A",
        "pvdrace.dns.cached": False,
        "pvdrace.outcome": "answered",
    }
    assert wifi | lookup in attributes
    (left_out,) = otel.spans()[2].events
    assert left_out.name == "pvdrace.pvd.excluded"
    assert dict(left_out.attributes or {}) == {
        "pvdrace.pvd.name": "lte",
        "pvdrace.reason": "prohibited by pvd:lte (call)",
    }


def test_every_attribute_that_is_not_ours_is_of_the_semantic_conventions(otel: Otel) -> None:
    known = {
        value
        for package in (stable, incubating)
        for module in iter_modules(package.__path__, f"{package.__name__}.")
        for value in vars(import_module(module.name)).values()
        if isinstance(value, str)
    }
    otel.sink(REPORT)
    used = {key for span in otel.spans() for key in span.attributes or {}}
    theirs = {key for key in used if not key.startswith("pvdrace.")}
    assert len(theirs) >= 14
    assert theirs - known <= {"dns.answers"}  # which the lowest supported version does not know yet


def test_the_histograms_name_pvds_and_no_hosts(otel: Otel) -> None:
    otel.sink(REPORT)
    wifi, eth = ("pvdrace.pvd.name", "wifi"), ("pvdrace.pvd.name", "eth")
    v4, v6 = ("network.type", "ipv4"), ("network.type", "ipv6")

    def fate(outcome: str) -> tuple[str, str]:
        return "pvdrace.outcome", outcome

    assert otel.histograms() == {
        "dns.lookup.duration": {frozenset({eth}): (2, 0.04), frozenset({wifi}): (2, 0.04)},
        "pvdrace.attempt.duration": {
            frozenset({eth, v6, fate("cancelled")}): (1, 0.305),
            frozenset({eth, v4, fate("failed")}): (1, 0.01),
            frozenset({wifi, v6, fate("failed")}): (1, 0.03),
            frozenset({wifi, v4, fate("won")}): (1, 0.045),
        },
        "pvdrace.race.duration": {frozenset({wifi, v4, fate("won")}): (1, 0.325)},
    }


@pytest.mark.parametrize(
    ("report", "outcome", "status", "error"),
    [
        (scenario(eth=pvd(v4=refused(5))).report, "lost", "ERROR", "all attempts failed"),
        (scenario(eth=pvd(dns=servfail(5))).report, "lost", "ERROR", "no address found"),
        (replace(REPORT, result=None, ended=None), "cancelled", "UNSET", None),
    ],
)
def test_a_race_without_a_winner(
    otel: Otel, report: RaceReport, outcome: str, status: str, error: str | None
) -> None:
    otel.sink(report)
    (race,) = [span for span in otel.spans() if span.parent is None]
    attributes = dict(race.attributes or {})
    assert (attributes["pvdrace.outcome"], race.status.status_code.name) == (outcome, status)
    assert attributes.get("error.type") == error
    assert "pvdrace.pvd.name" not in attributes or outcome == "cancelled"


def test_a_failed_lookup_is_an_error_of_its_span_and_its_duration(otel: Otel) -> None:
    otel.sink(scenario(eth=pvd(dns=servfail(5))).report)
    lookups = [row for row in rows(otel.spans()) if row[0] == LOOKUP]
    assert lookups == [(LOOKUP, 0, 5, "failed", "ERROR")] * 2
    (labels,) = otel.histograms()["dns.lookup.duration"]
    assert dict(labels) == {"pvdrace.pvd.name": "eth", "error.type": "SERVFAIL"}


def test_what_was_under_way_when_a_race_was_given_up_ends_with_it(otel: Otel) -> None:
    pending = [entry for entry in RACE.report.log if entry[0] <= 0.251]
    otel.sink(replace(REPORT, log=pending, result=None, ended=None))
    connects = [row for row in rows(otel.spans()) if row[0].startswith("socket")]
    assert connects == [
        (f"socket connect {V6}", 20, 250, "cancelled", "UNSET"),
        (f"socket connect {V6}", 250, 250, "cancelled", "UNSET"),
    ]


def test_what_follows_the_handshake_and_is_not_tls_has_the_name_of_the_check(otel: Otel) -> None:
    otel.sink(replace(REPORT, ready="speaks_imap"))
    names = {span.name for span in otel.spans()}
    assert "pvdrace ready speaks_imap" in names
    assert not any(name.startswith("TLS") for name in names)


def test_the_parent_is_the_span_that_the_caller_is_in(otel: Otel) -> None:
    with otel.tracers.get_tracer("caller").start_as_current_span("GET") as caller:
        otel.sink(REPORT)
    (race,) = [span for span in otel.spans() if span.name.startswith("connection_setup")]
    assert race.parent == caller.get_span_context()


def test_who_samples_nothing_gets_histograms_all_the_same() -> None:
    otel = Otel(sampler=ALWAYS_OFF)
    otel.sink(REPORT)
    assert otel.spans() == []
    assert len(otel.histograms()) == 3


def test_without_an_sdk_it_does_nothing() -> None:
    OpenTelemetrySink()(REPORT)


def test_the_spans_hold_no_secret(otel: Otel) -> None:
    otel.sink(with_secrets())
    text = "".join(span.to_json() for span in otel.spans())
    assert "http://***@192.0.2.9:3128" in text
    assert "https://api.example/x?***" in text
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("refused", "refused"),
        ("timeout 2.0 s", "timeout"),
        ("wrong certificate: self-signed certificate", "wrong certificate"),
        ("ValueError: https://user:pw@h/?q", "ValueError"),
        ("", "_OTHER"),
        (None, "_OTHER"),
        ("500 Internal", "_OTHER"),
        ("a" * 100, "a" * 40),
    ],
)
def test_the_type_of_an_error_is_one_of_few(error: str | None, kind: str) -> None:
    assert error_type(error) == kind


async def test_a_real_race_has_its_place_in_the_trace_of_its_caller(otel: Otel, anyio_backend: str) -> None:
    """On asyncio and trio, whose clocks are others; also one that is cancelled after a silence."""
    before = time.time_ns()
    with otel.tracers.get_tracer("caller").start_as_current_span("caller") as caller:
        async with pvdrace.Connector(NOTHING, hooks=[otel.sink]) as connector:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            async with listener:
                port = listener.extra(anyio.abc.SocketAttribute.local_port)
                sock, _ = await connector.connect("127.0.0.1", port)
                sock.close()
                with anyio.move_on_after(0.3):
                    await connector.open_connection("127.0.0.1", port, ready=never)
    after = time.time_ns()
    won, cancelled = [span for span in otel.spans() if span.name.startswith("connection_setup")]
    assert won.parent == cancelled.parent == caller.get_span_context()
    assert [(s.attributes or {})["pvdrace.outcome"] for s in (won, cancelled)] == ["won", "cancelled"]
    times = [won.start_time, won.end_time, cancelled.start_time, cancelled.end_time]
    # Two clocks are read one after the other, so their difference is not exact.
    slack = 50_000_000
    assert all(at is not None and before - slack <= at <= after + slack for at in times)
    assert (cancelled.end_time or 0) - (cancelled.start_time or 0) > 250_000_000


async def never(stream: anyio.abc.ByteStream) -> None:
    await anyio.sleep_forever()


def test_what_is_told_is_documented(otel: Otel) -> None:
    from test_docs import DOCS

    text = (DOCS / "telemetry.md").read_text("utf-8").split("\n## OpenTelemetry\n")[1].split("\n## ")[0]
    otel.sink(REPORT)
    otel.sink(with_secrets())
    keys = {key for span in otel.spans() for key in span.attributes or {}}
    assert [key for key in sorted(keys | otel.histograms().keys()) if f"`{key}`" not in text] == []
    host = "www.example.com"
    for name in {span.name for span in otel.spans()}:
        pattern = name.replace(f"{host}:443", "HOST:PORT").replace(host, "HOST")
        if name.startswith("socket connect"):
            pattern = "socket connect ADDRESS:PORT"
        assert f"`{pattern}`" in text or name == "pvdrace ready tcp"
