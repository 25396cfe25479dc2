"""When a PvD is probed, on virtual time; what makes one suspect; what may be asked where."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from pvdrace.config import Configuration
from pvdrace.config.probe_settings import UNRESTRICTED, ProbeSettings, Target
from pvdrace.model import (
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Reachability,
    Reached,
    Resolver,
    Route,
)
from pvdrace.policy import Policy
from pvdrace.probes.plan import plan, probed_families
from pvdrace.probes.schedule import CHANGE_GAP, SUSPICION_GAP, Schedule
from pvdrace.probes.suspicion import Suspect, suspects
from pvdrace.rules import Match, Rule
from pvdrace.testing.scenario import blackhole, impostor, ok, pvd, refused, scenario

UNKNOWN, VALIDATED = Reachability.UNKNOWN, Reachability.VALIDATED
PORTAL, PARTIAL, NONE = Reachability.PORTAL, Reachability.PARTIAL, Reachability.NONE
SETTINGS = ProbeSettings(interval=600, recheck=60)
WIFI = ProvisioningDomain(
    "wifi",
    addresses=(LocalAddress("10.0.1.2", 24), LocalAddress("2001:db8::2", 64)),
    routes=(Route("0.0.0.0/0", "10.0.1.1"), Route("::/0", "fe80::1")),
    resolvers=(Resolver("10.0.1.1"),),
)
LTE = replace(WIFI, name="lte")


def begun(schedule: Schedule, now: float) -> list[str]:
    names = schedule.due(now)
    for name in names:
        schedule.begin(name, now)
    return names


def times(schedule: Schedule, states: list[Reachability], **told: float) -> list[float]:
    """When a PvD is probed, from 0 on, if its probes take no time and find these."""
    schedule.keep([WIFI], 0)
    found = []
    for state in states:
        now = schedule.deadline
        assert begun(schedule, now) == ["wifi"]
        found.append(now)
        schedule.end("wifi", state, now, **told)
    return [*found, schedule.deadline]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([VALIDATED, VALIDATED], [0, 600, 1200]),
        ([PORTAL, PORTAL, VALIDATED], [0, 60, 120, 720]),
        ([NONE] * 12, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1023, 1623, 2223]),
        ([UNKNOWN, PARTIAL, NONE], [0, 1, 3, 7]),
        ([NONE, NONE, VALIDATED, NONE, NONE], [0, 1, 3, 603, 604, 606]),
    ],
)
def test_the_schedule(states: list[Reachability], expected: list[float]) -> None:
    assert times(Schedule(SETTINGS), states) == expected


def test_a_short_interval_is_the_longest_wait() -> None:
    assert times(Schedule(ProbeSettings(interval=0.5)), [NONE, NONE, VALIDATED]) == [0, 0.5, 1.0, 1.5]


def test_what_the_network_says_of_the_time() -> None:
    assert times(Schedule(SETTINGS), [NONE], retry_after=120) == [0, 120]
    assert times(Schedule(SETTINGS), [VALIDATED], expires=30) == [0, 31], "a session that ends is looked at"
    assert times(Schedule(SETTINGS), [VALIDATED], expires=6000) == [0, 600]


def test_one_probe_of_a_pvd_at_a_time() -> None:
    schedule = Schedule(SETTINGS)
    schedule.keep([WIFI, LTE], 0)
    assert begun(schedule, 0) == ["wifi", "lte"]
    schedule.suspect([Suspect("wifi", 443, certificate=True)], 50)
    assert (schedule.due(1000), schedule.deadline) == ([], inf)
    schedule.end("wifi", VALIDATED, 60)
    assert schedule.deadline == 660


def test_a_change_is_looked_at_at_once_but_not_all_the_time() -> None:
    schedule = Schedule(SETTINGS)
    schedule.keep([WIFI], 0)
    begun(schedule, 0)
    schedule.end("wifi", VALIDATED, 0.1)
    anew = replace(WIFI, attachment=1)
    schedule.keep([anew], 20)
    assert begun(schedule, 20) == ["wifi"]
    schedule.keep([replace(anew, attachment=2)], 20.2)
    assert schedule.due(20.2) == []
    schedule.end("wifi", VALIDATED, 20.3)
    assert schedule.deadline == 20 + CHANGE_GAP, "of the new attachment nothing is known yet"
    schedule.keep([replace(anew, attachment=2, captive_api="https://api.example/")], 30)
    assert schedule.due(30) == ["wifi"]
    schedule.keep([replace(anew, attachment=2, captive_api="https://api.example/", notes=("x",))], 31)
    schedule.keep([], 32)
    assert schedule.deadline == inf
    schedule.end("wifi", VALIDATED, 33)
    schedule.begin("wifi", 33)
    assert schedule.deadline == inf


def test_suspicion_is_looked_at_soon_and_a_failure_on_a_port_once() -> None:
    schedule = Schedule(SETTINGS)
    times(schedule, [VALIDATED])
    failure, wrong = Suspect("wifi", 22), Suspect("wifi", 443, certificate=True)
    schedule.suspect([failure, Suspect("gone", 22)], 100)
    assert begun(schedule, 100) == ["wifi"]
    schedule.end("wifi", VALIDATED, 100)
    schedule.suspect([failure], 200)
    assert schedule.due(200) == [], "this port has been looked into"
    schedule.suspect([wrong], 200)
    assert begun(schedule, 200) == ["wifi"]
    schedule.end("wifi", VALIDATED, 200)
    schedule.suspect([wrong], 201)
    assert (schedule.due(201), schedule.deadline) == ([], 200 + SUSPICION_GAP)
    assert begun(schedule, 210) == ["wifi"]
    schedule.end("wifi", VALIDATED, 210)
    schedule.trust("wifi", 22)
    schedule.suspect([failure], 300)
    assert schedule.due(300) == ["wifi"], "it has worked since: a first failure again"
    schedule.keep([replace(WIFI, attachment=1)], 300)
    begun(schedule, 300)
    schedule.end("wifi", VALIDATED, 300)
    schedule.suspect([failure], 400)
    assert schedule.due(400) == ["wifi"], "another attachment: nothing is known of its ports"


# ---------------------------------------------------------------------- who is suspect


@pytest.mark.parametrize(
    ("pvds", "expected"),
    [
        ({"wifi": pvd(v4=ok(30))}, []),
        ({"wifi": pvd(v4=ok(30)), "lte": pvd(v4=ok(60))}, []),
        ({"wifi": pvd(v4=blackhole), "lte": pvd(v4=ok(60))}, ["wifi"]),
        ({"wifi": pvd(v4=refused(10)), "lte": pvd(v4=ok(60))}, ["wifi"]),
        ({"wifi": pvd(v6=refused(10), v4=ok(20)), "lte": pvd(v4=ok(60))}, ["wifi"]),
        ({"wifi": pvd(v4=refused(10)), "lte": pvd(v4=refused(10))}, ["wifi", "lte"]),
    ],
)
def test_suspects(pvds: dict[str, object], expected: list[str]) -> None:
    found = suspects(scenario(**pvds).report)  # type: ignore[arg-type]
    assert [one.pvd for one in found] == expected
    assert {one.port for one in found} <= {443}
    assert not any(one.certificate for one in found)


def test_of_a_pvd_that_is_gone_no_blame_is_kept() -> None:
    schedule = Schedule(SETTINGS)
    schedule.keep([WIFI, LTE], 0)
    schedule.suspect([Suspect("wifi", 22), Suspect("lte", 22)], 0)
    schedule.keep([LTE], 1)
    assert schedule._blamed == {("lte", 22)}


# ---------------------------------------------------------------------- what may be asked where

HTTP, HTTPS = Target.parse("http://probe.example/204"), Target.parse("https://secure.example/204")
BOTH = ProbeSettings(HTTP, HTTPS)


def planned(
    *pvds: ProvisioningDomain,
    settings: ProbeSettings = BOTH,
    rules: tuple[Rule, ...] = (),
    policy: Policy | None = None,
) -> dict[str, list[str]]:
    def of(endpoint: Endpoint) -> list[tuple[str, Policy]]:
        return Configuration(rules=rules).layers(endpoint, policy)

    found = plan(PvdSet(pvds), settings, of)
    return {name: [f"{probe.kind} {probe.target.host}" for probe in probes] for name, probes in found.items()}


def test_a_wrong_certificate_makes_suspect_at_any_time() -> None:
    report = scenario(wifi=pvd(v6=impostor(10, 20), v4=blackhole), lte=pvd(v4=ok(60))).report
    assert suspects(report) == (Suspect("wifi", 443, certificate=True),)


def test_what_is_asked() -> None:
    with_api = replace(LTE, captive_api="https://api.example/captive")
    settings = replace(BOTH, ports=(22,))
    both = ["http probe.example", "https secure.example", "port secure.example"]
    assert planned(WIFI, with_api, settings=settings) == {"wifi": both, "lte": ["api api.example", *both]}
    assert planned(WIFI, with_api, settings=ProbeSettings()) == {"lte": ["api api.example"]}
    assert planned(replace(WIFI, captive_api=UNRESTRICTED), settings=ProbeSettings()) == {}


@pytest.mark.parametrize(
    ("wifi", "options"),
    [
        ({"unusable": "no carrier"}, {}),
        ({"proxy": "http://10.0.1.1:3128"}, {}),
        ({"warmup": 0.5}, {}),
        ({"zones": ("corp.example",)}, {}),
        ({}, {"policy": Policy(prohibit=["pvd:wifi"])}),
        ({}, {"policy": Policy(require=["pvd:lte"])}),
        ({}, {"rules": (Rule(Match(), Policy(prohibit=["pvd:wifi"])),)}),
        ({}, {"rules": (Rule(Match(host=["*.example"]), Policy(prohibit=["pvd:wifi"])),)}),
        ({"type": "vpn"}, {"policy": Policy(prohibit=["type:vpn"])}),
        ({}, {"policy": Policy(require=["reachability:validated", "pvd:lte"])}),
        ({}, {"policy": Policy(require=["reachability:validated"], prohibit=["pvd:wifi"])}),
    ],
)
def test_a_pvd_that_is_not_probed(wifi: dict[str, object], options: dict[str, object]) -> None:
    """What policy forbids for the probe's host, or zones, sees no packet; the other is probed."""
    found = planned(replace(WIFI, **wifi), LTE, **options)  # type: ignore[arg-type]
    assert list(found) == ["lte"]


