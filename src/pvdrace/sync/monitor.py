"""The PvDs of the host for threads: read anew by whoever finds that something has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..changes import Attention
from ..discovery.kernel import Kernel
from ..seen import Seen

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from ..model import PvdSet, Ranking
    from ..race.events import Event
    from ..race.race import Race


class BlockingMonitor(Seen):
    """As `pvdrace.monitor.Monitor`, without an event loop. Every call is made under the connector's lock.

    Nothing here waits for the network: the kernel answers while it is being asked.
    """

    def open(self) -> PvdSet:
        """Listen, and take the first snapshot. Raises OSError where the kernel refuses."""
        self._kernel = Kernel()
        try:
            return self.refresh()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> PvdSet:
        """Read everything anew and return the newest snapshot, the same object where nothing has changed.

        Raises RuntimeError before `open` and after `close`, OSError where the kernel refuses.
        """
        kernel = self._kernel
        if kernel is None:
            raise RuntimeError("the monitor is not open")
        kernel.changed()
        self._dirty = False
        try:
            return self._take_in(kernel.dump_here(), self._dns.read_here())
        except BaseException:
            self._dirty = True
            raise

    def catch_up(self) -> PvdSet:
        """`refresh` where it is needed."""
        return self.refresh() if self.stale() else self.snapshot

    def close(self) -> None:
        """Let go of the sockets. Harmless when done twice."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.close()
        self._wake()


class ThreadsChanges(Attention):
    """What came and went, as events for a race in one of several threads."""

    monitor: BlockingMonitor

    def __init__(
        self,
        lock: threading.RLock,
        monitor: BlockingMonitor,
        pvds: PvdSet,
        race: Race,
        rerank: Callable[[PvdSet], Ranking],
    ) -> None:
        super().__init__(monitor, pvds, race, rerank)
        self.lock = lock

    def open(self) -> Sequence[int]:
        """See `Attention.open`."""
        with self.lock:
            return super().open()

    def events(self) -> Sequence[Event]:
        """What changed since the last call. Raises OSError where the kernel refuses to say."""
        with self.lock:
            self.monitor.heard(self.bell)
            if self.monitor.fileno() < 0:
                return ()  # closed meanwhile: the race goes on with what it has
            self.monitor.catch_up()
            return self.news()

    def close(self) -> None:
        """See `Attention.close`."""
        with self.lock:
            super().close()
