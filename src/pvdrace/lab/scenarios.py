"""Named labs: what a multi-homed host meets, for the command line, the demo, the benchmarks and the tests.

``eth`` is the default link with 10 ms of round trip, ``wifi`` has 30 and ``lte`` 60, unless a line says
otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .errors import LabError
from .lab import Lab
from .link import Link
from .provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ETH = Provider("eth", delay=0.005, metric=100, type="wired", cost="unmetered")
WIFI = Provider("wifi", delay=0.015, metric=200, type="wifi", cost="unmetered")
LTE = Provider("lte", delay=0.030, metric=300, type="cellular", cost="variable")
VPN = Provider(
    "vpn",
    delay=0.020,
    metric=50,
    type="vpn",
    default_route=False,
    routes=("10.0.0.0/8",),
    domains=("corp.example",),
    zones={"intranet.corp.example": ["10.1.0.1"], "ssh.corp.example": ["10.1.0.2"]},
)


@dataclass(frozen=True)
class Scenario:
    """One named lab: ``spoil`` makes go wrong in a running lab what the description says."""

    name: str
    description: str
    spoil: Callable[[Lab], object] = lambda lab: None
    providers: Sequence[Provider] = (ETH, WIFI, LTE)
    overlapping: bool = False

    def build(self, **options: Any) -> Lab:
        """A lab that is as described once it is entered; options as for :class:`Lab`."""
        return ScenarioLab(self, **options)


class ScenarioLab(Lab):
    """A lab that goes wrong as soon as it runs."""

    def __init__(self, scenario: Scenario, **options: Any) -> None:
        super().__init__(scenario.providers, **{"overlapping": scenario.overlapping} | options)
        self.scenario = scenario

    def __enter__(self) -> ScenarioLab:
        super().__enter__()
        try:
            self.scenario.spoil(self)
        except BaseException:
            self.close()
            raise
        return self


def _each(lab: Lab, spoil: Callable[[Link], None]) -> None:
    for link in lab:
        spoil(link)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("good", "everything works; eth is the default and the fastest"),
        Scenario(
            "eth-blackhole",
            "eth answers DNS, and loses everything beyond",
            lambda lab: lab["eth"].blackhole(),
        ),
        Scenario("eth-dead", "eth loses everything, DNS too", lambda lab: lab["eth"].dead()),
        Scenario("eth-no-arp", "eth's gateway does not even answer ARP", lambda lab: lab["eth"].no_arp()),
        Scenario(
            "eth-dns-dead", "eth's DNS server is silent, all else works", lambda lab: lab["eth"].dns("dead")
        ),
        Scenario(
            "eth-dns-slow-aaaa",
            "eth's DNS server answers AAAA after 2 s, A at once",
            lambda lab: lab["eth"].dns("slow", types=("AAAA",), delay=2.0),
        ),
        Scenario(
            "eth-dns-lying",
            "eth's DNS server gives a dead address for every name",
            lambda lab: lab["eth"].dns("lying"),
        ),
        Scenario("eth-reset", "eth refuses every TCP connection", lambda lab: lab["eth"].reset()),
        Scenario(
            "eth-unreachable",
            "eth answers everything with ICMP host unreachable",
            lambda lab: lab["eth"].icmp("host-unreach"),
        ),
        Scenario(
            "eth-portal", "eth has a captive portal that wants a login", lambda lab: lab["eth"].portal()
        ),
        Scenario(
            "eth-ipv6-broken", "eth answers AAAA, and loses all IPv6", lambda lab: lab["eth"].ipv6_broken()
        ),
        Scenario(
            "eth-stall", "eth completes TCP handshakes, and loses all data", lambda lab: lab["eth"].stall()
        ),
        Scenario("eth-lossy", "eth loses one packet in five", lambda lab: lab["eth"].set(loss=0.2)),
        Scenario("overlap", "all three links have the same addresses and gateway", overlapping=True),
        Scenario(
            "hotel",
            "wifi is the default and passes only ports 80 and 443, lte passes all",
            lambda lab: lab["wifi"].ports([80, 443]),
            (replace(WIFI, metric=100), LTE),
        ),
        Scenario(
            "metered",
            "wifi is free and slow (80 ms), lte is dear and fast (10 ms)",
            providers=(replace(WIFI, delay=0.040), replace(LTE, delay=0.005)),
        ),
        Scenario(
            "vpn",
            "eth for all, and a VPN with the names of corp.example and 10.0.0.0/8",
            providers=(ETH, WIFI, VPN),
        ),
        Scenario(
            "all-dead",
            "no link leads anywhere, but their DNS answers",
            lambda lab: _each(lab, Link.blackhole),
        ),
        Scenario("all-portals", "a captive portal on every link", lambda lab: _each(lab, Link.portal)),
    )
}


def build(name: str, **options: Any) -> Lab:
    """The lab of that name, to be entered; LabError where there is none."""
    try:
        return SCENARIOS[name].build(**options)
    except KeyError:
        raise LabError(f"no scenario {name!r}, there is {', '.join(SCENARIOS)}") from None
