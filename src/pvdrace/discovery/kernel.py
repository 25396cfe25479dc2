"""Ask the kernel over rtnetlink(7): our own sockets, pyroute2's codec. Does; `implicit` decides.

Sockets are opened in the calling thread, because a network namespace belongs to a thread and a worker thread
may come from elsewhere. The kernel fills a dump while it is being read, so reading never waits; only taking a
large dump apart is worth a worker thread.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from .decode import Decoder, RawDump, split, trim

if TYPE_CHECKING:
    from .state import KernelState

#: linux/rtnetlink.h, enum rtnetlink_groups: LINK, and ADDRESS, ROUTE, RULE of both families, IPv4's NETCONF.
GROUPS: Final = (1, 5, 7, 8, 9, 11, 19, 24)
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE, RTM_GETNETCONF = 18, 22, 26, 30, 34, 82
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP, NLM_F_DUMP_INTR = 0x301, 0x10
_HEADER = struct.Struct("=IHHII")
_RECEIVE = 1 << 16
_CODEC = "pyroute2.netlink.rtnl.marshal"
#: A dump that other changes keep interrupting is taken as it is after so many attempts: the event that
#: interrupted it makes the next refresh.
_ATTEMPTS = 5
#: Bytes that are taken apart in the loop's own thread, below 3 ms; what is more goes to a worker thread.
_INLINE_BYTES = 4096


class Kernel:
    """The network state of the namespace in which the calling thread is. Unprivileged."""

    def __init__(self) -> None:
        self._requests = _netlink_socket()
        try:
            self._events = open_events()
        except BaseException:
            self._requests.close()
            raise
        self._sequence = 0
        self._decoder = Decoder()

    def fileno(self) -> int:
        """The descriptor that becomes readable when something has changed; -1 when closed."""
        return self._events.fileno()

    def changed(self) -> bool:
        """Whether events have come in since the last call. Never waits; one system call if none."""
        return drain(self._events)

    async def dump(self) -> KernelState:
        """Read everything anew. Raises OSError where the kernel refuses."""
        raw = self.read()
        await import_codec()
        if self._decoder.unknown(raw) <= _INLINE_BYTES:
            return self._decoder.decode(raw)
        return await anyio.to_thread.run_sync(self._decoder.decode, raw)

    def dump_here(self) -> KernelState:
        """As `dump`, all of it in the calling thread, for who has no event loop to keep going."""
        return self._decoder.decode(self.read())

    def read(self) -> RawDump:
        """The undecoded dump."""
        return RawDump(
            links=tuple(trim(link, "link") for link in self._ask(RTM_GETLINK, bytes(16))),
            addresses=tuple(trim(address, "address") for address in self._ask(RTM_GETADDR, bytes(8))),
            routes=self._ask(RTM_GETROUTE, bytes(12)),
            rules=self._ask(RTM_GETRULE, bytes(12)),
            neighbours=self._ask(RTM_GETNEIGH, bytes(12)),
            netconf=self._ask(RTM_GETNETCONF, struct.pack("=B3x", socket.AF_INET)),
        )

    def close(self) -> None:
        """Close both sockets. Harmless when done twice."""
        self._requests.close()
        self._events.close()

    def _ask(self, kind: int, body: bytes) -> tuple[bytes, ...]:
        """One dump, asked for again when the state changed under it (NLM_F_DUMP_INTR)."""
        for left in reversed(range(_ATTEMPTS)):
            self._sequence += 1
            header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST_DUMP, self._sequence, 0)
            try:
                self._requests.send(header + body)
                messages, interrupted = self._receive()
            except OSError as error:
                # EBUSY: the rest of an earlier dump is in the way. ENOBUFS: there was no room for this one.
                if error.errno not in (errno.EBUSY, errno.ENOBUFS) or not left:
                    raise
                drain(self._requests)
                continue
            if not interrupted:
                break
        return messages

    def _receive(self) -> tuple[tuple[bytes, ...], bool]:
        """The messages of one dump without its end mark, and whether the state changed under it."""
        messages: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, sequence, message in split(self._requests.recv(_RECEIVE)):
                if sequence != self._sequence:
                    continue  # of an earlier dump that was broken off
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    (status,) = struct.unpack_from("=i", message, _HEADER.size)
                    if status < 0:
                        raise OSError(-status, os.strerror(-status))
                    return tuple(messages), interrupted
                messages.append(message)


def open_events() -> socket.socket:
    """A netlink socket that is told of every change of links, addresses, routes and rules."""
    events = _netlink_socket()
    try:
        for group in GROUPS:
            events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        events.close()
        raise
    return events


def drain(events: socket.socket) -> bool:
    """Empty an event socket; whether there was anything in it. One system call when there was nothing."""
    changed = False
    while True:
        try:
            events.recv(_RECEIVE)
        except BlockingIOError:
            return changed
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # Events were lost. What they said is unknown, so everything may have changed.
        changed = True


async def import_codec() -> None:
    """Load pyroute2 (some 170 ms) off the loop, once."""
    if _CODEC not in sys.modules:
        await anyio.to_thread.run_sync(importlib.import_module, _CODEC)


def _netlink_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    with contextlib.ExitStack() as on_error:
        on_error.callback(opened.close)
        opened.bind((0, 0))
        # The kernel answers while it is being asked: there is nothing to wait for.
        opened.setblocking(False)
        on_error.pop_all()
    return opened
