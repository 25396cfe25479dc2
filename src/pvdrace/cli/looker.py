"""One look after the other at what ``pvdrace top`` shows: host, files of processes, kernel, history."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ..best import ANYWHERE
from ..history import History
from ..history.facts import restore
from ..history_file import HistoryFile
from ..net.tcp_sockets import tcp_sockets_of
from ..ranking.order import rank
from ..telemetry.live import read_live, started
from ..telemetry.overview import Look, Traffic, by_pvd, ordered, overview, with_what_is_told

if TYPE_CHECKING:
    from ..connector import Connector
    from ..expectation import Expectations
    from ..model import PvdSet

#: General traffic is over TLS: history knows by what a winner must have done.
READY = "tls"


class Looker:
    """Looks at all of it, from time to time. ``live`` is the directory in which processes tell."""

    def __init__(self, connector: Connector, live: str, history: str | None, sort: str = "rank") -> None:

        self._connector = connector
        self._live = live
        self._sort = sort
        self._learnt = _Learnt(history) if history is not None else None
        self._traffic = Traffic()

    async def look(self) -> Look:
        """How it is now."""

        now = time.time()
        tolds = read_live(self._live)
        pvds = with_what_is_told(await self._connector.snapshot(), tolds, now)
        # In another container the same number is another process.
        pids = {told.pid for told in tolds if started(told.pid) == told.started}
        trouble = None
        try:
            self._traffic.look(by_pvd(tcp_sockets_of(pids), pvds), time.monotonic())
        except OSError as error:  # a kernel, or a container, without sock_diag(7)
            trouble = f"the kernel does not tell of connections: {error.strerror or error}"
        expected: Expectations = self._learnt.expected(pvds) if self._learnt is not None else {}
        layers = self._connector.configuration.layers(ANYWHERE)
        ranking = rank(pvds, ANYWHERE, layers, pacing=self._connector.pacing, expected=expected)
        rows = overview(pvds, ranking, expected, tolds, self._traffic.volumes)
        return Look(now, ordered(rows, self._sort), tolds, trouble)


class _Learnt:
    """What a file of history says, read again whenever it was written."""

    def __init__(self, path: str) -> None:

        self._file = HistoryFile(path)
        self._seen: object = None
        self._history: History = History()

    def expected(self, pvds: PvdSet) -> Expectations:

        now = time.monotonic()
        if (written := self._written()) != self._seen:
            self._seen = written
            self._history = History()
            offset = now - time.time()
            facts = self._file.read() if written and not self._file.is_something_else() else []
            restore(self._history, [fact.shifted(offset) for fact in facts], now)
        return self._history.expected(pvds, ANYWHERE, READY, now)

    def _written(self) -> tuple[tuple[int, int], ...]:
        found = []
        for name in (self._file.path, f"{self._file.path}-wal"):
            try:
                status = os.stat(name)
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)
