"""The file in which history is put away: SQLite. Does: reads, merges, writes; `history.facts` says what.

Every visit opens the file anew and closes it: nothing is held that a fork could share, and the write-ahead
log is folded in by whoever leaves last. Several processes may do so at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from .history.facts import Fact, fact, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
log = logging.getLogger("pvdrace")

#: ``PRAGMA application_id``: "pvdr". ``PRAGMA user_version``: of the table below.
APPLICATION_ID = 0x70766472
VERSION = 1
#: So many rows are kept, the newest; for so many seconds.
ROWS_KEPT = 20_000
MAX_AGE = 7 * 86400.0
#: Nothing is learnt in the future: a row that is so many seconds ahead was written by a clock that was wrong,
#: and would outlast all that is learnt by a right one.
CLOCKS_DIFFER = 60.0
#: Seconds to wait for another process that is writing.
PATIENCE = 2.0
#: So many files are set aside; then the last of them is replaced.
ASIDE_KEPT = 9

_TABLE = """
CREATE TABLE IF NOT EXISTS known (
    pvd TEXT NOT NULL, identity TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, kind TEXT NOT NULL,
    x REAL NOT NULL, y REAL NOT NULL, z REAL NOT NULL, at REAL NOT NULL,
    UNIQUE (pvd, identity, host, port, kind)
)
"""
_COLUMNS = ", ".join(Fact._fields)
#: The rest of what SQLite complains of is trouble with the place, not with what is in the file. SQLITE_ERROR:
#: a table or a column that should be there is not.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
#: What an SQLite file begins with, and where the application's number is in that.
_MAGIC, _HEADER, _APPLICATION_ID = b"SQLite format 3\0", 100, slice(68, 72)
_BESIDE = ("-wal", "-shm", "-journal")


class Unfit(Exception):
    """The file is not one that history can be put into; says why."""


class HistoryFile:
    """A file of facts; their times are those of the calendar's clock (seconds since 1970).

    What is there and is no such file, a damaged one, or one of a newer version, is set aside as
    ``NAME.damaged-N`` with a warning, and a new one begun. Raises OSError where that cannot be done, and
    TimeoutError where another process does not let go of it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def read(self) -> list[Fact]:
        """All that is in it; a row that cannot be one is left out."""

        def rows(file: sqlite3.Connection) -> list[Fact]:
            _look_through(file)
            found = file.execute(f"SELECT {_COLUMNS} FROM known WHERE at > ? AND at <= ?", _span())
            return [one for row in found if (one := fact(row)) is not None]

        return self._visit(rows, "DEFERRED")  # nobody who writes is waited for

    def write(self, facts: Iterable[Fact], since: float) -> None:
        """Merge these in, that know what was in it at ``since``; then let what is too much or too old go."""
        news = list(facts)

        def upsert(file: sqlite3.Connection) -> None:
            file.execute("DELETE FROM known WHERE at <= ? OR at > ?", _span())
            for one in news:
                where = "pvd = ? AND identity = ? AND host = ? AND port = ? AND kind = ?"
                row = file.execute(f"SELECT {_COLUMNS} FROM known WHERE {where}", one.key).fetchone()
                old = fact(row) if row is not None else None
                best = merged(old, one, since) if old is not None else one
                file.execute(f"INSERT OR REPLACE INTO known ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", best)
            (count,) = file.execute("SELECT count(*) FROM known").fetchone()
            if count > ROWS_KEPT:
                oldest = "SELECT rowid FROM known ORDER BY at LIMIT ?"
                file.execute(f"DELETE FROM known WHERE rowid IN ({oldest})", (count - ROWS_KEPT,))

        self._visit(upsert)

    def clear(self, pvd: str | None = None) -> int:
        """Forget a PvD, or all; how many rows that were."""

        def delete(file: sqlite3.Connection) -> int:
            if pvd is None:
                return file.execute("DELETE FROM known").rowcount
            return file.execute("DELETE FROM known WHERE pvd = ?", (pvd,)).rowcount

        return self._visit(delete)

    def is_something_else(self) -> bool:
        """Whether somebody else's file is there, as far as its beginning tells; it is left as it is."""
        with self.path.open("rb") as file:
            header = file.read(_HEADER)
        if not header:
            return False
        number = int.from_bytes(header[_APPLICATION_ID], "big")
        return header[: len(_MAGIC)] != _MAGIC or number not in (0, APPLICATION_ID)

    # ------------------------------------------------------------------ visits

    def _visit(self, work: Callable[[sqlite3.Connection], T], transaction: str = "IMMEDIATE") -> T:
        """Open the file, work in it, close it; begin a new one where it is unfit."""
        for _ in range(2):
            try:
                return self._once(work, transaction)
            except Unfit as error:
                self._set_aside(str(error))
        raise OSError(errno.EIO, "unfit again", os.fspath(self.path))

    def _once(self, work: Callable[[sqlite3.Connection], T], transaction: str = "IMMEDIATE") -> T:
        self._make()
        try:
            uri = f"file:{quote(os.fspath(self.path.absolute()))}?mode=rw"
            with contextlib.closing(
                sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
            ) as file:
                _check(file)
                with _transaction(file, transaction):
                    return work(file)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _DAMAGE:
                raise Unfit(f"damaged ({error})") from error
            if code in _BUSY:
                what = "another process is writing"
                raise TimeoutError(errno.ETIMEDOUT, what, os.fspath(self.path)) from error
            raise OSError(errno.EIO, str(error), os.fspath(self.path)) from error

    def _make(self) -> None:
        """See to it that there is a file, which nobody else may read: names of hosts are in it.

        One that is there is never opened here: to close it again would take SQLite's locks on it from the
        other threads of this process (POSIX fcntl locks).
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            _make_directory(self.path.parent)
            with contextlib.suppress(FileExistsError):  # another process was quicker
                made = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    os.fchmod(made, 0o600)  # whatever the umask says
                finally:
                    os.close(made)
            return
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(self.path))
        if found.st_mode & 0o077:
            for end in ("", *_BESIDE):
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(f"{self.path}{end}", 0o600)

    def _set_aside(self, why: str) -> None:
        """Rename what is there, unless another process has just done that."""
        with _locked(self.path.parent):
            with contextlib.suppress(Unfit):
                self._once(_look_through)
                return
            for number in range(1, ASIDE_KEPT + 1):
                aside = f"{self.path}.damaged-{number}"
                if not os.path.lexists(aside):
                    break
            for end in _BESIDE:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}{end}", f"{aside}{end}")
            os.replace(self.path, aside)
        log.warning("history: %s is %s; set aside as %s", self.path, why, aside)


def _check(file: sqlite3.Connection) -> None:
    """Whether it is a file of ours; an empty one becomes one. Raises `Unfit`."""
    if _is_empty(file):
        file.execute("PRAGMA journal_mode = WAL")
        with _transaction(file):
            if _is_empty(file):
                file.execute(_TABLE)
                file.execute(f"PRAGMA user_version = {VERSION}")
                file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if _number(file, "application_id") != APPLICATION_ID:
        raise Unfit("not a history of pvdrace")
    version = _number(file, "user_version")
    if version > VERSION:
        raise Unfit(f"of a newer version ({version})")
    if version < VERSION:
        raise Unfit(f"of no known version ({version})")
    file.execute("PRAGMA synchronous = NORMAL")


def _is_empty(file: sqlite3.Connection) -> bool:
    tables = file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not (tables or _number(file, "application_id") or _number(file, "user_version"))


def _number(file: sqlite3.Connection, pragma: str) -> int:
    value: int = file.execute(f"PRAGMA {pragma}").fetchone()[0]
    return value


def _look_through(file: sqlite3.Connection) -> None:
    """Raise `Unfit` if SQLite finds a fault with it, or its table is not ours."""
    if file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise Unfit("damaged")
    file.execute(f"SELECT {_COLUMNS} FROM known LIMIT 0")


@contextlib.contextmanager
def _transaction(file: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing; whoever else writes waits, or is waited for, but by one that is DEFERRED and reads."""
    file.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        if file.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time: what it finds unfit another may have replaced already."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _span() -> tuple[float, float]:
    """After and until when what is in the file can have been learnt."""
    now = time.time()
    return now - MAX_AGE, now + CLOCKS_DIFFER


def _make_directory(path: Path) -> None:
    """Make a directory and those above it, for nobody else; one that is there is left as it is."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
        path.chmod(0o700)  # whatever the umask says
