"""The application's words: selectors, policies and rules (RFC 9622 s6.2)."""

from __future__ import annotations

from typing import Any

import pytest

from pvdrace.model import Cost, CostClass, Endpoint, LocalAddress, ProvisioningDomain, Reachability
from pvdrace.policy import Policy, Preference
from pvdrace.rules import Match, Rule, first_match
from pvdrace.selectors import KINDS, Selector

V6, V4 = LocalAddress("2001:db8::2", 64), LocalAddress("10.1.2.3", 24)
WIFI = ProvisioningDomain(
    "wifi-home",
    interface="wlan0",
    addresses=(V6, V4),
    type="wifi",
    cost=Cost(CostClass.VARIABLE, frozenset({"roaming"})),
    groups=("internet", "home"),
    reachability=Reachability.VALIDATED,
)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("pvd:wifi-home", True),
        ("pvd:WIFI-Home", True),
        ("pvd:wifi", False),
        ("pvd:wifi*", True),
        ("pvd:*home", True),
        ("pvd:w*-h*e", True),
        ("pvd:*", True),
        ("pvd:wifi.home", False),  # a dot is a dot
        ("pvd:[w]ifi-home", False),  # and a bracket a bracket: only * is special
        ("interface:wlan0", True),
        ("interface:wlan*", True),
        ("interface:WLAN0", False),  # the kernel tells them apart
        ("interface:WLAN*", False),
        ("type:wifi", True),
        ("type:wired", False),
        ("group:internet", True),
        ("group:home", True),
        ("group:work", False),
        ("cost:variable", True),
        ("cost:roaming", True),
        ("cost:unmetered", False),
        ("cost:over_limit", False),
        ("family:ipv4", True),
        ("family:ipv6", True),
        ("reachability:validated", True),
        ("reachability:portal", False),
        (" pvd : wifi-home ", True),
    ],
)
def test_selector_matches(selector: str, expected: bool) -> None:
    assert Selector.parse(selector).matches(WIFI) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("interface:*", False),
        ("group:*", False),
        ("family:*", False),
        ("type:unknown", True),
        ("cost:unknown", True),
    ],
)
def test_selector_matches_a_pvd_of_which_nothing_is_known(selector: str, expected: bool) -> None:
    assert Selector.parse(selector).matches(ProvisioningDomain("p")) is expected


@pytest.mark.parametrize("kind", KINDS)
def test_selector_reads_back_as_it_was_written(kind: str) -> None:
    text = f"{kind}:*"
    assert str(Selector.parse(text)) == text
    assert Selector.parse(text) == Selector(kind, "*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "wifi",
            "selector 'wifi' has no kind: write pvd:wifi, or one of interface:wifi, type:wifi, group:wifi",
        ),
        ("", "selector '' has no kind: write pvd:NAME"),
        ("pdv:wifi", "no kind 'pdv', did you mean 'pvd'?; there are pvd, interface, type, group, cost"),
        ("PVD:wifi", "no kind 'PVD', did you mean 'pvd'?; there are pvd"),
        ("zzz:wifi", "no kind 'zzz'; there are pvd"),
        ("pvd:", "selector 'pvd:' selects nothing: write pvd:NAME, or pvd:* for any"),
        ("cost:unmeterd", "no cost 'unmeterd', did you mean 'unmetered'?; there are unmetered, fixed"),
        ("cost:metered", "no cost 'metered', write cost:fixed and cost:variable"),
        ("family:v4", "no family 'v4', did you mean 'ipv4'?; there are ipv4, ipv6"),
        ("reachability:ok*", "no reachability 'ok*'; there are unknown, validated, portal, partial, none"),
    ],
)
def test_selector_errors_say_in_one_line_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Selector.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_selector_made_by_hand_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match="no kind 'colour'"):
        Selector("colour", "red")


