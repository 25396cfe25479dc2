"""Policy files: what they may say, where they stand, and what is said where one is broken."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pvdrace
from pvdrace import files
from pvdrace.config import PROFILES, Configuration, parse
from pvdrace.config.policy_file import PolicyFile, parse_policy_file
from pvdrace.config.pvds import OVERRIDE_KEYS, OWN_KEYS, Override, PvdConfig
from pvdrace.errors import ConfigurationError
from pvdrace.files import profile, profiles, read_configuration, read_policy_file
from pvdrace.model import Endpoint, ProvisioningDomain
from pvdrace.policy import Policy
from pvdrace.race.pacing import Pacing
from pvdrace.rules import Match, Rule
from pvdrace.selectors import Selector

WHOLE = """\
title = "Everything"
description = '''Several
lines.'''

[policy]
require = ["group:internet"]
prefer = ["type:wired", "type:wifi"]
avoid = ["group:guest"]
prohibit = ["cost:roaming"]
capacity_profile = "interactive"
latency_budget = inf
min_rate = 1e6
rank_by = ["preference", "cost", "name"]
racing = "failover"
priority = 3
cross_pvd = true

[[rule]]
match = { label = ["mms"] }
require = ["group:mms"]

[[override]]
match = ["type:wifi", "type:wlan", "group:guest"]
dns = "ignore"
cost = "fixed"

