"""`pvdrace.discovery.merge`: the configuration and the sources become one set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.config import Configuration, PvdConfig, parse
from pvdrace.config.policy_file import parse_policy_file
from pvdrace.discovery.merge import merge
from pvdrace.discovery.resolvconf import NameServer, ResolvConf
from pvdrace.discovery.resolvers import SystemDns
from pvdrace.discovery.state import Address, KernelRoute, KernelState, Link, PolicyRule
from pvdrace.files import profile
from pvdrace.model import Cost, CostClass, LocalAddress, ProvisioningDomain, PvdSet, Resolver, Route
from pvdrace.race.ordering import unusable
from pvdrace.zones import MAYBE, Verdict, match

if TYPE_CHECKING:
    import random

DNS = SystemDns(host=ResolvConf((NameServer("192.0.2.53"),), search=("lan",)))
ETH = (
    Link(2, "eth0"),
    Address(2, "10.1.0.2", 24),
    Address(2, "2001:db8:1::2", 64, deprecated=True),
    KernelRoute(2, "0.0.0.0/0", "10.1.0.1", 100),
    KernelRoute(2, "::/0", "fe80::1", 1024),
)
WLAN = (Link(3, "wlan0"), Address(3, "10.2.0.2", 24), KernelRoute(3, "0.0.0.0/0", "10.2.0.1", 600))
LO = (Link(1, "lo", loopback=True), Address(1, "127.0.0.1", 8))


def kernel(*parts: Link | Address | KernelRoute) -> KernelState:
    return KernelState(
        links=tuple(part for part in parts if isinstance(part, Link)),
        addresses=tuple(part for part in parts if isinstance(part, Address)),
        routes=tuple(part for part in parts if isinstance(part, KernelRoute)),
    )


HOST = kernel(*LO, *ETH, *WLAN)


def one(text: str, state: KernelState = HOST, dns: SystemDns = DNS) -> ProvisioningDomain:
    """The one PvD of a ``[[pvd]]`` table, nothing discovered."""
    (pvd,) = merge(parse(f"discover = []\n[[pvd]]\n{text}"), state, dns)
    return pvd


class TestConfiguration:
    def test_without_one_there_are_the_implicit_pvds_by_name(self) -> None:
        found = merge(Configuration(), HOST, DNS)
        assert [(pvd.name, pvd.sources) for pvd in found] == [("eth0", ("netlink",)), ("wlan0", ("netlink",))]
        assert found["eth0"].resolvers == (Resolver("192.0.2.53", scoped=False),)
        assert found["eth0"].search == ("lan",)

    def test_what_is_left_out_is_read_from_the_kernel_even_if_nothing_is_discovered(self) -> None:
        pvd = one('name = "office"\ninterface = "eth0"')
        implicit = merge(Configuration(), HOST, DNS)["eth0"]
        assert pvd == replace(implicit, name="office", sources=("configuration", "netlink"))

    def test_the_configuration_wins_key_by_key(self) -> None:
        pvd = one(
            'name = "office"\ninterface = "eth0"\naddresses = ["10.1.0.2"]\nresolvers = ["192.0.2.1:5353"]\n'
            'zones = ["corp.example"]\nsearch = []\ntype = "wired"\ncost = "fixed"\n'
            'cost_flags = ["roaming"]\n'
            'groups = ["internet"]\npref64 = ["64:ff9b::/96"]\naddress_table = "glibc"\nmetric = 7'
        )
        assert pvd == ProvisioningDomain(
            name="office",
            interface="eth0",
            ifindex=2,
            addresses=(LocalAddress("10.1.0.2", 24),),
            routes=(Route("0.0.0.0/0", "10.1.0.1", 100),),
            resolvers=(Resolver("192.0.2.1", 5353),),
            zones=("corp.example",),
            search=(),
            type="wired",
            cost=Cost(CostClass.FIXED, frozenset({"roaming"})),
            groups=("internet",),
            pref64=("64:ff9b::/96",),
            address_table="glibc",
            configured_metric=7,
            sources=("configuration", "netlink"),
        )
        assert pvd.metric == 7

    def test_a_configured_address_keeps_the_flags_that_the_kernel_gives_it(self) -> None:
        pvd = one('name = "a"\ninterface = "eth0"\naddresses = ["2001:db8:1::2"]')
        assert pvd.addresses == (LocalAddress("2001:db8:1::2", 64, deprecated=True),)
        assert pvd.families == (6,)

    def test_flags_without_a_class_leave_the_cost_unknown(self) -> None:
        assert one('name = "eth0"\ncost_flags = ["roaming"]').cost == Cost(
            CostClass.UNKNOWN, frozenset({"roaming"})
        )

    def test_configured_pvds_stand_in_the_order_of_the_file_before_the_rest(self) -> None:
        text = '[[pvd]]\nname = "z"\ninterface = "wlan0"\n[[pvd]]\nname = "a"\ninterface = "wlan0"'
        assert [pvd.name for pvd in merge(parse(text), HOST)] == ["z", "a", "eth0"]

    def test_several_pvds_share_an_interface(self) -> None:
        state = kernel(*ETH, Address(2, "10.9.0.2", 24))
        text = (
            'discover = []\n[[pvd]]\nname = "a"\ninterface = "eth0"\naddresses = ["10.1.0.2"]\n'
            '[[pvd]]\nname = "b"\ninterface = "eth0"\naddresses = ["10.9.0.2"]'
        )
        found = merge(parse(text), state)
        assert [[str(a) for a in pvd.addresses] for pvd in found] == [["10.1.0.2/24"], ["10.9.0.2/24"]]
        assert [pvd.unusable for pvd in found] == [None, None]

    @pytest.mark.parametrize("with_rule", [False, True])
    def test_pvds_that_leave_by_the_same_router_say_so(self, with_rule: bool) -> None:
        """Standing on one link they are told apart by a rule for the source address, and by nothing else."""
        state = kernel(
            *ETH[:2],
            Address(2, "10.9.0.2", 24),
            KernelRoute(2, "0.0.0.0/0", "10.1.0.1", 100),
            KernelRoute(2, "0.0.0.0/0", "10.9.0.1", 200),
            KernelRoute(2, "0.0.0.0/0", "10.9.0.1", table=9),
        )
        own = (PolicyRule(4, 10, 9, source="10.9.0.2/32"),) if with_rule else ()
        state = replace(state, rules=(*own, PolicyRule(4, 32766)))
        text = (
            'discover = []\n[[pvd]]\nname = "a"\ninterface = "eth0"\naddresses = ["10.1.0.2"]\n'
            '[[pvd]]\nname = "b"\ninterface = "eth0"\naddresses = ["10.9.0.2"]'
        )
        found = merge(parse(text), state)
        same = "IPv4: leaves by router 10.1.0.1, as does"
        assert found["a"].notes == (() if with_rule else (f"{same} b",))
        assert found["b"].notes == (() if with_rule else (f"{same} a",))


class TestSearchDomains:
    """The host's one search list is given to every PvD: no name of one may reach the resolvers of another."""

    NOTE = "search domain %s left out: corp.example belongs to vpn"

    @pytest.mark.parametrize(
        ("zones", "search", "left", "left_out"),
        [
            ('["corp.example"]', ("corp.example", "lan"), ("lan",), ["corp.example"]),
            ('["corp.example"]', ("eu.Corp.example",), (), ["eu.Corp.example"]),
            ('["corp.example"]', ("example", "xcorp.example"), ("example", "xcorp.example"), []),
            ('["."]', ("corp.example",), ("corp.example",), []),
        ],
    )
    def test_a_domain_in_a_zone_of_others_is_left_out_with_a_note(
        self, zones: str, search: tuple[str, ...], left: tuple[str, ...], left_out: list[str]
    ) -> None:
        dns = SystemDns(host=ResolvConf((NameServer("192.0.2.53"),), search=search))
        text = f'[[pvd]]\nname = "vpn"\ninterface = "eth0"\nzones = {zones}'
        found = merge(parse(text), HOST, dns)
        assert found["vpn"].search == search
        assert found["wlan0"].search == left
        assert [n for n in found["wlan0"].notes if "search" in n] == [self.NOTE % name for name in left_out]

    def test_the_longest_zone_owns_the_domain(self) -> None:
        text = (
            '[[pvd]]\nname = "vpn"\ninterface = "eth0"\nzones = ["corp.example"]\nsearch = []\n'
            '[[pvd]]\nname = "lab"\ninterface = "wlan0"\nzones = ["example"]\nsearch = ["corp.example"]'
        )
        assert merge(parse(text), HOST)["lab"].search == ()

    def test_a_zone_may_have_two_owners(self) -> None:
        text = "".join(
            f'[[pvd]]\nname = "{name}"\ninterface = "{interface}"\nzones = ["corp.example"]\n'
            'search = ["corp.example"]\n'
            for name, interface in (("a", "eth0"), ("b", "wlan0"))
        )
        assert [pvd.search for pvd in merge(parse(text), HOST)] == [("corp.example",)] * 2


