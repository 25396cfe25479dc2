"""Which resolvers, search domains and zones a PvD has. Pure.

Its own where systemd knows them for the link; else the host's list, marked as unscoped. A resolver that a
socket bound to the PvD's device cannot reach is left out, and a note says so.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..model import Resolver, is_link_local
from .resolvconf import ResolvConf

if TYPE_CHECKING:
    from .resolved import LinkDns

#: systemd-resolved's stubs (systemd-resolved.service(8)): they mix the answers of all links.
STUBS = ("127.0.0.53", "127.0.0.54")


@dataclass(frozen=True)
class SystemDns:
    """What the host knows of DNS: by link, and for all (``/etc/resolv.conf``)."""

    links: tuple[LinkDns, ...] = ()
    host: ResolvConf = field(default_factory=ResolvConf)
    host_file: str = "/etc/resolv.conf"


class DnsSettings(NamedTuple):
    """What one PvD gets."""

    resolvers: tuple[Resolver, ...] = ()
    search: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def settings_for(
    dns: SystemDns, interface: str, ifindex: int, families: tuple[int, ...], is_loopback: bool = False
) -> DnsSettings:
    """The DNS settings of the PvD on one interface; ``families`` are those it has addresses of."""
    for link in dns.links:
        if link.ifindex == ifindex and link.interface in (None, interface) and link.servers:
            return DnsSettings(link.servers, link.search, link.zones)
    resolvers: list[Resolver] = []
    notes: list[str] = []
    for address, zone in dns.host.nameservers:
        if address in STUBS and dns.links:
            notes.append(f"resolver {address} left out: systemd-resolved has no server for this link")
        elif zone is not None:
            if zone in (interface, str(ifindex)):
                resolvers.append(Resolver(address))
        elif ipaddress.ip_address(address).is_loopback and not is_loopback:
            notes.append(f"resolver {address} of {dns.host_file} left out: only the host itself can ask it")
        elif (6 if ":" in address else 4) in families or is_link_local(address) or is_loopback:
            resolvers.append(Resolver(address, scoped=False))
    return DnsSettings(tuple(resolvers), dns.host.search if resolvers else (), (), tuple(notes))
