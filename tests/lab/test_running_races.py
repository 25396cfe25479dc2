"""What must hold of every race in the lab besides: requirements, portals, changes and ends in mid-race."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import (
    AT_STAGE,
    ATTEMPT_DELAY,
    PATH_DELAY,
    opened,
    ordinary,
    policy,
    race,
    reach,
    sent,
    trusting,
)
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]


@pytest.mark.parametrize("fault", ["dead", "stall", "portal", "DNS refused"])
@pytest.mark.row("1.7")
async def test_require_never_falls_back(t2: Lab, fault: str) -> None:
    """RFC 9622 s6.2: require never falls back, whatever goes wrong; zero packets elsewhere."""
    if fault == "DNS refused":
        t2["wA"].dns("refused")
    else:
        getattr(t2["wA"], fault)()
    with pytest.raises(pvdrace.PvdRaceError) as caught:
        await race(t2, policy=policy(require="pvd:wA"), timeout=PATH_DELAY + 0.2)
    assert "wB skipped (not pvd:wA, which is required" in str(caught.value)
    assert sent(t2["wA"]) != []
    assert sent(t2["wB"]) == []


@pytest.mark.parametrize("dns", ["real", "portal"])
@pytest.mark.parametrize("ready", ["tls", "tcp"])
@pytest.mark.row("1.3", "6.6")
async def test_a_captive_portal_never_wins(t2: Lab, dns: str, ready: str) -> None:
    """Check 6, TLS: a portal completes the handshake and shows a wrong certificate: the race goes on.

    Also where the first TCP handshake is to decide: with TLS to follow, what was held back comes back.
    """
    t2["wA"].portal(dns=dns)
    word, report = await race(t2, ready=ready)
    assert word == "wB"
    at_portal = [attempt for attempt in report.attempts if attempt.pvd == "wA"]
    assert at_portal
    assert all(attempt.error is not None for attempt in at_portal)
    assert any("wrong certificate" in (attempt.error or "") for attempt in at_portal)
    plain = ordinary(t2)
    assert (plain.word, plain.error) == (None, "SSLCertVerificationError")


@pytest.mark.row("1.3")
async def test_portals_everywhere_are_an_error(t2: Lab) -> None:
    """Check 6: where there is nothing but portals nobody wins, and the error says why."""
    for link in t2:
        link.portal()
    with pytest.raises(pvdrace.ConnectFailed, match="wrong certificate"):
        await race(t2)
    for link in t2:
        link.login()
    assert (await race(t2))[0] == "wA"


@pytest.mark.row("3.8", "3.35", "5.7", "4.24")
async def test_watch_shows_domains_coming_and_going(t2: Lab) -> None:
    """connector.watch(): PvDs come and go while a connection on the other link goes on untouched."""
    seen: list[tuple[str, str | None]] = []
    news = anyio.Event()

    async def watch(connector: pvdrace.Connector) -> None:
        nonlocal news
        async for change in connector.watch():
            seen.append((change.pvd.name, change.pvd.unusable))
            news.set()
            news = anyio.Event()

    async def until(usable: bool) -> None:
        with anyio.fail_after(5):
            while not seen or (seen[-1][1] is None) is not usable:
                await news.wait()

    async with opened(t2) as connector:
        stream = await connector.open_connection(t2.name, 80, policy=policy(require="pvd:wB"), timeout=5)
        async with stream, anyio.create_task_group() as tasks:
            tasks.start_soon(watch, connector)
            await anyio.sleep(0.1)
            for lose in (t2["wA"].link_down, t2["wA"].remove):
                await anyio.to_thread.run_sync(lose)
                await until(usable=False)
                assert (await reach(connector, t2))[0] == "wB"
                await anyio.to_thread.run_sync(t2["wA"].link_up)
                await until(usable=True)
                # Twice in a second is flapping: preferred, it is the first all the same.
                _, report = await reach(connector, t2, policy=policy(prefer="pvd:wA"))
                assert report.ranking.ranked[0].pvd.name == "wA"
                await stream.send(b"who\n")
                assert await stream.receive() == b"wB\n"
            connector.close()  # which ends the watching
    assert {name for name, _ in seen} == {"wA"}
    assert {why for _, why in seen} >= {None, "link down", "no such interface wA"}


@pytest.mark.row("3.8")
async def test_a_link_that_comes_up_in_mid_race_joins_it(t2: Lab) -> None:
    """A PvD added in mid-race is an event: B comes up while A is a black hole, and wins."""
    t2["wA"].blackhole()
    t2["wB"].remove()
    words: list[str] = []

    async def run(connector: pvdrace.Connector) -> None:
        word, report = await reach(connector, t2)
        assert "wB added" in str(report)
        words.append(word)

    async with opened(t2) as connector, anyio.create_task_group() as tasks:
        tasks.start_soon(run, connector)
        await anyio.sleep(2 * ATTEMPT_DELAY)
        await anyio.to_thread.run_sync(t2["wB"].link_up)
    assert words == ["wB"]


@pytest.mark.parametrize("stage", ["lookup", "handshake", "TLS"])
async def test_a_cancelled_race_leaves_nothing_behind(t2: Lab, stage: str) -> None:
    """No socket, task or descriptor is left of a race that its caller gives up; no more packets follow."""
    for link in t2:
        AT_STAGE[stage](link)
    async with opened(t2) as connector:
        with anyio.move_on_after(PATH_DELAY + 0.15) as scope:
            await reach(connector, t2)
        assert scope.cancelled_caught
        await anyio.sleep(0.05)
        t2.reset_counters()
        await anyio.sleep(1.2)  # a SYN or a question would be repeated within a second
        assert [packet for link in t2 for packet in sent(link)] == []


@pytest.mark.parametrize("stage", ["lookup", "handshake", "TLS"])
async def test_closing_the_connector_while_a_race_runs(t2: Lab, stage: str) -> None:
    """A race that is under way when its connector is closed comes to its end all the same."""
    AT_STAGE[stage](t2["wA"])
    words: list[str] = []

    async def run(connector: pvdrace.Connector) -> None:
        words.append((await reach(connector, t2))[0])

    async with opened(t2) as connector, anyio.create_task_group() as tasks:
        tasks.start_soon(run, connector)
        await anyio.sleep(PATH_DELAY / 2)
        connector.close()
    assert words == ["wB"]


async def test_a_check_or_a_hook_that_fails_does_not_take_the_race_along(
    t2: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """An application check that raises loses its attempt, a hook that raises is logged; the race goes on."""

    async def not_at_a(stream: Any) -> bool:
        if (await stream.receive()) == b"wA\n":
            raise RuntimeError("not here")
        return True

    def hook(report: pvdrace.RaceReport) -> None:
        raise RuntimeError("no thanks")

    async with opened(t2, hooks=[hook]) as connector:
        tls = trusting(t2)
        connection = await connector.open_connection(t2.name, 443, tls=tls, ready=not_at_a, timeout=5)
        async with connection:
            report = connection.report
    assert report.winner is not None
    assert report.winner.pvd == "wB"
    assert {a.error for a in report.attempts if a.pvd == "wA"} == {"RuntimeError: not here"}
    assert "no thanks" in caplog.text


async def test_the_report_of_a_lab_race_replays(t2: Lab) -> None:
    """Law 8 on real packets: the log's events, fed to a fresh core, give the log's actions."""
    t2["wA"].blackhole()
    _, report = await race(t2, PRIVATE, 17)
    again = pvdrace.RaceReport.from_json(report.to_json())
    assert again.replay().log == again.log
