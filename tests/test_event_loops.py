"""One connector, several event loops in turn: `anyio.run` twice in a thread is what a script does."""

from __future__ import annotations

from itertools import product

import anyio
import pytest
from anyio.lowlevel import current_token

from pvdrace.config import Configuration
from pvdrace.monitor import Monitor

pairs = pytest.mark.parametrize(("first", "second"), list(product(["asyncio", "trio"], repeat=2)))


async def refresh_together(monitor: Monitor) -> None:
    """Several at once, so that they wait for one another."""
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(monitor.refresh)


@pairs
def test_a_monitor_serves_one_event_loop_after_the_other(first: str, second: str) -> None:
    monitor = Monitor(Configuration())
    try:
        anyio.run(monitor.open, backend=first)
        for backend in (first, second, second, first):
            anyio.run(refresh_together, monitor, backend=backend)
    finally:
        monitor.close()


@pairs
def test_a_watcher_of_an_earlier_event_loop_is_forgotten(first: str, second: str) -> None:
    monitor = Monitor(Configuration())

    async def watch_for_a_moment() -> None:
        with anyio.move_on_after(0.1):
            async for _ in monitor.changes():
                pass  # pragma: no cover

    async def close_while_watching() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_for_a_moment)
            await anyio.wait_all_tasks_blocked()
            monitor.close()

    try:
        anyio.run(monitor.open, backend=first)
        anyio.run(watch_for_a_moment, backend=first)
        anyio.run(close_while_watching, backend=second)
    finally:
        monitor.close()


@pytest.mark.anyio
async def test_the_token_of_an_event_loop_is_one() -> None:
    """What tells one event loop from another."""
    tokens = []

    async def note() -> None:
        tokens.append(current_token())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(note)
        tasks.start_soon(note)
    assert tokens[0] == tokens[1] == current_token()
