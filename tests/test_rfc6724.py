"""RFC 6724, default address selection, inside one PvD. Each row names its clause."""

from __future__ import annotations

import ipaddress
import pickle
from functools import cmp_to_key, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvdrace.model import LocalAddress, ProvisioningDomain, Route
from pvdrace.race import addresses
from pvdrace.race.ordering import order, route_length, source_address, unusable

RFC_TABLE = {
    "::1/128": (50, 0),
    "::/0": (40, 1),
    "::ffff:0:0/96": (35, 4),
    "2002::/16": (30, 2),
    "2001::/32": (5, 5),
    "fc00::/7": (3, 13),
    "::/96": (1, 3),
    "fec0::/10": (1, 11),
    "3ffe::/16": (1, 12),
}


def local(text: str) -> LocalAddress:
    """``2001:db8::1/48 deprecated`` or ``... temporary``; the length of a usual subnet if left out."""
    address, *flags = text.split()
    address, _, length = address.partition("/")
    usual = 64 if ":" in address else 16 if address.startswith("169.254.") else 24
    return LocalAddress(address, int(length or usual), "deprecated" in flags, "temporary" in flags)


def pvd(*sources: str, table: str = "rfc6724", routes: tuple[Route, ...] = ()) -> ProvisioningDomain:
    return ProvisioningDomain("p", addresses=tuple(map(local, sources)), address_table=table, routes=routes)


def sort(domain: ProvisioningDomain, *destinations: str) -> list[str]:
    return [f"{c.remote} from {c.local}" for c in order(domain, destinations, 443)]


@pytest.mark.parametrize(
    ("destination", "sources", "expected"),
    [
        # s10.1, all but the example of mobile IP. The RFC prints 2001:db8::1 for the first: a misprint.
        ("2001:db8:1::1", ["2001:db8:3::1", "fe80::1"], "2001:db8:3::1"),
        ("ff05::1", ["2001:db8:3::1", "fe80::1"], "2001:db8:3::1"),
        ("2001:db8:1::1", ["2001:db8:1::1 deprecated", "2001:db8:2::1"], "2001:db8:1::1"),
        ("fe80::1", ["fe80::2 deprecated", "2001:db8:1::1"], "fe80::2"),
        ("2001:db8:1::1", ["2001:db8:1::2", "2001:db8:3::2"], "2001:db8:1::2"),
        ("2001:db8:1::1", ["2001:db8:3::2", "2001:db8:1::2"], "2001:db8:1::2"),
        (
            "2002:c633:6401::1",
            ["2002:c633:6401::d5e3:7953:13eb:22e8 temporary", "2001:db8:1::2"],
            "2002:c633:6401::d5e3:7953:13eb:22e8",
        ),
        (
            "2001:db8:1::d5e3:0:0:1",
            ["2001:db8:1::2", "2001:db8:1::d5e3:7953:13eb:22e8 temporary"],
            "2001:db8:1::d5e3:7953:13eb:22e8",
        ),
        # s10.6: a unique local address is not chosen for its longer match.
        ("ff00::1", ["2001:db8:1::1", "fd11:1111:1111:1::1"], "2001:db8:1::1"),
        # s5 rule 2: no scope reaches, so the largest there is.
        ("2001:db8:1::1", ["fe80::1", "fec0::1"], "fec0::1"),
        # s5 rule 3.
        ("2001:db8:1::1", ["2001:db8:1::2 deprecated", "2001:db8:2::2"], "2001:db8:2::2"),
        # s2.2: interface identifiers do not count for rule 8; the first stays.
        ("2001:db8:1::f1", ["2001:db8:1::1", "2001:db8:1::f2"], "2001:db8:1::1"),
        # IPv4 (s5 leaves it open): the link that the destination is on, else the first not deprecated.
        ("10.1.2.9", ["192.168.1.2", "10.1.2.3"], "10.1.2.3"),
        ("203.0.113.9", ["192.168.1.2 deprecated", "10.1.2.3"], "10.1.2.3"),
        ("203.0.113.9", ["169.254.1.1", "10.1.2.3", "10.1.3.3"], "10.1.2.3"),
        ("10.1.2.9", ["10.0.0.1/8", "10.1.2.3/24"], "10.1.2.3"),
        ("10.1.2.9", ["2001:db8:1::2"], None),
        ("2001:db8:1::1", [], None),
    ],
)
@pytest.mark.row("3.10")
def test_s5_source_address_selection(destination: str, sources: list[str], expected: str | None) -> None:
    assert source_address(pvd(*sources), destination) == expected


