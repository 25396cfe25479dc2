"""What systemd-resolved and systemd-networkd know of each link's DNS: the formats. Pure.

From the best to the least: the varlink method ``io.systemd.Resolve.DumpDNSConfiguration`` (systemd 259), the
state files of resolved (``/run/systemd/resolve/netif/INDEX``), those of networkd
(``/run/systemd/netif/links/INDEX``). The files are private to systemd, so what they say is taken leniently.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ..model import Resolver, parse_literal

#: A call of the varlink method, as it goes over the wire (varlink.org: JSON, ended by a NUL).
DUMP_REQUEST = b'{"method":"io.systemd.Resolve.DumpDNSConfiguration","parameters":{}}\0'


@dataclass(frozen=True)
class LinkDns:
    """The DNS settings of one link. ``routing``: domains that go to it and are not searched (``~name``).

    ``default_route``: whether names outside its domains may go to it; None: as resolved decides by itself.
    """

    ifindex: int
    interface: str | None = None
    servers: tuple[Resolver, ...] = ()
    search: tuple[str, ...] = ()
    routing: tuple[str, ...] = ()
    default_route: bool | None = None
    source: str = "resolved"

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of the PvD (``()`` is any name): systemd-resolved's routing rules (resolved(8)).

        Left undecided, a link is not a default route if all it has are routing domains other than ``~.``.
        """
        takes_all = self.default_route
        if takes_all is None:
            takes_all = not self.routing or "." in self.routing
        domains = tuple(dict.fromkeys((*self.routing, *self.search)))
        if not takes_all:
            return domains
        return tuple(dict.fromkeys((*domains, "."))) if domains else ()


def parse_resolved_file(text: str, ifindex: int) -> LinkDns | None:
    """A file of ``/run/systemd/resolve/netif``; None where it names no server and no domain."""
    return _parse_file(text, ifindex, servers="SERVERS", domains="DOMAINS", source="resolved")


def parse_networkd_file(text: str, ifindex: int) -> LinkDns | None:
    """A file of ``/run/systemd/netif/links``; None where it names no server and no domain."""
    return _parse_file(text, ifindex, servers="DNS", domains="DOMAINS", source="networkd")


def parse_dump(reply: bytes) -> tuple[LinkDns, ...] | None:
    """The answer to `DUMP_REQUEST`; None where this resolved has no such method or makes no sense."""
    try:
        message = json.loads(reply.rstrip(b"\0"))
        if "error" in message:
            return None
        entries = message["parameters"]["configuration"]
        return tuple(_dumped_link(entry) for entry in entries if entry.get("ifindex"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def parse_server(text: str) -> Resolver | None:
    """A server as systemd writes it: ``ADDRESS[:PORT][%INTERFACE][#NAME]``, an IPv6 address with port in [].

    The interface is the link itself and the name is for DNS over TLS; both are left out here.
    """
    address = text.partition("#")[0].partition("%")[0]
    port = 53
    bracketed = re.fullmatch(r"\[([^]]*)\](?::(\d{1,5}))?", address)
    if bracketed:
        address, port = bracketed[1], int(bracketed[2] or port)
    elif address.count(":") == 1:
        address, _, digits = address.partition(":")
        if not (digits.isascii() and digits.isdigit()):
            return None
        port = int(digits)
    literal = parse_literal(address)
    if literal is None or not 0 < port < 65536:
        return None
    return Resolver(literal.address, port)


def _parse_file(text: str, ifindex: int, servers: str, domains: str, source: str) -> LinkDns | None:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[key.strip()] = value.strip().strip('"')
    found = tuple(server for word in values.get(servers, "").split() if (server := parse_server(word)))
    words = [word.lower() for word in values.get(domains, "").split()]
    # networkd keeps its routing domains apart; resolved marks them with a tilde.
    words += [f"~{word.lower()}" for word in values.get("ROUTE_DOMAINS", "").split()]
    if not found and not words:
        return None
    flag = values.get("DEFAULT_ROUTE", values.get("DNS_DEFAULT_ROUTE", "")).lower()
    return LinkDns(
        ifindex=ifindex,
        servers=tuple(dict.fromkeys(found)),
        search=_names(word for word in words if not word.startswith("~")),
        routing=_names(word.lstrip("~") for word in words if word.startswith("~")),
        default_route={"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(
            flag
        ),
        source=source,
    )


def _dumped_link(entry: dict[str, Any]) -> LinkDns:
    servers = []
    for server in entry.get("servers") or ():
        literal = parse_literal(server.get("addressString") or _octets(server.get("address")))
        if literal is not None:
            servers.append(Resolver(literal.address, server.get("port") or 53))
    domains = entry.get("searchDomains") or ()
    return LinkDns(
        ifindex=entry["ifindex"],
        interface=entry.get("ifname"),
        servers=tuple(dict.fromkeys(servers)),
        search=_names(d["name"].lower() for d in domains if not d.get("routeOnly")),
        routing=_names(d["name"].lower() for d in domains if d.get("routeOnly")),
        default_route=entry.get("defaultRoute"),
        source="resolved",
    )


def _octets(address: object) -> str:
    """Varlink gives an address as a list of its octets."""
    if not isinstance(address, list):
        return str(address)
    if len(address) == 4:
        return ".".join(map(str, address))
    raw = bytes(address).hex()
    return ":".join(raw[n : n + 4] for n in range(0, len(raw), 4))


def _names(words: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word if word == "." else word.removesuffix(".") for word in words))
