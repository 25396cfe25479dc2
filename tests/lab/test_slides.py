"""Ted Lemon's slides, "Multiple Provisioning Domains": the rows of what must work, in the lab."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import (
    ATTEMPT_DELAY,
    PATH_DELAY,
    PATIENT,
    SLACK,
    Fault,
    Outcome,
    opened,
    ordinary,
    policy,
    pvds_of,
    race,
    reach,
    records,
    sent,
)
from pvdrace.lab import Lab, Link
from pvdrace.race.pacing import Pacing
from pvdrace.race.report import RaceReport

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

FAMILIES = ("ipv4", "ipv6")
NAMES = ("wA", "wB")
LEAD = Pacing().resolution_lead


def other(name: str) -> str:
    return "wB" if name == "wA" else "wA"


# ---------------------------------------------------------------------- "use this provisioning domain"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("1.7", "3.37", "3.29")
async def test_use_this_provisioning_domain(t2: Lab, name: str, family: str) -> None:
    """ "use this provisioning domain": the server's word is the required PvD; the other router: zero."""
    word, report = await race(t2, policy=policy(require=f"pvd:{name} family:{family}"))
    assert word == name
    check_only(t2, name, family, report)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("1.7")
async def test_use_this_provisioning_domain_where_all_addresses_are_the_same(
    t2o: Lab, name: str, family: str
) -> None:
    """ "use this provisioning domain", T2o: only the device can tell the two apart."""
    word, report = await race(t2o, policy=policy(require=f"pvd:{name} family:{family}"))
    assert word == name
    check_only(t2o, name, family, report)


def check_only(lab: Lab, name: str, family: str, report: RaceReport) -> None:
    """Everything went through one PvD in one family, DNS included; nothing at all through the other."""
    assert report.winner is not None
    assert (report.winner.pvd, report.winner.family) == (name, int(family[-1]))
    assert pvds_of(report) == {name}
    assert {"dns", "syn"} <= {packet.kind for packet in sent(lab[name])}
    assert sent(lab[other(name)]) == []


@pytest.mark.row("1.7")
async def test_use_this_provisioning_domain_though_it_is_slow(t2d: Lab) -> None:
    """ "use this provisioning domain", T2d: a required PvD is not left for a faster one."""
    word, _ = await race(t2d, policy=policy(require="pvd:wA"))
    assert word == "wA"
    assert sent(t2d["wB"]) == []


@pytest.mark.row("1.7", "4.15")
async def test_control_a_bound_source_address_does_not_choose_the_link(t2: Lab) -> None:
    """ "use this provisioning domain", what there was: bind(src) exits by the *other* link and hangs."""
    source = t2["wB"].address4
    plain = ordinary(t2, t2.address4, 17, how="blocking", source=source)
    assert plain.word is None
    assert next(packet.source for packet in t2["wA"].packets() if packet.kind == "syn") == source
    assert sent(t2["wB"]) == []
    async with opened(t2) as connector:
        word, report = await reach(connector, t2, t2.address4, 17, policy=policy(require="pvd:wB"))
    assert word == "wB"
    assert report.winner is not None
    assert report.winner.local == source


@pytest.mark.parametrize(
    ("how", "known"),
    [
        ("routes gone", False),
        ("routes gone", True),
        ("link down", False),
        ("cable out", True),
        ("device gone", False),
        ("device gone", True),
    ],
)
@pytest.mark.row("1.7")
async def test_a_required_pvd_without_a_route_is_an_error_at_once(t2: Lab, how: str, known: bool) -> None:
    """ "use this provisioning domain": remove its route ⇒ an error within 1 s, never a silent fallback."""
    required = policy(require="pvd:wB")
    async with opened(t2) as connector:
        if known:
            assert (await reach(connector, t2, policy=required))[0] == "wB"
            await anyio.sleep(0.1)  # its good-bye is over
        take_away(t2, how)
        t2.reset_counters()
        for host in (t2.name, t2.address4, t2.address6):
            with pytest.raises(pvdrace.NoUsablePvd) as caught:
                await connector.connect(host, 443, policy=required, timeout=5)
            assert caught.value.report is not None
            assert caught.value.report.elapsed < 1.0
            assert "wB skipped" in str(caught.value)
    assert sent(t2["wA"]) == []
    t2["wB"].link_up()


def take_away(lab: Lab, how: str) -> None:
    if how == "routes gone":
        for family in ("-4", "-6"):
            lab.run(["ip", family, "route", "del", "default", "dev", "wB"], check=True)
    elif how == "device gone":
        lab["wB"].remove()
    else:
        lab["wB"].link_down(carrier=how != "cable out")


