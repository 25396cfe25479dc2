"""Captive portals and what probes know of them, in the lab."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

import pvdrace
from lab.racing import (
    PATH_DELAY,
    PATIENT,
    SLACK,
    opened,
    ordinary,
    policy,
    pvds_of,
    race,
    reach,
    sent,
    trusting,
)
from pvdrace.config import Configuration, parse
from pvdrace.history import blackholes
from pvdrace.lab import Lab, Link
from pvdrace.model import Reachability
from pvdrace.probes import schedule
from pvdrace.race.events import PvdWithdrawn
from pvdrace.reachability import BEHIND_PORTAL
from pvdrace.rules import Match, Rule

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

UNKNOWN, VALIDATED = Reachability.UNKNOWN, Reachability.VALIDATED
PORTAL, PARTIAL, NONE = Reachability.PORTAL, Reachability.PARTIAL, Reachability.NONE
RECHECK = 0.5
PAYLOAD = bytes(64 * 1024)
PROBE = 1.0  # seconds that a probe may take on a busy machine
HELLO = 4096  # more than a TLS client says before it has seen a certificate, and less than any payload here
DNS = ("real", "portal")


def probing(lab: Lab, *api: str, http: bool = True, https: bool = True, **keys: object) -> Configuration:
    """The lab's PvDs, with probes of its public server, and the Captive Portal API in the PvDs ``api``."""
    keys = {"ca_file": lab.ca_file, "timeout": 1.5, "recheck": RECHECK} | keys
    if http:
        keys["http"] = f"http://{lab.name}/generate_204"
    if https:
        keys["https"] = f"https://{lab.name}/generate_204"
    table = "".join(f"{key} = {value!r}\n" for key, value in keys.items())
    found = parse(f"{lab.config()}\n[probe]\n{table}")
    pvds = tuple(replace(p, captive_api=lab[p.name].captive_api) if p.name in api else p for p in found.pvds)
    return replace(found, pvds=pvds)


async def until(
    connector: pvdrace.Connector, name: str, state: Reachability, patience: float = 5.0
) -> tuple[float, pvdrace.ProvisioningDomain]:
    """Wait until a PvD is known to be in a state: the seconds that took, and the PvD."""
    began = anyio.current_time()
    async with contextlib.aclosing(connector.watch()) as changes:
        with anyio.fail_after(patience):
            while (pvd := (await connector.snapshot())[name]).reachability is not state:
                await anext(changes)
    return anyio.current_time() - began, pvd


def states(pvd: pvdrace.ProvisioningDomain) -> dict[int, Reachability]:
    return {one.family: one.state for one in pvd.reached}


def payload(link: Link, port: int) -> int:
    """The bytes that the client has sent to a port of anybody on this link, headers and all."""
    return sum(packet.length for packet in sent(link) if packet.port == port)


async def alone(lab: Lab, name: str) -> float:
    """Seconds to a verified TLS stream when only this PvD may be used: the control."""
    word, report = await race(lab, policy=policy(require=f"pvd:{name}"))
    assert word == name
    return report.elapsed


# ---------------------------------------------------------------------- "Connect to captive portal hotspot"


@pytest.mark.row("1.3", "6.6")
@pytest.mark.parametrize("dns", DNS)
async def test_an_unprobed_portal_costs_one_path_delay_and_gets_no_payload(t2: Lab, dns: str) -> None:
    """ "Connect to captive portal hotspot, mobile data stops working", T2p; check 6.

    A intercepts, nobody knows it yet: B wins at most one path delay later than B alone. What is meant for the
    server is sent to the server; the portal sees the beginning of a TLS handshake, and nothing else.
    """
    control = await alone(t2, "wB")
    t2["wA"].portal(dns=dns)
    t2.reset_counters()
    async with opened(t2) as connector:
        connection = await connector.open_connection(t2.name, 443, tls=trusting(t2), timeout=10)
        async with connection:
            assert connection.report.winner is not None
            assert connection.report.winner.pvd == "wB"
            assert connection.report.elapsed < control + PATH_DELAY + SLACK
            await connection.send(PAYLOAD)
            for _ in range(500):
                if payload(t2["wB"], 443) > len(PAYLOAD):
                    break
                await anyio.sleep(0.01)
    assert payload(t2["wA"], 443) < HELLO < len(PAYLOAD) < payload(t2["wB"], 443)


