"""draft-ietf-mif-current-practices s3.1 (RFC 6419 s3.1), mobile systems: the rows of what must work."""

from __future__ import annotations

import statistics

import anyio
import anyio.to_thread
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import (
    ATTEMPT_DELAY,
    PATIENT,
    SLACK,
    STEADY,
    described,
    opened,
    ordinary,
    policy,
    race,
    race_and_lose,
    reach,
    sent,
)
from pvdrace.dns.exchange import STAGGER
from pvdrace.history import flaps
from pvdrace.lab import Lab, Link
from pvdrace.model import Resolver
from pvdrace.race.race import Lost

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")

# ---------------------------------------------------------------------- S60: fully overlapping


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.row("3.13")
async def test_fully_overlapping_links_work(t2o_loose: Lab, name: str, family: str) -> None:
    """S60 fully overlapping / same IPv4 per interface: T2o with rp_filter 0 and 2 passes."""
    word, _ = await race(t2o_loose, policy=policy(require=f"pvd:{name} family:{family}"))
    assert word == name


@pytest.mark.row("3.13")
async def test_strict_reverse_path_filtering_is_reported(t2o_strict: Lab) -> None:
    """S60 fully overlapping, T2o with rp_filter 1 ⇒ PvD B is reported, instead of a silent timeout.

    IPv6 has no such filter and goes on; IPv4 on B fails at once and says why; IPv4 on A works.
    """
    async with opened(t2o_strict) as connector:
        snapshot = await connector.snapshot()
        assert snapshot["wA"].notes == ()
        (note,) = snapshot["wB"].notes
        assert "rp_filter is strict" in note
        assert "wA is the better device" in note
        assert snapshot["wB"].families == (6,)
        with pytest.raises(pvdrace.NoUsablePvd) as caught:
            await connector.connect(
                t2o_strict.name, 443, policy=policy(require="pvd:wB family:ipv4"), timeout=5
            )
        assert caught.value.report is not None
        assert caught.value.report.elapsed < 1.0
        for selectors in ("pvd:wB", "pvd:wA family:ipv4"):
            word, _ = await reach(connector, t2o_strict, policy=policy(require=selectors))
            assert word == selectors[4:6]
    assert not [packet for packet in sent(t2o_strict["wB"]) if ":" not in packet.address]


@pytest.mark.row("3.13")
async def test_control_strict_reverse_path_filtering_is_a_silent_timeout(t2o_strict: Lab) -> None:
    """S60 fully overlapping, rp_filter 1, suffered: the SYN leaves by wB, its answer is dropped here."""
    plain = ordinary(t2o_strict, t2o_strict.address4, 17, how="blocking", device="wB")
    assert plain.error == "TimeoutError"
    assert {packet.kind for packet in sent(t2o_strict["wB"])} == {"syn"}


# ---------------------------------------------------------------------- S60: DNS per interface


@pytest.mark.row("3.12")
async def test_each_interface_has_its_own_dns_and_its_own_cache(t2: Lab) -> None:
    """S60 per-interface DNS remembered, T2 with differing answers, 2 lookups each: caches never mix."""
    async with opened(t2) as connector:
        for cached in (False, True):
            answers = {}
            for name in NAMES:
                word, report = await reach(connector, t2, PRIVATE, 17, policy=policy(require=f"pvd:{name}"))
                assert word == name
                assert [lookup.cached for lookup in report.lookups] == [cached, cached]
                answers[name] = {address for lookup in report.lookups for address in lookup.addresses}
            assert answers == {
                "wA": {"198.51.100.21", "2001:db8:99::21"},
                "wB": {"198.51.100.22", "2001:db8:99::22"},
            }
    for link in t2:
        assert sorted(packet.dns_type or "" for packet in link.packets() if packet.dns_name) == ["A", "AAAA"]


# ---------------------------------------------------------------------- S60: several bound at once


