"""Work in the background of an object that belongs to no task, on asyncio and trio."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("pvdrace")


class Background:
    """Work that goes on until it is stopped, in a task of its own, on asyncio and trio.

    No task group: a client may be entered in one task and left in another, as test fixtures and lifespans do.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        if _on_asyncio():
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            import trio

            context = contextvars.copy_context()
            trio.lowlevel.spawn_system_task(self._run, name="pvdrace", context=context)

    async def stop(self) -> None:
        """Cancel it and wait for its end."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._work()
        except Exception:
            log.exception("nobody watches the provisioning domains for this transport any more")
        finally:
            self._done.set()


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
