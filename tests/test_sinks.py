"""A sink that fails breaks no connection, whatever it raises."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import pvdrace
import pvdrace.sync
from loopback import Server
from pvdrace.config import Configuration
from pvdrace.telemetry.log_lines import LoggingSink
from pvdrace.telemetry.opentelemetry import OpenTelemetrySink
from pvdrace.telemetry.prometheus import PrometheusSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio
NOTHING = Configuration(discover=())


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("127.0.0.1")
    with closing(server):
        yield server


class Failing:
    """A sink that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.called = 0

    def __call__(self, report: pvdrace.RaceReport) -> None:
        self.called += 1
        raise self.error


FAILURES = [
    RuntimeError("x"),
    OSError(28, "no space"),
    ExceptionGroup("x", [ValueError()]),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_sink_that_fails_breaks_no_connection(
    server: Server, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failing, seen = Failing(error), list[str]()

    def see(report: pvdrace.RaceReport) -> None:
        seen.append(report.outcome)

    async with pvdrace.Connector(NOTHING, hooks=[failing, see]) as connector:
        connection = await connector.open_connection("127.0.0.1", server.port)
        await connection.aclose()
        provisional = await connector.begin("127.0.0.1", server.port)
        await (await provisional.settle()).aclose()
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(pvdrace.ConnectFailed):
                await connector.connect("127.0.0.1", nobody.getsockname()[1])
        with anyio.move_on_after(0.05) as scope:
            await connector.open_connection("127.0.0.1", server.port, ready=never)
        assert scope.cancelled_caught
    assert seen == ["won", "won", "lost", "cancelled"]  # those after it are told
    assert failing.called == 4
    assert sum("failed on the report of" in record.message for record in caplog.records) == 4


async def never(stream: anyio.abc.ByteStream) -> None:
    await anyio.sleep_forever()


async def test_an_interrupt_that_comes_while_a_sink_runs_is_an_interrupt(server: Server) -> None:
    """Ctrl-C may come anywhere, so it is not for the log."""
    failing = Failing(KeyboardInterrupt())
    async with pvdrace.Connector(NOTHING, hooks=[failing]) as connector:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(KeyboardInterrupt):
                await connector.connect("127.0.0.1", nobody.getsockname()[1])
    assert failing.called == 1


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_nor_one_of_a_blocking_program(
    server: Server, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failing, seen = Failing(error), list[str]()

    def see(report: pvdrace.RaceReport) -> None:
        seen.append(report.outcome)

    with pvdrace.sync.Connector(NOTHING, hooks=[failing, see]) as connector:
        sock, _ = connector.connect("127.0.0.1", server.port)
        sock.close()
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(pvdrace.ConnectFailed):
                connector.connect("127.0.0.1", nobody.getsockname()[1])
    assert (seen, failing.called) == (["won", "lost"], 2)
    assert sum("failed on the report of" in record.message for record in caplog.records) == 2


def test_the_sinks_take_the_reports_of_a_blocking_program(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The same report, so the same sinks; spans have the time of the wall clock there, too."""
    spans, registry = InMemorySpanExporter(), CollectorRegistry()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    hooks: list[Callable[[pvdrace.RaceReport], object]]
    hooks = [LoggingSink(), OpenTelemetrySink(tracers), PrometheusSink(registry)]
    before = time.time_ns()
    with caplog.at_level("INFO"), pvdrace.sync.Connector(NOTHING, hooks=hooks) as connector:
        sock, _ = connector.connect("127.0.0.1", server.port)
        sock.close()
    names = [span.name for span in spans.get_finished_spans()]
    assert names == [f"socket connect 127.0.0.1:{server.port}", f"connection_setup 127.0.0.1:{server.port}"]
    race = spans.get_finished_spans()[-1]
    slack = 50_000_000  # two clocks, read one after the other
    assert race.start_time is not None and before - slack <= race.start_time <= time.time_ns()
    labels = {"pvd": "loopback", "family": "ipv4", "outcome": "won"}
    assert registry.get_sample_value("pvdrace_races_total", labels) == 1
    assert "won by loopback 127.0.0.1" in caplog.text
