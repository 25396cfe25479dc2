"""The server's side of SOCKS 5 (RFC 1928), with or without user and password (RFC 1929). Pure.

How to drive it: hand what comes to `feed` and send what it returns, until `target` or `error` is there. With
a target connect, then send `reply`; ``rest`` is what the client has said already to the target. With an error
close: what was to be said has been returned.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accounts import Login

VERSION = 5
NO_AUTHENTICATION, USER_PASSWORD, NOTHING_ACCEPTABLE = 0x00, 0x02, 0xFF
CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
IPV4, NAME, IPV6 = 1, 3, 4

#: RFC 1928 s6.
SUCCEEDED = 0
GENERAL_FAILURE = 1
NOT_ALLOWED = 2
NETWORK_UNREACHABLE = 3
HOST_UNREACHABLE = 4
REFUSED = 5
TTL_EXPIRED = 6
COMMAND_NOT_SUPPORTED = 7
ADDRESS_TYPE_NOT_SUPPORTED = 8

_COMMANDS = {BIND: "BIND", UDP_ASSOCIATE: "UDP ASSOCIATE"}
#: SOCKS 4 says no like this ("request rejected or failed"): whoever speaks it is told in its own words.
SOCKS4_REJECTED = b"\x00\x5b\x00\x00\x00\x00\x00\x00"


class Socks5:
    """One client's conversation. ``login`` knows the users; ``anonymous``: it may go without.

    A client that offers user and password has them: so they are asked for, and count, even where it might
    have gone without. ``user`` is its name then.
    """

    def __init__(self, login: Login, *, anonymous: bool) -> None:
        self.user: str | None = None
        self.target: tuple[str, int] | None = None
        self.error: str | None = None
        self.rest = b""
        self._login = login
        self._anonymous = anonymous
        self._step = self._methods

    def feed(self, data: bytes) -> bytes:
        """Take in what has come; returns what is to be sent."""
        self.rest += data
        said = b""
        while self.target is None and self.error is None:
            reply = self._step()
            if reply is None:
                break
            said += reply
        return said

    def reply(self, code: int, bound: tuple[str, int] = ("0.0.0.0", 0)) -> bytes:
        """RFC 1928 s6; ``bound`` is the address that the connection was made from."""
        return _reply(code, bound)

    def _methods(self) -> bytes | None:
        """RFC 1928 s3."""
        if len(self.rest) >= 1 and self.rest[0] != VERSION:
            self.error = f"the client speaks version {self.rest[0]} of SOCKS, not 5"
            return SOCKS4_REJECTED if self.rest[0] == 4 else b""
        if len(self.rest) < 2 or len(self.rest) < 2 + self.rest[1]:
            return None
        offered = self._take(2 + self.rest[1])[2:]
        if USER_PASSWORD in offered:
            self._step = self._user
            return bytes((VERSION, USER_PASSWORD))
        if self._anonymous and NO_AUTHENTICATION in offered:
            self._step = self._request
            return bytes((VERSION, NO_AUTHENTICATION))
        self.error = (
            "the client offers no user and password" if not self._anonymous else "no method in common"
        )
        return bytes((VERSION, NOTHING_ACCEPTABLE))

    def _user(self) -> bytes | None:
        """RFC 1929 s2."""
        waiting = self.rest
        if len(waiting) >= 1 and waiting[0] != 1:
            self.error = f"the client speaks version {waiting[0]} of RFC 1929, not 1"
            return b"\x01\x01"
        if len(waiting) < 2 or len(waiting) < 3 + waiting[1]:
            return None
        end = 3 + waiting[1]
        if len(waiting) < end + waiting[end - 1]:
            return None
        name, password = waiting[2 : end - 1], waiting[end : end + waiting[end - 1]]
        self._take(end + waiting[end - 1])
        self.user = self._login(name, password)
        if self.user is None:
            self.error = "unknown user or wrong password"
            return b"\x01\x01"
        self._step = self._request
        return b"\x01\x00"

    def _request(self) -> bytes | None:
        """RFC 1928 s4 and s5."""
        waiting = self.rest
        if len(waiting) >= 1 and waiting[0] != VERSION:
            return self._no(GENERAL_FAILURE, f"a request of version {waiting[0]}")
        if len(waiting) < 5:
            return None
        length = {IPV4: 4, NAME: 1 + waiting[4], IPV6: 16}.get(waiting[3])
        if length is None:
            return self._no(ADDRESS_TYPE_NOT_SUPPORTED, f"address type {waiting[3]}")
        if len(waiting) < 4 + length + 2:
            return None
        request = self._take(4 + length + 2)
        if request[1] != CONNECT:
            what = _COMMANDS.get(request[1], f"command {request[1]}")
            return self._no(COMMAND_NOT_SUPPORTED, f"{what} is not supported, CONNECT is")
        address, port = request[4:-2], int.from_bytes(request[-2:], "big")
        if request[3] == NAME:
            try:
                host = address[1:].decode("utf-8")
            except UnicodeDecodeError:
                return self._no(GENERAL_FAILURE, "a host name that is not UTF-8")
        else:
            host = str(ipaddress.ip_address(address))
        self.target = host, port
        return b""

    def _no(self, code: int, why: str) -> bytes:
        self.error = why
        return _reply(code, ("0.0.0.0", 0))

    def _take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken


def _reply(code: int, bound: tuple[str, int]) -> bytes:
    address = ipaddress.ip_address(bound[0].partition("%")[0])
    kind = IPV4 if address.version == 4 else IPV6
    return bytes((VERSION, code, 0, kind)) + address.packed + bound[1].to_bytes(2, "big")