@pytest.mark.row("1.3", "6.6")
@pytest.mark.parametrize("dns", DNS)
async def test_a_known_portal_gets_no_packet_at_all(t2: Lab, dns: str) -> None:
    """ "Connect to captive portal hotspot": time ≤ B alone + ~0 once A is known; zero packets on A."""
    control = await alone(t2, "wB")
    t2["wA"].portal(dns=dns)
    async with opened(t2, probing(t2, recheck=60)) as connector:
        _, portal = await until(connector, "wA", PORTAL)
        assert {one.portal for one in portal.reached if one.portal} == {"http://192.168.1.1/login"}
        await until(connector, "wB", VALIDATED)
        await anyio.sleep(0.1)  # the good-byes of the probes
        t2.reset_counters()
        times = []
        for _ in range(3):
            word, report = await reach(connector, t2)
            assert (word, pvds_of(report)) == ("wB", {"wB"})
            times.append(report.elapsed)
        assert sent(t2["wA"]) == []
    assert min(times) < control + PATH_DELAY / 2
    (left_out,) = report.ranking.excluded
    assert left_out.pvd.name == "wA"
    assert str(left_out.excluded).startswith(BEHIND_PORTAL)
    assert "http://192.168.1.1/login" in str(left_out.excluded)


@pytest.mark.row("1.3")
@pytest.mark.parametrize("dns", DNS)
async def test_after_a_login_it_is_back_within_one_recheck(t2: Lab, dns: str) -> None:
    """ "Connect to captive portal hotspot": after "login" A returns to the set within one recheck.

    Also where the portal's answers to DNS are still in somebody's cache.
    """
    t2["wA"].portal(dns=dns)
    async with opened(t2, probing(t2)) as connector:
        await until(connector, "wA", PORTAL)
        assert (await reach(connector, t2))[0] == "wB"
        t2["wA"].login()
        took, _ = await until(connector, "wA", VALIDATED)
        assert took < RECHECK + PROBE
        assert (await reach(connector, t2, policy=policy(require="pvd:wA")))[0] == "wA"


@pytest.mark.row("1.3")
async def test_a_login_on_a_network_with_an_api_is_noticed_as_well(t2: Lab) -> None:
    """... and the page to show is the API's (RFC 8908 s5), not that of a redirect."""
    t2["wA"].portal()
    async with opened(t2, probing(t2, "wA")) as connector:
        _, portal = await until(connector, "wA", PORTAL)
        assert {one.portal for one in portal.reached} == {"https://capport.example.test:8443/login"}
        t2["wA"].login()
        took, _ = await until(connector, "wA", VALIDATED)
        assert took < RECHECK + PROBE


@pytest.mark.row("1.3")
async def test_a_portal_can_be_required_to_log_in_there(t2: Lab) -> None:
    """R10: a PORTAL PvD is never used for general traffic, and still usable by ``require``."""
    t2["wA"].portal()
    async with opened(t2, probing(t2)) as connector:
        await until(connector, "wA", PORTAL)
        connection = await connector.open_connection(t2.name, 80, policy=policy(require="pvd:wA"), timeout=5)
        async with connection:
            await connection.send(b"GET /news HTTP/1.1\r\nHost: www.example.test\r\n\r\n")
            answer = await connection.receive()
        assert b"302 Found" in answer
        assert b"http://192.168.1.1/login" in answer


@pytest.mark.row("1.3", "6.6")
@pytest.mark.parametrize("dns", DNS)
async def test_control_the_ordinary_stack_meets_the_portal(t2: Lab, dns: str) -> None:
    """ "Connect to captive portal hotspot": the control client gets the portal's certificate, or hangs."""
    t2["wA"].portal(dns=dns)
    plain = ordinary(t2, eyeballs=True)
    assert (plain.word, plain.error) == (None, "SSLCertVerificationError")
    if dns == "real":
        hangs = ordinary(t2, port=22, eyeballs=True, limit=0.4)
        assert (hangs.word, hangs.error) == (None, "TimeoutError")


@pytest.mark.row("1.3")
async def test_a_race_that_runs_loses_a_pvd_that_turns_out_a_portal(t2: Lab) -> None:
    """A hangs in the portal for good, and B would come 20 s later: the probe beside the race ends that."""
    t2["wA"].portal()
    async with opened(t2, probing(t2), pacing=PATIENT) as connector:
        word, report = await reach(connector, t2, port=22)
    assert word == "SSH-2.0-lab_wB"
    assert report.ranking.ranked[0].pvd.reachability is UNKNOWN, "it did not wait for the probe"
    (gone,) = [entry for _, entry in report.log if isinstance(entry, PvdWithdrawn)]
    assert (gone.pvd, gone.reason) == ("wA", "behind a captive portal (http://192.168.1.1/login)")
    assert report.elapsed < 2.0 + SLACK


