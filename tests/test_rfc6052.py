"""RFC 6052, IPv4-embedded IPv6 addresses, and where a PvD with NAT64 uses them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.model import LocalAddress, ProvisioningDomain
from pvdrace.race.nat64 import embed, extract, needs_synthesis, synthesise
from pvdrace.race.ordering import order

S2_4 = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
]


@pytest.mark.parametrize(("prefix", "address"), S2_4)
def test_s2_4_text_representation(prefix: str, address: str) -> None:
    canonical = str(ipaddress.IPv6Address(address))
    assert embed(prefix, "192.0.2.33") == canonical
    assert extract(prefix, address) == "192.0.2.33"


@given(
    st.sampled_from([32, 40, 48, 56, 64, 96]),
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n))),
)
def test_s2_2_extract_undoes_embed_and_the_u_octet_is_zero(length: int, bits: int, ipv4: str) -> None:
    prefix = str(ipaddress.IPv6Network((bits & ~(0xFF << 56), length), strict=False))
    if prefix == "64:ff9b::/96":
        return
    address = embed(prefix, ipv4)
    assert extract(prefix, address) == ipv4
    assert int(ipaddress.IPv6Address(address)) >> 56 & 0xFF == 0
    assert ipaddress.IPv6Address(address) in ipaddress.IPv6Network(prefix)


def test_s2_2_the_suffix_is_ignored_and_the_u_octet_is_not() -> None:
    assert extract("2001:db8::/32", "2001:db8:c000:221:0:1:2:3") == "192.0.2.33"
    assert extract("2001:db8::/32", "2001:db8:c000:221:100::") is None


def test_s2_3_an_address_of_another_prefix_carries_nothing() -> None:
    assert extract("2001:db8:122:344::/96", "2001:db8:122:345::192.0.2.33") is None


@pytest.mark.parametrize("length", [0, 31, 33, 63, 72, 95, 97, 128])
def test_s2_2_other_lengths_are_errors(length: int) -> None:
    prefix = str(ipaddress.IPv6Network(("2001:db8::", length), strict=False))
    with pytest.raises(ValueError, match=r"its length must be one of /32, /40, /48, /56, /64, /96"):
        embed(prefix, "192.0.2.33")


def test_s2_2_a_prefix_with_bits_in_the_u_octet_is_an_error() -> None:
    with pytest.raises(ValueError, match="bits 64 to 71 must be zero"):
        embed("2001:db8:122:344:100::/96", "192.0.2.33")


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1"])
def test_s3_1_the_well_known_prefix_carries_global_addresses_only(address: str) -> None:
    assert embed("64:ff9b::/96", "8.8.8.8") == "64:ff9b::808:808"
    with pytest.raises(ValueError, match=rf"{address} is not global"):
        embed("64:ff9b::/96", address)
    assert extract("2001:db8:122:344::/96", embed("2001:db8:122:344::/96", address)) == address


V6, V4, LINK = LocalAddress("2001:db8::2", 64), LocalAddress("10.1.2.3", 24), LocalAddress("169.254.7.7", 16)
PREFIX, OTHER = "2001:db8:64::/96", "2001:db8:65::/96"


@pytest.mark.parametrize(
    ("addresses", "pref64", "given", "expected"),
    [
        ((V6,), (PREFIX,), ["198.51.100.1"], ["2001:db8:64::c633:6401"]),
        # The prefixes in their order, all of them (RFC 7050 s3).
        ((V6,), (PREFIX, OTHER), ["198.51.100.1"], ["2001:db8:64::c633:6401", "2001:db8:65::c633:6401"]),
        # IPv6 stays, and what a DNS64 has synthesised already is not there twice.
        ((V6,), (PREFIX,), ["2001:db8:1::1", "198.51.100.1"], ["2001:db8:1::1", "2001:db8:64::c633:6401"]),
        ((V6,), (PREFIX,), ["2001:db8:64::c633:6401", "198.51.100.1"], ["2001:db8:64::c633:6401"]),
        ((V6,), (PREFIX,), ["2001:db8:64::c633:6401"], ["2001:db8:64::c633:6401"]),
        # With IPv4 of its own there is nothing to do; a link-local address is none.
        ((V6, V4), (PREFIX,), ["198.51.100.1"], ["198.51.100.1"]),
        ((V6, LINK), (PREFIX,), ["198.51.100.1"], ["2001:db8:64::c633:6401"]),
        ((V6,), (), ["198.51.100.1"], ["198.51.100.1"]),
        ((), (PREFIX,), ["198.51.100.1"], ["198.51.100.1"]),
        # What the well-known prefix must not carry stays as it is.
        ((V6,), ("64:ff9b::/96",), ["10.0.0.1"], ["10.0.0.1"]),
    ],
)
def test_rfc_8305_s7_1_synthesis(
    addresses: tuple[LocalAddress, ...], pref64: tuple[str, ...], given: list[str], expected: list[str]
) -> None:
    assert synthesise(ProvisioningDomain("p", addresses=addresses, pref64=pref64), given) == expected


def test_rfc_8305_s7_1_a_synthesised_literal_is_a_candidate() -> None:
    pvd = ProvisioningDomain("p", addresses=(V6,), pref64=(PREFIX,))
    assert needs_synthesis(pvd)
    (candidate,) = order(pvd, synthesise(pvd, ["198.51.100.1"]), 443)
    assert (candidate.local, candidate.remote) == ("2001:db8::2", "2001:db8:64::c633:6401")
