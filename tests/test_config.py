"""`pvdrace.config`: what `pvdrace.toml` may say, and what an error in it says back."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pvdrace
from pvdrace.config import Configuration, PvdConfig, parse
from pvdrace.config import configuration as config
from pvdrace.errors import ConfigurationError
from pvdrace.model import CostClass, Endpoint, Resolver
from pvdrace.policy import Policy
from pvdrace.race.addresses import POLICY_TABLES
from pvdrace.rules import Match, Rule

WHOLE = """\
discover = ["netlink"]

[[pvd]]
name = "wifi"
interface = "wlan0"
addresses = ["192.168.1.100", "2001:DB8::1"]
resolvers = ["192.168.1.1", "2001:db8:1::1", "192.0.2.1:5353", "[::1]:5353", "[2001:db8::2]"]
zones = ["Corp.Example.", "."]
search = ["corp.example"]
type = "wifi"
cost = "variable"
cost_flags = ["roaming", "near_limit"]
groups = ["internet"]
pref64 = ["64:ff9b::/96"]
address_table = "glibc"
metric = 600

[[pvd]]
name = "lte"
addresses = []

[[rule]]
match = { host = ["*.corp.example"], port = [22], subnet = ["10.0.0.0/8"] }
require = ["pvd:vpn"]
prohibit = ["cost:roaming"]