async def test_nothing_but_portals_is_no_usable_pvd(t2: Lab) -> None:
    for link in t2:
        link.portal()
    async with opened(t2, probing(t2)) as connector:
        for link in t2:
            await until(connector, link.name, PORTAL)
        with pytest.raises(pvdrace.NoUsablePvd) as caught:
            await reach(connector, t2)
    for link in t2:
        assert f"{link.name} skipped ({BEHIND_PORTAL}" in str(caught.value)
        assert f"http://{link.gateway4}/login" in str(caught.value)


# ---------------------------------------------------------------------- families, the API, ports


@pytest.mark.parametrize("held", [4, 6])
async def test_a_portal_may_hold_one_family(t2: Lab, held: int) -> None:
    """Reachability is per family: one goes to the portal, the other works, so the PvD is used in that one."""
    free = 10 - held
    t2["wA"].portal(families=(held,))
    async with opened(t2, probing(t2)) as connector:
        _, pvd = await until(connector, "wA", VALIDATED)
        assert states(pvd) == {free: VALIDATED, held: PORTAL}
        await anyio.sleep(0.1)  # the good-byes of the probes
        t2.reset_counters()
        word, report = await reach(connector, t2)
        assert word == "wA"
        assert {attempt.family for attempt in report.attempts} == {free}
    of_portal = t2.address4 if held == 4 else t2.address6
    assert all(packet.address != of_portal for packet in sent(t2["wA"]) if packet.port == 443)


async def test_the_api_alone_can_say_portal_and_never_no_portal(t2: Lab) -> None:
    """RFC 8908, inside the PvD that it was given for; nothing else is asked."""
    config = probing(t2, "wA", http=False, https=False)
    t2["wA"].portal()
    async with opened(t2, config) as connector:
        _, pvd = await until(connector, "wA", PORTAL)
        assert [one.evidence for one in pvd.reached] == ["API: captive"] * 2
        t2["wA"].login()
        took, pvd = await until(connector, "wA", UNKNOWN)
        assert took < RECHECK + PROBE
        assert [one.evidence for one in pvd.reached] == ["API: not captive"] * 2
        assert (await connector.snapshot())["wB"].reached == ()
    assert sent(t2["wB"]) == []
    assert {packet.port for packet in sent(t2["wA"])} == {53, 8443}


async def test_an_api_that_cannot_be_verified_is_none(t2: Lab) -> None:
    """RFC 8908 s4: the certificate is verified; without its authority it is as if there were no API."""
    config = probing(t2, "wA")
    assert config.probe is not None
    untrusting = replace(config, probe=replace(config.probe, ca_file=None, https=None, http=None))
    t2["wA"].portal()
    async with opened(t2, untrusting) as connector:
        found = await connector.probe("wA")
        assert {one.state for one in found["wA"]} == {UNKNOWN}
        assert all(one.evidence.startswith("API: wrong certificate") for one in found["wA"])


@pytest.mark.parametrize("how", ["drop", "reject"])
async def test_a_network_that_lets_80_and_443_pass_is_partial(t2: Lab, how: str) -> None:
    """T2f, the probe's side: no operating system models it. PARTIAL says which ports pass."""
    t2["wA"].ports([80, 443], how=how)
    async with opened(t2, probing(t2, ports=[22])) as connector:
        found = await connector.probe()
        assert {(one.state, one.ports) for one in found["wA"]} == {(PARTIAL, (80, 443))}
        assert all("port 22 blocked" in one.evidence for one in found["wA"])
        assert {one.state for one in found["wB"]} == {VALIDATED}
        assert (await connector.snapshot())["wA"].reachability is PARTIAL


@pytest.mark.row("6.7")
async def test_a_network_of_two_ports_is_used_for_those_and_nothing_else(t2: Lab) -> None:
    """T2f, known from a probe: 443 by A; 22 by B, with no SYN to port 22 on A at any time.

    The control: the ordinary stack takes A for both, and has no answer on 22.
    """
    t2["wA"].ports([80, 443])
    plain = [ordinary(t2, port=443), ordinary(t2, port=22, limit=0.4)]
    assert [(one.word, one.error) for one in plain] == [("wA", None), (None, "TimeoutError")]
    async with opened(t2, probing(t2, ports=[22], timeout=0.5)) as connector:
        await until(connector, "wA", PARTIAL)
        await until(connector, "wB", VALIDATED)
        await anyio.sleep(0.1)  # the good-byes of the probes
        t2.reset_counters()
        for _ in range(2):
            assert (await reach(connector, t2))[0] == "wA"
            assert (await reach(connector, t2, port=22))[0] == "SSH-2.0-lab_wB"
    assert {packet.port for packet in sent(t2["wA"])} <= {53, 80, 443}
    assert 443 not in {packet.port for packet in sent(t2["wB"])}


