"""What a client is told when there is no connection, in the words of either protocol. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..calls import timed_out
from ..errors import ConnectFailed, NoUsablePvd, PolicyProhibited, ResolutionFailed
from ..race.actions import TIMEOUT
from . import socks5
from .targets import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..race.report import RaceReport

REASONS = {
    200: "Connection established",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
NAME = "pvdrace"
#: What a 200 to CONNECT is: a tunnel from here on, so no field that speaks of content (RFC 9110 s9.3.6).
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
CHALLENGE = ("Proxy-Authenticate", f'Basic realm="{NAME}", charset="UTF-8"')


class Refusal(NamedTuple):
    """A failure: SOCKS' reply (RFC 1928 s6), the status of HTTP, the error of RFC 9209 s2.3, and why."""

    reply: int
    status: int
    error: str
    why: str


def refusal(error: Exception) -> Refusal:
    """What a failure to connect is called."""
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TargetRefused):
        return Refusal(socks5.NOT_ALLOWED, 403, "destination_ip_prohibited", why)
    if isinstance(error, PolicyProhibited):
        return Refusal(socks5.NOT_ALLOWED, 403, "http_request_denied", why)
    if isinstance(error, NoUsablePvd):
        return Refusal(socks5.NETWORK_UNREACHABLE, 503, "destination_unavailable", why)
    if isinstance(error, ResolutionFailed):
        return Refusal(socks5.HOST_UNREACHABLE, 502, "dns_error", why)
    if isinstance(error, ConnectFailed) and error.report is not None:
        return _lost(error.report, why)
    if isinstance(error, ValueError):
        return Refusal(socks5.GENERAL_FAILURE, 400, "http_request_error", why)
    return Refusal(socks5.GENERAL_FAILURE, 502, "proxy_internal_error", why)


def _lost(report: RaceReport, why: str) -> Refusal:
    errors = [attempt.error or "" for attempt in report.attempts]
    if timed_out(report) or (errors and all(map(_is_timeout, errors))):
        return Refusal(socks5.TTL_EXPIRED, 504, "connection_timeout", why)
    if any(error == "refused" for error in errors):
        return Refusal(socks5.REFUSED, 502, "connection_refused", why)
    if errors and all(error == "no route" for error in errors):
        return Refusal(socks5.NETWORK_UNREACHABLE, 502, "destination_ip_unroutable", why)
    return Refusal(socks5.HOST_UNREACHABLE, 502, "destination_unavailable", why)


def _is_timeout(error: str) -> bool:
    return error.startswith((TIMEOUT, "timed out"))


def http_answer(
    status: int,
    why: str,
    error: str | None = None,
    fields: Iterable[tuple[str, str]] = (),
    *,
    body: bool = True,
) -> bytes:
    """A whole response of our own with one line of why. ``error`` goes into Proxy-Status (RFC 9209)."""
    line = f"{why}\n".encode()
    head = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in fields)]
    if error is not None:
        head.append(f"Proxy-Status: {NAME}; error={error}")
    head += ["Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(line)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + (line if body else b"")
