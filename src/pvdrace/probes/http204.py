"""The probe over HTTP: anybody may answer it, so that a captive portal does. Pure.

Judged as Android does (NetworkMonitor, `CaptivePortalProbeResult`), the expected answers of the other
detectors included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

from .judgement import Finding, Judgement
from .messages import Failure, Outcome, Request, Response

if TYPE_CHECKING:
    from ..config.probe_settings import Expected, Target

#: A server that wants more time than this, in seconds, does not get it.
MAX_RETRY_AFTER = 3600.0
#: Android: so few bytes are no page that a portal could show.
_NO_PAGE = 4


def request(target: Target) -> Request:
    """What to send."""
    return Request(target)


def judge(outcome: Outcome, expected: Expected, target: Target) -> Judgement:
    """What the outcome says.

    Conclusive for a portal: a redirect, another page than the expected one, 511 (RFC 6585 s6). Not a portal:
    errors of the server, and a 200 with nothing in it, as broken proxies answer.
    """
    if isinstance(outcome, Failure):
        return Judgement(Finding.FAILED, f"HTTP: {outcome.text}", outcome.kind)
    status = outcome.status
    if is_expected(outcome, expected):
        return Judgement(Finding.OK, f"HTTP {status}")
    if status == 511:
        return Judgement(Finding.PORTAL, "HTTP 511", portal=_location(outcome, target))
    if 300 <= status < 400:
        portal = _location(outcome, target)
        return Judgement(Finding.PORTAL, f"HTTP {status}{f' to {portal}' if portal else ''}", portal=portal)
    if 200 <= status < 300:
        if _is_empty(outcome):
            return Judgement(Finding.FAILED, f"HTTP {status} with nothing in it")
        if not outcome.whole and expected.body is not None and _might_be(outcome, expected):
            return Judgement(Finding.FAILED, f"HTTP {status}, cut short")
        return Judgement(Finding.PORTAL, f"HTTP {status} with another page", portal=str(target))
    return Judgement(Finding.FAILED, f"HTTP {status}", retry_after=_retry_after(outcome))


def is_expected(response: Response, expected: Expected) -> bool:
    """Whether this is what the server answers where nothing stands in between."""
    if expected.header is not None:
        name, value = expected.header
        if response.headers.get(name, "").lower() == value:
            return True
    if response.status == 200 and expected.empty and response.whole and len(response.body) <= 1:
        return True
    if response.status != expected.status:
        return False
    if expected.body is None:
        return True
    body = response.body.decode("utf-8", "replace").strip()
    return body == expected.body if expected.match == "equal" else body.startswith(expected.body)


def _is_empty(response: Response) -> bool:
    """Android: "200 with Content-Length of at most 4, or none and an empty body" is no portal.

    204 where another answer is expected has nothing to show, either.
    """
    if response.status == 204 or response.length is None:
        return not response.body
    return response.length <= _NO_PAGE


def _might_be(response: Response, expected: Expected) -> bool:
    body = response.body.decode("utf-8", "replace").strip()
    return (expected.body or "").startswith(body)


def _location(response: Response, target: Target) -> str | None:
    """Where a redirect leads, if a browser could go there."""
    location = response.headers.get("location", "")
    if not location.isprintable():
        return None
    try:
        url = urljoin(str(target), location) if location else ""
    except ValueError:
        return None
    return url if url.startswith(("http://", "https://")) else None


def _retry_after(response: Response) -> float | None:
    """RFC 9110 s10.2.3, of a 503 or 429; the form with a date is not read."""
    text = response.headers.get("retry-after", "")
    if response.status not in (429, 503) or not (text.isascii() and text.isdigit()):
        return None
    return min(float(text), MAX_RETRY_AFTER)