def test_policy_keeps_selectors_and_compares_by_them() -> None:
    policy = Policy(require=["pvd:wifi*"], avoid=(Selector("cost", "variable"),))
    assert policy.require == (Selector("pvd", "wifi*"),)
    assert policy == Policy(require=[Selector("pvd", "wifi*")], avoid=["cost:variable"])
    assert hash(policy) == hash(Policy(require=("pvd:wifi*",), avoid=("cost:variable",)))
    assert policy != Policy(require=["pvd:wifi*"])
    with pytest.raises(AttributeError):
        policy.require = ()  # type: ignore[misc]


def test_policy_of_nothing_is_false() -> None:
    assert not Policy()
    assert str(Policy()) == "no preference"
    for word in ("require", "prefer", "avoid", "prohibit"):
        lone: dict[str, Any] = {word: ["pvd:a"]}
        assert Policy(**lone)
        assert str(Policy(**lone)) == f"{word} pvd:a"


def test_rfc_9623_s4_1_3_policy_lists_in_the_order_of_application() -> None:
    policy = Policy(require=["pvd:b"], prefer=["pvd:c"], avoid=["pvd:d"], prohibit=["pvd:a"])
    assert [(preference, selector.pattern) for preference, selector in policy] == [
        (Preference.PROHIBIT, "a"),
        (Preference.REQUIRE, "b"),
        (Preference.PREFER, "c"),
        (Preference.AVOID, "d"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"require": "pvd:wifi"}, r"^require takes a list: write require=\['pvd:wifi'\]$"),
        ({"avoid": Selector("pvd", "a")}, r"^avoid takes a list: write avoid=\['pvd:a'\]$"),
        ({"prefer": [7]}, r"^prefer: 7 is not a selector: write text such as 'pvd:wifi'$"),
        ({"prohibit": ["pvd:ok", "lte"]}, "selector 'lte' has no kind"),
    ],
)
def test_policy_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**arguments)


@pytest.mark.parametrize(
    ("require", "lacking"),
    [
        ([], []),
        (["pvd:wifi-home"], []),
        (["pvd:vpn"], ["pvd:vpn"]),
        (["pvd:vpn", "pvd:wifi*"], []),  # of one kind: alternatives
        (["pvd:wifi*", "type:wired"], ["type:wired"]),  # of different kinds: all
        (["type:wired", "pvd:wifi*", "type:wifi"], []),
        (["pvd:vpn", "pvd:lte", "type:wifi"], ["pvd:vpn", "pvd:lte"]),
        (["family:ipv6"], []),  # families are restricted inside the PvD
    ],
)
@pytest.mark.row("3.36")
def test_required_selectors_of_one_kind_are_alternatives(require: list[str], lacking: list[str]) -> None:
    assert [str(s) for s in Policy(require=require).lacking(WIFI)] == lacking


@pytest.mark.parametrize(
    ("require", "prohibit", "families"),
    [
        ([], [], (6, 4)),
        (["family:ipv6"], [], (6,)),
        (["family:ipv4", "family:ipv6"], [], (6, 4)),
        (["family:*"], [], (6, 4)),
        ([], ["family:ipv6"], (4,)),
        (["family:ipv6"], ["family:ipv6"], ()),
        (["pvd:wifi"], ["pvd:lte"], (6, 4)),
    ],
)
def test_family_selectors_restrict_the_families(
    require: list[str], prohibit: list[str], families: tuple[int, ...]
) -> None:
    assert Policy(require=require, prohibit=prohibit).families == families


@pytest.mark.parametrize(
    ("addresses", "prohibited", "preferred", "avoided"),
    [((V6, V4), False, True, False), ((V4,), False, False, True), ((V6,), False, True, False)],
)
def test_family_selectors_prohibit_no_pvd_and_avoid_those_that_have_nothing_else(
    addresses: tuple[LocalAddress, ...], prohibited: bool, preferred: bool, avoided: bool
) -> None:
    pvd = ProvisioningDomain("p", addresses=addresses)
    assert (Policy(prohibit=["family:ipv4"]).prohibited_by(pvd) is not None) is prohibited
    assert (Policy(prefer=["family:ipv6"]).preferred_by(pvd) == 0) is preferred
    assert (Policy(avoid=["family:ipv4"]).avoided_by(pvd) is not None) is avoided


