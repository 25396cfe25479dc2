"""Just enough HTTP/1.1 for a probe (RFC 9112): one request, one response, nothing followed. Pure: bytes in,
values out. What a portal answers is hostile input: bounded in size, and anything may be wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..config.probe_settings import Target

#: Of a response no more than this is read, in bytes, head and body together.
MAX_RESPONSE = 65536
#: Of a length. Python itself takes 4300 at most, and raises ValueError for more.
_DIGITS = 18


class Request(NamedTuple):
    """A GET. ``accept`` is the media type that is wanted."""

    target: Target
    accept: str = "*/*"

    def encode(self) -> bytes:
        """The bytes to send. No cookies, nothing from a cache, nothing about who asks."""
        fields = (
            f"GET {self.target.path} HTTP/1.1",
            f"Host: {self.target.authority}",
            "User-Agent: pvdrace",
            f"Accept: {self.accept}",
            "Accept-Encoding: identity",
            "Cache-Control: no-cache",
            "Connection: close",
        )
        return "".join(f"{field}\r\n" for field in (*fields, "")).encode("ascii")


class Response(NamedTuple):
    """What came back. ``headers`` by lower-case name, the first of each. ``whole``: nothing is missing."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = True

    @property
    def length(self) -> int | None:
        """The Content-Length, None where there is none or it is no number of bytes that could be."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


class Failure(NamedTuple):
    """Why there is no response. ``kind`` is one of `KINDS`, ``text`` a few words."""

    kind: str
    text: str


#: ``no address``: the name has none in this family · ``private``: a private one · ``dns``: no answer ·
#: ``connect``: TCP failed · ``timeout`` · ``certificate``: of somebody else · ``clock``: out of its time ·
#: ``tls``: TLS failed otherwise · ``protocol``: what came is not HTTP · ``here``: a fault of this host
KINDS = (
    "no address",
    "private",
    "dns",
    "connect",
    "timeout",
    "certificate",
    "clock",
    "tls",
    "protocol",
    "here",
)

Outcome = Response | Failure


class ResponseReader:
    """Takes a response apart as it comes in. ``outcome`` is there as soon as nothing more is wanted."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._seen = bytearray()

    def feed(self, data: bytes) -> Outcome | None:
        """More bytes; no bytes are the end of the connection. Returns ``outcome``."""
        if self.outcome is None:
            self._seen += data
            full = len(self._seen) >= MAX_RESPONSE
            del self._seen[MAX_RESPONSE:]
            self.outcome = self._read(ended=not data or full, full=full)
        return self.outcome

    def _read(self, *, ended: bool, full: bool) -> Outcome | None:
        while True:
            head, separator, rest = bytes(self._seen).partition(b"\r\n\r\n")
            if not separator:
                begins = head.startswith(b"HTTP/"[: len(head)])
                return Failure("protocol", _said(head)) if ended or not begins else None
            parsed = _head(head)
            if isinstance(parsed, Failure):
                return parsed
            status, headers = parsed
            if not 100 <= status < 200 or status == 101:
                break
            del self._seen[: len(head) + len(separator)]  # an interim response (RFC 9110 s15.2)
        return _body(status, headers, rest, ended=ended, full=full)


def _head(head: bytes) -> tuple[int, dict[str, str]] | Failure:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
        return Failure("protocol", _said(head))
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return int(code), headers


def _body(status: int, headers: dict[str, str], rest: bytes, *, ended: bool, full: bool) -> Response | None:
    """RFC 9112 s6.3: how long a body is."""
    if status in (101, 204, 304):
        return Response(status, headers)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body, whole = _chunks(rest)
        return Response(status, headers, body, whole) if whole or ended else None
    length = Response(status, headers).length
    if length is None:
        return Response(status, headers, rest, whole=not full) if ended else None
    if len(rest) >= length:
        return Response(status, headers, rest[:length])
    return Response(status, headers, rest, whole=False) if ended else None


def _chunks(rest: bytes) -> tuple[bytes, bool]:
    """The body so far, and whether it is whole (RFC 9112 s7.1); trailers are not waited for."""
    body: list[bytes] = []
    whole, at = False, 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        size = _chunk_size(rest[at:end])
        at = end + 2
        if size is None or size == 0:
            whole = size == 0
            break
        body.append(rest[at : at + size])
        at += size + 2
        if at > len(rest):
            break
    return b"".join(body), whole


def _chunk_size(line: bytes) -> int | None:
    try:
        size = int(line.split(b";")[0], 16)
    except ValueError:
        return None
    return size if size >= 0 else None


def _said(head: bytes) -> str:
    if not head:
        return "closed without an answer"
    line = head.splitlines()[0][:40].decode("ascii", "replace")
    return f"no HTTP: {''.join(c if c.isprintable() else '?' for c in line)!r}"