@pytest.mark.row("1.7")
async def test_control_a_socket_on_a_device_without_a_route_waits_for_arp(t2: Lab) -> None:
    """ "use this provisioning domain", not a 3 s ARP wait: what a bound device alone does."""
    take_away(t2, "routes gone")
    plain = ordinary(t2, t2.address4, 17, how="blocking", device="wB", limit=1.0)
    t2["wB"].link_up()
    assert plain.error == "TimeoutError"
    assert plain.seconds >= 1.0


# ---------------------------------------------------------------------- "try this provisioning domain"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("1.8")
async def test_try_this_provisioning_domain_that_works(t2: Lab, name: str) -> None:
    """ "try this provisioning domain", preferred alive ⇒ nothing on the other link within the path delay."""
    word, report = await race(t2, policy=policy(prefer=f"pvd:{name}"))
    assert word == name
    assert [ranked.pvd.name for ranked in report.ranking.ranked] == [name, other(name)]
    # On a busy machine the race may outlive the path delay: what it does then is in the report, not early.
    attempts = [attempt.started for attempt in report.attempts if attempt.pvd == other(name)]
    lookups = [lookup.started for lookup in report.lookups if lookup.pvd == other(name)]
    assert all(started >= PATH_DELAY for started in attempts)
    assert all(started >= PATH_DELAY - LEAD for started in lookups)
    kinds = {packet.kind for packet in sent(t2[other(name)])}
    assert lookups or "dns" not in kinds
    assert attempts or "syn" not in kinds


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("1.8")
async def test_try_this_provisioning_domain_and_nothing_goes_to_the_other(t2: Lab, name: str) -> None:
    """ "try this provisioning domain", a head start that no noise outlasts: the other link sees nothing."""
    async with opened(t2, pacing=PATIENT) as connector:
        word, report = await reach(connector, t2, policy=policy(prefer=f"pvd:{name}"))
    assert word == name
    assert pvds_of(report) == {name}
    assert sent(t2[other(name)]) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("1.8")
async def test_try_this_provisioning_domain_that_is_dead(t2: Lab, name: str) -> None:
    """ "try this provisioning domain", preferred dead ⇒ the other after the path delay, and not before."""
    t2[name].dead()
    word, report = await race(t2, policy=policy(prefer=f"pvd:{name}"))
    assert word == other(name)
    started = [attempt.started for attempt in report.attempts if attempt.pvd == other(name)]
    assert PATH_DELAY <= started[0] < PATH_DELAY + SLACK
    assert report.lookups[0].pvd == name
    plain = ordinary(t2, dns_timeout=1)
    assert plain.word == (None if name == "wA" else "wA"), "it knows the default route and nothing else"


# ---------------------------------------------------------------------- dual stack = two PvDs


@pytest.mark.row("1.12", "3.33")
async def test_dual_stack_is_two_domains_in_one(t2: Lab) -> None:
    """ "more than one PvD per link: dual stack = two PDs".

    T2 with A's IPv6 black-holed: v4 of A wins after the HE delay. A is not demoted as a whole: it is
    still first, and the report tells its families apart.
    """
    t2["wA"].ipv6_broken()
    t2["wB"].set(delay=0.2)  # so that B's head start does not win what is A's to win
    word, report = await race(t2)
    assert word == "wA"
    assert report.ranking.ranked[0].pvd.name == "wA"
    assert report.ranking.ranked[0].pvd.families == (6, 4), "one PvD, both families (RFC 7556 s2.5)"
    six, four = [attempt for attempt in report.attempts if attempt.pvd == "wA"]
    assert (six.family, six.outcome, six.connected) == (6, "cancelled", None)
    assert (four.family, four.outcome) == (4, "won")
    assert ATTEMPT_DELAY <= four.started - six.started < ATTEMPT_DELAY + SLACK
    plain = ordinary(t2)
    assert plain.word is None, "the ordinary stack stays in IPv6 until its time is up"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.row("1.12")
async def test_a_domain_of_one_family_is_asked_for_that_family_only(t2: Lab, family: str) -> None:
    """ "dual stack = two PDs": single-family PvDs are allowed, and cost no needless question (HEv3 s4.1)."""
    gone = "inet" if family == "ipv6" else "inet6"
    t2.run(["ip", "-family", gone, "addr", "flush", "dev", "wA", "scope", "global"], check=True)
    word, report = await race(t2)
    t2["wA"].link_up()
    assert word == "wA"
    assert [lookup.type for lookup in report.lookups] == ["A" if family == "ipv4" else "AAAA"]
    assert report.winner is not None
    assert report.winner.family == int(family[-1])


# ---------------------------------------------------------------------- everything in the same bucket


