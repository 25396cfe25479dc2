"""A sink that fails, or that ends the program, breaks no connection and leaves nothing open."""

from __future__ import annotations

import os
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


FAILURES = [RuntimeError("x"), OSError(28, "no space"), ExceptionGroup("x", [ValueError()])]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_sink_that_fails_breaks_no_connection(
    server: Server, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failing, seen = Failing(error), list[str]()

    def see(report: pvdrace.RaceReport) -> None:
        seen.append(report.outcome)

    async with pvdrace.Connector(NOTHING, hooks=[failing, see]) as connector:
        connection = await connector.open_connection("127.0.0.1", server.port)
        await connection.aclose()
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            with pytest.raises(pvdrace.ConnectFailed):
                await connector.connect("127.0.0.1", nobody.getsockname()[1])
        with anyio.move_on_after(0.05) as scope:
            await connector.open_connection("127.0.0.1", server.port, ready=never)
        assert scope.cancelled_caught
    assert seen == ["won", "lost", "cancelled"]  # those after it are told
    assert failing.called == 3
    assert sum("failed on the report of" in record.message for record in caplog.records) == 3


async def never(stream: anyio.abc.ByteStream) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
async def test_a_sink_that_ends_the_program_leaves_nothing_open(server: Server, error: BaseException) -> None:
    """It passes: to hold it back would be to take the program's end away. What was won is closed."""
    async with pvdrace.Connector(NOTHING, hooks=[Failing(error)]) as connector:
        before = len(os.listdir("/proc/self/fd"))
        for again in (
            lambda: connector.connect("127.0.0.1", server.port),
            lambda: connector.open_connection("127.0.0.1", server.port),
            lambda: connector.open_connection("127.0.0.1", server.port, ready=at_once),
        ):
            with pytest.raises(type(error)):
                await again()
        assert len(os.listdir("/proc/self/fd")) == before


async def at_once(stream: anyio.abc.ByteStream) -> bool:
    return True
