"""Keep the set of PvDs up to date. Does: it listens and asks; `discovery.merge` decides.

There is no background task: a connection looks (`Monitor.stale`) and refreshes when something has happened.
"""

from __future__ import annotations

import contextlib
import math
import os
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
from .reachability import overlay, same_verdict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from .config.configuration import Configuration
    from .discovery.source import Source
    from .discovery.state import KernelState
    from .model import ProvisioningDomain, PvdSet, Reached
    from .net.rule_manager import RuleManager
    from .reachability import Known

#: Seconds in which the events of one change (an address, its routes, its flags) come in.
DEBOUNCE = 0.05
#: Seconds between two looks at the DNS files, which make no event. Nobody looks while nobody asks.
DNS_INTERVAL = 1.0


class Monitor:
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
        self._configuration = configuration
        self._sources = tuple(sources)
        self._dns = dns or DnsFiles()
        self._rules = rules
        self._kernel: Kernel | None = None
        self._snapshot: PvdSet | None = None
        self._plain: PvdSet | None = None  # the same, without what probes have found
        self._known: dict[str, Known] = {}
        self._state: KernelState | None = None  # of which it was made
        self._dirty = False
        self._dns_looked = -math.inf
        self._refreshing: anyio.Lock | None = None
        self._moved: anyio.Event | None = None
        self._loop: object = None
        self._bells: set[int] = set()
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
            self._ring()
        now = time.monotonic()
        if now - self._dns_looked >= DNS_INTERVAL:
            self._dns_looked = now
            if not self._dirty and self._dns.changed():
                self._dirty = True
                self._ring()
        return self._dirty

    def bell(self, seen: PvdSet) -> int:
        """A descriptor of the caller's own that is readable when `snapshot` may not be ``seen`` any more.

        It rings whoever finds out, and has rung already if that has happened before. `heard` silences it
        until the next time; give it back to `mute`. The events of the kernel are not in it until somebody
        looks: who wants to be woken by them waits for `fileno` too. Raises OSError if there is none to have.
        """
        rung = self._dirty or seen is not self._snapshot
        bell = os.eventfd(int(rung), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._bells.add(bell)
        return bell

    def heard(self, bell: int) -> None:
        """Silence a bell. What comes after this call rings it again, so look after it, not before."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(bell)

    def mute(self, bell: int) -> None:
        """Close a bell."""
        self._bells.discard(bell)
        os.close(bell)

    async def refresh(self) -> PvdSet:
        """Read everything anew and return the newest snapshot, the same object where nothing has changed.

        Raises RuntimeError before `open` and after `close`, OSError where the kernel refuses.
        """
        # One at a time, so that an older dump never replaces a newer one.
        async with self._lock():
            return await self._read()

    def learn(self, pvd: ProvisioningDomain, reached: tuple[Reached, ...]) -> bool:
        """Take in what a probe has found of a PvD; whether that is another verdict than before.

        Then there is a new `snapshot`. It holds for this attachment of the PvD alone. Raises RuntimeError
        before `open`.
        """
        if self._plain is None:
            raise RuntimeError("the monitor is not open")
        now = self._plain.get(pvd.name)
        if now is None or now.attachment != pvd.attachment:
            return False
        attachment, before = self._known.get(pvd.name, (pvd.attachment, ()))
        if attachment == pvd.attachment and same_verdict(before, reached):
            return False
        self._known[pvd.name] = pvd.attachment, reached
        self._publish(self._plain)
        return True

    def _publish(self, plain: PvdSet) -> None:
        """Show a snapshot with all that is known of its PvDs, and tell everybody."""
        self._known = {name: known for name, known in self._known.items() if name in plain}
        before = self._snapshot.generation if self._snapshot is not None else plain.generation - 1
        self._snapshot = overlay(plain, self._known, before + 1)
        self._wake()

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
        newest = merge(self._configuration, state, dns, others, self._plain, self._state)
        self._state = state
        if newest is not self._plain or self._snapshot is None:
            self._plain = newest
            self._publish(newest)
        return self.snapshot

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

    def _ring(self) -> None:
        """Tell those who have a `bell` to look."""
        for bell in self._bells:
            os.eventfd_write(bell, 1)

    def _wake(self) -> None:
        """Tell everybody to look: those in `changes` and those who have a `bell`."""
        self._ring()
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
