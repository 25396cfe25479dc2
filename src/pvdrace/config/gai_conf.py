"""``/etc/gai.conf`` as an address table: text in, a value out. Pure: somebody else reads the file.

glibc's getaddrinfo has three tables, labels, precedences and the scopes of IPv4 addresses, and one line of a
kind replaces that whole default table (gai.conf(5)). What glibc adds to a table of yours that has no row for
everything (::/0: label 1, precedence 40; 0.0.0.0/0: scope 14) is added here too.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ..model import AddressRow, AddressTable, ScopeRow

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "gai.conf"

_Table = dict[ipaddress.IPv6Network, int]

_EVERYTHING = ipaddress.IPv6Network("::/0")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
#: glibc, sysdeps/posix/getaddrinfo.c: default_labels, default_precedence.
_LABELS: _Table = {
    ipaddress.IPv6Network(prefix): label
    for prefix, label in {
        "::1/128": 0,
        "::/0": 1,
        "2002::/16": 2,
        "::/96": 3,
        "::ffff:0:0/96": 4,
        "fec0::/10": 5,
        "fc00::/7": 6,
        "2001::/32": 7,
    }.items()
}
_PRECEDENCES: _Table = {
    ipaddress.IPv6Network(prefix): precedence
    for prefix, precedence in {
        "::1/128": 50,
        "::/0": 40,
        "2002::/16": 30,
        "::/96": 20,
        "::ffff:0:0/96": 10,
    }.items()
}
_MAX = 2**31 - 1


def parse(text: str) -> AddressTable:
    """The table that a ``gai.conf`` makes of glibc's; an empty text is glibc's own.

    Raises ValueError with the number of the line, e.g. ``line 3: '2002::/129' is not an IPv6 prefix``. Where
    glibc skips a line that it does not understand, this says so.
    """
    labels: _Table = {}
    precedences: _Table = {}
    scopes: dict[ipaddress.IPv4Network, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        try:
            match words:
                case []:
                    pass
                case ["label", prefix, value]:
                    labels[_prefix(prefix)] = _number(value)
                case ["precedence", prefix, value]:
                    precedences[_prefix(prefix)] = _number(value)
                case ["scopev4", prefix, value]:
                    scopes[_prefix4(prefix)] = _number(value, 15)
                case ["reload", "yes" | "no"]:
                    pass  # glibc's own business: when to read the file again
                case ["label" | "precedence" | "scopev4" as keyword, *_]:
                    raise ValueError(f"{keyword} wants a prefix and a number")
                case ["reload", *_]:
                    raise ValueError("reload wants yes or no")
                case [keyword, *_]:
                    raise ValueError(f"{keyword!r} is not one of label, precedence, reload, scopev4")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    labels = {_EVERYTHING: 1} | labels if labels else _LABELS
    precedences = {_EVERYTHING: 40} | precedences if precedences else _PRECEDENCES
    # Two tables become one by having each prefix of either; the longest match then finds the same in both.
    prefixes = sorted({*labels, *precedences}, key=lambda network: (-network.prefixlen, network))
    return AddressTable(
        NAME,
        tuple(AddressRow(str(p), _longest(precedences, p), _longest(labels, p)) for p in prefixes),
        tuple(ScopeRow(str(prefix), scope) for prefix, scope in sorted(scopes.items())),
    )


def _longest(table: Mapping[ipaddress.IPv6Network, int], prefix: ipaddress.IPv6Network) -> int:
    return table[max((own for own in table if prefix.subnet_of(own)), key=lambda own: own.prefixlen)]


def _prefix(text: str) -> ipaddress.IPv6Network:
    try:
        return ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 prefix") from None


def _prefix4(text: str) -> ipaddress.IPv4Network:
    """``169.254.0.0/16``, or as an IPv4-mapped prefix: ``::ffff:169.254.0.0/112``."""
    try:
        if ":" not in text:
            return ipaddress.IPv4Network(text, strict=False)
        network = ipaddress.IPv6Network(text, strict=False)
        mapped = network.network_address.ipv4_mapped
        if mapped is None or not network.subnet_of(_MAPPED):
            raise ValueError
        return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 prefix, nor an IPv4-mapped one") from None


def _number(text: str, most: int = _MAX) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise ValueError(f"{text!r} is not a number from 0 to {most}")
    return int(text)
