"""Keep the rules and routes that PvDs want in the kernel. Does; `rule_plan` decides.

Needs CAP_NET_ADMIN. What it installs carries a protocol number of its own, and whatever carries that is its
own: also what an earlier process left behind that was killed. Nothing else is touched.

The sockets are opened in the calling thread, because a network namespace belongs to a thread; what is said on
them may be said from a worker thread, since the kernel can take its time under its lock.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .failures import RuleError
from .rtnetlink import (
    NLM_F_ACK,
    NLM_F_CREATE_EXCL,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RouteEntry,
    deletion,
    dump_question,
    encode,
    error_of,
    message,
    read_present,
    split,
)
from .rule_plan import PROTOCOL, rule_changes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from ..model import ProvisioningDomain
    from .rtnetlink import Entry, Present
    from .rule_plan import RuleChanges

log = logging.getLogger("pvdrace")

_SOL_NETLINK, _STRICT_CHECK = 270, 12
_RECEIVE = 1 << 16
_ATTEMPTS = 5
#: An abstract address belongs to a network namespace, and goes with its process however that ends.
_LOCK = "\0pvdrace-rules"
#: Gone already, also because its device has gone; there already; the device went while we were at it.
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV})
_NO_LOSS = frozenset({errno.EEXIST, errno.ENODEV, errno.ENETDOWN})


class RuleManager:
    """The policy routing of one network namespace: that of the thread which opens it.

    One at a time in a namespace. Use it as an asynchronous context manager, or call `open` and `close`. Its
    first `apply` takes away what an earlier one left behind, its end what it has installed itself.
    """

    def __init__(self, pvds: Iterable[ProvisioningDomain] = ()) -> None:
        self._first = tuple(pvds)
        self._kernel: socket.socket | None = None
        self._lock: socket.socket | None = None
        self._sequence = 0
        self._owner = 0  # the process: a child of a fork shares the descriptors, and must not act on them
        self._busy = threading.Lock()

    async def __aenter__(self) -> Self:
        self.open()
        try:
            await self.apply(self._first)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def open(self) -> None:
        """Begin. Raises `RuleError` where another manager is at work in this network namespace."""
        if self._kernel is not None:
            return
        with contextlib.ExitStack() as on_error:
            lock = on_error.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                lock.bind(_LOCK)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise RuleError(
                    errno.EBUSY, "another process manages the rules of PvDs in this network namespace"
                ) from None
            kernel = on_error.enter_context(
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            )
            kernel.bind((0, 0))
            kernel.setblocking(False)  # the kernel answers while it is being asked
            with contextlib.suppress(OSError):  # before 4.20 a dump has all routes, and we look ourselves
                kernel.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
            self._lock, self._kernel, self._owner = lock, kernel, os.getpid()
            on_error.pop_all()

    async def apply(self, pvds: Iterable[ProvisioningDomain]) -> bool:
        """Make the rules and routes those that these PvDs want; whether anything had to be changed.

        Idempotent. What the kernel does not take of it is logged, and the rest is done: a socket that needs
        it will say so. Raises `RuleError` without CAP_NET_ADMIN, OSError where the kernel cannot be asked.
        """
        return await anyio.to_thread.run_sync(self._apply, tuple(pvds))

    def close(self) -> None:
        """Take everything away that is ours. Harmless when done twice; it takes some milliseconds."""
        kernel, lock = self._kernel, self._lock
        if kernel is None or lock is None:
            return
        try:
            if os.getpid() == self._owner:
                self._apply(())
        finally:
            self._kernel = self._lock = None
            kernel.close()
            lock.close()

    # ------------------------------------------------------------------ the kernel

    def _apply(self, pvds: tuple[ProvisioningDomain, ...]) -> bool:
        with self._busy:
            changes = rule_changes(pvds, self._present())
            self._perform(changes)
        return bool(changes.remove or changes.add)

    def _perform(self, changes: RuleChanges) -> None:
        for present in changes.remove:
            kind, body = deletion(present)
            status = self._say(kind, NLM_F_ACK, body)
            self._judge(status, _GONE, "remove", present.entry)
        for entry in changes.add:
            kind = RTM_NEWROUTE if isinstance(entry, RouteEntry) else RTM_NEWRULE
            status = self._say(kind, NLM_F_ACK | NLM_F_CREATE_EXCL, encode(entry, PROTOCOL))
            self._judge(status, _NO_LOSS, "install", entry)

    def _judge(self, status: int, harmless: frozenset[int], what: str, entry: Entry) -> None:
        if status in (errno.EPERM, errno.EACCES):
            raise RuleError(status, "policy routing takes CAP_NET_ADMIN")
        if status and status not in harmless:
            log.warning("cannot %s %s: %s", what, entry, os.strerror(status))

    def _present(self) -> list[Present]:
        return [
            one
            for kind, answer in ((RTM_GETROUTE, RTM_NEWROUTE), (RTM_GETRULE, RTM_NEWRULE))
            for family in (4, 6)
            for text in self._dump(kind, dump_question(kind, family, PROTOCOL))
            if (one := read_present(answer, text)) is not None and one.protocol == PROTOCOL
        ]

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """One dump, asked for again when the state changed under it."""
        for _ in range(_ATTEMPTS):
            self._send(kind, NLM_F_DUMP, body)
            found: list[bytes] = []
            interrupted = done = False
            while not done:
                for what, flags, answer in self._answers():
                    interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                    if what in (NLMSG_DONE, NLMSG_ERROR):
                        done = True
                        status = error_of(answer)
                        if status:
                            raise OSError(status, os.strerror(status))
                    else:
                        found.append(answer)
            if not interrupted:
                break
        return found

    def _say(self, kind: int, flags: int, body: bytes) -> int:
        """One request that is acknowledged: its errno, or 0."""
        self._send(kind, flags, body)
        while True:
            for what, _, answer in self._answers():
                if what == NLMSG_ERROR:
                    return error_of(answer)

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._open_socket().send(message(kind, flags, self._sequence, body))

    def _answers(self) -> Iterable[tuple[int, int, bytes]]:
        return [
            (what, flags, answer)
            for what, flags, sequence, answer in split(self._open_socket().recv(_RECEIVE))
            if sequence == self._sequence
        ]

    def _open_socket(self) -> socket.socket:
        if self._kernel is None:
            raise RuntimeError("the rule manager is not open")
        return self._kernel