@pytest.mark.parametrize(
    ("sources", "destinations", "expected"),
    [
        # s10.2, all but the example of mobile IP.
        (
            ["2001:db8:1::2", "fe80::1", "169.254.13.78"],
            ["2001:db8:1::1", "198.51.100.121"],
            ["2001:db8:1::1 from 2001:db8:1::2", "198.51.100.121 from 169.254.13.78"],
        ),
        (
            ["fe80::1", "198.51.100.117"],
            ["2001:db8:1::1", "198.51.100.121"],
            ["198.51.100.121 from 198.51.100.117", "2001:db8:1::1 from fe80::1"],
        ),
        (
            ["2001:db8:1::2", "fe80::1", "10.1.2.4"],
            ["2001:db8:1::1", "10.1.2.3"],
            ["2001:db8:1::1 from 2001:db8:1::2", "10.1.2.3 from 10.1.2.4"],
        ),
        (
            ["2001:db8:1::2", "fe80::2"],
            ["2001:db8:1::1", "fe80::1"],
            ["fe80::1 from fe80::2", "2001:db8:1::1 from 2001:db8:1::2"],
        ),
        (
            ["2001:db8:1::2", "fe80::2 deprecated"],
            ["2001:db8:1::1", "fe80::1"],
            ["2001:db8:1::1 from 2001:db8:1::2", "fe80::1 from fe80::2"],
        ),
        (
            ["2001:db8:1::2", "2001:db8:3f44::2", "fe80::2"],
            ["2001:db8:1::1", "2001:db8:3ffe::1"],
            ["2001:db8:1::1 from 2001:db8:1::2", "2001:db8:3ffe::1 from 2001:db8:3f44::2"],
        ),
        (
            ["2002:c633:6401::2", "fe80::2"],
            ["2002:c633:6401::1", "2001:db8:1::1"],
            ["2002:c633:6401::1 from 2002:c633:6401::2", "2001:db8:1::1 from 2002:c633:6401::2"],
        ),
        (
            ["2002:c633:6401::2", "2001:db8:1::2", "fe80::2"],
            ["2002:c633:6401::1", "2001:db8:1::1"],
            ["2001:db8:1::1 from 2001:db8:1::2", "2002:c633:6401::1 from 2002:c633:6401::2"],
        ),
        # s10.5: longest match prefers the expensive provider of the site for strangers.
        (
            ["2001:db8:1aaa::a", "2001:db8:70aa::a", "fe80::a"],
            ["2001:db8:1bbb::b", "2001:db8:70bb::b"],
            ["2001:db8:70bb::b from 2001:db8:70aa::a", "2001:db8:1bbb::b from 2001:db8:1aaa::a"],
        ),
        (
            ["2001:db8:1aaa::a", "2001:db8:70aa::a", "fe80::a"],
            ["2001:db8:1ccc::c", "2001:db8:6ccc::c"],
            ["2001:db8:1ccc::c from 2001:db8:1aaa::a", "2001:db8:6ccc::c from 2001:db8:70aa::a"],
        ),
        # s10.6: by default a global destination comes before a unique local one.
        (
            ["2001:db8:1::1", "fd11:1111:1111:1::1"],
            ["2001:db8:2::2", "fd22:2222:2222:2::2"],
            ["2001:db8:2::2 from 2001:db8:1::1", "fd22:2222:2222:2::2 from fd11:1111:1111:1::1"],
        ),
        # s10.7: IPv4 behind a NAT comes before a 6to4 relay.
        (
            ["2002:c633:6401::2", "10.1.2.3"],
            ["2001:db8:1::1", "203.0.113.1"],
            ["203.0.113.1 from 10.1.2.3", "2001:db8:1::1 from 2002:c633:6401::2"],
        ),
    ],
)
@pytest.mark.row("3.10")
def test_s6_destination_address_selection(
    sources: list[str], destinations: list[str], expected: list[str]
) -> None:
    assert sort(pvd(*sources), *destinations) == expected
    assert sort(pvd(*sources), *reversed(destinations)) == expected


