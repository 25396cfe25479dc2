"""Keep the set of PvDs up to date. Does: it listens and asks; `discovery.merge` decides.

There is no background task: a connection looks (`Monitor.stale`) and refreshes when something has happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from .discovery.diff import PvdChange as PvdChange
from .discovery.diff import diff
from .discovery.kernel import Kernel, drain, open_events
from .discovery.merge import merge
from .discovery.system_dns import DnsFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from .config import Configuration
    from .model import PvdSet

#: Seconds in which the events of one change (an address, its routes, its flags) come in.
DEBOUNCE = 0.05


class Monitor:
    """The PvDs of the network namespace of the thread that calls `open`, live.

    asyncio and trio alike; unprivileged. Close it in the end: it holds two sockets.
    """

    def __init__(self, configuration: Configuration, dns: DnsFiles | None = None) -> None:
        self._configuration = configuration
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
        kernel = self._kernel
        if kernel is None:
            raise RuntimeError("the monitor is not open")
        if self._refreshing is None:
            self._refreshing = anyio.Lock()
        # One at a time, so that an older dump never replaces a newer one.
        async with self._refreshing:
            kernel.changed()
            self._dirty = False
            try:
                state = await kernel.dump()
                dns = await self._dns.read()
            except BaseException:
                self._dirty = True
                raise
            self._snapshot = merge(self._configuration, state, dns, previous=self._snapshot)
            return self._snapshot

    async def changes(self) -> AsyncGenerator[PvdChange, None]:
        """What happens to the PvDs from now on, until the monitor is closed.

        Waits on a socket of its own, so several can watch while connections are being made.
        """
        seen = self.snapshot
        events = open_events()
        self._watchers.add(events)
        try:
            while True:
                try:
                    await anyio.wait_readable(events)
                except anyio.ClosedResourceError:
                    return
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
        for events in list(self._watchers):
            anyio.notify_closing(events)
            events.close()
        self._watchers.clear()
