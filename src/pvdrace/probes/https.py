"""The probe over HTTPS: nobody but the server that is meant can answer it, so its answer proves. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .http204 import is_expected
from .judgement import Finding, Judgement
from .messages import Failure, Outcome, Request

if TYPE_CHECKING:
    from ..config.probe_settings import Expected, Target


def request(target: Target) -> Request:
    """What to send, inside TLS with the certificate verified for the target's host."""
    return Request(target)


def judge(outcome: Outcome, expected: Expected) -> Judgement:
    """What the outcome says: the expected answer, or nothing that would prove anything.

    A certificate of somebody else is no proof of a portal: filters and "security" products have one, too.
    One that is out of its time is first of all a question of this host's clock.
    """
    if isinstance(outcome, Failure):
        return Judgement(Finding.FAILED, f"HTTPS: {outcome.text}", outcome.kind)
    if is_expected(outcome, expected):
        return Judgement(Finding.OK, f"HTTPS {outcome.status}")
    return Judgement(Finding.FAILED, f"HTTPS {outcome.status}", "answer")
