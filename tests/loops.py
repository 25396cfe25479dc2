"""Event loops that tests run on besides the usual ones."""

from __future__ import annotations

import asyncio


def eager_loop() -> asyncio.AbstractEventLoop:
    """Where a task runs at once, up to its first wait (Python 3.12)."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop
