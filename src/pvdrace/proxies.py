"""The proxy of a PvD: ``http://ADDRESS:PORT`` or ``socks5://ADDRESS:PORT``, taken apart. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from .model import parse_literal

SCHEMES = ("http", "socks5")


class Proxy(NamedTuple):
    """How a proxy is spoken to (``http``: CONNECT of RFC 9110 s9.3.6; ``socks5``: RFC 1928), and where."""

    scheme: str
    address: str
    port: int


@lru_cache(maxsize=256)
def parse_proxy(url: str) -> Proxy:
    """Take the URL of a proxy apart; ValueError says what it should look like.

    By address, never by name: a name would have to be looked up first, and inside such a PvD none is.
    """
    found = re.fullmatch(r"(\w+)://(?:\[([^][]*)\]|([^][:/@]*)):(\d{1,5})/?", url, re.ASCII)
    if found is None or found[1] not in SCHEMES:
        wanted = " or ".join(f"{scheme}://ADDRESS:PORT" for scheme in SCHEMES)
        raise ValueError(f"{url!r} is not {wanted}")
    literal = parse_literal(found[2] or found[3])
    if literal is None or (literal.family == 6) != (found[2] is not None):
        raise ValueError(f"{url!r}: a proxy is given by its IP address, IPv6 in brackets")
    if literal.zone is not None:
        raise ValueError(f"{url!r}: leave the zone out, the interface of the PvD is the zone")
    if not 0 < int(found[4]) < 65536:
        raise ValueError(f"{url!r}: {found[4]} is not a port from 1 to 65535")
    return Proxy(found[1], literal.address, int(found[4]))