@pytest.mark.parametrize(
    ("match", "host", "port", "expected"),
    [
        (Match(), "www.example.com", 443, True),
        (Match(host=["www.example.com"]), "www.example.com", 443, True),
        (Match(host=["www.example.com"]), "WWW.Example.com.", 443, True),
        (Match(host=["WWW.example.com."]), "www.example.com", 443, True),
        (Match(host=["example.com"]), "www.example.com", 443, False),
        (Match(host=["*.corp.example"]), "git.corp.example", 443, True),
        (Match(host=["*.corp.example"]), "a.b.corp.example", 443, True),
        (Match(host=["*.corp.example"]), "corp.example", 443, False),
        (Match(host=["*.corp.example"]), "notcorp.example", 443, False),
        (Match(host=[".corp.example"]), "corp.example", 443, True),
        (Match(host=[".corp.example"]), "git.corp.example", 443, True),
        (Match(host=[".corp.example"]), "notcorp.example", 443, False),
        (Match(host=["a.example", "b.example"]), "b.example", 443, True),
        (Match(host=["mail*"]), "mail.example", 25, True),
        (Match(host=["10.1.2.3"]), "10.1.2.3", 22, True),
        (Match(host=["2001:db8::1"]), "[2001:DB8:0::1]", 22, True),
        (Match(port=[22, 443]), "www.example.com", 443, True),
        (Match(port=[22]), "www.example.com", 443, False),
        (Match(host=["*.corp.example"], port=[22]), "git.corp.example", 22, True),
        (Match(host=["*.corp.example"], port=[22]), "git.corp.example", 443, False),
        (Match(host=["*.corp.example"], port=[22]), "www.example.com", 22, False),
        (Match(subnet=["10.0.0.0/8"]), "10.1.2.3", 22, True),
        (Match(subnet=["10.0.0.0/8"]), "11.1.2.3", 22, False),
        (Match(subnet=["10.0.0.0/8"]), "www.example.com", 22, False),
        (Match(subnet=["10.0.0.0/8", "2001:db8::/32"]), "2001:db8::1", 22, True),
        (Match(subnet=["fe80::/10"]), "fe80::1%wlan0", 22, True),
    ],
)
@pytest.mark.row("3.6", "3.4")
def test_match(match: Match, host: str, port: int, expected: bool) -> None:
    assert match.matches(Endpoint(host, port)) is expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": [0]}, "^port 0 is not a number from 1 to 65535$"),
        ({"port": [65536]}, "^port 65536 is not"),
        ({"port": ["22"]}, "^port '22' is not"),
        ({"port": [True]}, "^port True is not"),
        ({"port": 22}, r"^port takes a list: write port=\[22\]$"),
        ({"host": "a.example"}, r"^host takes a list: write host=\['a.example'\]$"),
        ({"subnet": ["10.0.0.1/8"]}, "^subnet '10.0.0.1/8' is not a prefix: 10.0.0.1/8 has host bits set$"),
        ({"subnet": ["corp"]}, "^subnet 'corp' is not a prefix: "),
    ],
)
def test_match_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Match(**arguments)


def test_the_first_rule_that_matches_wins() -> None:
    ssh = Rule(Match(host=["*.corp.example"], port=[22]), Policy(require=["pvd:vpn"]))
    corp = Rule(Match(host=["*.corp.example"]), Policy(prefer=["pvd:vpn"]))
    assert first_match([ssh, corp], Endpoint("git.corp.example", 22)) == (1, ssh)
    assert first_match([ssh, corp], Endpoint("git.corp.example", 443)) == (2, corp)
    assert first_match([ssh, corp], Endpoint("www.example.com", 443)) is None
    assert hash(ssh) != hash(corp)
