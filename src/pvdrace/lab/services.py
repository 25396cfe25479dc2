"""The process that runs the lab's own servers: the public server, the portals, the proxies, and DNS servers
that can misbehave.

One process with sockets in many namespaces: a socket stays where it was opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import plan as addresses
from .plan import Plan, provider_number
from .portal import serve_api, serve_portal
from .proxy_server import serve_proxies
from .records import records
from .syscalls import CLONE_NEWNET, setns
from .web_server import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .channel import Channel
    from .dns_server import DnsServer
    from .provider import DnsFault, Provider

_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


@dataclass(frozen=True, slots=True)
class Site:
    """One provider as the servers see it: ``namespace`` is a descriptor of its network namespace."""

    provider: Provider
    plan: Plan
    namespace: int


def run_services(channel: Channel, sites: Sequence[Site], internet: int, directory: str) -> None:
    """Serve until the channel closes."""
    with contextlib.suppress(EOFError):
        asyncio.run(_Services(channel, sites, internet, directory).run())


class _Services:
    def __init__(self, channel: Channel, sites: Sequence[Site], internet: int, directory: str) -> None:
        self.channel = channel
        self.sites = sites
        self.internet = internet
        self.directory = directory
        self.dns: dict[int, DnsServer] = {}
        self.captive: set[int] = set()  # the providers behind a portal, as their APIs say
        self.ended = asyncio.Event()

    async def run(self) -> None:
        names = {site.plan.number: site.provider.name for site in self.sites}
        loop = asyncio.get_running_loop()

        def name_of(peer: str) -> str:
            return names.get(provider_number(peer) or 0, "?")

        setns(self.internet, CLONE_NEWNET)
        await serve(
            name_of,
            f"{self.directory}/server.pem",
            lambda port: [_listen(socket.AF_INET6, "::", port)],
            Path(self.directory, "files"),
        )
        loop.add_reader(echo := _udp_echo_socket(), _udp_echo, echo)
        for site in self.sites:
            setns(site.namespace, CLONE_NEWNET)
            ports = (addresses.PORTAL_HTTP_PORT, addresses.PORTAL_TLS_PORT)
            host = site.plan.gateway4 if site.provider.ipv4 else f"[{site.plan.gateway6}]"
            sockets = [(port, _listen(socket.AF_INET6, "::", port)) for port in ports]
            ports = (addresses.PROXY_PORT, addresses.SOCKS_PORT)
            proxies = [(port, _listen(socket.AF_INET6, "::", port)) for port in ports]
            await serve_portal(f"http://{host}/login", f"{self.directory}/portal.pem", sockets)
            await serve_api(
                partial(self.captive.__contains__, site.plan.number),
                f"{self.directory}/server.pem",
                _listen(socket.AF_INET6, "::", addresses.PORTAL_API_PORT),
            )
            await serve_proxies(records(site.plan, site.provider.zones), site.namespace, proxies)
        loop.add_reader(self.channel, self._obey)
        self.channel.send("ready")
        await self.ended.wait()

    def _obey(self) -> None:
        """Carry out one command of the keeper; the answer is None or the text of an error."""
        try:
            number, change = self.channel.receive()
        except (EOFError, OSError):
            self.ended.set()
            return
        try:
            if isinstance(change, bool):
                (self.captive.add if change else self.captive.discard)(number)
            else:
                self._misbehave(number, change)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self.channel.send(traceback.format_exc().strip().splitlines()[-1])
        else:
            self.channel.send(None)

    def _misbehave(self, number: int, fault: DnsFault) -> None:
        server = self.dns.get(number)
        if server is None:
            # Only here: dnspython takes longer to import than a lab to build.
            from .dns_server import DnsServer

            site = next(site for site in self.sites if site.plan.number == number)
            server = DnsServer(records(site.plan, site.provider.zones))
            setns(site.namespace, CLONE_NEWNET)
            plan = site.plan
            pairs = [(plan.gateway4, plan.odd4)] if site.provider.ipv4 else []
            pairs += [(plan.gateway6, plan.odd6)] if site.provider.ipv6 else []
            for address, odd in pairs:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                server.add(
                    _udp(family, address, addresses.OWN_DNS_PORT),
                    _udp(family, odd, addresses.OWN_DNS_PORT),
                    _listen(family, address, addresses.OWN_DNS_PORT),
                )
            self.dns[number] = server
        server.fault = fault


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # The protocol in full: asyncio turns Nagle's algorithm off only for what says it is TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(sock, address, port)
    sock.listen(1024)
    return sock


def _udp(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    _bind(sock, address, port)
    return sock


def _bind(sock: socket.socket, address: str, port: int) -> None:
    """Bind, perhaps before the address is there."""
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    sock.bind((address, port))


def _udp_echo_socket() -> socket.socket:
    sock = _udp(socket.AF_INET6, "::", addresses.PORTS["echo"])
    # The answer must come from the address that was asked; this host has all of them.
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return sock


def _udp_echo(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        data, ancillary, _flags, peer = sock.recvmsg(65535, 128)
        info = [
            (level, kind, value[:16] + bytes(4))
            for level, kind, value in ancillary
            if kind == socket.IPV6_PKTINFO
        ]
        sock.sendmsg([data], info, 0, peer)