@pytest.mark.parametrize(
    ("rows", "sources", "destinations", "expected"),
    [
        # s10.3: prefer IPv4.
        (
            {"::ffff:0:0/96": (100, 4)},
            ["2001:db8::2", "fe80::1", "169.254.13.78"],
            ["2001:db8::1", "198.51.100.121"],
            ["2001:db8::1 from 2001:db8::2", "198.51.100.121 from 169.254.13.78"],
        ),
        (
            {"::ffff:0:0/96": (100, 4)},
            ["fe80::1", "198.51.100.117"],
            ["2001:db8::1", "198.51.100.121"],
            ["198.51.100.121 from 198.51.100.117", "2001:db8::1 from fe80::1"],
        ),
        (
            {"::ffff:0:0/96": (100, 4)},
            ["2001:db8::2", "fe80::1", "10.1.2.4"],
            ["2001:db8::1", "10.1.2.3"],
            ["10.1.2.3 from 10.1.2.4", "2001:db8::1 from 2001:db8::2"],
        ),
        # s10.4: global before link-local.
        (
            {"fe80::/10": (33, 1)},
            ["2001:db8::2", "fe80::2"],
            ["2001:db8::1", "fe80::1"],
            ["2001:db8::1 from 2001:db8::2", "fe80::1 from fe80::2"],
        ),
        (
            {"fe80::/10": (33, 1)},
            ["2001:db8::2 deprecated", "fe80::2"],
            ["2001:db8::1", "fe80::1"],
            ["fe80::1 from fe80::2", "2001:db8::1 from 2001:db8::2"],
        ),
        # s10.5: the table that keeps the expensive provider for the one partner.
        (
            {"2001:db8:1aaa::/48": (43, 6), "2001:db8:1bbb::/48": (43, 6)},
            ["2001:db8:1aaa::a", "2001:db8:70aa::a", "fe80::a"],
            ["2001:db8:1bbb::b", "2001:db8:70bb::b"],
            ["2001:db8:1bbb::b from 2001:db8:1aaa::a", "2001:db8:70bb::b from 2001:db8:70aa::a"],
        ),
        (
            {"2001:db8:1aaa::/48": (43, 6), "2001:db8:1bbb::/48": (43, 6)},
            ["2001:db8:1aaa::a", "2001:db8:70aa::a", "fe80::a"],
            ["2001:db8:1ccc::c", "2001:db8:6ccc::c"],
            ["2001:db8:6ccc::c from 2001:db8:70aa::a", "2001:db8:1ccc::c from 2001:db8:70aa::a"],
        ),
        # s10.6: the unique local prefix of the site.
        (
            {"fd11:1111:1111::/48": (45, 14)},
            ["2001:db8:1::1", "fd11:1111:1111:1::1"],
            ["2001:db8:2::2", "fd22:2222:2222:2::2"],
            ["2001:db8:2::2 from 2001:db8:1::1", "fd22:2222:2222:2::2 from fd11:1111:1111:1::1"],
        ),
        (
            {"fd11:1111:1111::/48": (45, 14)},
            ["2001:db8:1::1", "fd11:1111:1111:1::1"],
            ["2001:db8:2::2", "fd11:1111:1111:2::2"],
            ["fd11:1111:1111:2::2 from fd11:1111:1111:1::1", "2001:db8:2::2 from 2001:db8:1::1"],
        ),
        # s10.7: a 6to4 prefix that is used natively.
        (
            {"2002:c633:6401::/48": (45, 14)},
            ["2002:c633:6401:1::1", "10.1.2.3"],
            ["2002:c633:6401:2::2", "203.0.113.1"],
            ["2002:c633:6401:2::2 from 2002:c633:6401:1::1", "203.0.113.1 from 10.1.2.3"],
        ),
    ],
)
@pytest.mark.row("3.10")
def test_s10_3_to_s10_7_configured_policy_tables(
    monkeypatch: pytest.MonkeyPatch,
    rows: dict[str, tuple[int, int]],
    sources: list[str],
    destinations: list[str],
    expected: list[str],
) -> None:
    monkeypatch.setitem(addresses.POLICY_TABLES, "site", addresses.make_table(RFC_TABLE | rows))
    assert sort(pvd(*sources, table="site"), *destinations) == expected
    assert sort(pvd(*sources, table="site"), *reversed(destinations)) == expected