def test_a_rule_for_other_hosts_is_none_for_the_probe() -> None:
    rules = (Rule(Match(host=["www.corp.example"]), Policy(prohibit=["pvd:wifi"])),)
    assert list(planned(WIFI, LTE, rules=rules)) == ["wifi", "lte"]


def test_a_name_of_somebody_elses_zone_is_asked_there_alone() -> None:
    vpn = replace(WIFI, name="vpn", zones=("secure.example",))
    assert planned(WIFI, vpn) == {"wifi": ["http probe.example"], "vpn": ["https secure.example"]}


def test_a_known_portal_is_probed() -> None:
    reached = (Reached(4, PORTAL, "", 0),)
    assert list(planned(replace(WIFI, reachability=PORTAL, reached=reached))) == ["wifi"]


@pytest.mark.parametrize("word", ["validated", "portal"])
def test_the_reachability_that_is_required_is_what_a_probe_finds_out(word: str) -> None:
    """Else nothing would ever have it."""
    assert list(planned(WIFI, LTE, policy=Policy(require=[f"reachability:{word}"]))) == ["wifi", "lte"]


def test_policy_restricts_the_families_of_a_probe() -> None:
    found = plan(PvdSet((WIFI,)), BOTH, lambda _: [("application", Policy(prohibit=["family:ipv4"]))])
    assert {probe.families for probe in found["wifi"]} == {(6,)}
    assert probed_families(WIFI, found["wifi"][0]) == (6,)
    assert probed_families(replace(WIFI, addresses=WIFI.addresses[:1]), found["wifi"][0]) == ()
    assert probed_families(replace(WIFI, addresses=()), found["wifi"][0]) == (6,)


def test_a_suspicion_does_not_come_before_the_time_that_a_server_asked_to_be_left_alone() -> None:
    """RFC 9110 s10.2.3: Retry-After is the server's word, whatever a race has met meanwhile."""
    schedule = Schedule(SETTINGS)
    assert times(schedule, [NONE], retry_after=120) == [0, 120]
    schedule.suspect([Suspect("wifi", 443, certificate=True)], 50)
    assert schedule.deadline == 120
