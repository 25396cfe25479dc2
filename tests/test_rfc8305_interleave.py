"""RFC 8305 s4 and happyeyeballs-v3 s5: the families take turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.model import Candidate, LocalAddress, ProvisioningDomain
from pvdrace.race.ordering import interleave, order

DUAL = ProvisioningDomain("p", addresses=(LocalAddress("2001:db8::2", 64), LocalAddress("10.1.2.3", 24)))


def candidates(families: str) -> list[Candidate]:
    """``"6644"``: four candidates, told apart by their port, which counts from 0."""
    return [Candidate(DUAL, None, "", number, int(family)) for number, family in enumerate(families)]


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ("", 1, ""),
        ("6", 1, "6"),
        ("64", 1, "64"),
        ("666444", 1, "646464"),
        ("444666", 1, "464646"),  # the family that sorting put first begins
        ("66664", 1, "64666"),
        ("64444", 1, "64444"),
        ("6666", 1, "6666"),
        ("66664444", 2, "66464644"),
        ("66664444", 3, "66646444"),
        ("6644", 3, "6644"),  # fewer than the count
        ("646464", 1, "646464"),
        ("466", 1, "466"),
        ("64466", 2, "66464"),
    ],
)
def test_s4_families_alternate_after_the_preferred_count(given: str, count: int, expected: str) -> None:
    assert "".join(str(c.family) for c in interleave(candidates(given), count)) == expected


@given(st.text("64", max_size=12), st.integers(1, 5))
def test_s4_nobody_is_lost_and_each_family_keeps_its_order(families: str, count: int) -> None:
    before = candidates(families)
    after = interleave(before, count)
    assert sorted(after) == sorted(before)
    for family in (6, 4):
        assert [c for c in after if c.family == family] == [c for c in before if c.family == family]


@given(st.text("64", max_size=12), st.integers(1, 5))
def test_s4_the_other_family_is_never_further_than_the_count_away(families: str, count: int) -> None:
    after = [c.family for c in interleave(candidates(families), count)]
    if len(set(after)) == 2:
        first = after.index(10 - after[0])
        assert first <= count
        assert first == min(count, families.count(str(after[0])))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["2001:db8:1::1", "203.0.113.1", "2001:db8:1::2", "203.0.113.2"]),
        (2, ["2001:db8:1::1", "2001:db8:1::2", "203.0.113.1", "203.0.113.2"]),
    ],
)
def test_s4_order_sorts_first_and_interleaves_then(count: int, expected: list[str]) -> None:
    addresses = ["203.0.113.1", "203.0.113.2", "2001:db8:1::1", "2001:db8:1::2"]
    found = order(DUAL, addresses, 443, preferred_address_family_count=count)
    assert [c.remote for c in found] == expected


def test_a_count_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="preferred_address_family_count is 0, it must be at least 1"):
        interleave(candidates("66"), 0)