ULA, IPV4, SIX_TO_FOUR, GLOBAL = "fd11:1111:1111:2::2", "203.0.113.1", "2002:c633:6401::1", "2001:db8:2::2"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("rfc6724", [GLOBAL, IPV4, SIX_TO_FOUR, ULA]),
        ("rfc6724-ipv4-first", [IPV4, GLOBAL, SIX_TO_FOUR, ULA]),
        ("rfc6724-update", [ULA, GLOBAL, IPV4, SIX_TO_FOUR]),
        ("glibc", [ULA, GLOBAL, SIX_TO_FOUR, IPV4]),  # the first two tie, and rule 9 decides
    ],
)
@pytest.mark.row("3.24", "3.11")
def test_s2_1_the_table_of_the_pvd_decides(table: str, expected: list[str]) -> None:
    """Four kinds of destination, each with a source of its kind, two at a time: nothing interleaves."""
    domain = pvd("2001:db8:1::1", "fd11:1111:1111:1::1", "2002:c633:6401::2", "10.1.2.3", table=table)
    for position, better in enumerate(expected):
        for worse in expected[position + 1 :]:
            assert [c.remote for c in order(domain, (worse, better), 443)] == [better, worse]


@pytest.mark.parametrize(
    ("destination", "routes", "precedence"),
    [
        ("fd11:1111:1111:9::1", (), 45),  # the /48 of its own address
        ("fd22:2222:2222::1", (), 30),  # somebody else's
        ("fd33:3333:3333:9::1", (Route("fd33:3333:3333:1::/64"),), 45),  # on the link: the site's /48
        ("fd44:4444:4444::1", (Route("fd44:4444:4400::/40", "fe80::1"),), 45),  # told by a router
        ("fd44:4444:4444::1", (Route("fd44:4444:4400::/39", "fe80::1"),), 30),  # too wide to be a site
        ("fd44:4444:4444:9::1", (Route("fd44:4444:4444:1::/64", "fe80::1"),), 30),  # a router's, as it is
    ],
)
def test_update_draft_knows_its_local_prefixes(
    destination: str, routes: tuple[Route, ...], precedence: int
) -> None:
    table = addresses.policy_table(pvd("fd11:1111:1111:1::1", table="rfc6724-update", routes=routes))
    assert addresses.policy(table, addresses.parse(destination)).precedence == precedence


def test_an_unknown_table_names_the_pvd_and_the_tables() -> None:
    with pytest.raises(ValueError, match=r"^p: no address table 'rfc3484', there are rfc6724, .*-2.2$"):
        order(pvd(table="rfc3484"), ["192.0.2.1"], 443)


