"""Which address is whose. Pure: a provider's number in, addresses out.

Documentation prefixes all over (RFC 5737, RFC 3849), but not 192.0.2.0/24, which some build machines use
themselves::

    client            gateway and DNS    seen by servers    servers
    192.168.N.2       192.168.N.1        203.0.113.N (NAT)  198.51.100.0/24
    2001:db8:N:1::2   2001:db8:N:1::1    the client itself  2001:db8:99::/64

In a lab with overlapping providers each has N = 1 towards the client, and IPv6 is translated too (NAT66).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ADDRESS4 = "198.51.100.1"
ADDRESS6 = "2001:db8:99::1"
SERVERS4 = "198.51.100.0/24"
SERVERS6 = "2001:db8:99::/64"
CORPORATE4 = "10.0.0.0/8"
INTERNET_ROUTER4 = "198.51.100.254"
PUBLIC4 = "203.0.113.0/24"
DEAD4 = "203.0.113.66"
DEAD6 = "2001:db8:dead::66"
PRIVATE4 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
MAX_PROVIDERS = 60

PORTS = {"echo": 7, "who": 17, "ssh": 22, "http": 80, "https": 443, "http-alt": 8080, "https-alt": 8443}

OWN_DNS_PORT = 5353
PORTAL_HTTP_PORT = 5380
PORTAL_TLS_PORT = 5443
# The Captive Portal API of a provider (RFC 8908), at its gateway: reachable before a login.
PORTAL_API_NAME = "capport.example.test"
PORTAL_API_PORT = 8443
PROXY_PORT = 3128
SOCKS_PORT = 1080


@dataclass(frozen=True, slots=True)
class Plan:
    """The addresses of one provider."""

    number: int
    address4: str
    gateway4: str
    odd4: str
    address6: str
    gateway6: str
    odd6: str
    public4: str
    public6: str
    prefix6: str
    local4: str
    local6: str


def make_plan(number: int, *, overlapping: bool = False) -> Plan:
    """The addresses of provider ``number``, from 1."""
    shown = 1 if overlapping else number
    return Plan(
        number=number,
        address4=f"192.168.{shown}.2",
        gateway4=f"192.168.{shown}.1",
        odd4=f"192.168.{shown}.9",
        address6=f"2001:db8:{shown:x}:1::2",
        gateway6=f"2001:db8:{shown:x}:1::1",
        odd6=f"2001:db8:{shown:x}:1::9",
        public4=f"203.0.113.{number}",
        public6=f"2001:db8:{number:x}::1",
        prefix6=f"2001:db8:{number:x}::/48",
        local4=f"198.51.100.{100 + number}",
        local6=f"2001:db8:99::{100 + number}",
    )


def provider_number(peer: str) -> int | None:
    """Through which provider a connection came, by the address that the public server sees."""
    address = ipaddress.ip_address(peer)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address):
        return int(address) & 0xFF if address in ipaddress.ip_network(PUBLIC4) else None
    return (int(address) >> 80) & 0xFFFF if address in ipaddress.ip_network("2001:db8::/32") else None
