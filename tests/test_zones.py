"""Split DNS: whose name is it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.model import ProvisioningDomain
from pvdrace.zones import MAYBE, NO, YES, Verdict, ZoneMatch, match


def pvd(*zones: str, search: tuple[str, ...] = ()) -> ProvisioningDomain:
    return ProvisioningDomain("p", zones=zones, search=search)


@pytest.mark.parametrize(
    ("zones", "name", "expected"),
    [
        ((), "www.example.com", MAYBE),
        ((".",), "www.example.com", MAYBE),
        (("corp.example",), "www.example.com", NO),
        (("corp.example",), "git.corp.example", YES(2, "corp.example")),
        (("corp.example",), "corp.example", YES(2, "corp.example")),
        (("corp.example",), "a.b.c.corp.example", YES(2, "corp.example")),
        (("corp.example", "."), "git.corp.example", YES(2, "corp.example")),
        (("corp.example", "."), "www.example.com", MAYBE),
        ((".", "corp.example"), "www.example.com", MAYBE),
        # The longest wins, in whatever order they stand.
        (("example", "corp.example"), "git.corp.example", YES(2, "corp.example")),
        (("corp.example", "example"), "git.corp.example", YES(2, "corp.example")),
        # Label by label: a suffix of letters is none.
        (("corp.example",), "notcorp.example", NO),
        (("corp.example",), "corp.example.com", NO),
        (("corp.example",), "example", NO),
        # Case and the root's dot do not count (RFC 4343).
        (("Corp.Example.",), "GIT.corp.EXAMPLE", YES(2, "corp.example")),
        (("corp.example",), "git.corp.example.", YES(2, "corp.example")),
    ],
)
@pytest.mark.row("4.7", "3.6")
def test_match(zones: tuple[str, ...], name: str, expected: ZoneMatch) -> None:
    assert match(pvd(*zones), name) == expected


@pytest.mark.parametrize(
    ("search", "name", "expected"),
    [
        ((), "printer", NO),
        (("corp.example",), "printer", MAYBE),
        (("home.example",), "printer", NO),
        (("home.example", "lab.corp.example"), "printer", MAYBE),
        (("corp.example",), "printer.home", NO),  # only a single label is completed
        (("corp.example",), "printer.", NO),  # nor is a name with its final dot
    ],
)
def test_a_single_label_may_be_completed_into_a_zone(
    search: tuple[str, ...], name: str, expected: ZoneMatch
) -> None:
    assert match(pvd("corp.example", search=search), name) == expected


def test_a_stronger_match_compares_greater() -> None:
    assert NO < MAYBE < YES(1, "example") < YES(2, "corp.example")


labels = st.text("abc", min_size=1, max_size=3)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(st.lists(names, max_size=4), names)
@pytest.mark.row("4.7")
def test_yes_is_the_longest_zone_that_is_the_name_or_ends_it_after_a_dot(zones: list[str], name: str) -> None:
    found = match(pvd(*zones), name)
    owning = [zone for zone in zones if f".{name}".endswith(f".{zone}")]
    assert (found.verdict is Verdict.YES) == bool(owning)
    assert found.labels == max((zone.count(".") + 1 for zone in owning), default=0)
