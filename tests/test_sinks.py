"""A sink that fails breaks no connection, whatever it raises."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest

import pvdrace
from loopback import Server
from pvdrace.config import Configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

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
