"""HTTP/1.1 as a proxy sees it: CONNECT (RFC 9110 s9.3.6), and http:// requests to pass on. Pure.

h11 reads and writes messages; here stands what a proxy has to change in them (RFC 9110 s7.6).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import h11

from .replies import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Fields = Sequence[tuple[bytes, bytes]]

#: Bytes of a header section: a browser's with many cookies.
MAX_HEAD = 1 << 16
#: RFC 9110 s7.6.1: fields of one connection, and those of whoever speaks to the proxy itself.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
_ABSOLUTE = re.compile(rb"http://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([^][]*)\]|([^][:]*))(?::([0-9]{1,5}))?", re.ASCII)


class BadRequest(Exception):
    """A request that cannot be done; ``str()`` is one line. ``status`` says so in HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Target(NamedTuple):
    """Where a request goes. ``path`` is empty for CONNECT."""

    host: str
    port: int
    path: bytes = b""
    authority: bytes = b""


def target(request: h11.Request) -> Target:
    """Where a request wants to go. Raises `BadRequest`."""
    if request.method == b"CONNECT":
        host, port = _split(request.target)
        if port is None:
            raise BadRequest("CONNECT wants HOST:PORT (RFC 9110 s9.3.6)")
        return Target(host, port)
    found = _ABSOLUTE.fullmatch(request.target)
    if found is None:
        if request.target[:1] in (b"/", b"*"):
            raise BadRequest("this is a proxy: it takes CONNECT and http:// URLs (RFC 9112 s3.2)")
        scheme = request.target.partition(b":")[0][:20].decode("ascii", "replace")
        raise BadRequest(
            f"{scheme!r} URLs are not passed on: http:// ones are, for all else there is CONNECT"
        )
    if b"@" in found[1]:
        raise BadRequest("a URL with a user in it (RFC 9110 s4.2.4)")
    host, port = _split(found[1])
    path = found[2]
    if path[:1] != b"/":  # RFC 9112 s3.2.1; OPTIONS without a path is about the server itself: s3.2.4
        path = b"*" if request.method == b"OPTIONS" and not path else b"/" + path
    return Target(host, port or 80, path, found[1])


def _split(authority: bytes) -> tuple[str, int | None]:
    found = _AUTHORITY.fullmatch(authority.decode("ascii", "replace"))
    host = (found[1] or found[2]) if found else None
    if found is None or not host:
        raise BadRequest("no host in the target of the request")
    port = int(found[3]) if found[3] else None
    if port is not None and not 0 < port < 65536:
        raise BadRequest(f"port {port} is not a number from 1 to 65535")
    return host, port


def authorization(fields: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The ``Proxy-Authorization`` of a request; two of them are none."""
    found = [value for name, value in fields if name == b"proxy-authorization"]
    return found[0] if len(found) == 1 else None


def to_origin(request: h11.Request, where: Target) -> h11.Request | None:
    """The request as the origin server gets it: origin-form, its own Host, one exchange a connection.

    None: `Max-Forwards` says that it is for us (RFC 9110 s7.6.2). Raises `BadRequest`, also for what servers
    disagree about where it ends: with two framings, or one that its version does not have (RFC 9112 s6.1).
    """
    framing = {name for name, _ in request.headers} & {b"content-length", b"transfer-encoding"}
    if len(framing) == 2:
        raise BadRequest("Content-Length and Transfer-Encoding in one request (RFC 9112 s6.1)")
    if b"transfer-encoding" in framing and request.http_version < b"1.1":
        raise BadRequest("Transfer-Encoding in a request of HTTP/1.0 (RFC 9112 s6.1)")
    fields = _passed_on(request.headers, request.http_version)
    if request.method in (b"OPTIONS", b"TRACE"):
        left = [value for name, value in fields if name == b"max-forwards"]
        if left and left[0].isdigit():
            if int(left[0]) == 0:
                return None
            fields = [each for each in fields if each[0] != b"max-forwards"]
            fields.append((b"max-forwards", str(int(left[0]) - 1).encode()))
    fields = [(name, value) for name, value in fields if name != b"host"]
    try:
        return h11.Request(
            method=request.method,
            target=where.path,
            headers=[(b"host", where.authority), *fields, (b"connection", b"close")],
        )
    except h11.LocalProtocolError as error:
        raise BadRequest(str(error)) from None


def to_client(
    response: h11.Response | h11.InformationalResponse,
) -> h11.Response | h11.InformationalResponse:
    """A response as the client gets it."""
    fields = _passed_on(response.headers, response.http_version)
    if isinstance(response, h11.InformationalResponse):
        return h11.InformationalResponse(
            status_code=response.status_code, headers=fields, reason=response.reason
        )
    return h11.Response(status_code=response.status_code, headers=fields, reason=response.reason)


def _passed_on(fields: Fields, version: bytes) -> list[tuple[bytes, bytes]]:
    """The fields that are for whoever comes next, and Via (RFC 9110 s7.6.1, s7.6.3)."""
    named = {
        token.strip().lower()
        for name, value in fields
        if name == b"connection"
        for token in value.split(b",")
    }
    # Framing is not for the sender to take back: what is left of it would be read otherwise (RFC 9112 s6.3).
    named -= {b"content-length", b"transfer-encoding", b"host"}
    kept = [(name, value) for name, value in fields if name not in HOP_BY_HOP and name not in named]
    return [*kept, (b"via", version + b" " + NAME.encode())]
