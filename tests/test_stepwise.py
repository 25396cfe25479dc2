"""The counter of steps itself: what it counts, and that a loop stays what it was."""

from __future__ import annotations

import asyncio
import sys

import pytest

from loops import eager_loop
from stepwise import Steps


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_tasks_of_an_eager_loop_are_counted_eagerly() -> None:
    """A task of the work runs at once, before the one that made it goes on."""
    order: list[str] = []

    async def child() -> None:
        order.append("child")
        await asyncio.sleep(0)
        order.append("child again")

    async def work() -> None:
        task = asyncio.create_task(child())
        order.append("work")
        await task

    async def main() -> int:
        steps = Steps()
        await steps.run(work, "asyncio")
        assert asyncio.get_running_loop().get_task_factory() is asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]
        return steps.count

    with asyncio.Runner(loop_factory=eager_loop) as runner:
        count = runner.run(main())
    assert order == ["child", "work", "child again"]
    assert count >= 2


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_tasks_of_other_loops_begin_later() -> None:
    order: list[str] = []

    async def child() -> None:
        order.append("child")

    async def work() -> None:
        task = asyncio.create_task(child())
        order.append("work")
        await task

    before = asyncio.get_running_loop().get_task_factory()
    await Steps().run(work, "asyncio")
    assert order == ["work", "child"]
    assert asyncio.get_running_loop().get_task_factory() is before
