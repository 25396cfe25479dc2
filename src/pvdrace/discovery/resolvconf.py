"""``resolv.conf`` (resolv.conf(5)): the host's list of resolvers, which belongs to no PvD. Pure.

The file is written by many hands: a line that makes no sense is skipped and named in ``problems``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..model import parse_literal

#: resolv.conf(5): more dots than these are silently capped, and so is this number.
_MAX_NDOTS = 15


class NameServer(NamedTuple):
    """A ``nameserver`` line: an address, and the zone (a device or its index) of a link-local one."""

    address: str
    zone: str | None = None


@dataclass(frozen=True)
class ResolvConf:
    """What the file says. ``search`` names are lower case, without the final dot."""

    nameservers: tuple[NameServer, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    problems: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a ``resolv.conf``. The last of ``search`` and ``domain`` wins; every nameserver counts.

    Deliberate: resolv.conf(5) stops at three nameservers (MAXNS); a race has no such limit.
    """
    nameservers: list[NameServer] = []
    search: tuple[str, ...] = ()
    ndots = 1
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line[0] in "#;":
            continue
        keyword, values = words[0], _without_comment(words[1:])
        if keyword == "nameserver":
            literal = parse_literal(values[0]) if values else None
            if literal is None:
                problems.append(f"line {number}: {' '.join(values) or 'nothing'!r} is not an IP address")
            else:
                nameservers.append(NameServer(literal.address, literal.zone))
        elif keyword in ("search", "domain"):
            names = [value.lower().removesuffix(".") for value in values]
            search = tuple(dict.fromkeys(name for name in names if name))[
                : 1 if keyword == "domain" else None
            ]
        elif keyword == "options":
            for option in values:
                if option.startswith("ndots:"):
                    digits = option.removeprefix("ndots:")
                    if digits.isascii() and digits.isdigit():
                        ndots = min(int(digits), _MAX_NDOTS)
                    else:
                        problems.append(f"line {number}: {option!r} is not a number of dots")
        elif keyword != "sortlist":
            problems.append(f"line {number}: unknown keyword {keyword!r}")
    return ResolvConf(tuple(dict.fromkeys(nameservers)), search, ndots, tuple(problems))


def _without_comment(words: list[str]) -> list[str]:
    for n, word in enumerate(words):
        if word[0] in "#;":
            return words[:n]
    return words
