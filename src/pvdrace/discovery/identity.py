"""What recognises a network again: something that no other network has. Pure.

A prefix that the Internet knows is one network's: a global IPv6 prefix, else a public IPv4 one. Else it is
the link-layer address of the default router, as Windows (NLA) and NetworkManager recognise what they know. A
configured ``id`` wins over all of it (`merge`).

What does not count: private and shared IPv4 addresses (RFC 1918, RFC 6598), which every second network has.
Nor unique local IPv6 prefixes: RFC 4193's are random and would do, but many are picked by hand, and
``fd00::/64`` is as common as 192.168.1.0/24; to take one network for another is worse than not to recognise
it. Nor link-local addresses, and Teredo's, whose prefix is its server's. Virtual routers (VRRP, RFC 9568
s7.3) share their link-layer addresses with those of other networks.

A temporary address (RFC 8981) has the prefix of the others, so that the network stays what it is.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import LocalAddress, ProvisioningDomain
    from .state import KernelState

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291 s2.4, as far as it is in use
_TEREDO = ipaddress.IPv6Network("2001::/32")
_VIRTUAL_ROUTERS = ("00:00:5e:00:01:", "00:00:5e:00:02:")
#: The longest prefix that one link has (RFC 4291 s2.5.4); a host of its own prefix is one of such a network.
_LONGEST = 64


def identity(pvd: ProvisioningDomain, state: KernelState) -> str | None:
    """What recognises the network of a PvD, None where nothing does."""
    for prefix in (_ipv6_prefix, _ipv4_prefix):
        prefixes = [found for address in pvd.addresses if (found := prefix(address)) is not None]
        if prefixes:
            # The lowest of several, so that the order of addresses does not matter.
            return f"prefix {min(prefixes)}"
    return _router(pvd, state)


def _ipv6_prefix(local: LocalAddress) -> ipaddress.IPv6Network | None:
    if local.family != 6:
        return None
    address = ipaddress.IPv6Address(local.address)
    if address not in _GLOBAL_UNICAST or address in _TEREDO:
        return None
    return ipaddress.IPv6Network((address, min(local.prefix_length, _LONGEST)), strict=False)


def _ipv4_prefix(local: LocalAddress) -> ipaddress.IPv4Network | None:
    if local.family != 4:
        return None
    address = ipaddress.IPv4Address(local.address)
    if not address.is_global:
        return None
    return ipaddress.IPv4Network((address, local.prefix_length), strict=False)


def _router(pvd: ProvisioningDomain, state: KernelState) -> str | None:
    """The link-layer address of a default router, where the kernel has spoken with one."""
    for family in (4, 6):
        for route in pvd.routes:
            if route.is_default and route.family == family and route.gateway is not None:
                link_layer = state.neighbours.get((pvd.ifindex, route.gateway))
                if link_layer is not None and not link_layer.startswith(_VIRTUAL_ROUTERS):
                    return f"router {link_layer}"
    return None
