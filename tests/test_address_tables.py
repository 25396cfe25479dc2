"""Address tables: which of a name's addresses comes first depends on the PvD's own table alone."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.config import parse
from pvdrace.config.gai_conf import parse as parse_gai_conf
from pvdrace.discovery.merge import merge
from pvdrace.discovery.state import Address, KernelRoute, KernelState, Link, PolicyRule
from pvdrace.errors import ConfigurationError
from pvdrace.files import read_configuration
from pvdrace.model import AddressRow, AddressTable, LocalAddress, ProvisioningDomain, Route, ScopeRow
from pvdrace.race import addresses
from pvdrace.race.ordering import order, source_address
from pvdrace.race.values import read, write

ULA, GUA, IPV4 = "fd00:1234:5678:9::80", "2001:db8:9::80", "203.0.113.80"
FOREIGN_ULA = "fd99::80"
OWN = (
    LocalAddress("2001:db8:1::2", 64),
    LocalAddress("fd00:1234:5678::2", 64),
    LocalAddress("10.1.2.3", 24),
)


def pvd(table: str | AddressTable = "rfc6724", own: tuple[LocalAddress, ...] = OWN) -> ProvisioningDomain:
    if isinstance(table, str):
        return ProvisioningDomain("p", addresses=own, address_table=table)
    return ProvisioningDomain("p", addresses=own, address_table=table.name, custom_table=table)


def first(domain: ProvisioningDomain, *destinations: str) -> str:
    return order(domain, destinations, 443)[0].remote


# ---------------------------------------------------------------------- the built-in ones


@pytest.mark.row("4.16")
@pytest.mark.parametrize(
    ("table", "ula", "ahead"),
    [
        ("rfc6724", ULA, IPV4),  # RFC 6724 s2.1: fc00::/7 has 3, IPv4 has 35
        ("rfc6724-ipv4-first", ULA, IPV4),
        ("rfc6724-update", ULA, ULA),  # the draft of 6man: 45 where it is of the own site, IPv4 has 20
        ("glibc", ULA, ULA),  # RFC 3484: no row for fc00::/7, which has the 40 of ::/0, and IPv4 has 10
        ("android-2.2", ULA, ULA),
        (parse_gai_conf(""), ULA, ULA),
        (parse_gai_conf("precedence ::ffff:0:0/96 100"), ULA, IPV4),
        # Of another site: no source has its label (rule 5) in the draft's table, all have it in the others.
        ("rfc6724", FOREIGN_ULA, IPV4),
        ("rfc6724-update", FOREIGN_ULA, IPV4),
        ("glibc", FOREIGN_ULA, FOREIGN_ULA),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_unique_local_address_against_ipv4(table: str | AddressTable, ula: str, ahead: str) -> None:
    """Linux RFC 3484 + gai.conf: ULA against IPv4 differs between the tables."""
    for destinations in ((ula, IPV4), (IPV4, ula)):
        assert first(pvd(table), *destinations) == ahead


# Android 2.2: RFC 3484 without rules 3, 4 and 7, and with rule 9 for IPv6 only.


@pytest.mark.row("3.34")
def test_android_keeps_the_order_of_two_ipv4_destinations() -> None:
    near, far = "10.1.2.99", "203.0.113.80"
    for destinations in ((near, far), (far, near)):
        assert first(pvd("android-2.2"), *destinations) == destinations[0]
        assert first(pvd("glibc"), *destinations) == near, "the control: rule 9 of IPv4 too"


@pytest.mark.row("3.34")
def test_android_sorts_two_ipv6_destinations() -> None:
    near, far = "2001:db8:1::80", "2001:db8:ffff::80"
    for destinations in ((near, far), (far, near)):
        assert first(pvd("android-2.2"), *destinations) == near


@pytest.mark.row("3.34")
def test_android_does_not_mind_a_deprecated_source() -> None:
    own = (LocalAddress("2001:db8:1::2", 64, deprecated=True), LocalAddress("10.1.2.3", 24))
    assert first(pvd("android-2.2", own), IPV4, GUA) == GUA
    assert first(pvd("glibc", own), IPV4, GUA) == IPV4, "the control: rule 3"


# ---------------------------------------------------------------------- one's own

CORPORATE = AddressTable(
    "corporate",
    (
        AddressRow("::/0", 40, 1),
        AddressRow("::ffff:0:0/96", 35, 4),
        AddressRow("::ffff:203.0.113.0/120", 50, 4),
    ),
)


@pytest.mark.row("3.24")
def test_a_table_counts_for_the_pvd_that_names_it_alone() -> None:
    """WM/WP7 RFC 3484 + admin policy table, which was host-wide: here it flips the order on A only."""
    text = """
        discover = []
        [[pvd]]
        name = "a"
        interface = "eth0"
        address_table = "corporate"
        [[pvd]]
        name = "b"
        interface = "wlan0"
        [[address_table]]
        name = "corporate"
        rows = [
            { prefix = "::/0", precedence = 40, label = 1 },
            { prefix = "203.0.113.0/24", precedence = 50, label = 4 },
            { prefix = "::ffff:0:0/96", precedence = 35, label = 4 },
        ]"""
    state = KernelState(
        links=(Link(2, "eth0"), Link(3, "wlan0")),
        addresses=tuple(
            own for n in (2, 3) for own in (Address(n, f"2001:db8:{n}::2", 64), Address(n, f"10.{n}.0.2", 24))
        ),
        routes=tuple(KernelRoute(n, d) for n in (2, 3) for d in ("::/0", "0.0.0.0/0")),
    )
    found = merge(parse(text), state)
    assert first(found["a"], GUA, IPV4) == IPV4
    assert first(found["b"], GUA, IPV4) == GUA
    assert first(found["a"], GUA, "198.51.100.1") == GUA, "the row is for its prefix only"


def test_an_override_can_name_a_table_and_a_pin() -> None:
    """For PvDs that no file knows: what they can carry then follows the pin."""
    text = """
        [[override]]
        match = ["interface:wlan*"]
        address_table = "v4first"
        pin = "mark:9"
        [[address_table]]
        name = "v4first"
        rows = [
            { prefix = "::/0", precedence = 1, label = 1 },
            { prefix = "0.0.0.0/0", precedence = 2, label = 4 },
        ]"""
    marked = PolicyRule(4, 100, 7, mark=9, mark_mask=0xFFFFFFFF)
    state = KernelState(
        links=(Link(2, "eth0"), Link(3, "wlan0")),
        addresses=(Address(2, "10.2.0.2", 24), Address(3, "10.3.0.2", 24), Address(3, "2001:db8:3::2", 64)),
        routes=(
            KernelRoute(2, "0.0.0.0/0", "10.2.0.1"),
            KernelRoute(3, "0.0.0.0/0", "10.3.0.1", table=7),
            KernelRoute(3, "::/0", "fe80::1"),
        ),
        rules=(PolicyRule(4, 32766), PolicyRule(6, 32766), marked),
    )
    found = merge(parse(text), state)
    assert [(pvd.name, pvd.pin, pvd.address_table) for pvd in found] == [
        ("eth0", "device", "rfc6724"),
        ("wlan0", "mark:9", "v4first"),
    ]
    assert Route("0.0.0.0/0", "10.3.0.1") in found["wlan0"].routes
    assert first(found["wlan0"], GUA, IPV4) == IPV4


def test_a_table_goes_into_the_report_and_back() -> None:
    table = replace(CORPORATE, scopes4=(ScopeRow("10.0.0.0/8", 5),))
    assert read(ProvisioningDomain, write(pvd(table)), "pvd") == pvd(table)
    assert read(ProvisioningDomain, write(pvd()), "pvd") == pvd()


def test_a_table_that_the_pvd_does_not_name_is_not_used() -> None:
    assert first(replace(pvd(CORPORATE), address_table="rfc6724"), GUA, IPV4) == GUA


SAME = AddressTable("same", (AddressRow("::/0", 40, 1),))


@pytest.mark.parametrize(
    ("destinations", "expected"),
    [
        # Rule 9 compares inside a family, rule 10 keeps the rest: the places of a family stay its own.
        (["198.51.100.1", "10.1.2.99"], ["10.1.2.99", "198.51.100.1"]),
        (["198.51.100.1", "2001:db8:1::80"], ["198.51.100.1", "2001:db8:1::80"]),
        (["2001:db8:1::80", "198.51.100.1"], ["2001:db8:1::80", "198.51.100.1"]),
        (
            ["2001:db8:ffff::80", "198.51.100.1", "2001:db8:1::80", "10.1.2.99"],
            ["2001:db8:1::80", "10.1.2.99", "2001:db8:ffff::80", "198.51.100.1"],
        ),
    ],
)
def test_families_that_tie(destinations: list[str], expected: list[str]) -> None:
    assert [candidate.remote for candidate in order(pvd(SAME), destinations, 443)] == expected


def test_which_tables_let_families_tie() -> None:
    assert not any(map(addresses.families_may_tie, addresses.POLICY_TABLES.values()))
    assert addresses.families_may_tie(addresses.policy_table(pvd(SAME)))
    assert not addresses.families_may_tie(addresses.policy_table(pvd(CORPORATE)))


# ---------------------------------------------------------------------- /etc/gai.conf


@given(st.one_of(st.ip_addresses(v=6), st.ip_addresses(v=4)).map(str))
def test_an_empty_gai_conf_is_glibc(address: str) -> None:
    ours, glibc = addresses.policy_table(pvd(parse_gai_conf(""))), addresses.POLICY_TABLES["glibc"]
    value = addresses.parse(address)
    row, theirs = addresses.policy(ours, value), addresses.policy(glibc, value)
    assert (row.precedence, row.label) == (theirs.precedence, theirs.label)


@pytest.mark.row("4.16")
@pytest.mark.parametrize(
    ("text", "address", "precedence", "label"),
    [
        ("", "203.0.113.1", 10, 4),
        ("# label ::/0 9\n\n   # nothing\nreload yes", "203.0.113.1", 10, 4),
        ("precedence ::ffff:0:0/96 100", "203.0.113.1", 100, 4),
        # One line replaces that whole default table, and no other.
        ("precedence ::ffff:0:0/96 100", "2002::1", 40, 2),
        ("precedence ::ffff:0:0/96 100", "::1", 40, 0),
        ("label 2001:db8::/32 9", "2001:db8::1", 40, 9),
        ("label 2001:db8::/32 9", "203.0.113.1", 10, 1),
        ("label 2001:db8::/32 9", "2002::1", 30, 1),
        ("label ::/0 7\nlabel 2001:db8::/32 9 # ours", "2002::1", 30, 7),
        # Prefixes of two tables that lie in each other.
        ("label 2001:db8::/32 9\nprecedence 2001:db8:1::/48 77", "2001:db8:1::1", 77, 9),
        ("label 2001:db8::/32 9\nprecedence 2001:db8:1::/48 77", "2001:db8:2::1", 40, 9),
        ("precedence 2001:db8::/32 77\nlabel 2001:db8:1::/48 9", "2001:db8:1::1", 77, 9),
        ("precedence 2001:db8::1 2147483647", "2001:db8::1", 2147483647, 1),
    ],
)
def test_a_gai_conf(text: str, address: str, precedence: int, label: int) -> None:
    row = addresses.policy(addresses.policy_table(pvd(parse_gai_conf(text))), addresses.parse(address))
    assert (row.precedence, row.label) == (precedence, label)


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "2001:db8:1::80"),
        # RFC 3484 s3.2: private IPv4 is site-local, and a smaller scope is better (rule 8).
        ("scopev4 10.0.0.0/8 5\nprecedence ::/0 10\nprecedence ::ffff:0:0/96 10", "10.1.2.80"),
        ("scopev4 ::ffff:10.0.0.0/104 5\nprecedence ::/0 10\nprecedence ::ffff:0:0/96 10", "10.1.2.80"),
        ("precedence ::/0 10\nprecedence ::ffff:0:0/96 11", "10.1.2.80"),
    ],
)
def test_scopes_of_ipv4(text: str, ahead: str) -> None:
    own = (LocalAddress("2001:db8:1::2", 64), LocalAddress("10.1.2.3", 24))
    assert first(pvd(parse_gai_conf(text), own), "2001:db8:1::80", "10.1.2.80") == ahead


def test_scopes_that_are_given_replace_those_of_the_rfc() -> None:
    table = parse_gai_conf("scopev4 10.0.0.0/8 5")
    own = (LocalAddress("169.254.1.1", 16), LocalAddress("10.1.2.3", 24))
    assert table.scopes4 == (ScopeRow("10.0.0.0/8", 5),)
    assert source_address(pvd(table, own), "203.0.113.1") == "169.254.1.1", "now the only global one"
    assert source_address(pvd("glibc", own), "203.0.113.1") == "10.1.2.3", "the control"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label ::/0", "line 1: label wants a prefix and a number"),
        ("\n# x\nprecedence ::/0 1 2", "line 3: precedence wants a prefix and a number"),
        ("label 2002::/129 1", "line 1: '2002::/129' is not an IPv6 prefix"),
        ("label 10.0.0.0/8 1", "line 1: '10.0.0.0/8' is not an IPv6 prefix"),
        ("label ::/0 x", "line 1: 'x' is not a number from 0 to 2147483647"),
        ("precedence ::/0 -1", "line 1: '-1' is not a number from 0 to 2147483647"),
        ("scopev4 2001:db8::/32 5", "line 1: '2001:db8::/32' is not an IPv4 prefix, nor an IPv4-mapped one"),
        ("scopev4 ::/0 5", "line 1: '::/0' is not an IPv4 prefix, nor an IPv4-mapped one"),
        ("scopev4 10.0.0.0/8 16", "line 1: '16' is not a number from 0 to 15"),
        ("reload maybe", "line 1: reload wants yes or no"),
        ("labels ::/0 1", "line 1: 'labels' is not one of label, precedence, reload, scopev4"),
    ],
)
def test_a_damaged_gai_conf(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_gai_conf(text)
    assert str(caught.value) == said


@given(st.text(st.sampled_from("label precedence scopev4 reload yes ::/0123 #\n10.0.0.0/8 ff")))
def test_any_text_is_a_table_or_one_clear_error(text: str) -> None:
    try:
        table = parse_gai_conf(text)
    except ValueError as error:
        assert str(error).startswith("line ")
    else:
        assert any(row.prefix == "::/0" for row in table.rows)
        assert all(ipaddress.IPv6Network(row.prefix) for row in table.rows)


class TestTheHostsFile:
    """``address_table = "gai.conf"``: who reads the configuration reads that file too."""

    CONFIGURATION = 'discover = []\n[[pvd]]\nname = "a"\naddress_table = "gai.conf"'

    @pytest.fixture
    def gai_conf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "gai.conf"
        monkeypatch.setattr("pvdrace.files.GAI_CONF", str(file))
        return file

    def table(self) -> AddressTable:
        (found,) = merge(read_configuration(parse(self.CONFIGURATION)), KernelState())
        assert found.custom_table is not None
        return found.custom_table

    def test_it_is_read(self, gai_conf: Path, tmp_path: Path) -> None:
        gai_conf.write_text("precedence ::ffff:0:0/96 100\n")
        assert first(pvd(self.table()), GUA, IPV4) == IPV4
        (tmp_path / "pvdrace.toml").write_text(self.CONFIGURATION)
        assert read_configuration(tmp_path / "pvdrace.toml").address_tables == (self.table(),)

    def test_without_the_file_it_is_glibcs(self, gai_conf: Path) -> None:
        assert self.table() == parse_gai_conf("")

    def test_a_damaged_one_is_an_error_with_file_and_line(self, gai_conf: Path) -> None:
        gai_conf.write_text("\nlabel x 1\n")
        with pytest.raises(ConfigurationError, match=r"/gai\.conf: line 2: 'x' is not an IPv6 prefix$"):
            self.table()

    def test_nobody_who_does_not_ask_reads_it(self, gai_conf: Path) -> None:
        gai_conf.write_text("nonsense")
        assert read_configuration(parse("")).address_tables == ()


# ---------------------------------------------------------------------- the configuration


def test_two_tables_of_one_name() -> None:
    rows = 'rows = [{ prefix = "::/0", precedence = 1, label = 1 }]'
    text = f'[[address_table]]\nname = "a"\n{rows}\n[[address_table]]\nname = "a"\n{rows}'
    with pytest.raises(
        ConfigurationError, match=r":5: address_table\[1\].name: 'a' is already used in line 2$"
    ):
        parse(text)


ROW = '{ prefix = "::/0", precedence = 1, label = 1 }'
DAMAGED = [
    (ROW.replace("1 }", "1, x = 1 }"), "[0].x: unknown key; known are prefix, precedence, label"),
    (ROW.replace("::/0", "::1/0"), "[0].prefix: '::1/0' is not a prefix: ::1/0 has host bits set"),
    (ROW.replace('"::/0"', "1"), "[0].prefix: a string is wanted, not a number"),
    (ROW.replace("1,", "true,"), "[0].precedence: a whole number is wanted, not a boolean"),
    (ROW.replace("1 }", "-1 }"), "[0].label: -1 is not between 0 and 255"),
    (f"{ROW}, {ROW}", "[1]: ::/0 has a row already"),
]


@pytest.mark.parametrize(("row", "said"), DAMAGED)
def test_a_damaged_table(row: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f'[[address_table]]\nname = "a"\nrows = [{row}]')
    assert str(caught.value) == f"pvdrace.toml:3: address_table[0].rows{said}"


# ---------------------------------------------------------------------- the source of IPv4

SECONDARY = (LocalAddress("10.1.0.2", 24), LocalAddress("10.1.0.3", 24), LocalAddress("10.9.0.2", 24))


@pytest.mark.row("4.4")
@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((Route("0.0.0.0/0", "10.1.0.1"),), "10.1.0.2"),
        ((Route("0.0.0.0/0", "10.1.0.1", source="10.1.0.3"),), "10.1.0.3"),
        ((Route("0.0.0.0/0", "10.9.0.1"),), "10.9.0.2"),  # the one that shares its link with the next hop
        ((Route("0.0.0.0/0", "10.9.0.1", source="10.1.0.3"),), "10.1.0.3"),
        ((Route("0.0.0.0/0", "10.1.0.1"), Route("203.0.0.0/16", "10.1.0.1", source="10.9.0.2")), "10.9.0.2"),
        (
            (Route("0.0.0.0/0", "10.1.0.1", 1, "10.1.0.3"), Route("0.0.0.0/0", "10.1.0.1", 2, "10.9.0.2")),
            "10.1.0.3",
        ),
        ((Route("0.0.0.0/0", "10.1.0.1", source="10.8.0.2"),), "10.1.0.2"),  # not an address of this PvD
    ],
)
def test_the_route_says_which_source_it_prefers(routes: tuple[Route, ...], expected: str) -> None:
    """Windows source, Linux source: the kernel's own choice, `ip route ... src` first."""
    domain = ProvisioningDomain("p", addresses=SECONDARY, routes=routes)
    assert source_address(domain, "203.0.113.1") == expected