@pytest.mark.row("1.16")
async def test_an_answer_is_dialled_only_where_it_came_from(t2: Lab) -> None:
    """ "everything mixed together in the same bucket": a connection to A's answer is only ever on A.

    Both links are tried, because A loses everything beyond its gateway.
    """
    t2["wA"].blackhole()
    word, report = await race(t2, PRIVATE, 17)
    assert word == "wB"
    assert pvds_of(report) == {"wA", "wB"}
    assert dialled(t2["wA"], 17) == {"198.51.100.21", "2001:db8:99::21"}
    assert dialled(t2["wB"], 17) == {"2001:db8:99::22"}


@pytest.mark.row("1.16", "6.2")
async def test_control_the_ordinary_stack_dials_the_answer_of_one_link_through_the_other(t2: Lab) -> None:
    """ "everything mixed together", root cause: the second name server is B's, the default route A's."""
    t2["wA"].dns("dead")
    ordinary(t2, PRIVATE, 17, limit=2.5, dns_timeout=1)
    assert dialled(t2["wA"], 17) & {"198.51.100.22", "2001:db8:99::22"}
    assert dialled(t2["wB"], 17) == set()


def dialled(link: Link, port: int) -> set[str]:
    """Where connection attempts went to through this link."""
    return {packet.address for packet in link.packets() if packet.kind == "syn" and packet.port == port}


# ---------------------------------------------------------------------- two default routes, one works

SILENT: dict[str, Fault] = {
    "black hole": lambda link: link.blackhole(),
    "all dead": lambda link: link.dead(),
    "no ARP reply": lambda link: link.no_arp(),
    "SYN-ACK only": lambda link: link.stall(),
    "DNS dead": lambda link: link.dns("dead"),
}
LOUD: dict[str, Fault] = {
    "net unreachable": lambda link: link.icmp("net-unreach"),
    "host unreachable": lambda link: link.icmp("host-unreach"),
    "prohibited": lambda link: link.icmp("admin-prohibited"),
    "RST": lambda link: link.reset(),
    "DNS closed": lambda link: link.dns("closed"),
    "DNS refused": lambda link: link.dns("refused"),
    "DNS fails": lambda link: link.dns("servfail"),
}
# What the ordinary stack survives: it asks the next server of resolv.conf, after a while.
DNS_FAULTS = {name for name in (*SILENT, *LOUD) if name.startswith("DNS")}


@pytest.mark.parametrize("fault", SILENT)
@pytest.mark.row("1.6", "2.7", "3.21", "4.1", "5.3")
async def test_two_default_routes_and_the_first_is_silent(t2: Lab, fault: str) -> None:
    """ "Wi-Fi and ethernet both provide default route, only one works, stack picks wrong one every time".

    T2x: B wins after the path delay and its own time.
    """
    alone = await alone_on(t2, "wB")
    SILENT[fault](t2["wA"])
    word, report = await race(t2)
    assert word == "wB"
    assert report.elapsed < PATH_DELAY + alone + SLACK
    first = next(attempt for attempt in report.attempts if attempt.pvd == "wB")
    assert PATH_DELAY <= first.started < PATH_DELAY + SLACK
    if fault not in DNS_FAULTS:
        assert ordinary(t2, eyeballs=True, limit=report.elapsed + 0.5, dns_timeout=1).word is None


@pytest.mark.parametrize("fault", LOUD)
@pytest.mark.row("1.6", "2.7", "3.21", "4.1")
async def test_two_default_routes_and_the_first_says_no(t2: Lab, fault: str) -> None:
    """ "Wi-Fi and ethernet both provide default route, only one works": a refusal costs no path delay."""
    LOUD[fault](t2["wA"])
    word, report = await race(t2)
    assert word == "wB"
    failed = [record for record in records(report) if record.outcome == "failed"]
    assert {record.pvd for record in failed} == {"wA"}
    first = next(attempt for attempt in report.attempts if attempt.pvd == "wB")
    assert first.started < PATH_DELAY, str(report)
    if fault not in DNS_FAULTS:
        plain = ordinary(t2, eyeballs=True)
        assert plain.word is None
        assert plain.error is not None


@pytest.mark.row("1.6")
async def test_a_silent_name_server_costs_the_ordinary_stack_a_timeout_and_us_none(t2: Lab) -> None:
    """ "only one works", DNS dead: glibc waits (5 s, here 1 s) for the first server, then asks the next."""
    t2["wA"].dns("dead")
    _, report = await race(t2)
    plain = ordinary(t2, limit=3.0, dns_timeout=1)
    assert plain.word == "wA"
    assert plain.seconds > 1.0 > report.elapsed


