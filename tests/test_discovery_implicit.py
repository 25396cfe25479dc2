"""`pvdrace.discovery.implicit`, `.routing`: from a kernel's state to implicit PvDs (RFC 7556 s2.2, s2.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pvdrace.discovery.implicit import implicit_pvds, interface_pvd
from pvdrace.discovery.routing import best_devices, tables_searched
from pvdrace.discovery.state import TABLE_LOCAL, Address, KernelRoute, KernelState, Link, PolicyRule
from pvdrace.model import LocalAddress, ProvisioningDomain, Route

LO = Link(1, "lo", loopback=True)
ETH = Link(2, "eth0")
WLAN = Link(3, "wlan0")

ETH_V4 = (
    Address(2, "10.1.0.2", 24),
    KernelRoute(2, "10.1.0.0/24"),
    KernelRoute(2, "0.0.0.0/0", "10.1.0.1", 100),
)
ETH_V6 = (
    Address(2, "2001:db8:1::2", 64),
    Address(2, "fe80::2", 64),
    KernelRoute(2, "2001:db8:1::/64", metric=256),
    KernelRoute(2, "fe80::/64", metric=256),
    KernelRoute(2, "::/0", "fe80::1", 1024),
)
WLAN_V4 = (
    Address(3, "10.2.0.2", 24),
    KernelRoute(3, "10.2.0.0/24"),
    KernelRoute(3, "0.0.0.0/0", "10.2.0.1", 200),
)
WLAN_V6 = (
    Address(3, "2001:db8:2::2", 64),
    KernelRoute(3, "2001:db8:2::/64", metric=256),
    KernelRoute(3, "::/0", "fe80::1", 2048),
)


def kernel(
    *parts: Link | Address | KernelRoute | PolicyRule, rp_filter: dict[int, int] | None = None
) -> KernelState:
    """A state out of its parts, and the rules that every kernel begins with."""
    rules = tuple(part for part in parts if isinstance(part, PolicyRule))
    standard = tuple(
        PolicyRule(family, priority, table)
        for family in (4, 6)
        for priority, table in ((0, 255), (32766, 254), (32767, 253))
    )
    return KernelState(
        links=tuple(part for part in parts if isinstance(part, Link)),
        addresses=tuple(part for part in parts if isinstance(part, Address)),
        routes=tuple(part for part in parts if isinstance(part, KernelRoute)),
        rules=(*rules, *standard),
        rp_filter=tuple((rp_filter or {}).items()),
    )


def pvds(
    *parts: Link | Address | KernelRoute | PolicyRule, rp_filter: dict[int, int] | None = None
) -> dict[str, ProvisioningDomain]:
    return {pvd.name: pvd for pvd in implicit_pvds(kernel(*parts, rp_filter=rp_filter))}


def test_rfc_7556_s2_5_one_pvd_an_interface_with_ipv4_and_ipv6_joined() -> None:
    found = implicit_pvds(kernel(LO, WLAN, ETH, *ETH_V6, *ETH_V4, *WLAN_V4))
    assert [pvd.name for pvd in found] == ["eth0", "wlan0"]
    assert found[0] == ProvisioningDomain(
        name="eth0",
        interface="eth0",
        ifindex=2,
        addresses=(
            LocalAddress("2001:db8:1::2", 64),
            LocalAddress("fe80::2", 64),
            LocalAddress("10.1.0.2", 24),
        ),
        routes=(
            Route("2001:db8:1::/64", None, 256),
            Route("fe80::/64", None, 256),
            Route("::/0", "fe80::1", 1024),
            Route("10.1.0.0/24"),
            Route("0.0.0.0/0", "10.1.0.1", 100),
        ),
        sources=("netlink",),
    )
    assert found[0].families == (6, 4)
    assert found[1].unusable is None


def test_the_loopback_is_not_listed() -> None:
    assert pvds(LO, Address(1, "127.0.0.1", 8)) == {}


UNUSABLE = [
    ("link down", [replace(ETH, up=False, carrier=False), *ETH_V4]),
    ("no carrier", [replace(ETH, carrier=False), *ETH_V4]),
    ("part of br0", [replace(ETH, master=9), Link(9, "br0"), *ETH_V4]),
    ("no address", [ETH]),
    ("no address", [ETH, Address(2, "fe80::2", 64), KernelRoute(2, "::/0", "fe80::1")]),
    ("no address", [ETH, Address(2, "169.254.7.7", 16), KernelRoute(2, "0.0.0.0/0")]),
    ("no address", [ETH, replace(ETH_V4[0], usable=False), *ETH_V4[1:]]),
    ("no route beyond the link", [ETH, *ETH_V4[:2]]),
    ("no route beyond the link", [ETH, *ETH_V6[:4]]),
    ("no route beyond the link", [ETH, ETH_V4[0], KernelRoute(2, "10.1.0.64/26")]),
    ("no route beyond the link", [ETH, ETH_V4[0], KernelRoute(2, "224.0.0.0/4")]),
    # A default route of a family in which the link has no address leads nowhere.
    ("no route beyond the link", [ETH, *ETH_V4[:2], ETH_V6[4]]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "parts"), UNUSABLE)
def test_what_cannot_work_is_listed_with_the_reason(
    reason: str, parts: list[Link | Address | KernelRoute]
) -> None:
    assert pvds(*parts)["eth0"].unusable == reason


BEYOND = [
    [KernelRoute(2, "0.0.0.0/0", "10.1.0.1")],
    [KernelRoute(2, "0.0.0.0/0")],  # point to point: no gateway
    [KernelRoute(2, "172.16.0.0/12", "10.1.0.1")],
    [KernelRoute(2, "172.16.0.0/12")],
    [KernelRoute(2, "10.0.0.0/8")],
]


@pytest.mark.parametrize("routes", BEYOND)
def test_a_route_beyond_the_link(routes: list[KernelRoute]) -> None:
    assert pvds(ETH, ETH_V4[0], *routes)["eth0"].unusable is None


def test_flags_of_addresses() -> None:
    """RFC 4862: a tentative address is not one yet, a deprecated one still is. RFC 8981: temporary ones."""
    found = pvds(
        ETH,
        Address(2, "2001:db8::4", 64, usable=False),
        Address(2, "2001:db8::3", 64, deprecated=True),
        Address(2, "2001:db8::2", 64, temporary=True),
        KernelRoute(2, "::/0", "fe80::1"),
    )["eth0"]
    assert found.addresses == (
        LocalAddress("2001:db8::2", 64, temporary=True),
        LocalAddress("2001:db8::3", 64, deprecated=True),
    )


def test_primary_addresses_come_before_secondary_ones() -> None:
    found = pvds(ETH, Address(2, "10.1.0.1", 24, secondary=True), Address(2, "10.1.0.9", 24))["eth0"]
    assert [a.address for a in found.addresses] == ["10.1.0.9", "10.1.0.1"]


def test_a_point_to_point_link_has_its_own_address_and_the_peers_prefix() -> None:
    found = pvds(ETH, Address(2, "10.9.0.2", 32, peer="10.9.0.1"), KernelRoute(2, "10.9.0.1/32"))["eth0"]
    assert found.addresses == (LocalAddress("10.9.0.2", 32),)
    assert found.unusable == "no route beyond the link"


class TestStrictReversePathFilter:
    """ip-sysctl rp_filter=1, RFC 3704 s2.2: a packet must come in where its answer would go out."""

    BOTH = (LO, ETH, WLAN, *ETH_V4, *WLAN_V4)

    @pytest.mark.parametrize(
        "rp_filter", [{}, {-1: 0, 3: 0}, {-1: 2, 3: 1}, {-1: 1, 3: 2}, {-1: 0, 3: 2}, {-1: 0, 2: 1}]
    )
    def test_off_loose_or_on_the_other_device(self, rp_filter: dict[int, int]) -> None:
        found = pvds(*self.BOTH, rp_filter=rp_filter)
        assert [pvd.unusable for pvd in found.values()] == [None, None]
        assert [pvd.notes for pvd in found.values()] == [(), ()]

    @pytest.mark.parametrize("rp_filter", [{-1: 1}, {3: 1}, {-1: 1, 3: 0}, {-1: 0, 3: 1}, {-1: 1, 3: 1}])
    def test_the_device_with_the_worse_default_route_cannot_work(self, rp_filter: dict[int, int]) -> None:
        found = pvds(*self.BOTH, rp_filter=rp_filter)
        reason = "IPv4: rp_filter is strict here, and eth0 is the better device for the default route"
        assert found["wlan0"].unusable == reason
        assert found["eth0"].unusable is None

    def test_ipv6_has_no_such_filter_and_keeps_the_pvd_alive(self) -> None:
        wlan = pvds(*self.BOTH, *WLAN_V6, rp_filter={-1: 1})["wlan0"]
        assert wlan.unusable is None
        assert wlan.families == (6,)
        assert {route.family for route in wlan.routes} == {6}
        assert wlan.notes == (
            "IPv4: rp_filter is strict here, and eth0 is the better device for the default route",
        )

    def test_routes_that_are_best_here_stay(self) -> None:
        wlan = pvds(*self.BOTH, KernelRoute(3, "172.16.0.0/12", "10.2.0.1"), rp_filter={-1: 1})["wlan0"]
        assert wlan.unusable is None
        assert [route.destination for route in wlan.routes] == ["10.2.0.0/24", "172.16.0.0/12"]
        assert len(wlan.notes) == 1

    def test_the_same_subnet_on_two_devices(self) -> None:
        """Wi-Fi and wire in one network: the worse one answers nobody, not even on the link."""
        parts = (
            ETH, WLAN, Address(2, "10.1.0.2", 24), Address(3, "10.1.0.3", 24),
            KernelRoute(2, "10.1.0.0/24", metric=100), KernelRoute(3, "10.1.0.0/24", metric=600),
            KernelRoute(2, "0.0.0.0/0", "10.1.0.1", 100), KernelRoute(3, "0.0.0.0/0", "10.1.0.1", 600),
        )  # fmt: skip
        wlan = pvds(*parts, rp_filter={-1: 1})["wlan0"]
        assert wlan.unusable is not None
        assert "10.1.0.0/24" in wlan.unusable
        assert wlan.addresses == ()

    def test_a_rule_for_the_source_address_makes_it_work(self) -> None:
        """`ip rule add from 10.2.0.2 lookup 200`: the answer's lookup finds that rule too."""
        rule = PolicyRule(4, 1000, 200, source="10.2.0.2/32")
        own = KernelRoute(3, "0.0.0.0/0", "10.2.0.1", table=200)
        wlan = pvds(*self.BOTH, rule, own, rp_filter={-1: 1})["wlan0"]
        assert wlan.unusable is None
        assert wlan.families == (4,)

    def test_a_rule_for_the_device_does_not(self) -> None:
        """`ip rule add oif wlan0`: the answer's lookup has no device yet."""
        rule = PolicyRule(4, 1000, 200, output_device="wlan0")
        own = KernelRoute(3, "0.0.0.0/0", "10.2.0.1", table=200)
        assert pvds(*self.BOTH, rule, own, rp_filter={-1: 1})["wlan0"].unusable is not None

    def test_equal_cost_multipath_answers_on_either_leg(self) -> None:
        legs = (KernelRoute(2, "0.0.0.0/0", "10.1.0.1"), KernelRoute(3, "0.0.0.0/0", "10.2.0.1"))
        found = pvds(ETH, WLAN, *ETH_V4[:2], *WLAN_V4[:2], *legs, rp_filter={-1: 1})
        assert [pvd.unusable for pvd in found.values()] == [None, None]


