"""The shipped profiles by the ranking alone: tables of PvDs, and races on virtual time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvdrace import files
from pvdrace.config import PROFILES, Configuration, parse
from pvdrace.config.policy_file import PolicyFile
from pvdrace.config.pvds import Override, PvdConfig
from pvdrace.discovery.merge import merge
from pvdrace.discovery.state import Address, KernelRoute, KernelState, Link
from pvdrace.expectation import EXPECT_NOTHING, Expectation, Expectations
from pvdrace.files import profile, read_configuration
from pvdrace.model import (
    Cost,
    CostClass,
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranking,
    Reachability,
    Route,
)
from pvdrace.policy import Policy
from pvdrace.race.ordering import order as address_order
from pvdrace.race.pacing import Pacing
from pvdrace.ranking import rank
from pvdrace.rules import Match, Rule
from pvdrace.selectors import Selector
from pvdrace.testing.scenario import blackhole, ok, pvd, scenario

ROOT = Path(__file__).parents[1]
HOST = Endpoint("www.example.com", 443)


def one(
    name: str, type: str = "unknown", cost: str = "unknown", metric: int = 0, **more: Any
) -> ProvisioningDomain:
    """A PvD with an address and a default route of both families."""
    n = sum(map(ord, name)) % 200 + 1
    return ProvisioningDomain(
        name,
        **{
            "interface": f"if-{name}",
            "addresses": (LocalAddress(f"2001:db8:{n}::2", 64), LocalAddress(f"10.0.{n}.2", 24)),
            "routes": (Route("::/0", None, metric), Route("0.0.0.0/0", None, metric)),
            "type": type,
            "cost": Cost(CostClass(cost)),
            **more,
        },
    )


def chosen(
    name: str,
    pvds: Iterable[ProvisioningDomain],
    label: str | None = None,
    call: Policy | None = None,
    *,
    endpoint: Endpoint = HOST,
    expected: Expectations = EXPECT_NOTHING,
) -> Ranking:
    """The ranking of these PvDs under a profile, as a connector makes it: with its overrides.

    The groups are said in the user's own file, so those of the profile are for who has none.
    """
    pvds = tuple(pvds)
    mine = tuple(
        Override((Selector("pvd", p.name),), PvdConfig("", groups=p.groups)) for p in pvds if p.groups
    )
    configuration = Configuration(discover=(), overrides=mine, files=(profile(name),))
    settled = merge(configuration, KernelState(), None, pvds)
    layers = configuration.layers(endpoint, None, call, label)
    pacing = configuration.effective_pacing or Pacing()
    return rank(settled, endpoint, layers, pacing=pacing, expected=expected)


def order(ranking: Ranking) -> str:
    return " ".join(ranked.pvd.name for ranked in ranking.ranked)


WIRED = one("wired", "wired", "fixed", 300)
WIFI = one("wifi", "wifi", "variable", 200)
CELL = one("cell", "cellular", "unmetered", 100)
THREE = (WIRED, WIFI, CELL)


def in_groups(**groups: str) -> tuple[ProvisioningDomain, ...]:
    return tuple(replace(p, groups=tuple(groups.get(p.name, "").split())) for p in THREE)


# ---------------------------------------------------------------------- which, in which order


@pytest.mark.parametrize(
    ("name", "pvds", "label", "expected"),
    [
        # Nothing said: cell is free.
        ("s60-iap", in_groups(cell="mms"), None, "wifi wired"),
        ("s60-iap", in_groups(cell="mms"), "mms", "cell"),
        ("s60-iap", in_groups(wifi="intranet"), "intranet", "wifi"),
        ("s60-iap", THREE, "mms", ""),
        ("s60-snap", in_groups(wired="operator"), None, "cell wifi"),  # the best by cost
        ("s60-snap", in_groups(wired="operator"), "mms", "wired"),
        ("s60-snap", (*THREE, one("office", "vpn")), "intranet", "office"),
        ("windows-mobile", THREE, None, "cell wired wifi"),
        ("windows-mobile", in_groups(wifi="work", wired="work"), "work", "wired wifi"),
        ("windows-phone-7", THREE, None, "wired wifi cell"),
        ("windows-phone-7", (*THREE, one("b", "wifi"), one("x", "satellite")), None, "wired b wifi cell x"),
        ("windows-phone-7", THREE, "cellular", "cell"),
        ("windows-phone-7", THREE, "wlan", "wifi"),
        ("blackberry", THREE, None, "cell wired wifi"),
        ("blackberry", THREE, "backup", "cell"),
        ("blackberry", in_groups(wifi="wap", wired="bis"), "browser", "wired wifi cell"),
        ("blackberry", in_groups(wifi="bes"), "enterprise", "wifi"),
        ("android-2.2", THREE, None, "wired wifi cell"),
        ("android-2.2", in_groups(cell="mms supl"), "mms", "cell"),
        ("amss-netpolicy", THREE, None, "cell wired wifi"),
        ("amss-netpolicy", (*THREE, one("cdma", "cdma"), one("lte", "lte")), "ANY_CELLULAR", "cell cdma lte"),
        ("amss-netpolicy", THREE, "ANY_WIRELESS", "cell wifi"),
        ("amss-netpolicy", THREE, "CDMA", ""),
        ("amss-netpolicy", THREE, "any_wireless", "cell wifi"),
        ("arena", THREE, None, "cell wired wifi"),
        ("windows", THREE, None, "cell wifi wired"),  # by metric
        ("linux", THREE, None, "cell wifi wired"),
        ("dhclient", THREE, None, "cell wifi wired"),
        ("htc-wlan", THREE, None, "wifi cell wired"),
        ("blackberry-wlan", in_groups(wired="wlan-2", wifi="wlan-1"), None, "wifi wired cell"),
    ],
)
def test_who_runs_and_in_which_order(
    name: str, pvds: Sequence[ProvisioningDomain], label: str | None, expected: str
) -> None:
    assert order(chosen(name, pvds, label)) == expected
    assert order(chosen(name, reversed(pvds), label)) == expected


def test_every_profile_that_orders_is_in_the_table_and_every_one_can_be_ranked_with() -> None:
    for name in PROFILES:
        ranking = chosen(name, THREE)
        assert ranking.ranked
        assert ranking.ranked[0].head_start == 0.0


def test_a_profile_that_fails_over_starts_nobody_beside() -> None:
    """RFC 9623 s4.2.3: S60, Windows Phone and Linux used one at a time."""
    for name in PROFILES:
        policy = profile(name).policy
        starts = [ranked.head_start for ranked in chosen(name, THREE).ranked][1:]
        if policy and policy.racing == "failover":
            assert set(starts) <= {None}, name


# ---------------------------------------------------------------------- S60: destination to group

BY_DESTINATION = parse(
    '[[rule]]\nmatch = { host = [".corp.example"] }\nrequire = ["group:intranet"]\n'
    '[[rule]]\nmatch = { subnet = ["10.8.0.0/16"] }\nrequire = ["group:intranet"]\n'
    '[[rule]]\nmatch = { host = ["mms.*"], port = [8080] }\nrequire = ["group:operator"]\n'
)
NETWORKS = PvdSet(
    (
        one("home", groups=("internet",)),
        one("office", groups=("intranet",), zones=("branch.example", ".")),
        one("apn", groups=("operator",)),
    )
)


@pytest.mark.row("3.6")
@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("www.example.com", 443, "home"),
        ("corp.example", 443, "office"),
        ("a.b.corp.example", 22, "office"),
        ("10.8.1.1", 22, "office"),
        ("10.9.1.1", 22, "home"),
        ("mms.operator.example", 8080, "apn"),
        ("mms.operator.example", 80, "home"),
        ("www.branch.example", 443, "office"),  # no rule: the zone of a PvD, and its owner alone
    ],
)
@pytest.mark.row("3.6")
def test_the_destination_leads_to_the_group(host: str, port: int, expected: str) -> None:
    """S60 automatic after destination network chosen: suffix, subnet and zones lead to the group."""
    files = () if host.endswith("branch.example") else (profile("s60-snap"),)
    layers = replace(BY_DESTINATION, files=files).layers(Endpoint(host, port))
    assert order(rank(NETWORKS, Endpoint(host, port), layers)) == expected


# ---------------------------------------------------------------------- AMSS: which netpolicy holds


def netpolicy(words: str) -> Policy:
    """``netpolicy("require:type:wifi prohibit:cost:variable")``."""
    lists: dict[str, Any] = {}
    for word in words.split():
        kind, _, selector = word.partition(":")
        lists.setdefault(kind, []).append(selector)
    return Policy(**lists)


@pytest.mark.row("3.40")
@pytest.mark.parametrize(
    ("call", "application", "system", "expected", "left_out"),
    [
        ("", "", "", "cell wired wifi", {}),
        ("", "prefer:type:wifi", "", "wifi cell wired", {}),
        ("prefer:type:wired", "prefer:type:wifi", "", "wired wifi cell", {}),
        ("", "prefer:type:wired", "prefer:type:wifi", "wired wifi cell", {}),
        ("prefer:type:wifi", "", "avoid:type:wifi", "wifi cell wired", {}),
        ("require:type:wifi", "", "prohibit:type:wifi", "", {"wifi": "system"}),
        ("", "require:type:wifi", "prohibit:type:wifi", "", {"wifi": "system"}),
        ("", "prohibit:type:wifi", "require:type:wifi", "", {"wifi": "application", "cell": "system"}),
        ("require:type:cellular", "", "require:cost:unmetered", "cell", {"wifi": "call"}),
        ("", "", "prohibit:cost:variable", "cell wired", {"wifi": "system"}),
    ],
)
@pytest.mark.row("3.36", "3.40")
def test_which_netpolicy_holds(
    call: str, application: str, system: str, expected: str, left_out: dict[str, str]
) -> None:
    """AMSS default netpolicy: predefined or the operator's; a prohibition of any layer holds."""
    configuration = Configuration(
        policy=netpolicy(application),
        files=(profile("amss-netpolicy"),),
        system=PolicyFile("etc", policy=netpolicy(system)),
    )
    ranking = rank(PvdSet(THREE), HOST, configuration.layers(HOST, None, netpolicy(call)))
    assert order(ranking) == expected
    reasons = {ranked.pvd.name: str(ranked.excluded) for ranked in ranking.excluded}
    for name, layer in left_out.items():
        assert f"({layer})" in reasons[name]


