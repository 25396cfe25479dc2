"""How the sockets of a PvD are kept in it, and whether the kernel's answer keeps them there. Pure.

``device``: SO_BINDTODEVICE and the source address. ``source``: the source address alone, for a host whose
rules (``ip rule from ADDRESS lookup TABLE``) choose the way by it. ``mark:N``: SO_MARK and the source
address, for a host whose rules choose it by the mark. A source or a mark alone chooses nothing: so with those
two the kernel is asked for the way that the packets would take before there is one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..race.addresses import parse, parse_prefix

if TYPE_CHECKING:
    from ..model import ProvisioningDomain, Route
    from .rtnetlink import Way


#: Socket options by which a connection may leave its PvD, by level and number (linux/socket.h, in.h, in6.h).
CHOOSING = {
    (1, 5): "SO_DONTROUTE",
    (1, 25): "SO_BINDTODEVICE",
    (1, 36): "SO_MARK",
    (1, 62): "SO_BINDTOIFINDEX",
    (0, 8): "IP_PKTINFO",
    (0, 50): "IP_UNICAST_IF",
    (41, 50): "IPV6_PKTINFO",
    (41, 76): "IPV6_UNICAST_IF",
}


class Pin(NamedTuple):
    """A ``pin`` taken apart: whether the device is bound, and the mark (0: none)."""

    device: bool
    mark: int = 0


@lru_cache(maxsize=256)
def parse_pin(text: str) -> Pin:
    """``device``, ``source`` or ``mark:NUMBER``. Raises ValueError for anything else."""
    if text in ("device", "source"):
        return Pin(text == "device")
    word, _, number = text.partition(":")
    if word != "mark" or not number.isascii() or not number.isdigit() or not 0 < int(number) < 2**32:
        raise ValueError(f"pin {text!r} is not one of device, source, mark:NUMBER")
    return Pin(False, int(number))


def strays(pvd: ProvisioningDomain, ifindex: int, remote: str, local: str, way: Way) -> str | None:
    """Why packets that go this way are not in the PvD, in a few words; None where they are.

    They are if they leave by its device only, and by a gateway that one of its routes to the destination has.
    What routes it has is not asked where none are known.
    """
    what = f"mark {mark} sends" if (mark := parse_pin(pvd.pin).mark) else "rule sends"
    if way.devices != {ifindex}:
        return f"no {what} {local} out of {pvd.interface}"
    gateways = gateways_to(pvd, remote)
    if gateways and not way.gateways <= gateways:
        by = ", ".join(sorted(gateway or "the link itself" for gateway in gateways))
        return f"no {what} {local} out of {pvd.interface} by {by}"
    return None


def own_routes(pvd: ProvisioningDomain) -> list[Route]:
    """The routes of a PvD but those that prefer another's address: on a shared link they are the other's."""
    own = {address.address for address in pvd.addresses}
    return [route for route in pvd.routes if route.source is None or route.source in own]


def gateways_to(pvd: ProvisioningDomain, remote: str) -> frozenset[str | None]:
    """The next hops that the routes of a PvD have for a destination; None among them is the link itself."""
    value, offset = parse(remote), 0 if ":" in remote else 96
    found = set()
    for route in own_routes(pvd):
        prefix = parse_prefix(route.destination)
        if prefix.length >= offset and prefix.covers(value):
            found.add(route.gateway)
    return frozenset(found)