def test_s6_rule_9_does_not_compare_families_and_rule_10_keeps_the_order() -> None:
    domain = pvd("10.1.2.3")
    assert sort(domain, "10.9.0.1", "10.8.0.1") == ["10.9.0.1 from 10.1.2.3", "10.8.0.1 from 10.1.2.3"]


@pytest.mark.parametrize(
    ("rtt", "expected"),
    [
        (None, ["2001:db8:1::9", "2001:db8:ff::9"]),  # rule 9: the first is on the link
        ({}, ["2001:db8:1::9", "2001:db8:ff::9"]),
        ({"2001:db8:ff::9": 0.2}, ["2001:db8:ff::9", "2001:db8:1::9"]),  # used before unused
        ({"2001:db8:ff::9": 0.2, "2001:db8:1::9": 0.3}, ["2001:db8:ff::9", "2001:db8:1::9"]),
        ({"2001:db8:ff::9": 0.3, "2001:db8:1::9": 0.2}, ["2001:db8:1::9", "2001:db8:ff::9"]),
    ],
)
def test_rfc_8305_s4_rtt_and_use_decide_before_rule_9(
    rtt: dict[str, float] | None, expected: list[str]
) -> None:
    domain = pvd("2001:db8:1::2")
    for given_order in (expected, expected[::-1]):
        assert [c.remote for c in order(domain, given_order, 443, rtt=rtt)] == expected


def test_rfc_8305_s4_rtt_does_not_outrank_rule_6() -> None:
    domain = pvd("2001:db8:1::2", "10.1.2.3")
    found = order(domain, ["2001:db8:2::1", "203.0.113.1"], 443, rtt={"203.0.113.1": 0.001})
    assert [c.family for c in found] == [6, 4]


BOTH_ROUTES = (Route("0.0.0.0/0", "192.168.1.1"), Route("::/0", "fe80::1"))


@pytest.mark.parametrize(
    ("domain", "address", "why"),
    [
        (pvd("192.168.1.2"), "2001:db8::1", "no IPv6 address"),
        (pvd("2001:db8::2"), "203.0.113.1", "no IPv4 address"),
        (pvd("192.168.1.2", routes=(Route("10.0.0.0/8", "192.168.1.1"),)), "203.0.113.1", "no route"),
        (pvd("192.168.1.2", routes=(Route("10.0.0.0/8", "192.168.1.1"),)), "10.9.9.9", None),
        (
            pvd("192.168.1.2", routes=(Route("10.0.0.0/8", "192.168.1.1"),)),
            "192.168.1.77",
            None,
        ),  # on its link
        (pvd("192.168.1.2", "2001:db8::2", routes=BOTH_ROUTES[:1]), "2001:db8:5::1", "no route"),
        (pvd("192.168.1.2", "fe80::2", routes=BOTH_ROUTES[:1]), "fe80::1", None),  # the link needs no route
        (pvd("192.168.1.2", "2001:db8::2", routes=BOTH_ROUTES[:1]), "fe80::1", None),
        (pvd("192.168.1.2", "2001:db8::2", routes=BOTH_ROUTES[1:]), "169.254.7.7", "no route"),
        (pvd("192.168.1.2"), "203.0.113.1", None),  # routes unknown
        (pvd(), "203.0.113.1", None),  # nothing known
        (pvd("192.168.1.2", routes=BOTH_ROUTES), "0.0.0.0", "0.0.0.0 is no destination"),
        (pvd("2001:db8::2", routes=BOTH_ROUTES), "::", ":: is no destination"),
        (pvd("192.168.1.2", routes=BOTH_ROUTES), "127.0.0.1", "a loopback address never leaves the host"),
        (pvd("2001:db8::2", routes=BOTH_ROUTES), "::1", "a loopback address never leaves the host"),
        (pvd("127.0.0.1/8"), "127.0.0.9", None),
        (pvd("192.168.1.2"), "224.0.0.251", "a multicast address is no destination"),
        (pvd("2001:db8::2"), "ff02::1", "a multicast address is no destination"),
        (pvd("2001:db8::2"), "::ffff:192.0.2.1", "an IPv4-mapped address is not for the wire"),
    ],
)
def test_s6_rule_1_leaves_out_what_cannot_work(
    domain: ProvisioningDomain, address: str, why: str | None
) -> None:
    assert unusable(domain, address) == why
    assert [c.remote for c in order(domain, [address], 443)] == ([] if why else [address])
    if why:
        assert sort(domain, address, address) == []


