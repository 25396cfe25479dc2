"""Which addresses cannot be those of a public host. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: RFC 1918, RFC 6598 (behind a provider's NAT), RFC 3927, RFC 1122 s3.2.1.3; RFC 4193, RFC 4291.
#: Not `ipaddress.is_private`: that has the documentation prefixes, too.
PRIVATE = tuple(
    ipaddress.ip_network(prefix)
    for prefix in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "0.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1/128",
        "::/128",
    )
)


def private_one(addresses: Iterable[str]) -> str | None:
    """The first of these addresses that is private, link-local or this host's own; None if none is."""
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        if any(parsed.version == prefix.version and parsed in prefix for prefix in PRIVATE):
            return address
    return None
