"""The report: its JSON (schema ``pvdrace.report/1``), its replay, its one line and its timeline."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from pvdrace.model import Endpoint, ProvisioningDomain, Ranked, Ranking, Reachability, Reached
from pvdrace.policy import Policy
from pvdrace.race.actions import Connect, Lookup
from pvdrace.race.events import Connected, Failed, LookupAnswered, LookupFailed, Ready
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Race
from pvdrace.race.report import RaceReport
from pvdrace.testing.scenario import Scenario, blackhole, ok, pvd, refused, same, scenario, servfail, silent
from replayed import check_replay


def eventful() -> Scenario:
    """A race in which something of everything happens."""
    return scenario(
        "example.com",
        hold=True,
        timeout=30.0,
        policy=Policy(prohibit=["cost:variable"]),
        pacing=Pacing(attempt_timeout=2.0),
        rtt={"wifi": {"2001:db8:99::1": 0.150}},
        withdraw={"eth": 60},
        add={"lan": (400, pvd(dns=5, v4=ok(30, tls=5)))},
        eth=pvd(aaaa=servfail(10), a=30, v4=blackhole),
        wifi=pvd(
            dns=20, answers=("2001:db8:99::1", "198.51.100.1", "127.0.0.1"), v6=blackhole, v4=refused(5)
        ),
        lte=pvd(dns=20, v6=ok(10), cost="variable"),
    )


# ---------------------------------------------------------------------- the contract


def test_json_has_the_keys_of_the_contract() -> None:
    """The example that others program against, key by key; there may be more."""
    value = scenario(wifi=pvd(dns=20, v4=ok(30)), lte=pvd(cost="variable")).report.to_dict()
    contract = {
        "": ("schema", "endpoint", "outcome", "elapsed", "winner", "ranking", "lookups", "attempts"),
        "endpoint": ("host", "port"),
        "winner": ("pvd", "remote", "port", "local", "family", "ready"),
        "ranking": ("pvd", "head_start", "because"),
        "lookups": ("pvd", "type", "server", "started", "ended", "outcome", "addresses"),
        "attempts": (
            *("pvd", "remote", "port", "family", "started", "connected", "ended"),
            *("outcome", "error"),
        ),
    }
    for place, keys in contract.items():
        found = value[place] if place else value
        for record in found if isinstance(found, list) else [found]:
            assert set(keys) <= set(record), place


def test_json_golden() -> None:
    report = scenario(
        "www.example.com",
        policy=Policy(prohibit=["pvd:vpn"]),
        wifi=pvd(aaaa=servfail(11), a=20, v4=(refused(5), ok(30, tls=11)), cost="unmetered"),
        lte=pvd(cost="variable"),
        vpn=pvd(),
    ).report
    value = json.loads(report.to_json())
    del value["race"], value["log"]
    rounded = json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6))
    assert rounded == {
        "schema": "pvdrace.report/1",
        "endpoint": {"host": "www.example.com", "port": 443},
        "outcome": "won",
        "elapsed": 0.071,
        "winner": {
            "pvd": "wifi",
            "remote": "198.51.100.2",
            "port": 443,
            "local": "10.0.1.2",
            "family": "ipv4",
            "ready": "tcp",
            "through": None,
        },
        "ranking": [
            {
                "pvd": "wifi",
                "head_start": 0.0,
                "because": ["unmetered"],
                "rules": ["cost"],
                "families": ["ipv6", "ipv4"],
            },
            {
                "pvd": "lte",
                "head_start": 2.0,
                "because": ["cost: variable"],
                "rules": ["cost"],
                "families": ["ipv6", "ipv4"],
            },
            {
                "pvd": "vpn",
                "head_start": None,
                "because": [],
                "rules": [],
                "families": [],
                "excluded": "prohibited by pvd:vpn (call)",
                "excluded_by": "prohibit",
            },
        ],
        "lookups": [
            {
                "pvd": "wifi",
                "type": "AAAA",
                "server": None,
                "started": 0.0,
                "ended": 0.011,
                "outcome": "failed",
                "addresses": [],
                "error": "SERVFAIL",
                "cached": False,
            },
            {
                "pvd": "wifi",
                "type": "A",
                "server": None,
                "started": 0.0,
                "ended": 0.02,
                "outcome": "answered",
                "addresses": ["198.51.100.1", "198.51.100.2"],
                "error": None,
                "cached": False,
            },
        ],
        "attempts": [
            {
                "pvd": "wifi",
                "remote": "198.51.100.1",
                "port": 443,
                "family": "ipv4",
                "local": "10.0.1.2",
                "started": 0.02,
                "connected": None,
                "ended": 0.025,
                "outcome": "failed",
                "error": "refused",
                "rtt": None,
                "through": None,
            },
            {
                "pvd": "wifi",
                "remote": "198.51.100.2",
                "port": 443,
                "family": "ipv4",
                "local": "10.0.1.2",
                "started": 0.03,
                "connected": 0.06,
                "ended": 0.071,
                "outcome": "won",
                "error": None,
                "rtt": None,
                "through": None,
            },
        ],
        "skipped": [],
        "failure": None,
        "ready": "tcp",
    }


def test_times_are_seconds_from_the_start_whatever_the_clock_says() -> None:
    race = Race(Endpoint("198.51.100.1", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)))
    (connect,) = race.start(1000.25)
    assert isinstance(connect, Connect)
    race.handle(Connected(connect.id, 0.02), 1000.5)
    race.handle(Ready(connect.id, None, "10.0.0.1"), 1001.0)
    value = RaceReport.of(race, "tls").to_dict()
    (attempt,) = value["attempts"]
    assert (attempt["started"], attempt["connected"], attempt["ended"]) == (0.0, 0.25, 0.75)
    assert (attempt["rtt"], attempt["local"]) == (0.02, "10.0.0.1")
    assert value["elapsed"] == 0.75
    assert value["winner"]["ready"] == "tls"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (LookupAnswered(1, ("2001:db8::1",), "10.0.0.1", True), ("answered", "10.0.0.1", True, None)),
        (LookupFailed(1, "SERVFAIL", "10.0.0.2"), ("failed", "10.0.0.2", False, "SERVFAIL")),
    ],
)
def test_a_lookup_says_who_answered_what(event: LookupAnswered | LookupFailed, expected: object) -> None:
    race = Race(Endpoint("example.com", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)))
    lookup = race.start(0.0)[0]
    assert isinstance(lookup, Lookup)
    event.id = lookup.id
    race.handle(event, 0.01)
    found = RaceReport.of(race).lookups[0]
    assert (found.outcome, found.server, found.cached, found.error) == expected


def test_a_race_that_its_caller_ended_is_cancelled() -> None:
    race = Race(Endpoint("example.com", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)))
    race.start(5.0)
    report = RaceReport.of(race)
    assert (report.outcome, report.failure, report.winner) == ("cancelled", None, None)
    assert {lookup.outcome for lookup in report.lookups} == {"pending"}
    check_replay(report)


# ---------------------------------------------------------------------- there and back


def test_json_there_and_back_loses_nothing() -> None:
    report = eventful().report
    text = report.to_json(indent=2)
    again = RaceReport.from_json(text)
    assert again == report
    assert again.to_json(indent=2) == text
    assert str(again) == str(report)
    assert again.summary() == report.summary()


def test_replay_gives_the_same_actions_at_the_same_times() -> None:
    report = eventful().report
    assert len(list(report.actions())) > 10
    check_replay(report)


def test_replay_of_lookups_in_the_families_that_policy_allows() -> None:
    report = scenario(policy=Policy(prohibit=["family:ipv6"]), wifi=pvd(v4=ok(10))).report
    asked = [action for action in report.actions() if isinstance(action, Lookup)]
    assert [(lookup.type, lookup.families) for lookup in asked] == [("A", (4,))]
    check_replay(report)


def test_replay_on_a_clock_that_does_not_start_at_zero() -> None:
    race = Race(Endpoint("example.com", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)))
    a = race.start(81234.56789)[1]
    assert isinstance(a, Lookup)
    race.handle(LookupAnswered(a.id, ("198.51.100.1", "198.51.100.2")), 81234.6)
    race.tick(race.deadline)
    race.tick(race.deadline + 0.0123)
    assert [type(entry).__name__ for _, entry in race.log][-2:] == ["Connect", "Connect"]
    check_replay(RaceReport.of(race))


def test_replay_of_a_race_that_was_lost_between_two_attempts() -> None:
    """Nothing is in flight when time runs out, so the log does not say when: the report does."""
    race = Race(Endpoint("198.51.100.1", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)), timeout=1.0)
    (connect,) = race.start(0.0)
    assert isinstance(connect, Connect)
    late = Race(Endpoint("example.com", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)), timeout=1.0)
    aaaa, a = late.start(0.0)
    assert isinstance(aaaa, Lookup)
    assert isinstance(a, Lookup)
    late.handle(LookupFailed(a.id, "SERVFAIL"), 0.1)
    late.handle(LookupAnswered(aaaa.id, ("2001:db8::1", "2001:db8::2")), 0.994)
    (connect,) = late.tick(0.994)
    assert isinstance(connect, Connect)
    late.handle(Failed(connect.id, "refused"), 0.995)
    late.tick(1.25)
    report = RaceReport.of(late)
    assert (report.failure, report.elapsed) == ("timeout 1.0 s", 1.25)
    check_replay(report)


# ---------------------------------------------------------------------- what is not a report

Path = tuple[str | int, ...]
GOOD: dict[str, Any] = json.loads(eventful().report.to_json())


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("schema",), "pvdrace.report/2", "report.schema: 'pvdrace.report/2' is not 'pvdrace.report/1'"),
        (("endpoint",), "example.com:443", "report.endpoint: must be an object, not 'example.com:443'"),
        (("endpoint", "port"), "443", "report.endpoint.port: must be a whole number, not '443'"),
        (("outcome",), "drawn", "report.outcome: 'drawn' is not one of won, lost, cancelled"),
        (("ready",), None, "report.ready: must be text, not null"),
        (("ranking",), {}, "report.ranking: must be an array, not an object"),
        (("ranking", 0, "pvd"), "vpn", "report.ranking[0].pvd: no PvD is called 'vpn'"),
        (("ranking", 0, "families"), ["ipv5"], "report.ranking[0].families: no family is called 'ipv5'"),
        (("ranking", 0, "rules"), [], "report.ranking[0]: 0 rules for 1 reasons"),
        (("ranking", 0, "head_start"), "soon", "report.ranking[0].head_start: must be a number, not 'soon'"),
        (("race", "hold"), 1, "report.race.hold: must be true or false, not 1"),
        (("race", "pacing", "path_delay"), 0, "report.race.pacing: path_delay is below connection_attempt"),
        (("race", "pacing", "pace"), 0, "report.race.pacing: unknown key 'pace'"),
        (("race", "rtt", "wifi"), 0.1, "report.race.rtt.wifi: must be an object, not 0.1"),
        (("race", "pvds", 0, "name"), 7, "report.race.pvds[0].name: must be text, not 7"),
        (("race", "pvds", 0, "cost", "kind"), "cheap", "report.race.pvds[0].cost.kind: 'cheap' is not one"),
        (
            ("race", "pvds", 0, "addresses", 0, "prefix_length"),
            None,
            "report.race.pvds[0].addresses[0].prefix_length: must be a whole number, not null",
        ),
        (("log", 0), 5, "report.log[0]: must be an array of time, kind and what is said"),
        (("log", 0, 0), True, "report.log[0][0]: must be a number, not True"),
        (("log", 0, 1), "Guess", "report.log[0][2]: no event or action is called 'Guess'"),
        (("log", 0, 2), {}, "report.log[0][2]: 'id' is missing"),
        (("log", 0, 2, "families"), ["ipv5"], "report.log[0][2].families: no family is called 'ipv5'"),
        (("log", 2, 2, "id"), 99, "report.log[2][2].id: no lookup or attempt is called 99"),
    ],
)
def test_bad_json_is_one_error_that_names_the_place(path: Path, value: object, error: str) -> None:
    broken = deepcopy(GOOD)
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValueError) as raised:
        RaceReport.from_json(json.dumps(broken))
    message = str(raised.value)
    assert message.startswith(error)
    assert "\n" not in message


@pytest.mark.parametrize("key", ["schema", "endpoint", "outcome", "ranking", "ready", "race", "log"])
def test_a_missing_key_is_named(key: str) -> None:
    broken = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(ValueError, match=f"report: '{key}' is missing"):
        RaceReport.from_json(json.dumps(broken))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "report: not JSON"),
        ("{", "report: not JSON"),
        ("[" * 100_000, "report: not JSON"),
        ("[]", "report: must be an object, not an array"),
        ("null", "report: must be an object, not null"),
        (b"\xff\xfe\xff", "report: not JSON"),
    ],
)
def test_what_is_no_json_object_at_all(text: str | bytes, error: str) -> None:
    with pytest.raises(ValueError) as raised:
        RaceReport.from_json(text)
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)


KINDS_OF_VALUE: tuple[object, ...] = (None, True, -1, 0.5, "?", [], {}, [[]], float("nan"))


def test_every_value_of_a_report_may_be_broken_and_the_error_is_a_value_error() -> None:
    """Each leaf in turn, replaced by each kind of JSON value: read back, or one line that begins so."""
    for path in leaves(
        {key: GOOD[key] for key in ("endpoint", "ranking", "race", "log", "outcome", "ready")}
    ):
        for value in KINDS_OF_VALUE:
            broken = deepcopy(GOOD)
            place: Any = broken
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            try:
                RaceReport.from_json(json.dumps(broken))
            except ValueError as error:
                assert str(error).startswith("report")
                assert "\n" not in str(error)


def leaves(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for index, one in enumerate(value[:4]) for leaf in leaves(one, (*path, index))]
    return [path]


# ---------------------------------------------------------------------- for people


def test_the_summary_is_one_line_of_who_failed_of_what() -> None:
    race = scenario(
        "example.com",
        pacing=Pacing(attempt_timeout=2.0),
        policy=Policy(prohibit=["cost:variable"]),
        wifi=pvd(dns=20, v6=blackhole, v4=refused(20)),
        lte=pvd(cost="variable"),
    )
    assert race.report.summary() == (
        "example.com:443: wifi v6 timeout 2.0 s, wifi v4 refused, "
        "lte skipped (prohibited by cost:variable (call))"
    )


def test_the_summary_names_lookups_that_brought_nothing_and_addresses_that_were_skipped() -> None:
    race = scenario(
        "example.com",
        wifi=pvd(aaaa=servfail(10), a=20, v4=refused(5), answers=("127.0.0.1",)),
        lte=pvd(dns=20),
    )
    assert race.report.summary() == (
        "example.com:443: wifi AAAA SERVFAIL, lte AAAA no address, lte A no address, "
        "wifi 127.0.0.1 a loopback address never leaves the host"
    )


def test_what_pvds_are_known_to_reach_comes_back_and_may_be_missing_in_an_older_report() -> None:
    known = Reached(4, Reachability.PARTIAL, "HTTP 204", 1.5, None, (80, 443), (993,), (22,))
    report = scenario(a=pvd(v4=ok(10), reached=(known,))).report
    value = json.loads(report.to_json())
    assert RaceReport.from_json(json.dumps(value)).ranking.ranked[0].pvd.reached == (known,)
    (reached,) = value["race"]["pvds"][0]["reached"]
    del reached["blocked"], reached["lost"]
    (older,) = RaceReport.from_json(json.dumps(value)).ranking.ranked[0].pvd.reached
    assert older == known._replace(blocked=(), lost=())


def test_the_summary_names_who_was_not_reached() -> None:
    race = scenario(
        "example.com",
        timeout=0.1,
        wifi=pvd(dns=20, v4=blackhole),
        lte=pvd(dns=20),
    )
    assert race.report.summary() == (
        "example.com:443: wifi AAAA no address, wifi v4 timeout 0.1 s, lte not tried"
    )


def test_the_summary_of_a_race_without_pvds() -> None:
    assert scenario("example.com").report.summary() == "example.com:443: no usable provisioning domain"


def test_the_summary_stays_on_one_line_whatever_an_error_says() -> None:
    race = Race(Endpoint("2001:db8::1", 443), Ranking((Ranked(ProvisioningDomain("wifi")),)))
    (connect,) = race.start(0.0)
    assert isinstance(connect, Connect)
    race.handle(Failed(connect.id, "two\n lines"), 0.1)
    assert RaceReport.of(race).summary() == "[2001:db8::1]:443: wifi v6 two lines"


def test_str_is_the_timeline_with_every_answer() -> None:
    race = scenario(wifi=pvd(aaaa=servfail(10), a=20, v4=(refused(5), ok(30, tls=10))))
    assert same(
        str(race.report),
        """
         0 ms  wifi ? AAAA A
        10 ms  wifi x AAAA SERVFAIL
        20 ms  wifi A 198.51.100.1, 198.51.100.2       wifi -> 198.51.100.1
        25 ms  wifi x 198.51.100.1 refused
        30 ms  wifi -> 198.51.100.2
        60 ms  wifi connected 198.51.100.2
        70 ms  wifi won 198.51.100.2
        """,
    )


def test_the_summary_of_a_won_race_begins_with_the_winner() -> None:
    race = scenario(wifi=pvd(dns=10, a=silent, v6=ok(20)), lte=pvd(dns=10, v6=ok(20)))
    assert race.report.summary() == (
        "www.example.com:443: won by wifi 2001:db8:99::1 in 30 ms, lte not tried"
    )
