"""Read the host's DNS settings: resolv.conf and systemd's. Does; `resolvers` decides who gets what."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from .resolvconf import parse_resolv_conf
from .resolved import DUMP_REQUEST, parse_dump, parse_networkd_file, parse_resolved_file
from .resolvers import STUBS, SystemDns

if TYPE_CHECKING:
    from collections.abc import Callable

    from .resolved import LinkDns

RESOLV_CONF = "etc/resolv.conf"
#: The servers behind resolved's stub, those of all links in one list.
UPLINK_RESOLV_CONF = "run/systemd/resolve/resolv.conf"
RESOLVED_LINKS = "run/systemd/resolve/netif"
NETWORKD_LINKS = "run/systemd/netif/links"
RESOLVED_SOCKET = "run/systemd/resolve/io.systemd.Resolve"
#: Seconds for resolved to answer on its socket; it needs well under a millisecond.
_VARLINK_TIMEOUT = 0.5
_VARLINK_LIMIT = 1 << 20


class DnsFiles:
    """The DNS settings under one root directory, and whether they have changed since they were read."""

    def __init__(self, root: str | Path = "/", same_namespace: Callable[[], bool] | None = None) -> None:
        self._root = Path(root)
        self._same_namespace = same_namespace or systemd_shares_our_network
        self._seen: object = None
        self._dns = SystemDns()

    async def read(self) -> SystemDns:
        """The settings now; the files are opened only when one of them has changed."""
        seen = self._signature()
        if seen != self._seen:
            same = self._same_namespace()
            self._take(seen, same, await self._dump() if same else None)
        return self._dns

    def read_here(self) -> SystemDns:
        """As `read`, and the calling thread waits, for who has no event loop to keep going."""
        seen = self._signature()
        if seen != self._seen:
            same = self._same_namespace()
            self._take(seen, same, self._dump_here() if same else None)
        return self._dns

    def changed(self) -> bool:
        """Whether a file has changed since `read`; a few stat calls."""
        return self._signature() != self._seen

    def _signature(self) -> object:
        """Changes whenever a file does; systemd replaces its files, which shows in the directory."""
        names = (RESOLV_CONF, UPLINK_RESOLV_CONF, RESOLVED_LINKS, NETWORKD_LINKS, RESOLVED_SOCKET)
        return tuple(_stamp(self._root / name) for name in names)

    def _take(self, seen: object, same_namespace: bool, dumped: tuple[LinkDns, ...] | None) -> None:
        links: tuple[LinkDns, ...] = ()
        if same_namespace:
            links = self._links() if dumped is None else dumped
        self._dns = self._with_host_file(links)
        self._seen = seen

    def _with_host_file(self, links: tuple[LinkDns, ...]) -> SystemDns:
        host = parse_resolv_conf(_text(self._root / RESOLV_CONF))
        if not links and any(server.address in STUBS for server in host.nameservers):
            uplink = parse_resolv_conf(_text(self._root / UPLINK_RESOLV_CONF))
            if uplink.nameservers:
                return SystemDns(links, uplink, f"/{UPLINK_RESOLV_CONF}")
        return SystemDns(links, host)

    def _links(self) -> tuple[LinkDns, ...]:
        """By systemd's files, where resolved does not say."""
        found: dict[int, LinkDns] = {}
        for directory, parse in (
            (NETWORKD_LINKS, parse_networkd_file),
            (RESOLVED_LINKS, parse_resolved_file),
        ):
            for ifindex, text in _numbered_files(self._root / directory):
                if link := parse(text, ifindex):
                    found[ifindex] = link
        return tuple(found[ifindex] for ifindex in sorted(found))

    async def _dump(self) -> tuple[LinkDns, ...] | None:
        """Ask resolved over varlink; None where it is not there, too old, or silent."""
        path = self._root / RESOLVED_SOCKET
        if not path.is_socket():
            return None
        answer = b""
        with contextlib.suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            with anyio.move_on_after(_VARLINK_TIMEOUT):
                async with await anyio.connect_unix(path) as stream:
                    await stream.send(DUMP_REQUEST)
                    while not answer.endswith(b"\0") and len(answer) < _VARLINK_LIMIT:
                        answer += await stream.receive()
        return parse_dump(answer) if answer.endswith(b"\0") else None

    def _dump_here(self) -> tuple[LinkDns, ...] | None:
        """As `_dump`, waiting in the calling thread."""
        path = self._root / RESOLVED_SOCKET
        if not path.is_socket():
            return None
        answer = b""
        until = time.monotonic() + _VARLINK_TIMEOUT
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(_VARLINK_TIMEOUT)
            stream.connect(str(path))
            stream.sendall(DUMP_REQUEST)
            while not answer.endswith(b"\0") and len(answer) < _VARLINK_LIMIT:
                stream.settimeout(max(until - time.monotonic(), 0.001))
                if not (data := stream.recv(65536)):
                    break
                answer += data
        return parse_dump(answer) if answer.endswith(b"\0") else None


def systemd_shares_our_network() -> bool:
    """Whether this thread is in systemd's network namespace; only there do its interface indexes mean ours.

    Root compares with the namespace of process 1. Others may not look, and go by resolved's stub listener.
    """
    try:
        return os.path.samestat(os.stat("/proc/1/ns/net"), os.stat("/proc/thread-self/ns/net"))
    except OSError:
        return has_stub_listener(_text(Path("/proc/thread-self/net/udp")))


def has_stub_listener(udp_table: str) -> bool:
    """Whether 127.0.0.53:53 is bound, in the text of ``/proc/net/udp`` (addresses in host byte order)."""
    stub = int.from_bytes(bytes((127, 0, 0, 53)), sys.byteorder)
    return f" {stub:08X}:0035 " in udp_table


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _numbered_files(directory: Path) -> list[tuple[int, str]]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.isdigit())
    except OSError:
        return []
    return [(int(name), _text(directory / name)) for name in names]