[pacing]
path_delay = 1.0
"""


def test_everything_that_can_be_said() -> None:
    assert parse_policy_file(WHOLE, "p.toml") == PolicyFile(
        name="p.toml",
        title="Everything",
        description="Several\nlines.",
        policy=Policy(
            ["group:internet"],
            ["type:wired", "type:wifi"],
            ["group:guest"],
            ["cost:roaming"],
            capacity_profile="interactive",
            latency_budget=float("inf"),
            min_rate=1e6,
            rank_by=["preference", "cost", "name"],
            racing="failover",
            priority=3,
            cross_pvd=True,
        ),
        rules=(Rule(Match(label=["mms"]), Policy(require=["group:mms"])),),
        overrides=(
            Override(
                (Selector("type", "wifi"), Selector("type", "wlan"), Selector("group", "guest")),
                PvdConfig("", dns="ignore", cost=pvdrace.CostClass.FIXED),
            ),
        ),
        pacing=Pacing(path_delay=1.0),
    )


def test_a_configuration_has_the_same_tables() -> None:
    both = "\n".join(line for line in WHOLE.splitlines()[4:])
    file, configuration = parse_policy_file(both, "p.toml"), parse(both)
    for name in ("policy", "rules", "overrides", "pacing"):
        assert getattr(file, name) == getattr(configuration, name)


def test_an_empty_file_says_nothing() -> None:
    assert parse_policy_file("", "p.toml", "system") == PolicyFile("system")


ERRORS = [
    ("[[pvd]]\nname = 'a'", 1, "pvd", "unknown key"),
    ("discover = []", 1, "discover", "unknown key"),
    ("profile = 'linux'", 1, "profile", "unknown key"),
    ("title = ''", 1, "title", "must not be empty"),
    ("[policy]\nrequire = ['a']", 2, "policy.require[0]", "write pvd:a"),
    ("[policy]\nprefer = [\n'pvd:a',\n'b']", 4, "policy.prefer[1]", "write pvd:b"),
    ("[policy]\nprefers = []", 2, "policy.prefers", "did you mean 'prefer'?"),
    ("[policy]\nlatency_budget = -1", 2, "policy.latency_budget", "seconds of at least 0"),
    ("[policy]\nlatency_budget = nan", 2, "policy.latency_budget", "seconds of at least 0"),
    ("[policy]\nlatency_budget = 'long'", 2, "policy.latency_budget", "seconds of at least 0"),
    ("[policy]\nmin_rate = 0", 2, "policy.min_rate", "bits a second above 0"),
    ("[policy]\nracing = 'simultaneous'", 2, "policy.racing", "one of staggered, failover"),
    ("[policy]\nracing = []", 2, "policy.racing", "one of staggered, failover"),
    ("[policy]\npriority = 1.5", 2, "policy.priority", "a whole number"),
    ("[policy]\ncapacity_profile = 1", 2, "policy.capacity_profile", "one of default, scavenger"),
    ("[policy]\nrank_by = 'cost'", 2, "policy.rank_by", "a list is wanted"),
    ("[policy]\nrank_by = ['name',\n'type']", 3, "policy.rank_by[1]", "no ranking rule 'type'"),
    ("[[rule]]\nmatch = { label = [7] }\nprefer = []", 2, "rule[0].match.label[0]", "a string is wanted"),
    ("[[rule]]\nracing = 'first'", 2, "rule[0].racing", "one of staggered"),
    ("[[override]]\nmatch = []\ndns = 'use'", 2, "override[0].match", "needs selectors"),
    ("[[override]]\nmatch = ['pvd:*']\ndns = 'no'", 3, "override[0].dns", "'no' is not one of use, ignore"),
    ("[[override]]\nmatch = ['pvd:*']\nname = 'x'", 3, "override[0].name", "say it in its [[pvd]]"),
    ("[[override]]\nmatch = ['pvd:*']\ndsn = 'use'", 3, "override[0].dsn", "did you mean 'dns'?"),
    ("[override]\nmatch = ['pvd:*']", 1, "override", "each under [[override]]"),
    ("pacing = 1", 1, "pacing", "a table [pacing] is wanted, not a number"),
    ("[pacing]\npath_delay = '1 s'", 2, "pacing.path_delay", "a finite number"),
    ("[pacing]\nattempts_in_flight = 2\npath_delay = 0.1", 3, "pacing.path_delay", "is below"),
    ("[pacing]\nminimum_connection_attempt_delay = 0.5", 1, "pacing", "connection_attempt_delay is 0.25 s"),
]


@pytest.mark.parametrize(("text", "line", "key", "message"), ERRORS)
def test_an_error_names_file_line_and_key(text: str, line: int, key: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy_file(text, "etc/policy.toml")
    said = str(caught.value)
    assert said.startswith(f"etc/policy.toml:{line}: {key}: "), said
    assert message in said
    assert "\n" not in said


@given(st.text(alphabet="[]{}\"'=.,#\n \\apolicyruemtchv1", max_size=60))
def test_whatever_stands_in_the_file_it_is_a_policy_file_or_one_clear_error(text: str) -> None:
    try:
        assert isinstance(parse_policy_file(text, "p.toml"), PolicyFile)
    except ConfigurationError as error:
        assert str(error).startswith("p.toml:")
        assert "\n" not in str(error)


def test_an_override_can_say_all_that_is_not_one_pvds_own() -> None:
    assert {*OVERRIDE_KEYS, *OWN_KEYS} == {field.name for field in fields(PvdConfig)}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (["pvd:*"], True),
        (["pvd:a"], True),
        (["type:wifi"], True),
        (["type:wired", "type:wifi"], True),  # of one kind: alternatives
        (["type:wifi", "group:home"], True),
        (["type:wifi", "group:guest"], False),  # of different kinds: all
        (["family:ipv6"], False),
        (["family:ipv4"], False),  # it has no address
    ],
)
def test_what_an_override_matches(match: list[str], expected: bool) -> None:
    override = Override(tuple(map(Selector.parse, match)), PvdConfig("", dns="ignore"))
    assert override.matches(ProvisioningDomain("a", type="wifi", groups=("home",))) is expected


# ---------------------------------------------------------------------- layers


def file(name: str, word: str, **rules: str) -> PolicyFile:
    """A policy file that prefers ``group:WORD``, and by rules for a label ``group:OTHER``."""
    return PolicyFile(
        name,
        policy=Policy(prefer=[f"group:{word}"]),
        rules=tuple(Rule(Match(label=[k]), Policy(prefer=[f"group:{v}"])) for k, v in rules.items()),
    )


MINE = replace(
    parse('[[rule]]\nmatch = { label = ["x"] }\nprefer = ["group:mine"]\n[policy]\nprefer = ["group:own"]'),
    files=(file("given.toml", "given", y="given-y"), file("profile p", "p", x="p-x", y="p-y", z="p-z")),
    system=file("etc", "etc", other="etc-other", z="etc-z"),
)


BEHIND = "application own, given.toml given, profile p p, system etc"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, BEHIND),
        ("x", f"rule 1 mine, {BEHIND}"),
        ("y", f"given.toml rule 1 given-y, {BEHIND}"),
        ("z", f"profile p rule 3 p-z, {BEHIND.replace('system', 'system rule 2 etc-z, system')}"),
    ],
)
@pytest.mark.row("3.40")
def test_the_first_rule_of_the_application_then_its_policies_then_the_systems(
    label: str | None, expected: str
) -> None:
    found = MINE.layers(Endpoint("a.example", 1), label=label)
    assert ", ".join(f"{name} {policy.prefer[0].pattern}" for name, policy in found) == expected


@pytest.mark.row("3.40")
def test_the_calls_and_the_codes_policy_are_closest() -> None:
    found = MINE.layers(Endpoint("a.example", 1), Policy(avoid=["pvd:a"]), Policy(avoid=["pvd:b"]))
    assert [name for name, _ in found] == [
        "call",
        "application",
        "application",
        "given.toml",
        "profile p",
        "system",
    ]


def test_the_closest_file_that_has_timers_sets_them() -> None:
    slow, slower = PolicyFile(pacing=Pacing(path_delay=1)), PolicyFile(pacing=Pacing(path_delay=2))
    assert Configuration().effective_pacing is None
    assert Configuration(system=slow).effective_pacing == slow.pacing
    assert Configuration(files=(PolicyFile(), slower), system=slow).effective_pacing == slower.pacing
    assert parse("[pacing]\npath_delay = 3").effective_pacing == Pacing(path_delay=3)


# ---------------------------------------------------------------------- files


@pytest.fixture(autouse=True)
def no_system_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "SYSTEM_POLICY", str(tmp_path / "etc.toml"))
    monkeypatch.delenv(files.SYSTEM_POLICY_VARIABLE, raising=False)


def test_the_systems_policy_is_read_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = '[policy]\nprohibit = ["cost:roaming"]'
    assert read_configuration(None).system is None
    (tmp_path / "etc.toml").write_text(text)
    (tmp_path / "other.toml").write_text('title = "other"')
    system = read_configuration(None).system
    assert system is not None
    assert system.policy == Policy(prohibit=["cost:roaming"])
    monkeypatch.setenv(files.SYSTEM_POLICY_VARIABLE, str(tmp_path / "other.toml"))
    other = read_configuration(None).system
    assert other is not None
    assert other.title == "other"
    assert read_configuration(None, system=tmp_path / "etc.toml").system == system
    assert read_configuration(None, system=PolicyFile("given")).system == PolicyFile("given")
    monkeypatch.setenv(files.SYSTEM_POLICY_VARIABLE, "")
    assert read_configuration(None).system is None


def test_a_broken_system_policy_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    etc = tmp_path / "etc.toml"
    etc.write_text('[policy]\nprohibit = ["roaming"]')
    with pytest.raises(ConfigurationError, match=r"etc\.toml:2: policy\.prohibit\[0\]: "):
        pvdrace.Connector()
    etc.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8 at byte 0"):
        pvdrace.Connector()
    etc.unlink()
    etc.symlink_to("nowhere")  # it is there, and cannot be read
    with pytest.raises(ConfigurationError, match="No such file"):
        pvdrace.Connector()
    monkeypatch.setenv(files.SYSTEM_POLICY_VARIABLE, "/none.toml")
    with pytest.raises(ConfigurationError, match=r"^/none\.toml: No such file or directory$"):
        pvdrace.Connector()


def test_a_profile_by_name_stands_behind_the_file_given() -> None:
    given = PolicyFile("given")
    configuration = read_configuration(replace(parse(""), profile="linux"), given)
    assert configuration.files == (given, profile("linux"))
    assert read_configuration(configuration).files == (profile("linux"),)  # and is not there twice


def test_a_connector_takes_a_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[policy]\navoid = ["pvd:a"]\n[pacing]\npath_delay = 1.5')
    connector = pvdrace.Connector(policy=read_policy_file(path))
    assert connector.pacing == Pacing(path_delay=1.5)
    assert connector.policy is None
    assert connector.configuration.layers(Endpoint("a", 1)) == [(str(path), Policy(avoid=["pvd:a"]))]
    assert pvdrace.Connector(policy=read_policy_file(path), pacing=Pacing()).pacing == Pacing()


def test_profiles_are_the_files_of_the_package() -> None:
    there = Path(files.__file__).with_name("profiles").glob("*.toml")
    assert tuple(sorted(path.stem for path in there)) == profiles() == PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_a_policy_file_with_a_title(name: str) -> None:
    found = pvdrace.profile(name)
    assert found.name == f"profile {name}"
    assert found.title
    words = [str(s) for rule in found.rules for _, s in rule.policy]
    words += [str(s) for _, s in found.policy or ()] + [str(s) for o in found.overrides for s in o.match]
    assert not [word for word in words if word.startswith(("pvd:", "interface:")) and word != "pvd:*"]


def test_a_profile_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="no profile 'linuks', did you mean 'linux'"):
        profile("linuks")
