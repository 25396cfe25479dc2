"""The conversation that makes a connection to a proxy one to the destination. Pure: bytes in, bytes out.

HTTP CONNECT (RFC 9110 s9.3.6) and SOCKS 5 without authentication (RFC 1928), the name left to the proxy.

How to drive it: send `begin`; look at what has come *without taking it* (MSG_PEEK), take as many bytes as
`take` says, hand them to `feed`, send what that returns, until `done`. So nothing is read that belongs to
whoever speaks next: the socket goes on to them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Protocol

from ..model import parse_literal
from ..proxies import parse_proxy

if TYPE_CHECKING:
    from ..model import Endpoint

#: Bytes that a proxy may say before its tunnel is there.
LONGEST_REPLY = 16384
#: Characters of a proxy's own words that an error quotes.
QUOTED = 60

#: RFC 1928 s6.
SOCKS_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class TunnelFailed(Exception):
    """The proxy makes no tunnel; ``str()`` is one line."""


class Tunnel(Protocol):
    """One conversation, see the module."""

    done: bool

    def begin(self) -> bytes:
        """What is to be sent first."""

    def take(self, waiting: bytes) -> int:
        """How many of these bytes, the next that have come, belong to the conversation: 1 at least."""

    def feed(self, data: bytes) -> bytes:
        """Take in what was taken, and return what is to be sent. Raises `TunnelFailed`."""


def tunnel(proxy: str, destination: Endpoint) -> Tunnel:
    """The conversation with the proxy of this URL about a tunnel to a destination.

    Raises ValueError for a URL that is no proxy's, and for a destination that cannot be told to one.
    """
    kind = _Connect if parse_proxy(proxy).scheme == "http" else _Socks5
    host, port = destination
    literal = parse_literal(host)
    if literal is None and not re.fullmatch(r"[!-~]{1,255}", host):
        raise ValueError(f"{host!r} cannot be told to a proxy: it is no host name")
    return kind(literal.address if literal else host, port)


class _Connect:
    """RFC 9110 s9.3.6: any 2xx, and the tunnel begins right after the header section."""

    def __init__(self, host: str, port: int) -> None:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
        self._head = b""
        self._heard = 0
        self.done = False

    def begin(self) -> bytes:
        return self._request

    def take(self, waiting: bytes) -> int:
        known = self._head[-3:]
        end = _END_OF_HEAD.search(known + waiting)
        return len(waiting) if end is None else end.end() - len(known)

    def feed(self, data: bytes) -> bytes:
        self._head += data
        self._heard += len(data)
        if not _STATUS_BEGINS.fullmatch(self._head[:9]):
            raise TunnelFailed("the proxy does not speak HTTP")
        if _END_OF_HEAD.search(self._head[-3:]):
            self._judge()
        if not self.done and self._heard >= LONGEST_REPLY:
            raise TunnelFailed(f"the proxy's reply is longer than {LONGEST_REPLY} bytes")
        return b""

    def _judge(self) -> None:
        status = _STATUS.match(self._head)
        if status is None:
            raise TunnelFailed("the proxy's reply has no status (RFC 9112 s4)")
        code = int(status[1])
        if 100 <= code < 200 and code != 101:
            self._head = b""  # RFC 9110 s15.2: an interim response; the final one follows
        elif 200 <= code < 300:
            # s9.3.6: whatever the header section says of content, the tunnel begins here.
            self.done = True
        elif code == 407:
            raise TunnelFailed("the proxy asks for authentication (407)")
        else:
            words = _printable(status[2] or b"")
            raise TunnelFailed(f"the proxy said {code} {words}".rstrip())


# RFC 9112 s2.2: a single LF may be taken for the end of a line.
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_STATUS_BEGINS = re.compile(rb"H(?:T(?:T(?:P(?:/(?:1(?:\.(?:[0-9](?: )?)?)?)?)?)?)?)?")


class _Socks5:
    """RFC 1928 s3 to s6. Each reply has its length, so no byte is asked for that may not come."""

    def __init__(self, host: str, port: int) -> None:
        self._request = b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big")
        self._reply = b""
        self._wanted = 2  # the method; then the reply
        self._chosen = False
        self.done = False

    def begin(self) -> bytes:
        return b"\x05\x01\x00"  # version 5, one method: no authentication

    def take(self, waiting: bytes) -> int:
        return min(self._wanted - len(self._reply), len(waiting))

    def feed(self, data: bytes) -> bytes:
        self._reply += data
        if self._reply[0] != 5:
            raise TunnelFailed("the proxy does not speak SOCKS 5")
        if len(self._reply) >= 2:
            return self._replied() if self._chosen else self._method()
        return b""

    def _method(self) -> bytes:
        if self._reply[1]:
            if self._reply[1] == 0xFF:
                raise TunnelFailed("the proxy asks for authentication (SOCKS)")
            raise TunnelFailed(f"the proxy chose method {self._reply[1]}, which was not offered")
        self._chosen = True
        self._reply, self._wanted = b"", 5  # as far as the first byte of the address
        return self._request

    def _replied(self) -> bytes:
        if code := self._reply[1]:
            raise TunnelFailed(
                f"the proxy said {SOCKS_REPLIES.get(code, 'an unknown failure')} (SOCKS {code})"
            )
        if len(self._reply) == 5:
            length = {1: 4, 3: 1 + self._reply[4], 4: 16}.get(self._reply[3])
            if length is None:
                raise TunnelFailed(f"the proxy's reply has an unknown address type {self._reply[3]}")
            self._wanted = 4 + length + 2
        self.done = len(self._reply) == self._wanted
        return b""


def _socks_address(host: str) -> bytes:
    """RFC 1928 s5."""
    literal = parse_literal(host)
    if literal is None:
        return b"\x03" + bytes([len(host)]) + host.encode("ascii")
    return (b"\x01" if literal.family == 4 else b"\x04") + ipaddress.ip_address(literal.address).packed


def _printable(text: bytes) -> str:
    """Somebody else's words, fit for one line of an error."""
    words = "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text[: QUOTED + 1])
    return f"{words[:QUOTED]}..." if len(words) > QUOTED else words