@pytest.mark.row("1.6")
async def test_what_counts_is_the_readiness_asked_for(t2: Lab) -> None:
    """ "SYN-ACK only": a race for TCP is won by a link that cannot carry a byte, a race for TLS is not."""
    t2["wA"].stall()
    async with opened(t2) as connector:
        sock, report = await connector.connect(t2.name, 443)
        sock.close()
        assert report.winner is not None
        assert report.winner.pvd == "wA"
        word, report = await reach(connector, t2)
        assert word == "wB"
        assert report.attempts[0].connected is not None

        async def says_who(stream: Any) -> bool:
            return bool(await stream.receive())

        async with await connector.open_connection(t2.name, 22, ready=says_who) as connection:
            report = connection.report
        assert report.winner is not None
        assert report.winner.pvd == "wB"
        assert report.ready == "says_who"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("RST", pvdrace.ConnectFailed),
        ("host unreachable", pvdrace.ConnectFailed),
        ("prohibited", pvdrace.ConnectFailed),
        ("DNS refused", pvdrace.ResolutionFailed),
        ("DNS closed", pvdrace.ResolutionFailed),
    ],
)
@pytest.mark.row("1.6")
async def test_when_none_works_the_error_says_so_of_each(
    t2: Lab, fault: str, error: type[pvdrace.PvdRaceError]
) -> None:
    """ "only one works", and if none does: an error at once that names every PvD, on one line."""
    for link in t2:
        LOUD[fault](link)
    with pytest.raises(error) as caught:
        await race(t2)
    message = str(caught.value)
    assert "wA" in message
    assert "wB" in message
    assert "\n" not in message
    assert caught.value.report is not None
    assert caught.value.report.elapsed < 1.0 + SLACK


@pytest.mark.row("1.6")
async def test_when_all_are_silent_the_callers_timeout_holds(t2: Lab) -> None:
    """ "only one works", and if all are black holes, the caller's time is the end."""
    for link in t2:
        link.blackhole()
    with pytest.raises(pvdrace.ConnectFailed) as caught:
        await race(t2, timeout=0.7)
    assert caught.value.report is not None
    assert 0.7 <= caught.value.report.elapsed < 0.7 + SLACK
    assert {attempt.pvd for attempt in caught.value.report.attempts} == {"wA", "wB"}


async def alone_on(lab: Lab, name: str) -> float:
    """Seconds to a verified TLS stream when only this PvD may be used."""
    word, report = await race(lab, policy=policy(require=f"pvd:{name}"))
    assert word == name
    return report.elapsed


# ---------------------------------------------------------------------- not a happy eyeballs problem


@pytest.mark.row("1.15")
async def test_paths_come_first_then_endpoints(t2: Lab) -> None:
    """ "not a happy eyeballs problem": the path branch is above Happy Eyeballs, which runs inside each PvD.

    A's six addresses are tried in RFC 8305's order with its delay; B does not wait until they are through.
    """
    t2["wA"].blackhole()
    word, report = await race(t2, "several.example.test", 17)
    assert word == "wB"
    in_a = [attempt for attempt in report.attempts if attempt.pvd == "wA"]
    in_b = [attempt for attempt in report.attempts if attempt.pvd == "wB"]
    assert [attempt.family for attempt in in_a] == [6, 4][: len(in_a)]
    assert len(in_a) <= 2
    assert [attempt.family for attempt in in_b] == [6]
    for before, after in pairwise(in_a):
        assert after.started - before.started >= ATTEMPT_DELAY
    assert PATH_DELAY <= in_b[0].started < PATH_DELAY + SLACK


@pytest.mark.row("1.15")
async def test_control_happy_eyeballs_races_addresses_and_not_links(t2: Lab) -> None:
    """ "not a happy eyeballs problem": RFC 6555/8305 is interface-agnostic, all its attempts leave by A."""
    t2["wA"].blackhole()
    plain: Outcome = ordinary(t2, eyeballs=True, limit=1.5)
    assert (plain.word, plain.error) == (None, "TimeoutError")
    assert {packet.address for packet in sent(t2["wA"]) if packet.kind == "syn"} == {t2.address4, t2.address6}
    assert sent(t2["wB"]) == []


@pytest.mark.row("1.15", "1.16")
async def test_the_answers_of_two_links_never_cross(t2: Lab) -> None:
    """ "not a happy eyeballs problem", T2: DNS answers differ per link and never cross.

    One connector, again and again and at once, through either link: caches and attempts stay apart.
    """
    answers = {"wA": "198.51.100.21", "wB": "198.51.100.22"}
    async with opened(t2) as connector:
        for name in ("wA", "wB", "wA", "wB"):
            required = policy(require=f"pvd:{name} family:ipv4")
            word, report = await reach(connector, t2, PRIVATE, 17, policy=required)
            assert word == name
            assert [lookup.addresses for lookup in report.lookups] == [(answers[name],)]
            assert [attempt.remote for attempt in report.attempts] == [answers[name]]
    for name, link in zip(NAMES, t2, strict=True):
        assert dialled(link, 17) == {answers[name]}