@pytest.mark.row("3.36")
@pytest.mark.parametrize(
    ("label", "call", "expected"),
    [
        (None, "require:type:cellular", "cell"),
        ("ANY_WIRELESS", "require:group:apn-web", "cell"),
        ("ANY_WIRELESS", "require:group:apn-*", "cell wifi"),
        ("ANY_WIRELESS", "require:family:ipv6", "cell wifi"),
        ("ANY_CELLULAR", "require:group:apn-mms", ""),
        ("WLAN", "require:type:cellular", ""),
    ],
)
def test_technology_version_and_profile(label: str | None, call: str, expected: str) -> None:
    """Brew AMSS netpolicy: the tuple of technology (or a group of them), IP version and network profile."""
    pvds = in_groups(cell="apn-web", wifi="apn-mms")
    assert order(chosen("amss-netpolicy", pvds, label, netpolicy(call))) == expected


# ---------------------------------------------------------------------- what history and the link say


@pytest.mark.row("3.14")
def test_windows_mobiles_attributes_in_their_order() -> None:
    """Windows Mobile: cost, then security, bandwidth, error rate, latency; each decides where those tie."""
    a, b = one("a", cost="fixed"), one("b", cost="fixed")
    for better in (replace(b, cost=Cost(CostClass.UNMETERED)), replace(b, secure=True), replace(b, rate=2e6)):
        assert order(chosen("windows-mobile", (a, better))) == "b a"
    assert order(chosen("windows-mobile", (replace(a, secure=True), replace(b, rate=9e9)))) == "a b"
    assert order(chosen("windows-mobile", (a, b), expected={"a": Expectation(errors=0.3)})) == "b a"
    known = {"a": Expectation(ready=0.3), "b": Expectation(ready=0.02)}
    assert order(chosen("windows-mobile", (a, b), expected=known)) == "b a"
    served = {"a": Expectation(ready=0.1), "b": Expectation(ready=0.1, incumbent=True)}
    assert order(chosen("windows-mobile", (a, b), expected=served)) == "b a"  # bundling