@pytest.mark.row("1.5", "6.7")
@pytest.mark.parametrize("how", ["drop", "reject"])
async def test_a_port_on_which_a_race_was_lost_makes_a_network_partial(t2: Lab, how: str) -> None:
    """T2f, known from a race: no probe asks for 22. 443 is as it was, and 8443, never tried, is raced for.

    When 22 passes again, it is validated again.
    """
    t2["wA"].ports([80, 443], how=how)
    async with opened(t2, probing(t2)) as connector:
        await until(connector, "wA", VALIDATED)
        await until(connector, "wB", VALIDATED)
        assert (await reach(connector, t2, port=22))[0] == "SSH-2.0-lab_wB"
        pvds = await connector.snapshot()
        assert states(pvds["wA"]) == {6: PARTIAL, 4: PARTIAL}
        assert {(one.ports, one.blocked, one.lost) for one in pvds["wA"].reached} == {((80, 443), (), (22,))}
        assert all(one.evidence.endswith("port 22 blocked in races") for one in pvds["wA"].reached)
        assert states(pvds["wB"]) == {6: VALIDATED, 4: VALIDATED}
        assert (await reach(connector, t2))[0] == "wA"
        starts = {
            port: {one.pvd: one.head_start for one in (await connector.explain(t2.name, port)).pvds}
            for port in (22, 443, 8443)
        }
        assert starts[443]["wA"] == starts[22]["wB"] == 0
        assert starts[8443].keys() == {"wA", "wB"}
        assert None not in starts[8443].values()
        t2["wA"].ports(None)
        word, _ = await reach(connector, t2, port=22, policy=policy(require="pvd:wA"))
        assert word == "SSH-2.0-lab_wA"
        assert states((await connector.snapshot())["wA"]) == {6: VALIDATED, 4: VALIDATED}


