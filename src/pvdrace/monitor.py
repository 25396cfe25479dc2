"""Keep the set of PvDs up to date. Does: it listens and asks; `discovery.merge` decides.

There is no background task: a connection looks (`Monitor.stale`) and refreshes when something has happened.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import anyio

from .discovery.diff import PvdChange as PvdChange
from .discovery.diff import diff
from .discovery.kernel import Kernel, drain, open_events
from .discovery.merge import merge
from .discovery.system_dns import DnsFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from .config import Configuration
    from .discovery.source import Source
    from .model import PvdSet

#: Seconds in which the events of one change (an address, its routes, its flags) come in.
DEBOUNCE = 0.05


class Monitor:
    """The PvDs of the network namespace of the thread that calls `open`, live.

    asyncio and trio alike; unprivileged. Close it in the end: it holds two sockets. ``sources`` are asked at
    every refresh, besides the configuration and the kernel; `changes` waits for theirs too, `stale` and
    `fileno` know of the kernel's only.
    """

    def __init__(
        self, configuration: Configuration, *, sources: Iterable[Source] = (), dns: DnsFiles | None = None
    ) -> None:
        self._configuration = configuration
        self._sources = tuple(sources)
        self._dns = dns or DnsFiles()
        self._kernel: Kernel | None = None
        self._snapshot: PvdSet | None = None
        self._dirty = False
        self._watchers: set[socket.socket] = set()
        self._refreshing: anyio.Lock | None = None

    async def open(self) -> PvdSet:
        """Listen, and take the first snapshot. Raises OSError where the kernel refuses."""
        if self._kernel is None:
            self._kernel = Kernel()
        try:
            return await self.refresh()
        except BaseException:
            if self._snapshot is None:
                self.close()
            raise

    @property
    def snapshot(self) -> PvdSet:
        """The newest set of PvDs. Raises RuntimeError before `open`."""
        if self._snapshot is None:
            raise RuntimeError("the monitor is not open")
        return self._snapshot

    def fileno(self) -> int:
        """A socket that is readable when something may have changed; -1 when there is none."""
        return -1 if self._kernel is None else self._kernel.fileno()

    def stale(self) -> bool:
        """Whether something has changed since the last refresh. Never waits; costs one system call."""
        if self._kernel is not None and self._kernel.changed():
            self._dirty = True
        return self._dirty

    async def refresh(self) -> PvdSet:
        """Read everything anew and return the newest snapshot, the same object where nothing has changed.

        Raises RuntimeError before `open` and after `close`, OSError where the kernel refuses.
        """
        if self._refreshing is None:
            self._refreshing = anyio.Lock()
        # One at a time, so that an older dump never replaces a newer one.
        async with self._refreshing:
            if self._kernel is None:
                raise RuntimeError("the monitor is not open")
            self._kernel.changed()
            self._dirty = False
            try:
                state = await self._kernel.dump()
                dns = await self._dns.read()
                others = [pvd for source in self._sources for pvd in await source.snapshot()]
            except BaseException:
                self._dirty = True
                raise
            self._snapshot = merge(self._configuration, state, dns, others, self._snapshot)
            return self._snapshot

    async def changes(self) -> AsyncGenerator[PvdChange, None]:
        """What happens to the PvDs from now on, until the monitor is closed.

        Waits on a socket of its own, so several can watch while connections are being made. Close it when you
        stop before its end (`contextlib.aclosing`), as trio asks of every async generator.
        """
        seen = self.snapshot
        events = open_events()
        self._watchers.add(events)
        try:
            while await self._changed(events):
                await anyio.sleep(DEBOUNCE)
                if self._kernel is None:
                    return
                drain(events)
                newest = await self.refresh()
                for change in diff(seen, newest):
                    yield change
                seen = newest
        finally:
            self._watchers.discard(events)
            events.close()

    def close(self) -> None:
        """Let go of the sockets, and end `changes`. Harmless when done twice."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()
        for events in self._watchers:
            with contextlib.suppress(RuntimeError):  # no loop runs any more, so nobody waits
                anyio.notify_closing(events)
        self._watchers.clear()

    async def _changed(self, events: socket.socket) -> bool:
        """Wait for the kernel or a source; False when the monitor is closed, or was meanwhile."""
        if self._kernel is None:
            return False
        if self._sources:
            waits = [_next_of(source) for source in self._sources]
            await _first_of([lambda: _readable(events), *waits])
        else:
            await _readable(events)
        return self._kernel is not None


async def _readable(events: socket.socket) -> None:
    try:
        await anyio.wait_readable(events)
    except anyio.ClosedResourceError:
        return  # `close` has said so


def _next_of(source: Source) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        async with contextlib.aclosing(source.changes()) as changes:
            async for _ in changes:
                return
        await anyio.sleep_forever()  # this source has no more to say

    return wait


async def _first_of(waits: Iterable[Callable[[], Awaitable[None]]]) -> None:
    async with anyio.create_task_group() as tasks:

        async def run(wait: Callable[[], Awaitable[None]]) -> None:
            await wait()
            tasks.cancel_scope.cancel()

        for wait in waits:
            tasks.start_soon(run, wait)