def test_a_candidate_carries_its_pvd_source_port_and_family() -> None:
    domain = pvd("192.168.1.2")
    (candidate,) = order(domain, ["203.0.113.1"], 8443)
    assert candidate == (domain, "192.168.1.2", "203.0.113.1", 8443, 4)


def test_a_pvd_of_unknown_addresses_leaves_the_source_to_the_kernel() -> None:
    assert sort(pvd(), "203.0.113.1", "2001:db8::1") == ["2001:db8::1 from None", "203.0.113.1 from None"]


def test_what_is_not_an_address_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'www\.example' does not appear to be an IPv4 or IPv6 address"):
        order(pvd("192.168.1.2"), ["www.example"], 443)


@pytest.mark.parametrize(
    ("address", "length"),
    [("10.1.2.9", 24), ("10.9.9.9", 8), ("203.0.113.1", 0), ("2001:db8:1::9", 64), ("2001:db8:2::9", -1)],
)
def test_route_length_counts_in_the_bits_of_the_family(address: str, length: int) -> None:
    routes = (Route("0.0.0.0/0", "10.1.2.1"), Route("10.0.0.0/8", "10.1.2.1"))
    assert route_length(pvd("10.1.2.3", "2001:db8:1::2", routes=routes), address) == length


def test_an_ipv6_default_route_is_no_route_to_ipv4() -> None:
    assert route_length(pvd("2001:db8:1::2", routes=BOTH_ROUTES[1:]), "203.0.113.1") == -1


def test_a_pvd_that_was_used_still_pickles_and_compares_equal() -> None:
    fresh, used = pvd("192.168.1.2"), pvd("192.168.1.2")
    candidates = order(used, ["203.0.113.1"], 443)
    assert used == fresh
    assert order(pickle.loads(pickle.dumps(used)), ["203.0.113.1", "203.0.113.2"], 443)[:1] == candidates


def test_what_is_kept_with_a_pvd_does_not_grow_without_end() -> None:
    domain = pvd("10.1.2.3")
    for number in range(10_000):
        order(domain, [f"10.{number >> 8}.{number & 255}.1"], 443)
    assert len(domain.__dict__["_destinations"]) <= 4096


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", 2),
        ("169.254.9.9", 2),
        ("10.0.0.1", 14),
        ("203.0.113.1", 14),
        ("::1", 2),
        ("fe80::1", 2),
        ("febf::1", 2),
        ("fec0::1", 5),
        ("fd00::1", 14),
        ("2001:db8::1", 14),
        ("ff02::1", 2),
        ("ff05::1", 5),
        ("ff0e::1", 14),
    ],
)
def test_s3_scopes(address: str, expected: int) -> None:
    assert addresses.scope(addresses.parse(address)) == expected


# The rules of s5 and s6 once more, as the RFC words them: pair by pair, on the standard library's addresses.

POOL = [
    *(
        "2001:db8:1::1",
        "2001:db8:1:2::9",
        "2001:db8:ff::7",
        "2002:c633:6401::1",
        "2001::5",
        "fd11:1111:1111::1",
    ),
    *("fd22::1", "fe80::1", "fe80::9", "fec0::1", "3ffe::1", "10.1.2.3", "10.200.0.1", "192.168.1.9"),
    *("169.254.13.78", "203.0.113.7", "198.51.100.1"),
]


def mapped(address: str) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(address if ":" in address else f"::ffff:{address}")


