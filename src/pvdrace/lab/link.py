"""One provider of a running lab: its addresses, what goes wrong with it, and what was sent into it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from . import counters as counting
from .errors import LabError
from .plan import DEAD4, DEAD6, PORTAL_API_NAME, PORTAL_API_PORT, Plan
from .provider import PORT_REFUSALS, DnsFault, Faults, Provider, Wire
from .rules import check_icmp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DNS_MODES = (
    "ok",
    "dead",
    "closed",
    "silent",
    "slow",
    "refused",
    "servfail",
    "nxdomain",
    "empty",
    "lying",
    "truncated",
    "malformed",
    "wrong-id",
    "wrong-source",
    "wrong-question",
)


class Ask(Protocol):
    """How a link gives a command to the keeper of its lab."""

    def __call__(self, command: str, *arguments: object) -> Any:
        """The answer; LabError."""


class Link:
    """``lab["eth"]``. Every fault can be set and lifted while the lab runs, and holds when the call
    returns."""

    def __init__(self, index: int, provider: Provider, plan: Plan, ask: Ask) -> None:
        self.provider = provider
        self.plan = plan
        self._index = index
        self._ask = ask
        self._wire = provider.wire
        self._faults = Faults()
        self._state = "up"

    def __repr__(self) -> str:
        return f"<Link {self.name} {self._wire} {self._faults}>"

    # ------------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """The name of the provider, the PvD and the interface."""
        return self.provider.name

    @property
    def interface(self) -> str:
        """The client's interface."""
        return self.provider.name

    @property
    def address4(self) -> str | None:
        """The client's IPv4 address on this link."""
        return self.plan.address4 if self.provider.ipv4 else None

    @property
    def address6(self) -> str | None:
        """The client's global IPv6 address on this link."""
        return self.plan.address6 if self.provider.ipv6 else None

    @property
    def gateway4(self) -> str | None:
        """The next hop for IPv4, where the DNS server is too."""
        return self.plan.gateway4 if self.provider.ipv4 else None

    @property
    def gateway6(self) -> str | None:
        """The next hop for IPv6, where the DNS server is too."""
        return self.plan.gateway6 if self.provider.ipv6 else None

    @property
    def resolvers(self) -> tuple[str, ...]:
        """The addresses of the provider's DNS server, IPv4 first."""
        return tuple(address for address in (self.gateway4, self.gateway6) if address is not None)

    @property
    def captive_api(self) -> str:
        """The URI of the provider's Captive Portal API (RFC 8908), as RFC 8910 would give it."""
        return f"https://{PORTAL_API_NAME}:{PORTAL_API_PORT}/captive"

    @property
    def wire(self) -> Wire:
        """What the link does to packets at the moment."""
        return self._wire

    @property
    def faults(self) -> Faults:
        """What is wrong at the moment."""
        return self._faults

    # ------------------------------------------------------------------ the wire

    def set(self, **changes: Any) -> None:
        """Change ``delay``, ``jitter``, ``loss`` or ``rate`` (see :class:`Wire`); what is on its way stays
        as it was."""
        try:
            wire: Wire = replace(self._wire, **changes)
        except TypeError:
            raise LabError(f"set() takes delay, jitter, loss and rate, not {', '.join(changes)}") from None
        self._ask("wire", self._index, wire)
        self._wire = wire

    def link_down(self, *, carrier: bool = True) -> None:
        """Take the client's interface down; its routes go. With ``carrier=False`` the cable is pulled
        instead."""
        self._change("down" if carrier else "unplugged")

    def link_up(self) -> None:
        """Bring the link back, with its addresses and routes; also after :meth:`remove`."""
        self._change("up")

    def remove(self) -> None:
        """Delete the client's interface (``ip link del``)."""
        self._change("removed")

    # ------------------------------------------------------------------ faults of the provider

    def blackhole(self, on: bool = True) -> None:
        """Packets are accepted and lost beyond the gateway; DNS at the gateway still answers."""
        self._apply(blackhole=on)

    def dead(self, on: bool = True) -> None:
        """Everything is lost, DNS too; ARP and neighbour discovery still answer."""
        self._apply(dead=on)

    def no_arp(self, on: bool = True) -> None:
        """The next hop does not answer ARP or neighbour discovery, and nothing else passes."""
        self._apply(no_arp=on)

    def ports(self, allow: Iterable[int] | None, how: str = "drop") -> None:
        """Only TCP and UDP to these ports pass beyond the gateway; the rest is lost (``drop``) or refused
        (``reject``).

        A refusal is RST for TCP, ICMP port unreachable for UDP, administratively prohibited for all else.
        None lifts it.
        """
        if how not in PORT_REFUSALS:
            raise LabError(f"ports(how={how!r}): it is one of {', '.join(PORT_REFUSALS)}")
        ports = None if allow is None else tuple(sorted(set(allow)))
        for port in ports or ():
            if not 0 < port < 65536:
                raise LabError(f"ports(): {port!r} is not a port")
        self._apply(ports=ports, ports_how=how)

    def reset(self, on: bool = True) -> None:
        """Each TCP SYN beyond the gateway is answered with RST."""
        self._apply(reset=on)

    def icmp(self, reason: str | None) -> None:
        """Everything beyond the gateway is refused with this ICMP error; None lifts it.

        ``net-unreach``, ``host-unreach``, ``port-unreach``, ``net-prohibited``, ``host-prohibited``,
        ``admin-prohibited``.
        """
        check_icmp(reason)
        self._apply(icmp=reason)

    def ipv6_broken(self, on: bool = True) -> None:
        """IPv6 is lost beyond the gateway; AAAA is still answered, over IPv6 too."""
        self._apply(ipv6_broken=on)

    def stall(self, on: bool = True) -> None:
        """TCP handshakes complete, data is lost (both ways; not to the gateway itself)."""
        self._apply(stall=on)

    def portal(self, on: bool = True, *, dns: str = "real", families: Iterable[int] = (4, 6)) -> None:
        """A captive portal: HTTP gets a login page, TLS a wrong certificate, all else is lost.

        ``dns="portal"``: every address query is answered with the gateway's address. Only the ``families``
        are held. The provider's Captive Portal API is reachable, and says so: see :attr:`captive_api`.
        """
        if dns not in ("real", "portal"):
            raise LabError(f"portal(dns={dns!r}): it is one of real, portal")
        held = tuple(sorted(set(families)))
        if not held or not set(held) <= {4, 6}:
            raise LabError(f"portal(families={held!r}): they are of 4, 6")
        if on and dns == "portal":
            self._apply(portal=True, portal_families=held, dns=DnsFault("lying", address=self.resolvers))
        elif not on and self._faults.portal and self._faults.dns == DnsFault("lying", address=self.resolvers):
            self._apply(portal=False, portal_families=(4, 6), dns=DnsFault())
        else:
            self._apply(portal=on, portal_families=held if on else (4, 6))

    def login(self) -> None:
        """Open the portal, as after a login."""
        self.portal(on=False)

    def dns(
        self,
        mode: str,
        *,
        types: Iterable[str] = (),
        delay: float = 0.5,
        address: str | Sequence[str] = (DEAD4, DEAD6),
    ) -> None:
        """How the DNS server behaves, for queries of the given types (all where none is given).

        ``ok`` · ``dead``, ``silent``: no answer · ``closed``: port unreachable, RST · ``slow``: after
        ``delay`` seconds · ``refused``, ``servfail``, ``nxdomain``: that RCODE · ``empty``: no data ·
        ``lying``: ``address`` for every name · ``truncated``: over UDP, TCP works · ``malformed``,
        ``wrong-id``, ``wrong-source``, ``wrong-question``: replies that a client must not believe. All but
        ``ok``, ``dead`` and ``closed`` swap the lab's own server in, with the same records.
        """
        if mode not in DNS_MODES:
            raise LabError(f"dns({mode!r}): it is one of {', '.join(DNS_MODES)}")
        wanted = tuple(type_.upper() for type_ in types)
        if wanted and mode in ("dead", "closed"):
            if mode == "closed":
                raise LabError("dns('closed') is for all types: a port is closed, or it isn't")
            mode = "silent"
        addresses = (address,) if isinstance(address, str) else tuple(address)
        for each in addresses:
            try:
                ipaddress.ip_address(each)
            except ValueError as error:
                raise LabError(f"dns(address=...): {error}") from None
        self._apply(
            dns=DnsFault(mode, wanted, delay if mode == "slow" else 0.0, addresses if mode == "lying" else ())
        )

    def heal(self) -> None:
        """Back to all good: faults lifted, the wire as it was made, the link up."""
        if self._state != "up":
            self._change("up")
        if self._wire != self.provider.wire:
            self._ask("wire", self._index, self.provider.wire)
            self._wire = self.provider.wire
        if self._faults != Faults():
            self._set(Faults())

    # ------------------------------------------------------------------ what was sent

    def counters(self) -> counting.Counters:
        """Packets that the client sent into this link, before delay, loss and faults."""
        counts, _ = self._ask("counts", self._index)
        return counting.tally(counts)

    def packets(self) -> list[counting.Packet]:
        """The last packets (4096 at most) that the client sent into this link, in order."""
        _, recorded = self._ask("counts", self._index)
        return counting.packets(recorded)

    def _change(self, state: str) -> None:
        self._ask("link", self._index, state)
        self._state = state

    def _apply(self, **changes: object) -> None:
        self._set(self._faults.but(**changes))

    def _set(self, faults: Faults) -> None:
        self._ask("faults", self._index, faults)
        self._faults = faults