@pytest.mark.row("6.7")
async def test_a_port_that_is_to_be_tried_again_leaves_a_network_validated(
    t2: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those hear of it who do nothing but watch."""
    monkeypatch.setattr(blackholes, "FIRST_BLOCK", 0.7)
    t2["wA"].ports([80, 443])
    async with opened(t2, probing(t2)) as connector:
        await until(connector, "wA", VALIDATED)
        await until(connector, "wB", VALIDATED)
        assert (await reach(connector, t2, port=22))[0] == "SSH-2.0-lab_wB"
        assert (await connector.snapshot())["wA"].reachability is PARTIAL
        async with contextlib.aclosing(connector.watch()) as changes:
            with anyio.fail_after(5):
                change = await anext(changes)
        assert (change.pvd.name, change.pvd.reachability) == ("wA", VALIDATED)


async def test_without_probes_a_lost_race_says_nothing_of_what_is_reached(t2: Lab) -> None:
    t2["wA"].ports([80, 443])
    async with opened(t2) as connector:
        assert (await reach(connector, t2, port=22))[0] == "SSH-2.0-lab_wB"
        assert {(pvd.reachability, pvd.reached) for pvd in await connector.snapshot()} == {(UNKNOWN, ())}


FAULTS: dict[str, tuple[Callable[[Link], object], dict[int, Reachability]]] = {
    "black hole": (Link.blackhole, {6: NONE, 4: NONE}),
    "data dropped": (Link.stall, {6: NONE, 4: NONE}),
    "DNS dead": (lambda link: link.dns("dead"), {6: NONE, 4: NONE}),
    "DNS knows no name": (lambda link: link.dns("nxdomain"), {6: NONE, 4: NONE}),
    "DNS has no AAAA": (lambda link: link.dns("empty", types=["AAAA"]), {6: UNKNOWN, 4: VALIDATED}),
    "reset": (Link.reset, {6: NONE, 4: NONE}),
    "IPv6 broken": (Link.ipv6_broken, {6: NONE, 4: VALIDATED}),
    "HTTPS blocked": (lambda link: link.ports([80]), {6: PARTIAL, 4: PARTIAL}),
    "HTTP blocked": (lambda link: link.ports([443]), {6: VALIDATED, 4: VALIDATED}),
    "portal": (Link.portal, {6: PORTAL, 4: PORTAL}),
    "portal by DNS": (lambda link: link.portal(dns="portal"), {6: PORTAL, 4: NONE}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_a_probe_finds(t2: Lab, fault: str) -> None:
    """Each fault of A, judged; B is as it was. Of a private address in DNS: no Internet, not a portal."""
    spoil, expected = FAULTS[fault]
    spoil(t2["wA"])
    connector = pvdrace.Connector(probing(t2, timeout=0.7))
    try:
        found = await connector.probe()
    finally:
        connector.close()
    assert {one.family: one.state for one in found["wA"]} == expected
    assert {one.family: one.state for one in found["wB"]} == {6: VALIDATED, 4: VALIDATED}
    now = time.monotonic()
    assert all(0 <= now - one.at < 5 for each in found.values() for one in each)


# ---------------------------------------------------------------------- when, and where not


@pytest.mark.row("3.3")
async def test_one_probe_serves_all_who_want_it(t2: Lab) -> None:
    """ "S60 shared connection": one probe for N concurrent connects, and for those who ask for it."""
    async with opened(t2, probing(t2)) as connector:
        found: list[Any] = []

        async def ask() -> None:
            found.append(await connector.probe("wA"))

        async def connect() -> None:
            await reach(connector, t2)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(connect)
                tasks.start_soon(ask)
        assert len(found) == 5
        assert all(each == found[0] for each in found)
    for link in t2:
        syns = [packet for packet in sent(link) if packet.kind == "syn" and packet.port == 80]
        assert sorted(packet.address for packet in syns) == sorted([t2.address4, t2.address6])


async def test_a_cancelled_probe_is_taken_over_by_who_waits_for_it(t2: Lab) -> None:
    connector = pvdrace.Connector(probing(t2))
    found: list[Any] = []
    scope = anyio.CancelScope()

    async def give_up() -> None:
        with scope:
            await connector.probe("wA")

    async def ask() -> None:
        found.append(await connector.probe("wA"))

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(give_up)
            await anyio.sleep(0.01)
            tasks.start_soon(ask)
            await anyio.sleep(0.005)
            scope.cancel()
    finally:
        connector.close()
    assert {one.state for one in found[0]["wA"]} == {VALIDATED}


@pytest.mark.row("3.18")
async def test_what_is_known_is_looked_at_again_on_a_timer(t2: Lab) -> None:
    """ "WM: periodic re-evaluation of validity": the state flips within one interval, to and fro."""
    interval, timeout = 0.4, 0.3
    async with opened(t2, probing(t2, interval=interval, timeout=timeout)) as connector:
        await until(connector, "wA", VALIDATED)
        for _ in range(2):
            t2["wA"].blackhole()
            took, _ = await until(connector, "wA", NONE)
            assert took < interval + timeout + PROBE
            t2["wA"].blackhole(on=False)
            took, _ = await until(connector, "wA", VALIDATED)
            assert took < interval + timeout + PROBE


async def test_a_change_is_looked_at_at_once(t2: Lab) -> None:
    """A link that was down: what was known of it is gone, and what it reaches now is found out."""
    async with opened(t2, probing(t2)) as connector:
        await until(connector, "wA", VALIDATED)
        t2["wA"].link_down()
        _, pvd = await until(connector, "wA", UNKNOWN)
        assert pvd.reached == ()
        t2["wA"].portal()
        t2["wA"].link_up()
        took, _ = await until(connector, "wA", PORTAL)
        assert took < schedule.CHANGE_GAP + PROBE


async def test_watchers_hear_of_a_verdict(t2: Lab) -> None:
    heard: list[tuple[str, str, str]] = []
    async with opened(t2, probing(t2)) as connector, contextlib.aclosing(connector.watch()) as changes:
        with anyio.fail_after(5):
            while len(heard) < 2:
                change = await anext(changes)
                heard.append((change.kind, change.pvd.name, change.pvd.reachability.value))
    assert sorted(heard) == [("changed", "wA", "validated"), ("changed", "wB", "validated")]


@pytest.mark.parametrize(
    ("fault", "state", "said"),
    [
        (Link.portal, PORTAL, "wrong certificate"),
        (Link.blackhole, NONE, "cancelled"),
        (Link.reset, NONE, "refused"),
    ],
)
async def test_what_a_race_meets_is_looked_into(
    t2: Lab,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Link], object],
    state: Reachability,
    said: str,
) -> None:
    """On suspicion: a session has run out, or a link is dead: one race meets it, the next one knows."""
    monkeypatch.setattr(schedule, "SUSPICION_GAP", 0.0)
    async with opened(t2, probing(t2, timeout=0.5)) as connector:
        await until(connector, "wA", VALIDATED)
        fault(t2["wA"])
        word, report = await reach(connector, t2)
        assert word == "wB"
        assert said in str(report)
        took, _ = await until(connector, "wA", state)
        assert took < 0.5 + PROBE


@pytest.mark.row("6.1")
@pytest.mark.parametrize("by", ["application", "requirement", "rule", "system"])
async def test_a_prohibited_pvd_is_not_probed(t2: Lab, by: str) -> None:
    """Check 1: no packet on a prohibited PvD: no DNS, no probe, no API; nor a late answer's RST."""
    config = probing(t2, "wA", "wB")
    options: dict[str, Any] = {}
    if by == "application":
        options["policy"] = pvdrace.Policy(prohibit=["pvd:wA"])
    elif by == "requirement":
        options["policy"] = pvdrace.Policy(require=["pvd:wB"])
    elif by == "system":
        options["system"] = pvdrace.PolicyFile("system", policy=pvdrace.Policy(prohibit=["pvd:wA"]))
    else:
        config = replace(config, rules=(Rule(Match(), pvdrace.Policy(prohibit=["pvd:wA"])),))
    async with opened(t2, config, **options) as connector:
        await until(connector, "wB", VALIDATED)
        found = await connector.probe()
        assert found["wA"] == ()
        assert {one.state for one in found["wB"]} == {VALIDATED}
        assert (await connector.snapshot())["wA"].reachability is UNKNOWN
    assert sent(t2["wA"]) == []


async def test_a_prohibited_family_sees_no_probe(t2: Lab) -> None:
    prohibited = pvdrace.Policy(prohibit=["family:ipv4"])
    async with opened(t2, probing(t2), policy=prohibited) as connector:
        _, pvd = await until(connector, "wA", VALIDATED)
        assert states(pvd) == {6: VALIDATED}
    assert all(":" in packet.address for link in t2 for packet in sent(link))


async def test_without_configuration_nothing_is_sent(t2: Lab) -> None:
    """The library calls home to nobody by itself."""
    async with opened(t2) as connector:
        assert await connector.probe() == {"wA": (), "wB": ()}
        await anyio.sleep(0.3)
    assert [sent(link) for link in t2] == [[], []]


async def test_without_a_context_nothing_runs_in_the_background(t2: Lab) -> None:
    connector = pvdrace.Connector(probing(t2))
    try:
        await connector.snapshot()
        await anyio.sleep(0.2)
        assert [sent(link) for link in t2] == [[], []]
        assert set(await connector.probe("wB")) == {"wB"}
        assert sent(t2["wA"]) == []
        assert (await connector.snapshot())["wB"].reachability is VALIDATED
        with pytest.raises(ValueError, match="no PvD is called 'wC'"):
            await connector.probe("wC")
    finally:
        connector.close()


async def test_a_connector_can_be_left_at_any_moment(t2: Lab) -> None:
    """No task, socket or descriptor stays (see `opened` and the fixture), and an error comes out as it is."""
    for link in t2:
        link.blackhole()
    for seconds in (0.0, 0.02, 0.2):
        async with opened(t2, probing(t2)):
            await anyio.sleep(seconds)
    with pytest.raises(KeyError, match="mine"):
        async with pvdrace.Connector(probing(t2)):
            await anyio.sleep(0.05)
            raise KeyError("mine")
    with anyio.move_on_after(0.1) as scope:
        async with pvdrace.Connector(probing(t2)):
            await anyio.sleep(5)
    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connector_can_be_left_by_asyncios_own_cancellation(t2: Lab, anyio_backend: str) -> None:
    """`asyncio.timeout` and `Task.cancel` find their cancellation as they left it (trio has one kind)."""

    async def stay(entered: asyncio.Event) -> None:
        async with pvdrace.Connector(probing(t2)):
            entered.set()
            await asyncio.sleep(5)

    entered = asyncio.Event()
    task = asyncio.create_task(stay(entered))
    await entered.wait()
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await stay(entered)
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0


async def test_a_file_of_authorities_that_is_none_is_one_clear_error(t2: Lab) -> None:
    with pytest.raises(pvdrace.ConfigurationError, match=r"probe\.ca_file /none: No such file"):
        pvdrace.Connector(probing(t2, ca_file="/none"))