@pytest.mark.row("3.2")
async def test_two_tasks_bound_to_different_domains_at_once(t2o: Lab) -> None:
    """S60 app↔IAP binding, "single PvD at a time": two tasks bound to different PvDs concurrently, T2o.

    Both hold their connection while the other uses its own.
    """
    talking = {name: anyio.Event() for name in NAMES}
    words: dict[str, list[str]] = {name: [] for name in NAMES}

    async def bound(connector: pvdrace.Connector, name: str, partner: str) -> None:
        bind = policy(require=f"pvd:{name}")
        async with await connector.open_connection(t2o.name, 80, policy=bind, timeout=10) as connection:
            await connection.send(b"who\n")
            words[name].append((await connection.receive()).decode().strip())
            talking[name].set()
            await talking[partner].wait()
            await connection.send(b"who\n")
            words[name].append((await connection.receive()).decode().strip())

    with anyio.fail_after(15):
        async with opened(t2o) as connector, anyio.create_task_group() as tasks:
            tasks.start_soon(bound, connector, "wA", "wB")
            tasks.start_soon(bound, connector, "wB", "wA")
    assert words == {"wA": ["wA", "wA"], "wB": ["wB", "wB"]}


@pytest.mark.row("3.39")
async def test_the_same_address_on_several_interfaces(t2o: Lab) -> None:
    """AMSS same IP on several interfaces (tunnels): policy, not destination, decides."""
    async with opened(t2o) as connector:
        for name in (*NAMES, *reversed(NAMES)):
            word, report = await reach(connector, t2o, t2o.address4, 17, policy=policy(prefer=f"pvd:{name}"))
            assert word == name
            assert report.winner is not None
            assert (report.winner.local, report.winner.remote) == ("192.168.1.2", t2o.address4)


# ---------------------------------------------------------------------- S60: IAP lost


@pytest.mark.row("3.9")
async def test_a_lost_link_ends_its_attempts_and_the_other_wins(t2: Lab) -> None:
    """S60 "IAP lost, reconnect": `ip link del wA` mid-connect ⇒ attempt ends < 100 ms, B wins.

    Without the removal B would have had to wait for its head start of 20 s. The median of three races.
    """
    took = []
    for _ in range(3):
        t2["wA"].link_up()
        t2["wA"].blackhole()
        delay, report = await race_and_lose(t2, "wA", t2["wA"].remove)
        assert report.winner is not None
        assert report.winner.pvd == "wB"
        assert report.elapsed < PATIENT.path_delay / 4
        assert [a.outcome for a in report.attempts] == ["cancelled", "cancelled", "won"]
        took.append(delay)
    assert statistics.median(took) < 0.1, took


@pytest.mark.row("3.9", "6.8")
async def test_control_the_kernel_does_not_end_an_attempt_on_a_deleted_link(t2: Lab) -> None:
    """S60 "IAP lost" (control: > 5 s; here at it for 1.5 s more): the kernel goes on and reaches nobody."""
    t2["wA"].blackhole()
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(0.5)
            await anyio.to_thread.run_sync(t2["wA"].remove)

        tasks.start_soon(later)
        plain = await anyio.to_thread.run_sync(
            lambda: ordinary(t2, t2.address4, 17, how="blocking", device="wA", limit=2.0)
        )
    assert plain.error == "TimeoutError"
    assert plain.seconds >= 2.0


@pytest.mark.row("3.9")
async def test_a_required_link_that_is_lost_is_an_error_and_no_fallback(t2: Lab) -> None:
    """S60 "IAP lost" for a bound application: it is told at once, and nothing moves to the other link."""
    t2["wA"].blackhole()
    failed: list[pvdrace.ConnectFailed] = []

    async def run(connector: pvdrace.Connector) -> None:
        with pytest.raises(pvdrace.ConnectFailed) as caught:
            await reach(connector, t2, policy=policy(require="pvd:wA"))
        failed.append(caught.value)

    async with opened(t2) as connector, anyio.create_task_group() as tasks:
        tasks.start_soon(run, connector)
        await anyio.sleep(2 * ATTEMPT_DELAY)
        before = anyio.current_time()
        await anyio.to_thread.run_sync(t2["wA"].remove)
    (error,) = failed
    assert error.report is not None
    assert isinstance(error.report.result, Lost)
    assert error.report.started + error.report.elapsed - before < 1.0
    assert "wA" in str(error)
    assert sent(t2["wB"]) == []


# ---------------------------------------------------------------------- AMSS: primary and secondary server

SILENT_SERVER = "203.0.113.66"
ROUND_TRIPS = 0.1  # seconds, more than a name and a connection take on wA