@pytest.mark.row("3.43")
def test_arena_availability_then_cost_then_stability() -> None:
    a, b = one("a", cost="fixed"), one("b", cost="fixed")
    flapping = {"a": Expectation(flaps=8)}
    assert order(chosen("arena", (a, b), expected=flapping)) == "b a"
    assert order(chosen("arena", (replace(a, cost=Cost(CostClass.UNMETERED)), b), expected=flapping)) == "a b"
    gone = replace(a, cost=Cost(CostClass.UNMETERED), reachability=Reachability.NONE)
    assert order(chosen("arena", (gone, b))) == "b a"


@pytest.mark.row("5.1")
def test_htc_the_last_that_worked_is_the_first() -> None:
    """And the stronger one only where none worked."""
    a, b = one("a", "wifi", link_quality=0.9), one("b", "wifi", link_quality=0.2)
    assert order(chosen("htc-wlan", (a, b))) == "a b"
    served = {"a": Expectation(ready=0.01), "b": Expectation(ready=0.1, incumbent=True)}
    assert order(chosen("htc-wlan", (a, b), expected=served)) == "b a"
    assert order(rank(PvdSet((a, b)), HOST, expected=served)) == "a b"  # clearly faster, which counts here


@pytest.mark.row("4.3")
def test_windows_spreads_equals_by_destination_and_keeps_to_it() -> None:
    """RFC 4311, since Vista: among equal metrics; the same destination always by the same one."""
    equals = (one("a", metric=5), one("b", metric=5), one("c", metric=6))
    first: dict[str, int] = {"a": 0, "b": 0, "c": 0}
    for n in range(200):
        endpoint = Endpoint(f"host{n}.example", 443)
        once, again = (order(chosen("windows", equals, endpoint=endpoint)) for _ in range(2))
        assert once == again
        first[once[0]] += 1
    assert first["c"] == 0
    assert 80 <= first["a"] <= 120


