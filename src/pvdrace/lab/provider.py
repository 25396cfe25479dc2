"""What a user says about one provider and its link: values, checked when they are made."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DNS_PROGRAMS = ("dnsmasq", "own")
PORT_REFUSALS = ("drop", "reject")


@dataclass(frozen=True, slots=True)
class Wire:
    """What a link does to each packet, in each direction alike.

    ``delay`` and ``jitter`` are seconds one way (a packet is late by ``delay`` ± ``jitter``, evenly spread,
    and never overtakes another); ``loss`` is a probability; ``rate`` is bits per second, None is unlimited.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= 60:
            raise LabError(f"delay is {self.delay!r}: it is seconds one way, between 0 and 60")
        if not 0 <= self.jitter <= 60:
            raise LabError(f"jitter is {self.jitter!r}: it is seconds, between 0 and 60")
        if not 0 <= self.loss <= 1:
            raise LabError(f"loss is {self.loss!r}: it is a probability, between 0 and 1")
        if self.rate is not None and not self.rate >= 1000:
            raise LabError(f"rate is {self.rate!r}: it is bits per second, at least 1000, or None")


@dataclass(frozen=True)
class Provider:
    """One provider: a link of the client, and what is behind it.

    ``name`` is the name of the PvD and of the client's interface. ``delay``, ``jitter``, ``loss`` and
    ``rate``: see :class:`Wire`. ``metric`` is that of the client's routes. ``zones`` maps a name to what
    *this* provider answers for it: addresses, or ``"TYPE rdata"`` texts. ``domains`` are the names that the
    provider is for (split DNS; only told, in :meth:`Lab.config`). Without ``default_route`` the client gets
    the prefixes of ``routes`` alone. ``type`` and ``cost`` are words of ``pvdrace.toml``. ``dns`` is the
    program that answers at the gateway.
    """

    name: str
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    metric: int | None = None
    ipv4: bool = True
    ipv6: bool = True
    type: str | None = None
    cost: str | None = None
    dns: str = "dnsmasq"
    zones: Mapping[str, Sequence[str]] = field(default_factory=dict)
    domains: Sequence[str] = ()
    default_route: bool = True
    routes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,14}", self.name) or self.name in (
            "lo",
            "all",
            "default",
        ):
            raise LabError(
                f"{self.name!r} can't be the name of a provider:"
                " it names an interface (1 to 15 letters, digits, _ . -)"
            )
        if not (self.ipv4 or self.ipv6):
            raise LabError(f"{self.name}: a provider needs IPv4 or IPv6")
        if self.dns not in DNS_PROGRAMS:
            raise LabError(f"{self.name}: dns is {self.dns!r}, it is one of {', '.join(DNS_PROGRAMS)}")
        for route in self.routes:
            try:
                ipaddress.ip_network(route)
            except ValueError as error:
                raise LabError(f"{self.name}: route {route!r}: {error}") from None
        _ = self.wire

    @property
    def wire(self) -> Wire:
        """What the link does to packets, at first."""
        return Wire(self.delay, self.jitter, self.loss, self.rate)


@dataclass(frozen=True)
class DnsFault:
    """How the provider's DNS server misbehaves: see :meth:`Link.dns` for the words."""

    mode: str = "ok"
    types: tuple[str, ...] = ()
    delay: float = 0.0
    address: tuple[str, ...] = ()


@dataclass(frozen=True)
class Faults:
    """Everything that is wrong with one provider at the moment; the default is that nothing is."""

    blackhole: bool = False
    dead: bool = False
    no_arp: bool = False
    ports: tuple[int, ...] | None = None
    ports_how: str = "drop"
    reset: bool = False
    icmp: str | None = None
    ipv6_broken: bool = False
    stall: bool = False
    portal: bool = False
    portal_families: tuple[int, ...] = (4, 6)
    dns: DnsFault = DnsFault()

    def but(self, **changes: object) -> Faults:
        """The same with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]