class TestInterface:
    """Which interface a configured PvD is on."""

    def test_one_that_does_not_exist(self) -> None:
        pvd = one('name = "wifi"\ninterface = "wlan7"\nresolvers = ["192.0.2.1"]')
        assert (pvd.unusable, pvd.interface, pvd.ifindex) == ("no such interface wlan7", "wlan7", 0)
        assert pvd.resolvers == (Resolver("192.0.2.1"),)

    def test_left_out_it_is_the_one_that_carries_the_address(self) -> None:
        assert one('name = "wifi"\naddresses = ["10.2.0.2"]').interface == "wlan0"

    def test_left_out_it_is_the_namesake(self) -> None:
        assert one('name = "wlan0"\ncost = "fixed"').ifindex == 3

    def test_left_out_and_not_to_be_found(self) -> None:
        pvd = one('name = "wifi"')
        assert pvd.unusable == "no interface given, and none is called wifi"
        assert pvd.interface is None

    def test_an_address_that_two_interfaces_carry_names_none(self) -> None:
        state = kernel(*ETH, Link(3, "wlan0"), Address(3, "10.1.0.2", 24))
        assert one('name = "wifi"\naddresses = ["10.1.0.2"]', state).unusable is not None

    def test_an_address_that_is_not_on_it(self) -> None:
        pvd = one('name = "a"\ninterface = "eth0"\naddresses = ["10.1.0.99"]')
        assert pvd.unusable == "10.1.0.99 is not on eth0"
        pvd = one('name = "a"\ninterface = "eth0"\naddresses = ["10.1.0.99", "10.1.0.2"]')
        assert pvd.unusable is None
        assert pvd.notes == ("10.1.0.99 is not on eth0",)

    def test_the_loopback_can_be_configured(self) -> None:
        pvd = one('name = "here"\ninterface = "lo"\naddresses = ["127.0.0.2"]')
        assert (pvd.unusable, pvd.notes) == (None, ())
        assert pvd.addresses == (LocalAddress("127.0.0.2", 8),)

    def test_an_implicit_pvd_gives_way_to_a_configured_one_of_its_name(self) -> None:
        found = merge(parse('[[pvd]]\nname = "wlan0"\ninterface = "eth0"'), HOST)
        assert [(pvd.name, pvd.interface) for pvd in found] == [("wlan0", "eth0"), ("wlan0-2", "wlan0")]