class TestRules:
    """rule(8) and ip-rule(8), for a socket bound to a device and a source, without a mark."""

    OWN = KernelRoute(3, "0.0.0.0/0", "10.2.0.1", table=200)
    PARTS = (LO, ETH, WLAN, *ETH_V4, *WLAN_V4[:2], OWN)

    APPLY = (
        PolicyRule(4, 1000, 200, output_device="wlan0"),
        PolicyRule(4, 1000, 200, source="10.2.0.0/24"),
        PolicyRule(4, 1000, 200),
        PolicyRule(4, 1000, 200, input_device="lo"),
        PolicyRule(4, 1000, 200, mark=0xCA6C, mark_mask=0xFFFFFFFF, invert=True),  # wg-quick(8)
        PolicyRule(4, 1000, 200, source="10.1.0.0/24", invert=True),
        PolicyRule(4, 1000, 200, mark=0, mark_mask=0xFF),
    )
    DO_NOT = (
        PolicyRule(4, 1000, 200, output_device="eth0"),
        PolicyRule(4, 1000, 200, source="10.1.0.0/24"),
        PolicyRule(6, 1000, 200),
        PolicyRule(4, 1000, 200, input_device="eth0"),
        PolicyRule(4, 1000, 200, mark=1, mark_mask=0xFFFFFFFF),
        PolicyRule(4, 1000, 200, conditional=True),
        PolicyRule(4, 1000, 200, destination="172.16.0.0/12"),
        PolicyRule(4, 1000, 200, suppress_length=0),
        PolicyRule(4, 1000, None),
        PolicyRule(4, 1000, 201),
    )

    @pytest.mark.parametrize("rule", APPLY)
    def test_a_table_that_is_searched_counts(self, rule: PolicyRule) -> None:
        wlan = pvds(*self.PARTS, rule)["wlan0"]
        assert Route("0.0.0.0/0", "10.2.0.1") in wlan.routes
        assert wlan.unusable is None

    @pytest.mark.parametrize("rule", DO_NOT)
    def test_a_table_that_is_not_searched_does_not(self, rule: PolicyRule) -> None:
        assert pvds(*self.PARTS, rule)["wlan0"].unusable == "no route beyond the link"

    def test_a_rule_that_prohibits_ends_the_search(self) -> None:
        stop = PolicyRule(4, 500, None, terminal=True, output_device="wlan0")
        found = pvds(*self.PARTS, PolicyRule(4, 1000, 200), stop)
        assert found["wlan0"].routes == ()
        assert found["eth0"].unusable is None

    def test_tables_in_the_order_of_the_rules(self) -> None:
        state = kernel(
            *self.PARTS, PolicyRule(4, 20, 7), PolicyRule(4, 10, 8, suppress_length=0), PolicyRule(4, 30, 8)
        )
        assert tables_searched(state, 4, ["10.2.0.2"], WLAN) == [(8, 0), (7, -1), (254, -1), (253, -1)]

    def test_the_table_of_a_vrf(self) -> None:
        """l3mdev: the VRF's table for the devices in it, and they are not "part of" it as of a bridge."""
        vrf = Link(9, "blue", kind="vrf", vrf_table=200)
        parts = (vrf, replace(WLAN, master=9), *WLAN_V4[:1], self.OWN, PolicyRule(4, 1000, None, l3mdev=True))
        assert pvds(*parts)["wlan0"].unusable is None

    def test_the_best_device_is_that_of_the_longest_prefix_then_of_the_lowest_metric(self) -> None:
        state = kernel(ETH, WLAN, *ETH_V4, *WLAN_V4, KernelRoute(3, "192.0.2.0/24", "10.2.0.1", 900))
        network = KernelRoute(3, "192.0.2.128/25").network
        assert best_devices(state, network, "10.1.0.2") == {3}
        assert best_devices(state, KernelRoute(3, "0.0.0.0/0").network, "10.1.0.2") == {2}
        assert best_devices(kernel(ETH), network, "10.1.0.2") == set()


