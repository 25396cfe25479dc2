"""Keep the set of PvDs up to date. Does: it listens and asks; `discovery.merge` decides.

There is no background task: a connection looks (`Monitor.stale`) and refreshes when something has happened.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from .discovery.diff import PvdChange as PvdChange
from .discovery.diff import diff
from .discovery.kernel import Kernel, drain, open_events
from .discovery.merge import merge
from .seen import DNS_INTERVAL as DNS_INTERVAL
from .seen import Seen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from .config.configuration import Configuration
    from .discovery.source import Source
    from .discovery.system_dns import DnsFiles
    from .model import PvdSet
    from .net.rule_manager import RuleManager

#: Seconds in which the events of one change (an address, its routes, its flags) come in.
DEBOUNCE = 0.05


class Monitor(Seen):
    """The PvDs of the network namespace of the thread that calls `open`, live.

    asyncio and trio alike; unprivileged. Close it in the end: it holds two sockets. ``sources`` are asked at
    every refresh, besides the configuration and the kernel; `changes` waits for theirs too, `stale` and
    `fileno` know of the kernel's only, of which whoever looks first leaves nothing to others: see `bell`.
    ``rules`` is opened and closed with it, and gets what the PvDs want of policy routing before anybody sees
    them.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        sources: Iterable[Source] = (),
        dns: DnsFiles | None = None,
        rules: RuleManager | None = None,
    ) -> None:
        super().__init__(configuration, dns)
        self._sources = tuple(sources)
        self._rules = rules
        self._refreshing: anyio.Lock | None = None
        self._moved: anyio.Event | None = None
        self._loop: object = None
        self._watchers: list[list[PvdChange]] = []  # for each in `changes`, what it was told besides
        self._opening = 0

    async def open(self) -> PvdSet:
        """Listen, and take the first snapshot. Raises OSError where the kernel refuses."""
        if self._kernel is None:
            if self._rules is not None:
                self._rules.open()
            try:
                self._kernel = Kernel()
            except BaseException:
                if self._rules is not None:
                    self._rules.close()
                raise
        self._opening += 1
        try:
            return await self.refresh()
        finally:
            self._opening -= 1
            if self._snapshot is None and not self._opening:
                self.close()

    async def refresh(self) -> PvdSet:
        """Read everything anew and return the newest snapshot, the same object where nothing has changed.

        Raises RuntimeError before `open` and after `close`, OSError where the kernel refuses.
        """
        # One at a time, so that an older dump never replaces a newer one.
        async with self._lock():
            return await self._read()

    async def catch_up(self) -> PvdSet:
        """`refresh` where it is needed. Of all who call it at once, one reads for everybody."""
        if self.stale():
            async with self._lock():
                if self.stale():
                    return await self._read()
        return self.snapshot

    async def _read(self) -> PvdSet:
        kernel = self._kernel
        if kernel is None:
            raise RuntimeError("the monitor is not open")
        kernel.changed()
        self._dirty = False
        try:
            state = await kernel.dump()
            dns = await self._dns.read()
            others = [pvd for source in self._sources for pvd in await source.snapshot()]
            if self._rules is not None:
                wanting = merge(self._configuration, state.without_ours(), dns, others)
                if await self._rules.apply(wanting):
                    kernel.changed()
                    state = await kernel.dump()
        except BaseException as error:
            self._dirty = True
            if not isinstance(error, Exception):
                self._wake()  # cancelled: somebody else has to look, but for an error nobody does better
            raise
        return self._take_in(state, dns, others)

    def announce(self, change: PvdChange) -> None:
        """Tell all who are in `changes`."""
        for told in self._watchers:
            told.append(change)
        self._wake()

    async def changes(
        self, besides: Callable[[PvdSet], Iterable[PvdChange]] | None = None
    ) -> AsyncGenerator[PvdChange, None]:
        """What happens to the PvDs after `snapshot`, until the monitor is closed: nothing is lost in between.

        ``besides`` says what else a new snapshot means. Waits on a socket of its own, so several can watch
        while connections are being made. Close it when you stop before its end (`contextlib.aclosing`), as
        trio asks of every async generator.
        """
        seen = self.snapshot
        self._lock()
        events = open_events()
        told: list[PvdChange] = []
        self._watchers.append(told)
        try:
            while self._kernel is not None:
                moved = self._moved = self._moved or anyio.Event()
                if seen is self.snapshot and not told:
                    by_source = False
                    if not self.stale():
                        others = (partial(_next_of, source) for source in self._sources)
                        await _first_of([partial(anyio.wait_readable, events), moved.wait, *others])
                        if not moved.is_set():
                            await anyio.sleep(DEBOUNCE)
                            drain(events)
                            by_source = bool(self._sources)
                    # The kernel's events wake all who watch: whoever comes first reads for everybody.
                    try:
                        await (self.refresh() if by_source else self.catch_up())
                    except RuntimeError:
                        if self._kernel is not None:
                            raise
                        return  # closed meanwhile
                old, seen = seen, self.snapshot
                for change in diff(old, seen):
                    yield change
                if besides is not None and seen is not old:
                    for change in besides(seen):
                        yield change
                while told:
                    yield told.pop(0)
        finally:
            self._watchers.remove(told)
            events.close()

    def close(self) -> None:
        """Let go of the sockets, and end `changes`. Harmless when done twice."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()
            if self._rules is not None:
                self._rules.close()
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
        """Tell everybody to look: those in `changes` and those who have a `bell`."""
        super()._wake()
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