class TestFurtherSources:
    VPN = ProvisioningDomain("vpn", interface="tun0", sources=("openvpn",))

    def test_they_come_after_the_rest(self) -> None:
        found = merge(Configuration(), HOST, others=[self.VPN])
        assert [pvd.name for pvd in found] == ["eth0", "wlan0", "vpn"]

    def test_a_name_belongs_to_configuration_and_kernel_first(self) -> None:
        found = merge(Configuration(), HOST, others=[replace(self.VPN, name="eth0")])
        assert found["eth0"].sources == ("netlink",)


class TestGeneration:
    FIRST = merge(Configuration(), HOST, DNS)

    def test_the_same_content_is_the_same_object(self) -> None:
        assert merge(Configuration(), kernel(*WLAN, *ETH, *LO), DNS, previous=self.FIRST) is self.FIRST

    def test_it_grows_by_one_with_a_change(self) -> None:
        second = merge(Configuration(), kernel(*LO, *ETH), DNS, previous=self.FIRST)
        assert (self.FIRST.generation, second.generation) == (0, 1)
        assert merge(Configuration(), HOST, DNS, previous=second).generation == 2


class TestAttachment:
    """RFC 7556 s2.1: what is learnt of a PvD ends with the events that end the attachment."""

    FIRST = merge(Configuration(), HOST, DNS)

    def after(self, state: KernelState, dns: SystemDns = DNS, previous: PvdSet = FIRST) -> int:
        return merge(Configuration(), state, dns, previous=previous)["wlan0"].attachment

    def test_it_starts_at_0(self) -> None:
        assert self.FIRST["wlan0"].attachment == 0

    def test_a_device_made_anew(self) -> None:
        moved = [replace(part, index=9) for part in WLAN]
        assert self.after(kernel(*ETH, *moved)) == 1

    def test_another_address(self) -> None:
        assert self.after(kernel(*ETH, WLAN[0], Address(3, "10.7.0.2", 24), WLAN[2])) == 1

    def test_another_resolver(self) -> None:
        assert self.after(HOST, SystemDns(host=ResolvConf((NameServer("192.0.2.54"),)))) == 1

    def test_what_is_gained_takes_nothing_back(self) -> None:
        more_dns = SystemDns(host=ResolvConf((NameServer("192.0.2.53"), NameServer("192.0.2.54"))))
        state = kernel(*ETH, *WLAN, Address(3, "2001:db8:2::2", 64))
        assert self.after(state, more_dns) == 0
        assert merge(Configuration(), state, more_dns, previous=self.FIRST) is not self.FIRST

    @pytest.mark.parametrize(
        "address",
        [Address(3, "10.2.0.2", 24, deprecated=True), Address(3, "10.2.0.2", 24, secondary=True)],
    )
    def test_a_flag_is_no_new_network(self, address: Address) -> None:
        state = kernel(*ETH, WLAN[0], address, WLAN[2])
        assert self.after(state) == 0

    def test_rfc_8981_neither_is_a_new_temporary_address_of_the_same_prefix(self) -> None:
        def with_temporary(address: str) -> KernelState:
            return kernel(
                *ETH, *WLAN, Address(3, address, 64, temporary=True), KernelRoute(3, "::/0", "fe80::1")
            )

        monday = merge(Configuration(), with_temporary("2001:db8:2::aaaa"), DNS)
        assert self.after(with_temporary("2001:db8:2::bbbb"), previous=monday) == 0
        assert self.after(with_temporary("2001:db8:3::bbbb"), previous=monday) == 1

    def test_a_link_that_went_down_and_came_back(self) -> None:
        down = merge(
            Configuration(),
            kernel(*ETH, replace(WLAN[0], carrier=False), *WLAN[1:]),
            DNS,
            previous=self.FIRST,
        )
        assert (down["wlan0"].unusable, down["wlan0"].attachment) == ("no carrier", 0)
        assert self.after(HOST, previous=down) == 1

    @pytest.mark.parametrize(("carrier", "attachment"), [(True, 1), (False, 0)])
    def test_a_link_that_bounced_while_nobody_looked(self, carrier: bool, attachment: int) -> None:
        """The kernel counts; what has no carrier now is attached anew when it has one again."""
        state = kernel(*ETH, replace(WLAN[0], carrier=carrier, carrier_changes=4), *WLAN[1:])
        found = merge(Configuration(), state, DNS, previous=self.FIRST, before=HOST)
        assert found["wlan0"].attachment == attachment
        assert found["eth0"] == self.FIRST["eth0"]
        assert merge(Configuration(), state, DNS, previous=found, before=state) is found

    def test_a_pvd_that_comes_back_has_a_number_that_it_never_had(self) -> None:
        seen = {0}
        found = self.FIRST
        for _ in range(3):
            found = merge(Configuration(), kernel(*ETH), DNS, previous=found)
            found = merge(Configuration(), HOST, DNS, previous=found)
            assert found["wlan0"].attachment not in seen
            seen.add(found["wlan0"].attachment)


