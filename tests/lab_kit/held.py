"""Which network namespaces are held, by any process of this machine, that it may look at."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

from pvdrace.lab.syscalls import CLONE_NEWNET, setns

SO_NETNS_COOKIE = 71


def network_namespaces(of: Path = Path("/proc"), only: set[str] | None = None) -> dict[str, int]:
    """Name to cookie: the kernel gives a name's number away again, but never a cookie."""
    found: dict[str, int] = {}
    for entry in [of] if of.name.isdigit() else of.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            for link in [entry / "ns/net", *(entry / "fd").iterdir()]:
                name = os.readlink(link)
                if name.startswith("net:[") and name not in found and (only is None or name in only):
                    found[name] = cookie(link)
        except OSError:
            continue
    return found


def cookie(path: Path) -> int:
    """The cookie of the namespace behind a path, from a thread that goes there."""
    results: list[int] = []

    def look() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            setns(descriptor, CLONE_NEWNET)
        except OSError:
            return
        finally:
            os.close(descriptor)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            results.append(struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return results[0] if results else 0