# ---------------------------------------------------------------------- BlackBerry: each term

COSTS = tuple(CostClass)
PVDS = st.builds(
    one,
    st.sampled_from("abcd"),
    st.sampled_from(["wifi", "cellular"]),
    st.sampled_from([kind.value for kind in COSTS]),
    groups=st.sampled_from([(), ("bis",), ("wap",)]),
)
ORDER_OF_COST = (CostClass.UNMETERED, CostClass.UNKNOWN, CostClass.FIXED, CostClass.VARIABLE)


def place(ranking: Ranking, name: str) -> int:
    names = order(ranking).split()
    return names.index(name) if name in names else len(names)


@pytest.mark.row("3.27")
@given(
    st.lists(PVDS, min_size=1, max_size=4, unique_by=lambda p: p.name),
    st.sampled_from([None, "browser", "voice", "backup"]),
    st.sampled_from(["cost", "preference"]),
    st.data(),
)
@pytest.mark.row("3.14", "3.27")
def test_no_term_raises_who_gets_worse_in_it(
    pvds: list[ProvisioningDomain], label: str | None, term: str, data: st.DataObject
) -> None:
    """BlackBerry single stack: cost, type of service and user preference, each monotonous."""
    subject = data.draw(st.sampled_from(pvds))
    mine = Policy(prefer=["group:bis", "group:wap"])
    before = place(chosen("blackberry", pvds, label, mine), subject.name)
    if term == "cost":
        dearer = ORDER_OF_COST[min(3, ORDER_OF_COST.index(subject.cost.kind) + 1)]
        worse = replace(subject, cost=Cost(dearer))
    else:
        worse = replace(subject, groups=())
    after = place(
        chosen("blackberry", [worse if p is subject else p for p in pvds], label, mine), subject.name
    )
    assert after >= before


# ---------------------------------------------------------------------- on virtual time


def test_windows_waits_a_second_and_the_default_a_quarter() -> None:
    """The escalation of Windows, and the path delay: when the second network is asked."""
    windows = profile("windows").pacing
    assert windows is not None
    for pacing, begins in ((windows, 1000), (Pacing(), 200)):
        race = scenario(eth=pvd(v4=blackhole), wifi=pvd(v4=ok(30)), pacing=pacing)
        assert f"{begins} ms  wifi ? AAAA A" in race.timeline()


@pytest.mark.row("5.6")
def test_three_dead_and_one_alive_are_each_tried_once_in_order() -> None:
    """HTC: next AP "with higher signal", BlackBerry: lower signal, then next SSID: candidates in order."""
    dead = pvd(v4=blackhole)
    for pacing in (Pacing(), Pacing(attempt_timeout=0.2)):
        race = scenario(one=dead, two=dead, three=dead, four=pvd(v4=ok(10)), pacing=pacing)
        assert race.won
        assert [attempt.pvd for attempt in race.report.attempts] == ["one", "two", "three", "four"]