names = st.sampled_from(["eth0", "eth1", "wlan0", "tun0"])


@st.composite
def hosts(draw: st.DrawFn) -> list[Link | Address | KernelRoute]:
    parts: list[Link | Address | KernelRoute] = list(LO)
    for index, name in enumerate(draw(st.lists(names, unique=True)), 2):
        parts.append(Link(index, name, carrier=draw(st.booleans())))
        for n in draw(st.sets(st.integers(1, 9), max_size=3)):
            parts.append(Address(index, f"10.{n}.0.2", 24))
            parts.append(Address(index, f"2001:db8:{n}::2", 64, deprecated=draw(st.booleans())))
            parts.append(KernelRoute(index, f"10.{n}.0.0/24"))
            parts.append(KernelRoute(index, "0.0.0.0/0", f"10.{n}.0.1", draw(st.sampled_from([0, 100]))))
            parts.append(KernelRoute(index, "::/0", f"fe80::{n}", 1024))
    return parts


configurations = st.lists(
    st.builds(
        PvdConfig,
        name=st.sampled_from(["a", "b", "eth0"]),
        interface=st.none() | names,
        addresses=st.none() | st.sampled_from([(), ("10.1.0.2",), ("2001:db8:2::2", "10.3.0.2")]),
    ),
    unique_by=lambda pvd: pvd.name,
    max_size=3,
).map(lambda pvds: Configuration(pvds=tuple(pvds)))
others = st.lists(
    st.builds(
        ProvisioningDomain,
        name=st.sampled_from(["vpn", "eth0", "lte"]),
        interface=names,
        sources=st.sampled_from([("x",), ("y",)]),
        type=st.sampled_from(["vpn", "cellular"]),
    ),
    max_size=4,
)


