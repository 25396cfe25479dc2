"""Sockets that are pinned by a source address or a mark: the rules are asked before anything is sent."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

import pytest

from forked_namespace import drop_all_capabilities, in_namespace
from pvdrace.model import LocalAddress, ProvisioningDomain, Route
from pvdrace.net.pins import Pin, parse_pin, strays
from pvdrace.net.rtnetlink import Way
from pvdrace.net.sockets import NoRoute, PinError, describe, open_pinned, start_connect

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
FOUR, SIX = ("203.0.113.1", "10.2.0.2"), ("2001:db8:9::1", "2001:db8:2::2")

TWO_LINKS = (
    "link set dev lo up",
    "link add name wa type veth peer name wb",
    "link add name wc type veth peer name wd",
    *(f"link set dev {name} up" for name in ("wa", "wb", "wc", "wd")),
    "addr add 10.1.0.2/24 dev wa",
    "addr add 10.2.0.2/24 dev wc",
    "addr add 2001:db8:1::2/64 dev wa nodad",
    "addr add 2001:db8:2::2/64 dev wc nodad",
    "route add default via 10.1.0.1 dev wa metric 100",
    "route add default via 10.2.0.1 dev wc metric 200",
    "route add default via 2001:db8:1::1 dev wa metric 100",
    "route add default via 2001:db8:2::1 dev wc metric 200",
)
TABLE_7 = (
    "route add default via 10.2.0.1 dev wc table 7",
    "-6 route add default via 2001:db8:2::1 dev wc table 7",
)
FROM_RULES = (*TABLE_7, "rule add from 10.2.0.2 lookup 7", "-6 rule add from 2001:db8:2::2 lookup 7")
MARK_RULES = (*TABLE_7, "rule add fwmark 7 lookup 7", "-6 rule add fwmark 7 lookup 7")


def wc(pin: str, *routes: Route) -> ProvisioningDomain:
    """The PvD on the link that is not the best."""
    own = (LocalAddress("10.2.0.2", 24), LocalAddress("2001:db8:2::2", 64))
    return ProvisioningDomain("wc", "wc", socket.if_nametoindex("wc"), own, routes=routes, pin=pin)


def opened(pvd: ProvisioningDomain, kind: int, remote: str, local: str | None) -> str:
    """What becomes of a socket: the source that it has, or what is wrong."""
    before = len(os.listdir("/proc/self/fd"))
    try:
        with open_pinned(pvd, kind, remote, 443, local=local) as sock:
            if kind == STREAM:
                assert start_connect(sock, pvd, remote, 443) == errno.EINPROGRESS
            found: str = sock.getsockname()[0]
            return found
    except PinError as error:
        return describe(error)
    finally:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("given", [True, False], ids=["source given", "source chosen"])
@pytest.mark.parametrize("kind", [STREAM, DGRAM], ids=["TCP", "UDP"])
@pytest.mark.parametrize(("remote", "local"), [FOUR, SIX], ids=["IPv4", "IPv6"])
class TestWithItsRule:
    @in_namespace(*TWO_LINKS, *FROM_RULES)
    def test_source_needs_no_privilege(self, remote: str, local: str, kind: int, given: bool) -> None:
        drop_all_capabilities()
        assert opened(wc("source"), kind, remote, local if given else None) == local

    @in_namespace(*TWO_LINKS, *MARK_RULES)
    def test_mark(self, remote: str, local: str, kind: int, given: bool) -> None:
        pvd = wc("mark:7")
        assert opened(pvd, kind, remote, local if given else None) == local
        with open_pinned(pvd, kind, remote, 443, local=local) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 7


@pytest.mark.parametrize("kind", [STREAM, DGRAM], ids=["TCP", "UDP"])
@pytest.mark.parametrize(("remote", "local"), [FOUR, SIX], ids=["IPv4", "IPv6"])
class TestFailClosed:
    @in_namespace(*TWO_LINKS)
    def test_no_rule(self, remote: str, local: str, kind: int) -> None:
        assert opened(wc("source"), kind, remote, local) == f"no rule sends {local} out of wc"
        assert opened(wc("mark:7"), kind, remote, local) == f"no mark 7 sends {local} out of wc"

    @in_namespace(*TWO_LINKS, *MARK_RULES)
    def test_the_rule_of_another_pin(self, remote: str, local: str, kind: int) -> None:
        assert opened(wc("source"), kind, remote, local) == f"no rule sends {local} out of wc"
        assert opened(wc("mark:8"), kind, remote, local) == f"no mark 8 sends {local} out of wc"

    @in_namespace(*TWO_LINKS, *FROM_RULES)
    def test_another_router_on_the_right_device(self, remote: str, local: str, kind: int) -> None:
        """Two PvDs on one link differ by their next hop alone."""
        routes = (Route("0.0.0.0/0", "10.2.0.9"), Route("::/0", "2001:db8:2::9"))
        by = "2001:db8:2::9" if ":" in remote else "10.2.0.9"
        found = opened(wc("source", *routes), kind, remote, local)
        assert found == f"no rule sends {local} out of wc by {by}"
        right = (Route("0.0.0.0/0", "10.2.0.1"), Route("::/0", "2001:db8:2::1"))
        assert opened(wc("source", *right), kind, remote, local) == local

    @in_namespace(*TWO_LINKS[:-4])
    def test_no_route_at_all(self, remote: str, local: str, kind: int) -> None:
        with pytest.raises(NoRoute) as caught:
            open_pinned(wc("source"), kind, remote, 443, local=local)
        assert describe(caught.value) == "no route"

    @in_namespace(*TWO_LINKS, *MARK_RULES)
    def test_a_mark_without_the_privilege(self, remote: str, local: str, kind: int) -> None:
        drop_all_capabilities()
        found = opened(wc("mark:7"), kind, remote, local)
        assert found == "cannot set mark 7: this takes CAP_NET_ADMIN or CAP_NET_RAW"

    @in_namespace(
        *TWO_LINKS[:-4],
        "route add default nexthop via 10.1.0.1 dev wa nexthop via 10.2.0.1 dev wc",
        "-6 route add default nexthop via 2001:db8:1::1 dev wa nexthop via 2001:db8:2::1 dev wc",
    )
    def test_a_multipath_route_of_which_one_leg_is_elsewhere(
        self, remote: str, local: str, kind: int
    ) -> None:
        assert opened(wc("source"), kind, remote, local) == f"no rule sends {local} out of wc"


@in_namespace(*TWO_LINKS, *TABLE_7, "rule add from 10.2.0.2 ipproto tcp dport 443 lookup 7")
def test_a_rule_for_one_port_is_for_that_port() -> None:
    pvd = wc("source")
    assert opened(pvd, STREAM, *FOUR) == "10.2.0.2"
    assert opened(pvd, DGRAM, *FOUR) == "no rule sends 10.2.0.2 out of wc"


@in_namespace(*TWO_LINKS, *FROM_RULES)
def test_what_is_on_the_link_needs_no_rule_and_a_foreign_source_gets_none() -> None:
    pvd = wc("source")
    assert opened(pvd, DGRAM, "10.2.0.1", "10.2.0.2") == "10.2.0.2"
    assert opened(pvd, DGRAM, FOUR[0], "10.1.0.2") == "source 10.1.0.2 is no address of wc"
    assert opened(replace(pvd, interface="gone0", ifindex=0), DGRAM, *FOUR) == "wc has no interface"
    assert opened(replace(pvd, addresses=pvd.addresses[1:]), DGRAM, FOUR[0], None) == (
        "wc has no address to send to 203.0.113.1 from"
    )


@in_namespace(*TWO_LINKS, "addr add fe80::2/64 dev wc nodad")
def test_a_link_local_server_is_on_the_link_of_its_zone() -> None:
    pvd = replace(wc("source"), addresses=(LocalAddress("fe80::2", 64),))
    with open_pinned(pvd, DGRAM, "fe80::1", 53) as sock:
        assert sock.getsockname()[0].partition("%")[0] == "fe80::2"
        assert sock.getpeername()[3] == pvd.ifindex


@pytest.mark.parametrize(
    ("text", "pin"),
    [
        ("device", Pin(True)),
        ("source", Pin(False)),
        ("mark:7", Pin(False, 7)),
        ("mark:4294967295", Pin(False, 2**32 - 1)),
    ],
)
def test_a_pin(text: str, pin: Pin) -> None:
    assert parse_pin(text) == pin


@pytest.mark.parametrize(
    "text", ["", "mark", "mark:", "mark:0", "mark:-1", "mark:x", "mark:4294967296", "dev"]
)
def test_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="is not one of device, source, mark:NUMBER"):
        parse_pin(text)


def way(*devices: int, gateways: tuple[str | None, ...] = ("10.2.0.1",)) -> Way:
    return Way(frozenset(devices), frozenset(gateways))


DEFAULT, LINK = Route("0.0.0.0/0", "10.2.0.1"), Route("10.2.0.0/24")


@pytest.mark.parametrize(
    ("routes", "remote", "found", "stray"),
    [
        ((), "203.0.113.1", way(3), False),
        ((), "203.0.113.1", way(2), True),
        ((), "203.0.113.1", way(2, 3), True),
        ((), "203.0.113.1", way(), True),
        ((DEFAULT, LINK), "203.0.113.1", way(3), False),
        ((DEFAULT, LINK), "203.0.113.1", way(3, gateways=("10.2.0.9",)), True),
        ((DEFAULT, LINK), "203.0.113.1", way(3, gateways=("10.2.0.1", "10.2.0.9")), True),
        ((DEFAULT, LINK), "203.0.113.1", way(3, gateways=(None,)), True),
        ((DEFAULT, LINK), "10.2.0.7", way(3, gateways=(None,)), False),
        ((Route("::/0", "fe80::1"), LINK), "10.2.0.7", way(3, gateways=(None,)), False),
    ],
)
def test_what_strays(routes: tuple[Route, ...], remote: str, found: Way, stray: bool) -> None:
    pvd = ProvisioningDomain("wc", "wc", 3, routes=routes, pin="source")
    assert (strays(pvd, 3, remote, "10.2.0.2", found) is not None) is stray
