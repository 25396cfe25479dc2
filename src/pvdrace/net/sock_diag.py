"""sock_diag(7) in bytes: which TCP sockets there are, in which device, and what they have carried. Pure.

By hand as `rtnetlink`: a dozen fields are needed of each of what may be thousands of sockets.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
FAMILIES = (2, 10)  # AF_INET, AF_INET6

_NLM_F_REQUEST_DUMP = 0x301
_TCP = 6
_INET_DIAG_INFO = 2
_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 1, 4, 5, 8
_STATES = sum(1 << state for state in (_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT))
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: all sockets of a family in these states
_FIXED = 72  # bytes of inet_diag_msg
_COUNTED = 120  # where tcpi_bytes_acked and tcpi_bytes_received stand in tcp_info


class TcpSocket(NamedTuple):
    """A connected TCP socket. ``ifindex`` is the device that it is bound to, 0 for none.

    ``cookie`` names it for as long as the kernel runs; ``inode`` is what a process's descriptors say.
    ``sent`` (acknowledged) and ``received`` are bytes of what was carried, without SYN and FIN, which TCP
    counts, too.
    """

    cookie: int
    inode: int
    ifindex: int
    local: str
    sent: int
    received: int


def request(family: int, sequence: int) -> bytes:
    """The question for all connected TCP sockets of a family, with their TCP_INFO."""
    body = _REQUEST.pack(family, _TCP, 1 << (_INET_DIAG_INFO - 1), _STATES)
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The messages of one datagram: type, sequence number, and the message without its header."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, sequence, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def tcp_socket(message: bytes) -> TcpSocket | None:
    """What a message says; None where it is too short, or the kernel counts no bytes (before 4.2)."""
    if len(message) < _FIXED:
        return None
    family, state = message[0], message[1]
    size = 4 if family == 2 else 16
    local = str(ipaddress.ip_address(message[8 : 8 + size]))
    ifindex, cookie = struct.unpack_from("=IQ", message, 40)
    (inode,) = struct.unpack_from("=I", message, 68)
    at = _FIXED
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if length < 4:
            break
        if kind == _INET_DIAG_INFO and length >= 4 + _COUNTED + 16:
            acked, received = struct.unpack_from("=QQ", message, at + 4 + _COUNTED)
            sent = acked - 1 - (state == _FIN_WAIT2)
            return TcpSocket(cookie, inode, ifindex, local, max(sent, 0), received - (state == _CLOSE_WAIT))
        at += (length + 3) & ~3
    return None