[[rule]]
avoid = ["type:cellular"]
"""


def test_everything_that_can_be_said() -> None:
    assert parse(WHOLE) == Configuration(
        discover=("netlink",),
        pvds=(
            PvdConfig(
                name="wifi",
                interface="wlan0",
                addresses=("192.168.1.100", "2001:db8::1"),
                resolvers=(
                    Resolver("192.168.1.1"),
                    Resolver("2001:db8:1::1"),
                    Resolver("192.0.2.1", 5353),
                    Resolver("::1", 5353),
                    Resolver("2001:db8::2"),
                ),
                zones=("corp.example", "."),
                search=("corp.example",),
                type="wifi",
                cost=CostClass.VARIABLE,
                cost_flags=frozenset({"roaming", "near_limit"}),
                groups=("internet",),
                pref64=("64:ff9b::/96",),
                address_table="glibc",
                metric=600,
            ),
            PvdConfig(name="lte", addresses=()),
        ),
        rules=(
            Rule(
                Match(host=["*.corp.example"], port=[22], subnet=["10.0.0.0/8"]),
                Policy(require=["pvd:vpn"], prohibit=["cost:roaming"]),
            ),
            Rule(Match(), Policy(avoid=["type:cellular"])),
        ),
    )


def test_an_empty_file_is_the_default_and_discovers() -> None:
    assert parse("") == parse("# nothing\n") == Configuration()
    assert Configuration().discover == ("netlink",)


def test_discover_nothing_is_not_the_same_as_not_saying() -> None:
    assert parse("discover = []").discover == ()


def test_a_key_that_is_left_out_is_not_an_empty_one() -> None:
    (pvd,) = parse('[[pvd]]\nname = "a"').pvds
    assert pvd == PvdConfig("a")
    assert pvd.addresses is None
    (pvd,) = parse('[[pvd]]\nname = "a"\naddresses = []\nzones = []').pvds
    assert (pvd.addresses, pvd.zones, pvd.resolvers) == ((), (), None)


PVD = '[[pvd]]\nname = "a"\n'

ERRORS = [
    # what stands in the file, the line, the key, and a part of what is said
    ('[[pvd]]\nname = "a"\n\n[[pvd]]\nname = "b"\n# why not\ncost = "chaep"', 7, "pvd[1].cost",
     "'chaep' is not one of unmetered, fixed, variable, unknown"),
    (PVD + 'ressolvers = ["192.0.2.1"]', 3, "pvd[0].ressolvers", "unknown key; did you mean 'resolvers'?"),
    (PVD + "frobnicate = 1", 3, "pvd[0].frobnicate", "unknown key; known are name, interface, "),
    ("discovery = []", 1, "discovery", "did you mean 'discover'?"),
    ('discover = ["netlinc"]', 1, "discover[0]", "'netlinc' is not one of netlink"),
    ('discover = ["netlink",\n "netlink"]', 2, "discover[1]", "'netlink' is already used in line 1"),
    ('discover = "netlink"', 1, "discover", "a list is wanted, not a string"),
    (PVD + '\n[[pvd]]\n\n  name = "a"', 6, "pvd[1].name", "'a' is already used in line 2"),
    ('\n[[pvd]]\ninterface = "eth0"', 2, "pvd[0]", "needs a name"),
    ('[[pvd]]\nname = ""', 2, "pvd[0].name", "must not be empty"),
    ('[[pvd]]\nname = "  "', 2, "pvd[0].name", "must not be empty"),
    ('[[pvd]]\nname = " a"', 2, "pvd[0].name", "white space"),
    ('[[pvd]]\nname = "a\\u0007"', 2, "pvd[0].name", "unprintable"),
    ("[[pvd]]\nname = 7", 2, "pvd[0].name", "a string is wanted, not a number"),
    ("[[pvd]]\nname = 2026-11-21", 2, "pvd[0].name", "a string is wanted, not a date or time"),
    ('[pvd]\nname = "a"', 1, "pvd", "each under [[pvd]], not a table"),
    ("pvd = [1]", 1, "pvd[0]", "a table is wanted, not a number"),
    (PVD + 'interface = "wlan0/1"', 3, "pvd[0].interface", "cannot be the name of a network interface"),
    (PVD + 'addresses = "10.0.0.1"', 3, "pvd[0].addresses", "a list is wanted, not a string"),
    (PVD + 'addresses = [\n  "10.0.0.1", # fine\n\n  "10.0.0.256",\n]', 6, "pvd[0].addresses[1]",
     "'10.0.0.256' is not an IP address"),
    (PVD + 'addresses = ["10.0.0.1/24"]', 3, "pvd[0].addresses[0]", "without prefix length"),
    (PVD + 'addresses = ["fe80::1%wlan0"]', 3, "pvd[0].addresses[0]", "leave the zone out"),
    (PVD + 'addresses = ["[::1]"]', 3, "pvd[0].addresses[0]", "is not an IP address"),
    (PVD + "addresses = [true]", 3, "pvd[0].addresses[0]", "a string is wanted, not a boolean"),
    (PVD + 'resolvers = ["dns.example"]', 3, "pvd[0].resolvers[0]", "is not a resolver such as 192.0.2.1"),
    (PVD + 'resolvers = ["192.0.2.1:"]', 3, "pvd[0].resolvers[0]", "'' is not a port"),
    (PVD + 'resolvers = ["192.0.2.1:65536"]', 3, "pvd[0].resolvers[0]", "'65536' is not a port"),
    (PVD + 'resolvers = ["[::1]:0"]', 3, "pvd[0].resolvers[0]", "'0' is not a port"),
    (PVD + 'resolvers = ["[::1]53"]', 3, "pvd[0].resolvers[0]", "is not a resolver"),
    (PVD + 'resolvers = ["fe80::1%eth0"]', 3, "pvd[0].resolvers[0]", "leave the zone out"),
    (PVD + 'zones = ["a..b"]', 3, "pvd[0].zones[0]", "'a..b' is not a domain name"),
    (PVD + 'zones = ["*.corp"]', 3, "pvd[0].zones[0]", "'*.corp' is not a domain name"),
    (PVD + 'search = [""]', 3, "pvd[0].search[0]", "'' is not a domain name"),
    (PVD + f'search = ["{"a" * 64}"]', 3, "pvd[0].search[0]", "is not a domain name"),
    (PVD + 'cost = ["fixed"]', 3, "pvd[0].cost", "a string is wanted, not a list"),
    (PVD + 'cost_flags = ["metered"]', 3, "pvd[0].cost_flags[0]", "'metered' is not one of congested, "),
    (PVD + 'pref64 = ["64:ff9b::/97"]', 3, "pvd[0].pref64[0]", "length of 32, 40, 48, 56, 64, 96"),
    (PVD + 'pref64 = ["2001:db8:0:0:ff00::/96"]', 3, "pvd[0].pref64[0]", "bits 64 to 71"),
    (PVD + 'pref64 = ["10.0.0.0/8"]', 3, "pvd[0].pref64[0]", "is not an IPv6 prefix"),
    (PVD + 'address_table = "rfc3484"', 3, "pvd[0].address_table", "is not one of rfc6724, "),
    (PVD + "metric = -1", 3, "pvd[0].metric", "-1 is not between 0 and"),
    (PVD + "metric = true", 3, "pvd[0].metric", "a whole number is wanted, not a boolean"),
    (PVD + "metric = 1.5", 3, "pvd[0].metric", "a whole number is wanted, not a number"),
    ("[[rule]]\nmatch = {}", 1, "rule[0]", "a rule needs one of require, prefer, avoid, prohibit"),
    ('[[rule]]\nrequire = ["wifi"]', 2, "rule[0].require[0]", "pvd:wifi"),
    ('[[rule]]\nprefer = [\n"pvd:a",\n"pdv:b",\n]', 4, "rule[0].prefer[1]", "'pdv'"),
    ('[[rule]]\navoid = "pvd:a"', 2, "rule[0].avoid", "a list is wanted, not a string"),
    ('[[rule]]\nrequire = ["pvd:a"]\nmatch = "x"', 3, "rule[0].match", "{ host, port, subnet, label }"),
    ('[[rule]]\nrequire = ["pvd:a"]\nmatch = { hots = ["x"] }', 3, "rule[0].match.hots", "mean 'host'?"),
    ('[[rule]]\nrequire = ["pvd:a"]\n[rule.match]\nhost = ["x"]\nport = [\n22,\n70000]', 7,
     "rule[0].match.port[1]", "70000"),
    ('[[rule]]\nrequire = ["pvd:a"]\nmatch.subnet = ["10.0.0.1/8"]', 3, "rule[0].match.subnet[0]",
     "10.0.0.1/8"),
    ('[[rule]]\nrequire = ["pvd:a"]\nmatch = { port = ["22"] }', 3, "rule[0].match.port[0]",
     "a port number is wanted, not a string"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "message"), ERRORS)
def test_an_error_names_file_line_and_key(text: str, line: int, key: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "etc/pvd.toml")
    said = str(caught.value)
    assert said.startswith(f"etc/pvd.toml:{line}: {key}: "), said
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('discover = ["netlink"]\n[[pvd]]\nname = wifi\n', 3),
        ("[[pvd]\n", 1),
        ('[[pvd]]\nname = "a"\nname = "b"\n', 3),
        ('# one\n# two\nname = "unfinished\n', 3),
        ('a = """\nb\n', 2),
        ("\n\na = [1,\n", 3),
    ],
)
def test_a_syntax_error_names_file_and_line(text: str, line: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"pvdrace.toml:{line}: ")
    assert "at line" not in str(caught.value)