def test_a_pvd_of_some_of_the_addresses_of_an_interface() -> None:
    state = kernel(ETH, *ETH_V4, *ETH_V6, Address(2, "10.1.0.3", 24))
    found = interface_pvd(state, ETH, only=["10.1.0.3"])
    assert [a.address for a in found.addresses] == ["10.1.0.3"]
    assert {route.family for route in found.routes} == {4}


def test_the_loopback_carries_all_of_127() -> None:
    state = kernel(
        LO,
        Address(1, "127.0.0.1", 8),
        Address(1, "::1", 128),
        KernelRoute(1, "127.0.0.0/8", table=TABLE_LOCAL, local=True),
    )
    found = interface_pvd(state, LO, only=["127.0.0.7", "::2"])
    assert found.addresses == (LocalAddress("127.0.0.7", 8),)
    assert found.routes == (Route("127.0.0.0/8"),)
    assert found.unusable is None


WLAN_TABLE = KernelRoute(3, "0.0.0.0/0", "10.2.0.1", table=7)
FROM = PolicyRule(4, 100, 7, source="10.2.0.2/32")
MARKED = PolicyRule(4, 100, 7, mark=9, mark_mask=0xFFFFFFFF)
OUTPUT = PolicyRule(4, 100, 7, output_device="wlan0")