@given(hosts(), configurations, others, st.randoms(use_true_random=False))
@pytest.mark.row("6.10", "2.6")
def test_check_10_the_order_of_sources_and_of_bring_up_does_not_show(
    parts: list[Link | Address | KernelRoute],
    configuration: Configuration,
    further: list[ProvisioningDomain],
    chance: random.Random,
) -> None:
    def shuffled(items: list[object]) -> list[object]:
        return chance.sample(items, len(items))

    first = merge(configuration, kernel(*parts), DNS, further)
    mixed = kernel(*shuffled(list(parts)))  # type: ignore[arg-type]
    assert merge(configuration, mixed, DNS, shuffled(list(further)), first) is first  # type: ignore[arg-type]

    # Interfaces made in another order have other indexes, and nothing else differs.
    indexes = {link.index: 100 - link.index for link in kernel(*parts).links}
    renumbered = merge(
        configuration, kernel(*(replace(p, index=indexes[p.index]) for p in parts)), DNS, further
    )
    assert [replace(pvd, ifindex=0) for pvd in renumbered] == [replace(pvd, ifindex=0) for pvd in first]


def host(text: str, state: KernelState = HOST, dns: SystemDns = DNS, system: str = "") -> PvdSet:
    """The PvDs of a whole file, with a system's policy."""
    return merge(replace(parse(text), system=parse_policy_file(system, "s", "system")), state, dns)


class TestOverrides:
    def test_whoever_matches_is_meant_also_implicit_pvds_and_those_of_sources(self) -> None:
        configuration = parse(
            '[[override]]\nmatch = ["interface:wlan*", "pvd:other"]\ncost = "variable"\n'
            '[[override]]\nmatch = ["interface:wlan*"]\ntype = "cellular"\n'
        )
        found = merge(configuration, HOST, DNS, [ProvisioningDomain("other", interface="wlan9")])
        assert [(pvd.name, pvd.type, pvd.cost.kind) for pvd in found] == [
            ("eth0", "unknown", "unknown"),
            ("wlan0", "cellular", "unknown"),
            ("other", "cellular", "variable"),
        ]

    def test_an_override_sees_what_earlier_ones_say(self) -> None:
        found = host(
            '[[override]]\nmatch = ["interface:wlan*"]\ntype = "cellular"\n'
            '[[override]]\nmatch = ["type:cellular"]\ncost = "variable"\n'
        )
        assert (found["wlan0"].cost.kind, found["eth0"].cost.kind) == ("variable", "unknown")

    def test_what_is_said_first_counts_key_by_key(self) -> None:
        text = (
            '[[pvd]]\nname = "eth0"\ncost = "fixed"\n'
            '[[override]]\nmatch = ["pvd:*"]\ncost = "variable"\ngroups = ["a"]\n'
            '[[override]]\nmatch = ["pvd:*"]\ncost = "unmetered"\ngroups = ["b"]\nrate = 8.0\n'
        )
        found = host(text)
        assert [(p.cost.kind, p.groups, p.rate) for p in found] == [
            ("fixed", ("a",), 8.0),
            ("variable", ("a",), 8.0),
        ]
        system = '[[override]]\nmatch = ["group:a", "pvd:eth0"]\ncost = "unknown"\n'
        assert found == host(text, system=system)  # nobody is in the group before the application says so
        system = '[[override]]\nmatch = ["pvd:eth0"]\ncost = "unmetered"\ngroups = ["s"]\n'
        found = host(text, system=system)
        assert [(p.cost.kind, p.groups) for p in found] == [("unmetered", ("s",)), ("variable", ("a",))]

    def test_a_profile_stands_behind_the_file(self) -> None:
        configuration = replace(
            parse('[[override]]\nmatch = ["pvd:eth0"]\ngroups = ["mine"]'), files=(profile("s60-snap"),)
        )
        found = merge(configuration, HOST, DNS)
        assert [pvd.groups for pvd in found] == [("mine",), ("internet",)]
        assert {pvd.address_table for pvd in found} == {"rfc6724-ipv4-first"}

    def test_flags_and_class_of_cost_are_two_keys(self) -> None:
        override = '[[override]]\nmatch = ["pvd:*"]\ncost_flags = ["roaming"]'
        assert host(f'[[pvd]]\nname = "eth0"\ncost = "fixed"\n{override}')["eth0"].cost == Cost(
            CostClass.FIXED, frozenset({"roaming"})
        )

    def test_the_sources_of_a_pvd_are_those_who_told_of_it(self) -> None:
        assert host('[[override]]\nmatch = ["pvd:*"]\ntype = "x"')["eth0"].sources == ("netlink",)


