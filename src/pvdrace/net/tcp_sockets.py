"""The TCP sockets of processes, as the kernel counts them. Asks the kernel and /proc; sends no packet."""

from __future__ import annotations

import os
import re
import socket
import struct
from typing import TYPE_CHECKING

from .sock_diag import FAMILIES, NLMSG_DONE, NLMSG_ERROR, messages, request, tcp_socket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .sock_diag import TcpSocket

_NETLINK_SOCK_DIAG = 4
_RECEIVE = 1 << 18


def tcp_sockets_of(pids: Iterable[int]) -> list[TcpSocket]:
    """The connected TCP sockets of these processes, in the network namespace of the calling thread.

    Of a process that is another user's, or gone, there are none. Raises OSError where the kernel refuses.
    """
    inodes: set[int] = set()
    for pid in pids:
        inodes |= _sockets_of(pid)
    return [sock for sock in _all() if sock.inode in inodes] if inodes else []


def _sockets_of(pid: int) -> set[int]:
    """The inodes of a process's sockets of all kinds."""
    found: set[int] = set()
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            found.add(int(match[1]))
    return found


def _all() -> list[TcpSocket]:
    found: list[TcpSocket] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        for family in FAMILIES:
            kernel.send(request(family, family))
            ended = False
            while not ended:
                for kind, sequence, message in messages(kernel.recv(_RECEIVE)):
                    if sequence != family:
                        continue
                    if kind in (NLMSG_ERROR, NLMSG_DONE):
                        (status,) = struct.unpack_from("=i", message)
                        if status < 0:
                            raise OSError(-status, os.strerror(-status))
                        ended = True
                    elif (one := tcp_socket(message)) is not None:
                        found.append(one)
    return found
