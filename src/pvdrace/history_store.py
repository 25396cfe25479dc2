"""History behind a connector's back: taken in at the start, written behind. Does; `history.facts` says what.

A connection never waits for the file, and nothing that is wrong with it reaches one: it is said once, and
history goes on in memory.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from math import inf
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .history.facts import facts, restore

if TYPE_CHECKING:
    from .history import History
    from .history.facts import Fact

log = logging.getLogger("pvdrace")

#: Seconds between two writings. What a process learnt since the last one is lost if it is killed.
INTERVAL = 10.0
#: So long may the last writing take that another process, or the disk, holds up.
LAST_PATIENCE = 5.0


def open_store(path: object) -> HistoryStore | None:
    """The store for what a caller gave as ``history``; None for None, ValueError for what is no path."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise ValueError(f"history must be the path of a file or None, not {path!r}")
    return HistoryStore(path)


class HistoryStore:
    """A file that a `History` is taken from and written to. One connector's; the file may be everybody's.

    It holds no descriptor, and a thread only while it writes: a fork shares nothing with it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from .history_file import HistoryFile  # SQLite, for those who want it

        self.file = HistoryFile(path)
        self._due = -inf
        self._taken = -inf  # what was learnt until then is written, on the monotonic clock
        self._seen = -inf  # what others had written until then is known here, on the calendar's
        self._writer: threading.Thread | None = None
        self._given_up = False
        self._new = True

    def is_new(self) -> bool:
        """Whether this was not asked before: what is in the file is taken once."""
        new, self._new = self._new, False
        return new

    def load(self) -> list[Fact]:
        """What is in the file, on the monotonic clock; nothing where it cannot. Blocks."""
        now = time.time()
        try:
            found = self.file.read()
        except Exception as error:
            self._give_up(error)
            return []
        self._seen = now
        offset = time.monotonic() - now
        return [one.shifted(offset) for one in found]

    def restore(self, history: History, found: list[Fact]) -> None:
        """Let a history know what `load` gave."""
        now = time.monotonic()
        restore(history, found, now)
        self._taken = now

    def keep(self, history: History) -> None:
        """Write what is new, if it is time to. Never waits."""
        now = time.monotonic()
        if now < self._due or self._given_up or (self._writer is not None and self._writer.is_alive()):
            return
        self._due = now + INTERVAL
        news, taken = self._news(history, now)
        if news:
            writer = threading.Thread(
                target=self._write, args=(news, taken), name="pvdrace history", daemon=True
            )
            try:
                writer.start()
            except RuntimeError:  # there is no thread to be had: the next time, then
                self._taken = taken
            else:
                self._writer = writer

    def close(self, history: History) -> None:
        """Write what is left. Blocks for a moment; `LAST_PATIENCE` seconds if another has the file."""
        self._join()
        if not self._given_up:
            news, taken = self._news(history, time.monotonic())
            if news:
                self._write(news, taken)

    async def finish(self, history: History) -> None:
        """As `close`, in a thread of its own: the event loop goes on."""
        own = anyio.CapacityLimiter(1)  # however many threads the application has at work
        if self._writer is not None:
            await anyio.to_thread.run_sync(self._join, limiter=own)
        if not self._given_up:
            news, taken = self._news(history, time.monotonic())
            if news:
                await anyio.to_thread.run_sync(self._write, news, taken, limiter=own)

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join(LAST_PATIENCE)
            self._writer = None

    def _news(self, history: History, now: float) -> tuple[list[Fact], float]:
        """What was learnt since the last time, on the calendar's clock; and when the last time was."""
        taken, self._taken = self._taken, now
        offset = time.time() - time.monotonic()
        return [one.shifted(offset) for one in facts(history, taken)], taken

    def _write(self, news: list[Fact], taken: float) -> None:
        try:
            self.file.write(news, self._seen)
            self._seen = time.time()
        except TimeoutError:
            self._taken = min(self._taken, taken)  # the next time, then
        except Exception as error:  # whatever it is, it is no connection's matter
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if not self._given_up:
            self._given_up = True
            log.warning(
                "history is kept in memory only: %s: %s",
                self.file.path,
                getattr(error, "strerror", None) or error,
            )