class TestDnsOfTheNetworkIgnored:
    IGNORED = '[[override]]\nmatch = ["interface:eth0"]\ndns = "ignore"\n'

    def test_its_servers_and_search_domains_are_dropped_and_nobody_elses(self) -> None:
        found = host(self.IGNORED)
        assert (found["eth0"].resolvers, found["eth0"].search, found["eth0"].zones) == ((), (), ())
        assert found["wlan0"].resolvers == (Resolver("192.0.2.53", scoped=False),)
        assert found["wlan0"].search == ("lan",)
        assert found["eth0"].routes == host("")["eth0"].routes

    def test_what_is_configured_is_kept(self) -> None:
        text = (
            '[[pvd]]\nname = "eth0"\ndns = "ignore"\nresolvers = ["192.0.2.7"]\nsearch = ["mine.example"]\n'
        )
        pvd = host(text)["eth0"]
        assert (pvd.resolvers, pvd.search) == ((Resolver("192.0.2.7"),), ("mine.example",))

    def test_an_override_can_bring_resolvers_for_all(self) -> None:
        found = host('[[override]]\nmatch = ["pvd:*"]\nresolvers = ["192.0.2.7"]\n')
        assert {pvd.resolvers for pvd in found} == {(Resolver("192.0.2.7"),)}
        assert {pvd.search for pvd in found} == {()}  # that of the network belongs to its own servers

    def test_a_source_is_a_network_too(self) -> None:
        other = ProvisioningDomain("x", resolvers=(Resolver("192.0.2.9"),), zones=("a",), search=("b",))
        configuration = parse('[[override]]\nmatch = ["pvd:x"]\ndns = "ignore"\n')
        pvd = merge(configuration, HOST, DNS, [other])["x"]
        assert (pvd.resolvers, pvd.zones, pvd.search) == ((), (), ())

    def test_used_is_the_default(self) -> None:
        assert host(self.IGNORED.replace("ignore", "use")) == host("")


class TestDefaultRouteOff:
    TEXT = '[[override]]\nmatch = ["interface:eth0"]\ndefault_route = false\n'

    def test_its_default_routes_are_dropped_and_nobody_elses(self) -> None:
        more = kernel(*LO, *ETH, KernelRoute(2, "10.9.0.0/16", "10.1.0.1", 100), *WLAN)
        found = host(self.TEXT, more)
        assert [route.destination for route in found["eth0"].routes] == ["10.9.0.0/16"]
        assert found["wlan0"] == host("", more)["wlan0"]
        assert found["eth0"].unusable is None

    def test_where_nothing_is_left_there_is_its_link(self) -> None:
        """No routes at all would say that they are unknown, and exclude nothing."""
        pvd = host(self.TEXT)["eth0"]
        assert [route.destination for route in pvd.routes] == ["2001:db8:1::/64", "10.1.0.0/24"]
        assert unusable(pvd, "10.1.0.9") is None
        assert unusable(pvd, "192.0.2.1") == unusable(pvd, "2001:db8:9::1") == "no route"
        before = host("")["eth0"]
        assert unusable(before, "192.0.2.1") is None

    def test_on_is_the_default(self) -> None:
        assert host(self.TEXT.replace("false", "true")) == host("")


def test_the_zones_of_who_is_not_trusted_count_for_nothing() -> None:
    """RFC 7556 s7.1, RFC 6731 s4.1: such a PvD cannot draw a name to itself, nor is it kept from any."""
    text = '[[pvd]]\nname = "eth0"\nzones = ["corp.example"]\ntrusted = false\n'
    pvd = host(text)["eth0"]
    assert match(pvd, "www.corp.example") == match(pvd, "www.example.com") == MAYBE
    assert match(replace(pvd, trusted=True), "www.corp.example").verdict is Verdict.YES
