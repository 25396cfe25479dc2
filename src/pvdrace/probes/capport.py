"""The Captive Portal API (RFC 8908), at the URI that the network gives for it (RFC 8910). Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .judgement import Finding, Judgement
from .messages import Failure, Outcome, Request

if TYPE_CHECKING:
    from ..config.probe_settings import Target

#: The registered media type (RFC 8908 s8.1).
MEDIA_TYPE = "application/captive+json"
#: RFC 8910 s2 calls it by another name than RFC 8908; servers that know neither say what they send.
_TOLERATED = (MEDIA_TYPE, "application/capport+json", "application/json")


def request(target: Target) -> Request:
    """What to send (RFC 8908 s4), inside TLS with the certificate verified for the API's host."""
    return Request(target, MEDIA_TYPE)


def judge(outcome: Outcome, last: Judgement | None = None) -> Judgement:
    """What the API says: a portal, or nothing.

    That the user is *not* captive is the network's word alone, and proves nothing. Nor does an API that
    cannot be reached or verified: then it is as if there were none (RFC 8908 s4). An answer that is none
    leaves the ``last`` that was one in force (RFC 8908 s5).
    """
    if isinstance(outcome, Failure):
        return Judgement(Finding.NOTHING, f"API: {outcome.text}", outcome.kind)
    if outcome.status != 200:
        return Judgement(Finding.NOTHING, f"API: HTTP {outcome.status}")
    state = _state(outcome.headers.get("content-type"), outcome.body) if outcome.whole else "cut short"
    if isinstance(state, str):
        return last or Judgement(Finding.NOTHING, f"API: {state}")
    if not state["captive"]:
        return Judgement(Finding.NOTHING, "API: not captive", "free", expires=_seconds(state))
    portal = state.get("user-portal-url")
    if not isinstance(portal, str) or not portal.startswith("https://") or not portal.isprintable():
        # As Android has it: a portal without a page that can be shown (RFC 8908 s5: over TLS) is none.
        return Judgement(Finding.NOTHING, "API: captive, without a user-portal-url")
    return Judgement(Finding.PORTAL, "API: captive", portal=portal)


def is_valid(judgement: Judgement) -> bool:
    """Whether the API has said something, so that it stays in force."""
    return judgement.finding is Finding.PORTAL or judgement.kind == "free"


def _state(media_type: str | None, body: bytes) -> dict[str, Any] | str:
    if media_type is not None and media_type.partition(";")[0].strip().lower() not in _TOLERATED:
        return f"{media_type.partition(';')[0][:40]!r} is not {MEDIA_TYPE}"
    try:
        state = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(state, dict) or not isinstance(state.get("captive"), bool):
        return "no 'captive' in it"
    return state


def _seconds(state: dict[str, Any]) -> float | None:
    """RFC 8908 s5: ``seconds-remaining`` of the session."""
    left = state.get("seconds-remaining")
    return float(left) if isinstance(left, int) and not isinstance(left, bool) and 0 <= left < 2**31 else None