@pytest.mark.row("3.42")
async def test_a_dead_primary_server_costs_a_short_stagger(t2: Lab) -> None:
    """AMSS DNS, primary server, then the others sequentially with backoff: here after 0.3 s, once.

    The second lookup asks the one that answers first.
    """
    resolvers = (Resolver(SILENT_SERVER), Resolver(str(t2["wA"].gateway4)))
    async with opened(t2, described(t2, wA={"resolvers": resolvers}), pacing=PATIENT) as connector:
        word, report = await reach(connector, t2, port=17, policy=policy(require="pvd:wA family:ipv4"))
        assert word == "wA"
        (lookup,) = report.lookups
        assert lookup.ended is not None
        assert STAGGER <= lookup.ended < STAGGER + ROUND_TRIPS + SLACK
        t2.reset_counters()
        await reach(connector, t2, PRIVATE, 17, policy=policy(require="pvd:wA family:ipv4"))
    assert asked(t2["wA"]) == {t2["wA"].gateway4}


@pytest.mark.row("3.42")
async def test_a_secondary_server_is_not_asked_while_the_primary_answers(t2: Lab) -> None:
    """AMSS DNS: primary alive: the secondary gets 0 queries."""
    resolvers = (Resolver(str(t2["wA"].gateway4)), Resolver(SILENT_SERVER))
    async with opened(t2, described(t2, wA={"resolvers": resolvers})) as connector:
        for host in (t2.name, PRIVATE, "several.example.test"):
            assert (await reach(connector, t2, host, 17))[0] == "wA"
    assert asked(t2["wA"]) == {t2["wA"].gateway4}


def asked(link: Link) -> set[str | None]:
    """The name servers that were asked through a link."""
    return {packet.address for packet in sent(link) if packet.kind == "dns"}


# ---------------------------------------------------------------------- bundling, flapping

TIED = {name: {"metric": 7} for name in NAMES}


@pytest.mark.row("3.16")
async def test_the_link_that_is_in_use_is_used_again(t2: Lab) -> None:
    """WM bundling: the second connect prefers the PvD in use, unless another one is clearly better.

    Neither is, by anything that counts: both are as fast, and it is for the name that A is first otherwise.
    (What a busy machine takes for a difference of times is left out of it.)
    """
    untimed = pvdrace.Policy(rank_by=["incumbent", "hints", "name"])
    t2["wB"].set(delay=0.005)
    async with opened(t2, described(t2, **TIED), pacing=STEADY) as connector:
        for name in NAMES:
            word, _ = await reach(connector, t2, port=17, policy=policy(require=f"pvd:{name}"))
            assert word == name
        for host in (t2.name, "several.example.test"):
            word, report = await reach(connector, t2, host, 17, policy=untimed)
            assert (word, report.ranking.ranked[0].pvd.name) == ("wB", "wB")
        word, _ = await reach(connector, t2, port=17, policy=policy(prefer="pvd:wA"))
        assert word == "wA", "what the application wants stands above"


@pytest.mark.row("3.43")
async def test_a_link_that_flaps_is_not_the_first(t2: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leadcore Arena, stability: wA flaps and stops being the first; after a quiet time it is again.

    Both are as fast: who is clearly faster is the first whenever it is there.
    """
    monkeypatch.setattr(flaps, "FLAP_WINDOW", 1.5)
    by_stability = pvdrace.Policy(rank_by=["stability", "hints"])
    t2["wB"].set(delay=0.005)
    async with opened(t2) as connector:
        word, report = await reach(connector, t2)
        assert (word, report.ranking.ranked[0].pvd.name) == ("wA", "wA")
        for _ in range(3):
            for change in (t2["wA"].link_down, t2["wA"].link_up):
                await anyio.to_thread.run_sync(change)
                await reach(connector, t2)
        last = anyio.current_time()
        for wanted in (None, by_stability):
            word, report = await reach(connector, t2, policy=wanted)
            if anyio.current_time() < last + 1.0:
                assert (word, report.ranking.ranked[0].pvd.name) == ("wB", "wB")
                assert report.ranking.ranked[0].because[0].rule == "stability"
        await anyio.sleep(last + 1.7 - anyio.current_time())
        word, report = await reach(connector, t2, policy=by_stability)
        assert (word, report.ranking.ranked[0].pvd.name) == ("wA", "wA")
        assert report.ranking.ranked[0].because[0].rule == "hints"
