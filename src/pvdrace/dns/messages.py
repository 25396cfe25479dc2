"""The values that the DNS rooms exchange: a query, what came back, and the answer of a lookup. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

TYPES = {"A": 1, "AAAA": 28}
NOERROR, FORMERR, NXDOMAIN, NOTIMP, BADVERS = 0, 1, 3, 4, 16
MAX_ALIASES = 16
"""The longest chain of CNAME records that is followed, in one message or over several."""
_RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 9: "NOTAUTH", 16: "BADVERS"}


class DnsFailure(Exception):
    """A lookup that has no answer; ``str()`` is one line for people. ``server`` is whom it speaks of."""

    def __init__(self, message: str, server: str | None = None) -> None:
        super().__init__(message)
        self.server = server


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PvD says about a name. No addresses: ``negative`` is ``NXDOMAIN`` or ``NODATA``.

    ``ttl`` is in seconds from now; for a negative answer it is RFC 2308's, and 0 where there was no SOA.
    """

    addresses: tuple[str, ...]
    ttl: float
    server: str | None
    canonical_name: str
    negative: str | None = None
    cached: bool = False


class InvalidName(ValueError):
    """A text is not a domain name; ``str()`` says why."""


class MalformedReply(Exception):
    """A reply to our question that cannot be read; ``str()`` says why."""


@dataclass(slots=True)
class Query:
    """A question as it was sent: the whole message, and what a reply has to repeat."""

    id: int
    message: bytes
    question: bytes
    qtype: int


class Stray(NamedTuple):
    """A message that is no reply to the query: another id or question, perhaps a forgery.

    ``case_only``: all is right but for the case of the letters, which the server did not keep.
    """

    why: str
    case_only: bool = False


@dataclass(slots=True)
class Reply:
    """What a reply says about the question.

    ``canonical_name`` is the end of the chain of ``aliases`` CNAMEs. ``ttl`` (seconds) is the least one of
    the chain and the addresses. ``negative_ttl`` is RFC 2308 s5's, None without a SOA record.
    ``referral``: the server sent us on to other name servers instead of resolving.
    """

    rcode: int
    truncated: bool = False
    addresses: tuple[str, ...] = ()
    canonical_name: str = ""
    aliases: int = 0
    ttl: float = 0.0
    negative_ttl: float | None = None
    referral: bool = False


def rcode_name(rcode: int) -> str:
    """``SERVFAIL`` for 2."""
    return _RCODES.get(rcode) or f"RCODE {rcode}"
