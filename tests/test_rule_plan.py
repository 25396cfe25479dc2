"""Which rules and routes PvDs want, which of the present ones go: tables of values, no kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace.model import LocalAddress, ProvisioningDomain, Route
from pvdrace.net.rtnetlink import (
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    Entry,
    Present,
    RouteEntry,
    RuleEntry,
    deletion,
    encode,
    message,
    read_present,
)
from pvdrace.net.rule_plan import (
    MARK_PRIORITY,
    PROTOCOL,
    SOURCE_PRIORITY,
    TABLES,
    rule_changes,
    table_numbers,
    wanted,
)

DEFAULT4 = Route("0.0.0.0/0", "10.2.0.1", 200, "10.2.0.2")
LINK4 = Route("10.2.0.0/24", None, 200, "10.2.0.2")
DEFAULT6 = Route("::/0", "fe80::1", 1024)
LINK6 = Route("2001:db8:2::/64", None, 256)
ROUTES = (DEFAULT4, LINK4, DEFAULT6, LINK6)
OWN = (LocalAddress("2001:db8:2::2", 64), LocalAddress("fe80::2", 64), LocalAddress("10.2.0.2", 24))
WIFI = ProvisioningDomain("wifi", "wlan0", 3, OWN, ROUTES)
LTE = ProvisioningDomain("lte", "wwan0", 4, (LocalAddress("10.3.0.2", 32),), (Route("0.0.0.0/0"),))
TABLE = table_numbers(["wifi"])["wifi"]


def entries(*pvds: ProvisioningDomain) -> list[Entry]:
    return list(wanted(pvds))


def present(entry: Entry, protocol: int = PROTOCOL) -> Present:
    kind = RTM_NEWROUTE if isinstance(entry, RouteEntry) else RTM_NEWRULE
    return Present(entry, protocol, message(kind, 0, 1, encode(entry, protocol)))


def test_what_a_pvd_wants() -> None:
    """On-link routes first, since a gateway must be within reach; rules last, since they lead there."""
    assert entries(WIFI) == [
        RouteEntry(4, TABLE, "10.2.0.0/24", None, 3, 200, "10.2.0.2"),
        RouteEntry(6, TABLE, "2001:db8:2::/64", None, 3, 256),
        RouteEntry(4, TABLE, "0.0.0.0/0", "10.2.0.1", 3, 200, "10.2.0.2"),
        RouteEntry(6, TABLE, "::/0", "fe80::1", 3, 1024),
        RuleEntry(6, SOURCE_PRIORITY, TABLE, "2001:db8:2::2/128"),
        RuleEntry(4, SOURCE_PRIORITY, TABLE, "10.2.0.2/32"),
    ]


def test_a_mark_has_its_rules_too() -> None:
    found = entries(replace(WIFI, pin="mark:7"))
    assert [e for e in found if isinstance(e, RuleEntry) and e.mark] == [
        RuleEntry(family, MARK_PRIORITY, TABLE, mark=7) for family in (4, 6)
    ]
    assert set(entries(WIFI)) < set(found)


@pytest.mark.parametrize(
    "pvd",
    [
        replace(WIFI, unusable="link down"),
        replace(WIFI, ifindex=0),
        replace(WIFI, interface="lo"),
        replace(WIFI, routes=()),
        replace(WIFI, routes=(Route("fe80::/64"), Route("ff00::/8"), Route("169.254.0.0/16"))),
    ],
)
def test_who_wants_nothing(pvd: ProvisioningDomain) -> None:
    assert entries(pvd) == []


def families(found: list[Entry]) -> set[int]:
    return {entry.family for entry in found if isinstance(entry, RuleEntry)}


def test_a_rule_needs_routes_of_its_family() -> None:
    assert families(entries(replace(WIFI, routes=(DEFAULT4, LINK4), pin="mark:7"))) == {4}
    assert families(entries(replace(WIFI, routes=(DEFAULT6,)))) == {6}


@pytest.mark.parametrize(
    ("routes", "kept"),
    [
        # Two PvDs on one link: the route names the address that it is for.
        ((DEFAULT4, replace(DEFAULT4, gateway="10.2.0.9", source="10.2.9.2")), ["10.2.0.1"]),
        ((replace(DEFAULT4, gateway="10.2.0.9", source="10.2.9.2"), DEFAULT4), ["10.2.0.1"]),
        # One to a prefix and metric: the first, as the kernel would take it.
        ((DEFAULT4, replace(DEFAULT4, gateway="10.2.0.9")), ["10.2.0.1"]),
        ((DEFAULT4, replace(DEFAULT4, gateway="10.2.0.9", metric=300)), ["10.2.0.1", "10.2.0.9"]),
        ((Route("::/0", "fe80::1"), Route("::/0", "fe80::9", 1024)), ["fe80::1"]),
    ],
)
def test_which_routes(routes: tuple[Route, ...], kept: list[str]) -> None:
    found = entries(replace(WIFI, routes=routes))
    assert [entry.gateway for entry in found if isinstance(entry, RouteEntry)] == kept


@given(st.permutations([WIFI, LTE, replace(WIFI, name="cafe"), replace(LTE, name="sim2")]))
def test_the_order_of_the_pvds_makes_no_difference(pvds: list[ProvisioningDomain]) -> None:
    assert entries(*pvds) == entries(WIFI, LTE, replace(WIFI, name="cafe"), replace(LTE, name="sim2"))


@given(st.sets(st.text(), max_size=50))
def test_a_table_for_each_name(names: set[str]) -> None:
    found = table_numbers(names)
    assert len(set(found.values())) == len(found) == len(names)
    assert all(TABLES <= table < TABLES + 0x10000 for table in found.values())


def test_names_that_meet_in_one_slot() -> None:
    assert table_numbers(["plumless"])["plumless"] == table_numbers(["buckeroo"])["buckeroo"]  # by crc32
    assert len(set(table_numbers(["plumless", "buckeroo"]).values())) == 2


# ---------------------------------------------------------------------- what is present

FOREIGN = present(RuleEntry(4, 100, 7, "10.2.0.2/32"), protocol=4)
STALE = [
    present(RuleEntry(4, SOURCE_PRIORITY, TABLE, "10.9.9.9/32")),
    present(RouteEntry(4, TABLE, "0.0.0.0/0", "10.9.9.1", 3, 1)),
]
HERE = [present(entry) for entry in entries(WIFI)]


@pytest.mark.parametrize(
    ("pvds", "there", "remove", "add"),
    [
        ([WIFI], [], [], entries(WIFI)),
        ([WIFI], HERE, [], []),
        ([WIFI], HERE[1:], [], entries(WIFI)[:1]),
        ([WIFI], [*HERE, FOREIGN], [], []),
        ([], [FOREIGN], [], []),
        # After a kill -9: what is ours and not wanted goes, rules before routes; what is wanted stays.
        ([], [*reversed(STALE), FOREIGN], STALE, []),
        ([WIFI], [*reversed(STALE), *HERE], STALE, []),
        # The kernel knows one entry twice (a multipath route of ours that somebody made of it): one goes.
        ([WIFI], [*HERE, HERE[0]], [HERE[0]], []),
        # The same rule from somebody else is not ours: ours is wanted besides.
        ([WIFI], [*HERE[:-1], present(entries(WIFI)[-1], protocol=3)], [], entries(WIFI)[-1:]),
    ],
)
def test_what_is_to_be_done(
    pvds: list[ProvisioningDomain], there: list[Present], remove: list[Present], add: list[Entry]
) -> None:
    found = rule_changes(pvds, there)
    assert found.remove == tuple(remove)
    assert found.add == tuple(add)


@given(st.sets(st.sampled_from([*HERE, *STALE, FOREIGN])), st.sampled_from([[], [WIFI], [WIFI, LTE]]))
def test_what_is_done_is_done(there: set[Present], pvds: list[ProvisioningDomain]) -> None:
    """Idempotent, and nothing of others is touched."""
    changes = rule_changes(pvds, there)
    assert all(one.protocol == PROTOCOL for one in changes.remove)
    after = (there - set(changes.remove)) | {present(entry) for entry in changes.add}
    assert rule_changes(pvds, after) == ((), ())


# ---------------------------------------------------------------------- in bytes


@pytest.mark.parametrize(
    "entry",
    [
        *entries(replace(WIFI, pin="mark:4294967295")),
        *entries(LTE),
        RouteEntry(4, TABLE, "0.0.0.0/0", "fe80::1", 3, 0),  # RFC 8950
    ],
)
def test_an_entry_in_bytes_and_back(entry: Entry) -> None:
    one = present(entry)
    kind = RTM_NEWROUTE if isinstance(entry, RouteEntry) else RTM_NEWRULE
    assert read_present(kind, one.message) == one
    assert deletion(one)[0] == (RTM_DELROUTE if isinstance(entry, RouteEntry) else RTM_DELRULE)