@pytest.mark.parametrize(
    ("pin", "rule", "strict", "usable"),
    [
        ("device", None, False, True),
        ("source", None, False, True),  # a socket asks the kernel, and is refused
        ("mark:9", None, False, True),
        ("device", None, True, False),
        ("source", None, True, False),
        ("mark:9", None, True, False),
        ("device", FROM, True, True),
        ("source", FROM, True, True),
        ("mark:9", FROM, True, True),
        ("device", MARKED, True, False),
        ("mark:9", MARKED, True, False),  # the answer has no mark
        ("mark:9", MARKED, False, True),
    ],
)
def test_what_strict_filtering_means_for_each_pin(
    pin: str, rule: PolicyRule | None, strict: bool, usable: bool
) -> None:
    """ip-sysctl rp_filter=1: the reverse lookup knows the address, and neither the mark nor the socket."""
    rules = [rule] if rule is not None else []
    state = kernel(ETH, WLAN, *ETH_V4, *WLAN_V4, WLAN_TABLE, *rules, rp_filter={-1: int(strict)})
    found = interface_pvd(state, WLAN, pin=pin)
    assert found.pin == pin
    assert (found.unusable is None) is usable
    assert usable or "rp_filter is strict" in (found.unusable or "")


@pytest.mark.parametrize(
    ("pin", "rule", "found"),
    [
        ("mark:9", MARKED, True),
        ("mark:8", MARKED, False),
        ("device", MARKED, False),
        ("source", FROM, True),
        ("device", OUTPUT, True),
        ("source", OUTPUT, False),  # it is bound to no device
    ],
)
def test_the_routes_are_those_that_the_pin_finds(pin: str, rule: PolicyRule, found: bool) -> None:
    """A link whose default route is in another table only."""
    state = kernel(WLAN, *WLAN_V4[:2], WLAN_TABLE, rule)
    assert (interface_pvd(state, WLAN, pin=pin).unusable is None) is found