def test_layers_are_the_calls_then_the_first_rule_that_matches_then_the_applications() -> None:
    call, application = Policy(prefer=["pvd:a"]), Policy(avoid=["pvd:b"])
    rules = parse(
        '[[rule]]\nmatch = { port = [22] }\nrequire = ["pvd:x"]\n'
        '[[rule]]\nrequire = ["pvd:y"]\n[[rule]]\nrequire = ["pvd:z"]\n'
    )
    assert rules.layers(Endpoint("example.com", 443), application=application, call=call) == [
        ("call", call),
        ("rule 2", Policy(require=["pvd:y"])),
        ("application", application),
    ]
    assert rules.layers(Endpoint("example.com", 22)) == [("rule 1", Policy(require=["pvd:x"]))]
    assert Configuration().layers(Endpoint("example.com", 22), call=Policy()) == []


def test_the_address_tables_are_those_that_the_race_has() -> None:
    assert set(config.ADDRESS_TABLES) == set(POLICY_TABLES)


@given(st.text(alphabet="[]{}\"'=.,#\n \\apvdrulenm1", max_size=60))
def test_whatever_stands_in_the_file_it_is_a_configuration_or_one_clear_error(text: str) -> None:
    try:
        assert isinstance(parse(text), Configuration)
    except ConfigurationError as error:
        assert str(error).startswith("pvdrace.toml:")
        assert "\n" not in str(error)


@given(
    st.recursive(
        st.none(), lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c.d"]), inner, max_size=3)
    )
)
def test_unknown_keys_at_any_depth_are_found(nested: dict[str, object] | None) -> None:
    def toml(value: dict[str, object] | None) -> str:
        if value is None:
            return "1"
        return "{ " + ", ".join(f'"{key}" = {toml(inner)}' for key, inner in value.items()) + " }"  # type: ignore[arg-type]

    text = f"[[rule]]\nrequire = ['pvd:a']\nmatch = {toml(nested)}\n"
    assert tomllib.loads(text)
    if nested == {}:
        assert parse(text).rules[0].match == Match()
    else:
        with pytest.raises(ConfigurationError, match=r"^pvdrace\.toml:3: rule\[0\]\.match"):
            parse(text)


def test_the_text_in_the_place_of_a_path_is_one_line() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^'discover = \[\]' \.\.\.: the path of a file is wanted, not its text$"
    ):
        pvdrace.Connector("discover = []\nprofile = 'linux'\n")
