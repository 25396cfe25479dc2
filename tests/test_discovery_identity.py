"""What recognises a network again, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvdrace.config import Configuration, parse
from pvdrace.discovery.identity import identity
from pvdrace.discovery.merge import merge
from pvdrace.discovery.state import Address, KernelRoute, KernelState, Link
from pvdrace.model import LocalAddress, ProvisioningDomain, Route

ROUTER, OTHER_ROUTER = "52:54:00:00:00:01", "52:54:00:00:00:02"
STATE = KernelState(
    link_layer=(
        (2, "192.168.1.1", ROUTER),
        (2, "fe80::1", OTHER_ROUTER),
        (2, "192.168.1.9", "52:54:00:00:00:09"),
        (3, "192.168.1.1", OTHER_ROUTER),
        (4, "192.168.1.1", "00:00:5e:00:01:07"),
    )
)
HOME = Route("0.0.0.0/0", "192.168.1.1")


def network(*addresses: str, routes: tuple[Route, ...] = (), ifindex: int = 2) -> ProvisioningDomain:
    locals_ = [LocalAddress(a, int(n)) for a, _, n in (text.partition("/") for text in addresses)]
    return ProvisioningDomain("a", "eth0", ifindex, tuple(locals_), routes)


@pytest.mark.parametrize(
    ("pvd", "expected"),
    [
        (network("2001:db8:1:2::7/64"), "prefix 2001:db8:1:2::/64"),
        (network("192.168.1.2/24", "2001:db8:1:2::7/64", routes=(HOME,)), "prefix 2001:db8:1:2::/64"),
        (network("2001:db8:1:2::7/128"), "prefix 2001:db8:1:2::/64"),
        (network("2001:db8:1:2::7/60"), "prefix 2001:db8:1::/60"),
        (network("2001:db8:2::7/64", "2001:db8:1::7/64"), "prefix 2001:db8:1::/64"),
        (network("193.0.6.139/24"), "prefix 193.0.6.0/24"),
        (network("192.168.1.2/24", routes=(HOME,)), f"router {ROUTER}"),
        (network("192.168.1.2/24", routes=(HOME,), ifindex=3), f"router {OTHER_ROUTER}"),
        (network("fd00::2/64", routes=(Route("::/0", "fe80::1"),)), f"router {OTHER_ROUTER}"),
        (network("fd00::2/64"), None),
        (network("2001::4136:e378:8000:63bf/32"), None),
        (network("fe80::2/64"), None),
        (network("100.64.0.2/10"), None),
        (network("192.168.1.2/24"), None),
        (network("192.168.1.2/24", routes=(Route("10.0.0.0/8", "192.168.1.9"),)), None),
        (network("192.168.1.2/24", routes=(HOME,), ifindex=4), None),
        (network("192.168.1.2/24", routes=(HOME,), ifindex=5), None),
        (network("192.168.1.2/24", routes=(Route("0.0.0.0/0"),)), None),
        (network(), None),
    ],
)
def test_a_network_is_recognised_by_what_no_other_has(pvd: ProvisioningDomain, expected: str | None) -> None:
    assert identity(pvd, STATE) == expected


def test_a_temporary_address_does_not_change_it() -> None:
    lasting, temporary = "2001:db8:1:2::7/64", LocalAddress("2001:db8:1:2:1:2:3:4", 64, temporary=True)
    pvd = network(lasting)
    assert identity(replace(pvd, addresses=(temporary, *pvd.addresses)), STATE) == identity(pvd, STATE)


# ---------------------------------------------------------------------- as it is merged

LINK = (Link(2, "eth0"),)
ADDRESS, ROUTE = Address(2, "192.168.1.2", 24), KernelRoute(2, "0.0.0.0/0", "192.168.1.1", 100)
SIX = Address(2, "2001:db8:1:2::7", 64)
SIX_ROUTE = KernelRoute(2, "::/0", "fe80::1", 100)
BARE = KernelState(LINK, (ADDRESS,), (ROUTE,))


def test_what_is_configured_wins() -> None:
    configured = parse('discover = []\n[[pvd]]\nname = "eth0"\nid = "home"\n')
    assert merge(configured, replace(BARE, addresses=(ADDRESS, SIX)))["eth0"].identity == "home"
    plain = parse('discover = []\n[[pvd]]\nname = "eth0"\n')
    assert merge(plain, replace(BARE, link_layer=STATE.link_layer))["eth0"].identity == f"router {ROUTER}"


def test_it_may_come_later_and_then_stays_for_as_long_as_the_pvd_is_attached() -> None:
    first = merge(Configuration(), BARE)
    assert first["eth0"].identity is None
    spoken = replace(BARE, link_layer=STATE.link_layer)
    second = merge(Configuration(), spoken, previous=first, before=BARE)
    assert (second["eth0"].identity, second["eth0"].attachment) == (f"router {ROUTER}", 0)
    more = replace(spoken, addresses=(ADDRESS, SIX), routes=(ROUTE, SIX_ROUTE), link_layer=())
    third = merge(Configuration(), more, previous=second, before=spoken)
    assert third["eth0"].identity == f"router {ROUTER}"
    assert merge(Configuration(), more, previous=third, before=more) is third


def test_another_attachment_is_looked_at_anew() -> None:
    spoken = replace(BARE, link_layer=STATE.link_layer)
    first = merge(Configuration(), spoken)
    replugged = replace(
        spoken,
        links=(replace(LINK[0], carrier_changes=2),),
        link_layer=((2, "192.168.1.1", OTHER_ROUTER),),
    )
    second = merge(Configuration(), replugged, previous=first, before=spoken)
    assert second["eth0"].attachment == 1
    assert second["eth0"].identity == f"router {OTHER_ROUTER}"


def test_what_can_carry_nothing_and_the_loopback_have_none() -> None:
    down = replace(BARE, links=(replace(LINK[0], carrier=False),), addresses=(SIX,))
    assert merge(Configuration(), down)["eth0"].unusable
    assert merge(Configuration(), down)["eth0"].identity is None