RFC_ROWS = [(ipaddress.IPv6Network(prefix), row) for prefix, row in RFC_TABLE.items()]


def row(address: str) -> tuple[int, int]:
    return max((p.prefixlen, found) for p, found in RFC_ROWS if mapped(address) in p)[1]


def rank_of_scope(address: str) -> int:
    parsed = ipaddress.ip_address(address)
    return 2 if parsed.is_link_local else 5 if address.startswith("fec0") else 14


def prefix_length(a: str, b: LocalAddress) -> int:
    one, two = (f"{int(mapped(x)):0128b}" for x in (a, b.address))
    same = next((n for n, (x, y) in enumerate(zip(one, two, strict=True)) if x != y), 128)
    return min(same, b.prefix_length + (0 if ":" in b.address else 96))


def better_source(d: str, a: LocalAddress, b: LocalAddress) -> int:
    if d in (a.address, b.address) and a.address != b.address:
        return -1 if a.address == d else 1
    scope_a, scope_b = rank_of_scope(a.address), rank_of_scope(b.address)
    if scope_a < scope_b:
        return 1 if scope_a < rank_of_scope(d) else -1
    if scope_b < scope_a:
        return -1 if scope_b < rank_of_scope(d) else 1
    if a.deprecated != b.deprecated:
        return 1 if a.deprecated else -1
    label_a, label_b, label_d = row(a.address)[1], row(b.address)[1], row(d)[1]
    if (label_a == label_d) != (label_b == label_d):
        return -1 if label_a == label_d else 1
    if a.temporary != b.temporary:
        return -1 if a.temporary else 1
    return prefix_length(d, b) - prefix_length(d, a)


def better_destination(source: dict[str, LocalAddress], a: str, b: str) -> int:
    match_a, match_b = (rank_of_scope(d) == rank_of_scope(source[d].address) for d in (a, b))
    if match_a != match_b:
        return -1 if match_a else 1
    if source[a].deprecated != source[b].deprecated:
        return 1 if source[a].deprecated else -1
    label_a, label_b = (row(d)[1] == row(source[d].address)[1] for d in (a, b))
    if label_a != label_b:
        return -1 if label_a else 1
    if row(a)[0] != row(b)[0]:
        return row(b)[0] - row(a)[0]
    if rank_of_scope(a) != rank_of_scope(b):
        return rank_of_scope(a) - rank_of_scope(b)
    if (":" in a) == (":" in b):
        return prefix_length(b, source[b]) - prefix_length(a, source[a])
    return 0


locals_ = st.builds(
    LocalAddress, st.sampled_from(POOL), st.sampled_from([16, 24, 32]), st.booleans(), st.booleans()
)


@given(
    sources=st.lists(locals_, min_size=1, max_size=5, unique_by=lambda a: a.address),
    destinations=st.lists(st.sampled_from(POOL), min_size=2, max_size=2, unique=True),
)
@settings(deadline=None)
def test_s5_and_s6_agree_with_the_rules_pair_by_pair(
    sources: list[LocalAddress], destinations: list[str]
) -> None:
    domain = ProvisioningDomain("p", addresses=tuple(sources))
    chosen: dict[str, LocalAddress] = {}
    for d in destinations:
        of_family = [a for a in sources if a.family == (6 if ":" in d else 4)]
        if not of_family:
            assert source_address(domain, d) is None
            continue
        if ":" in d:
            best = sorted(of_family, key=cmp_to_key(partial(better_source, d)))[0]
            assert source_address(domain, d) == best.address
        # IPv4's source is this project's choice, tested above: the sort must be right for whatever it is.
        chosen[d] = next(a for a in of_family if a.address == source_address(domain, d))
    usable = [d for d in destinations if d in chosen]
    expected = sorted(usable, key=cmp_to_key(partial(better_destination, chosen)))
    assert [c.remote for c in order(domain, destinations, 443)] == expected
