"""Count the steps of a piece of asynchronous work, all its tasks included, and cancel it at any of them."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio


class Steps:
    """``await Steps(at=n).run(work)`` runs ``work`` and cancels it when its tasks have made n steps."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.scope = anyio.CancelScope()

    async def run(self, work: Callable[[], Awaitable[Any]], backend: str) -> None:
        if backend == "trio":
            await self._on_trio(work)
        else:
            await self._on_asyncio(work)

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.scope.cancel()

    async def _in_scope(self, work: Callable[[], Awaitable[Any]]) -> None:
        with self.scope:
            await work()

    async def _on_trio(self, work: Callable[[], Awaitable[Any]]) -> None:
        import trio

        steps = self
        outer = trio.lowlevel.current_task()

        class Counter(trio.abc.Instrument):
            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                if task is not outer and "runner" not in task.name and task.parent_nursery is not None:
                    steps.step()

        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._in_scope, work)
        finally:
            trio.lowlevel.remove_instrument(counter)

    async def _on_asyncio(self, work: Callable[[], Awaitable[Any]]) -> None:
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()

        def counted(coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self._counted(coro), **options)

        def factory(
            loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
        ) -> asyncio.Task[Any]:
            return counted(coro, loop=loop, **options)

        # A loop whose tasks are eager (Python 3.12) keeps them so: they run at once, up to their first wait.
        # (Those of anyio's task groups never are: anyio knows such a factory, and goes round it.)
        if before is not None and before is getattr(asyncio, "eager_task_factory", None):
            factory = asyncio.create_eager_task_factory(counted)  # type: ignore[attr-defined,unused-ignore]
        loop.set_task_factory(factory)  # type: ignore[arg-type]
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._in_scope, work)
        finally:
            loop.set_task_factory(before)

    async def _counted(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await self._stepping(coro)

    @types.coroutine
    def _stepping(self, coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = coro.send(value) if error is None else coro.throw(error)
            except StopIteration as stop:
                return stop.value
            self.step()
            value, error = None, None
            try:
                value = yield yielded
            except BaseException as caught:  # thrown in by the loop: it is the work's to handle
                error = caught
