"""Keep the set of PvDs up to date. Does: it listens and asks; `discovery.merge` decides.

There is no background task: a connection looks (`Monitor.stale`) and refreshes when something has happened.
"""

from __future__ import annotations

import contextlib
import math
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from .discovery.diff import PvdChange as PvdChange
from .discovery.diff import diff
from .discovery.kernel import Kernel, drain, open_events
from .discovery.merge import merge
from .discovery.system_dns import DnsFiles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from .config import Configuration
    from .discovery.source import Source
    from .model import PvdSet

#: Seconds in which the events of one change (an address, its routes, its flags) come in.
DEBOUNCE = 0.05
#: Seconds between two looks at the DNS files, which make no event. Nobody looks while nobody asks.
DNS_INTERVAL = 1.0


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
        self._dns_looked = -math.inf
        self._refreshing: anyio.Lock | None = None
        self._moved: anyio.Event | None = None
        self._loop: object = None

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
        """Whether something has changed since the last refresh. Never waits.

        One system call; once in `DNS_INTERVAL` a few more, for the DNS files.
        """
        if self._kernel is None:
            return False
        if self._kernel.changed():
            self._dirty = True
        now = time.monotonic()
        if now - self._dns_looked >= DNS_INTERVAL:
            self._dns_looked = now
            self._dirty = self._dirty or self._dns.changed()
        return self._dirty

    async def refresh(self) -> PvdSet:
        """Read everything anew and return the newest snapshot, the same object where nothing has changed.

        Raises RuntimeError before `open` and after `close`, OSError where the kernel refuses.
        """
        # One at a time, so that an older dump never replaces a newer one.
        async with self._lock():
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
            newest = merge(self._configuration, state, dns, others, self._snapshot)
            if newest is not self._snapshot:
                self._snapshot = newest
                self._wake()
            return newest

    async def changes(self) -> AsyncGenerator[PvdChange, None]:
        """What happens to the PvDs after `snapshot`, until the monitor is closed: nothing is lost in between.

        Waits on a socket of its own, so several can watch while connections are being made. Close it when you
        stop before its end (`contextlib.aclosing`), as trio asks of every async generator.
        """
        seen = self.snapshot
        self._lock()
        events = open_events()
        try:
            if self.stale():
                await self.refresh()
            while self._kernel is not None:
                moved = self._moved = self._moved or anyio.Event()
                if seen is self.snapshot:
                    others = (partial(_next_of, source) for source in self._sources)
                    await _first_of([partial(anyio.wait_readable, events), moved.wait, *others])
                    if not moved.is_set():
                        await anyio.sleep(DEBOUNCE)
                        drain(events)
                        try:
                            await self.refresh()
                        except RuntimeError:
                            if self._kernel is not None:
                                raise
                            return  # closed meanwhile
                old, seen = seen, self.snapshot
                for change in diff(old, seen):
                    yield change
        finally:
            events.close()

    def close(self) -> None:
        """Let go of the sockets, and end `changes`. Harmless when done twice."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()
        self._wake()

    def _lock(self) -> anyio.Lock:
        """The lock for `refresh`.

        A monitor may see several event loops, one after the other; a lock or an event serves one of them.
        """
        loop = current_token()
        if self._refreshing is None or loop != self._loop:
            self._loop, self._refreshing, self._moved = loop, anyio.Lock(), None
        return self._refreshing

    def _wake(self) -> None:
        """Tell those in `changes` to look."""
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set()


async def _next_of(source: Source) -> None:
    async with contextlib.aclosing(source.changes()) as changes:
        async for _ in changes:
            return
    await anyio.sleep_forever()  # this source has no more to say


async def _first_of(waits: Iterable[Callable[[], Awaitable[object]]]) -> None:
    try:
        async with anyio.create_task_group() as tasks:

            async def run(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                tasks.cancel_scope.cancel()

            for wait in waits:
                tasks.start_soon(run, wait)
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