# ---------------------------------------------------------------------- DHCP clients


@pytest.mark.row("4.18", "4.19", "4.22")
def test_the_order_of_leases_changes_nothing() -> None:
    """ISC dhclient, OpenBSD dhclient, udhcpc: links, addresses and routes in any order, one snapshot."""
    parts = [
        (Link(n, name), Address(n, f"10.{n}.0.2", 24), KernelRoute(n, "0.0.0.0/0", f"10.{n}.0.1", 100))
        for n, name in ((2, "a"), (3, "b"))
    ]
    found = []
    for chain in (parts, parts[::-1]):
        links, addresses, routes = zip(*chain, strict=True)
        state = KernelState(links=links, addresses=addresses, routes=routes)
        found.append(merge(replace(Configuration(), files=(profile("dhclient"),)), state))
    assert found[0].pvds == found[1].pvds
    layers = [("profile", policy)] if (policy := profile("dhclient").policy) else []
    assert order(rank(found[0], HOST, layers)) == order(rank(found[1], HOST, layers)) == "a b"


# ---------------------------------------------------------------------- address selection


def test_linux_has_the_tables_of_gai_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux RFC 3484 + /etc/gai.conf: one line replaces the default; without the file it is glibc's own."""
    monkeypatch.setattr(files, "GAI_CONF", str(tmp_path / "gai.conf"))
    state = KernelState(
        links=(Link(2, "a"),),
        addresses=(Address(2, "10.2.0.2", 24), Address(2, "2001:db8:2::2", 64)),
        routes=(KernelRoute(2, "0.0.0.0/0", "10.2.0.1", 1), KernelRoute(2, "::/0", "fe80::1", 1)),
    )
    for text, first in (("", 6), ("precedence ::ffff:0:0/96 100\n", 4)):
        (tmp_path / "gai.conf").write_text(text)
        found = merge(read_configuration(Configuration(profile="linux")), state)["a"]
        candidates = address_order(found, ["2001:db8:99::1", "198.51.100.1"], 443)
        assert candidates[0].family == first


@pytest.mark.row("3.34")
def test_two_ipv4_addresses_keep_the_order_of_the_dns() -> None:
    """Android 2.2: RFC 3484 minus rules 3, 4, 7; rule 9 v6 only. Without it, rule 9 sorts IPv4 too."""
    state = KernelState(
        links=(Link(2, "a"),),
        addresses=(Address(2, "203.0.113.2", 24), Address(2, "2001:db8:2::2", 48)),
        routes=(KernelRoute(2, "0.0.0.0/0", "203.0.113.1", 1), KernelRoute(2, "::/0", "fe80::1", 1)),
    )
    four, six = ["192.0.2.1", "203.0.113.9"], ["2001:db8:f::1", "2001:db8:2:1::1"]  # the second is nearer
    for name, fours in (("android-2.2", four), (None, four[::-1])):
        found = merge(read_configuration(Configuration(profile=name)), state)["a"]
        assert [c.remote for c in address_order(found, four, 443)] == fours
        assert [c.remote for c in address_order(found, six, 443)] == six[::-1]


# ---------------------------------------------------------------------- your own rules, and the page


def test_a_rule_of_ones_own_is_an_exception_to_a_profiles() -> None:
    """First match wins, and the file's own rules stand first: a rule of the profile does not hold then."""
    own = Rule(Match(label=["mms"]), Policy(require=["type:wifi"]))
    configuration = Configuration(rules=(own,), files=(profile("s60-iap"),))
    layers = configuration.layers(HOST, label="mms")
    assert [name for name, _ in layers] == ["rule 1", "profile s60-iap"]
    assert order(rank(PvdSet(in_groups(cell="mms")), HOST, layers)) == "wifi"


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "profiles.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_page_has_every_profile_and_every_test_that_it_names_exists() -> None:
    assert sorted(row[0].strip("`") for row in rows()) == sorted(PROFILES)
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for row in rows():
        named = re.findall(r"`(test_\w+)`", row[3])
        assert named, f"{row[0]} names no test"
        for name in named:
            assert f"def {name}(" in tests, f"{row[0]}: {name}"
