"""Races for ``pvdrace top``: a small file of counters for each process, rewritten with each race.

It lies where only its user comes, is locked for as long as its process lives (so nobody takes what a process
has left behind for a living one's), and goes with the process. Nothing is sent, and nobody is asked.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import stat
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .counting import Told, decode, encode

if TYPE_CHECKING:
    from ..race.report import RaceReport

log = logging.getLogger("pvdrace")
#: Names the directory for the files; ``1`` for the usual one. Programs of pvdrace that see it tell.
VARIABLE = "PVDRACE_LIVE"
_SUFFIX = ".live"
_LARGEST = 1 << 20
_WRITING = 5  # so often what is being written is read again


class LiveSink:
    """Counts the races of this process for ``pvdrace top``. A hook: ``Connector(hooks=[LiveSink()])``.

    ``directory`` is made, for this user alone, where it is missing; by default `live_directory`. One sink may
    serve any number of connectors and threads; a child of fork() counts for itself. Raises OSError if the
    file cannot be made, PermissionError if others may write to the directory.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory = Path(directory) if directory is not None else live_directory()
        self.closed = False
        self._begin()
        _sinks.add(self)

    def __call__(self, report: RaceReport) -> None:
        """Take in one race."""
        if os.getpid() != self._owner and not self.closed:
            self._begin()
        with self._lock:
            if self.closed:
                return
            if not self._told.last:  # only now it is known where the races are
                self._told.network = network_namespace()
            self._told.count(report, time.time())
            os.pwrite(self._file, encode(self._told), 0)

    def close(self) -> None:
        """Take the file away; what comes now is not counted. Done at exit, too. Harmless when done twice."""
        with self._lock:
            self.closed = True
            self._file = -1
            self._remove()

    def _begin(self) -> None:
        _make(self.directory)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        pid = int(os.readlink("/proc/self"))  # the number that others see there: not always os.getpid()
        self._told = Told(pid, started(pid) or 0, time.time(), network_namespace())
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden, path = self.directory / f".{name}", self.directory / f"{name}{_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(hidden, flags, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.pwrite(self._file, encode(self._told), 0)
            os.rename(hidden, path)  # who lists it finds it locked
        except BaseException:
            os.close(self._file)
            os.unlink(hidden)
            raise
        self._remove = weakref.finalize(self, _remove, self._file, path, os.getpid())

    def _after_fork(self) -> None:
        """The lock on the file is the parent's, and would outlive it here; so would that of a thread."""
        self._lock = threading.Lock()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_sinks: weakref.WeakSet[LiveSink] = weakref.WeakSet()
_asked_for: LiveSink | None = None
_asking = threading.Lock()


def _forget_sinks() -> None:
    global _asking
    _asking = threading.Lock()
    for sink in _sinks:
        sink._after_fork()


os.register_at_fork(after_in_child=_forget_sinks)


def _remove(file: int, path: Path, pid: int) -> None:
    if os.getpid() == pid:
        with suppress(OSError):
            path.unlink()
        os.close(file)


def live_directory() -> Path:
    """Where the files of this user are: what ``$PVDRACE_LIVE`` names, else a directory for run time.

    That is ``pvdrace`` in ``$XDG_RUNTIME_DIR``, else in ``/run/user/UID``, else ``/tmp/pvdrace-UID``.
    """
    named = os.environ.get(VARIABLE)
    if named and named != "1":
        return Path(named)
    user = os.getuid()
    for base in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if base and os.path.isdir(base):
            return Path(base, "pvdrace")
    return Path(f"/tmp/pvdrace-{user}")


def live_sinks() -> tuple[LiveSink, ...]:
    """The process's sink, if ``$PVDRACE_LIVE`` asks for it; none, and a warning, where there can be none."""
    global _asked_for
    if not os.environ.get(VARIABLE):
        return ()
    with _asking:
        if _asked_for is None or _asked_for.closed or _asked_for.directory != live_directory():
            try:
                _asked_for = LiveSink()
            except OSError as error:
                log.warning("no counters for pvdrace top: %s", error)
                return ()
        return (_asked_for,)


def read_live(directory: str | os.PathLike[str]) -> list[Told]:
    """What the living processes of this user tell, of those in the network namespace of this thread.

    What a process has left behind that is gone is removed. Raises OSError where the directory cannot be read;
    one that is not there is empty.
    """
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    here = network_namespace()
    found = [_read(Path(directory, name)) for name in names if name.endswith(_SUFFIX)]
    return [told for told in found if told is not None and told.network == here]


def _read(path: Path) -> Told | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None  # it went meanwhile, or is no file of ours
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size > _LARGEST:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            for _ in range(_WRITING):
                if (told := decode(os.pread(file, _LARGEST, 0))) is not None:
                    return told
            return None
        with suppress(OSError):
            path.unlink()  # nobody holds it: its process is gone
        return None
    finally:
        os.close(file)


def network_namespace() -> int:
    """The inode of the network namespace of this thread."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def started(pid: int) -> int | None:
    """When the process of this number was started, in clock ticks since boot; None where there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return int(status.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{directory} is not a directory that only this user may write to")
