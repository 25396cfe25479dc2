"""PvDs that are opened on demand: ``Connector(on_need=)``, and what it holds up."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest

import pvdrace
from loopback import HOST, Dns, Server, closing
from pvdrace.config import Configuration, PvdConfig
from pvdrace.model import Resolver
from pvdrace.race.pacing import Pacing
from pvdrace.testing.scenario import blackhole, ok, pvd, same, scenario
from replayed import check_replay

pytestmark = pytest.mark.anyio

FAST = Pacing(attempt_timeout=0.3)


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "A"): ["127.0.0.1"], (HOST, "AAAA"): []})
    with closing(server):
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    here = Server("127.0.0.1")
    with closing(here):
        yield here


def two(dns: Dns, *warmups: float) -> Configuration:
    """PvDs a, b, ... on the loopback, in this order."""
    return Configuration(
        discover=(),
        pvds=tuple(
            PvdConfig(
                name, interface="lo", resolvers=(Resolver("127.0.0.1", dns.port),), metric=n, warmup=warmup
            )
            for n, (name, warmup) in enumerate(zip("abc", warmups, strict=False))
        ),
    )


async def test_the_hook_is_called_once_before_the_first_packet(dns: Dns, server: Server) -> None:
    needed: list[tuple[str, int]] = []

    async def dial(domain: pvdrace.ProvisioningDomain) -> None:
        needed.append((domain.name, len(dns.asked)))
        await anyio.sleep(0.05)
        assert dns.asked == [], "it was asked before the PvD was up"

    async with pvdrace.Connector(two(dns, 1.0), on_need=dial) as connector:
        connection = await connector.open_connection(HOST, server.port, timeout=5)
        async with connection:
            assert needed == [("a", 0)]
        dns.asked.clear()
        async with await connector.open_connection(HOST, server.port, timeout=5):
            assert len(needed) == 2, "once for each race: whether it is still up is the hook's to know"
    assert connection.report.elapsed >= 0.05
    check_replay(connection.report)


async def test_the_hook_may_be_an_ordinary_function_and_the_destination_an_address(
    dns: Dns, server: Server
) -> None:
    needed: list[str] = []

    def dial(domain: pvdrace.ProvisioningDomain) -> None:
        needed.append(domain.name)

    async with pvdrace.Connector(two(dns, 0.5, 0.5), on_need=dial) as connector:
        sock, _ = await connector.connect(HOST, server.port, timeout=5)
        sock.close()
        assert needed == ["a"], "b was never needed"
        needed.clear()
        sock, report = await connector.connect("127.0.0.1", server.port, timeout=5)
        sock.close()
    assert needed == [], "the host itself needs no bringing up"
    assert report.winner is not None


async def test_a_pvd_without_warmup_is_no_matter_for_the_hook(dns: Dns, server: Server) -> None:
    def dial(domain: pvdrace.ProvisioningDomain) -> None:
        raise AssertionError("called")

    async with pvdrace.Connector(two(dns, 0.0), on_need=dial) as connector:
        sock, _ = await connector.connect(HOST, server.port, timeout=5)
        sock.close()


async def test_no_other_pvd_waits_and_a_race_that_is_over_cancels_the_hook(dns: Dns, server: Server) -> None:
    ended: list[str] = []

    async def dial(domain: pvdrace.ProvisioningDomain) -> None:
        try:
            await anyio.sleep(30)
        finally:
            ended.append(domain.name)

    async with pvdrace.Connector(two(dns, 0.1, 0.0), on_need=dial) as connector:
        with anyio.fail_after(10):
            connection = await connector.open_connection(HOST, server.port, timeout=9)
        async with connection:
            assert connection.report.winner is not None
            assert connection.report.winner.pvd == "b"
    assert ended == ["a"]
    assert connection.report.elapsed < 5
    check_replay(connection.report)


async def test_what_the_hook_raises_is_the_end_of_its_pvd(dns: Dns, server: Server) -> None:
    async def dial(domain: pvdrace.ProvisioningDomain) -> None:
        raise RuntimeError("no\ndial tone")

    async with pvdrace.Connector(two(dns, 0.1, 0.0), on_need=dial) as connector:
        async with await connector.open_connection(HOST, server.port, timeout=5) as connection:
            assert connection.report.winner is not None
            assert connection.report.winner.pvd == "b"
        failed = [lookup for lookup in connection.report.lookups if lookup.pvd == "a"]
        assert {lookup.error for lookup in failed} == {"not brought up: RuntimeError: no dial tone"}
        with pytest.raises(pvdrace.PvdRaceError) as caught:
            await connector.open_connection(
                HOST, server.port, timeout=5, policy=pvdrace.Policy(require=["pvd:a"])
            )
    assert "not brought up: RuntimeError: no dial tone" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_caller_that_is_cancelled_cancels_the_hook(dns: Dns, server: Server) -> None:
    ended: list[str] = []

    async def dial(domain: pvdrace.ProvisioningDomain) -> None:
        try:
            await anyio.sleep(30)
        finally:
            ended.append(domain.name)

    async with pvdrace.Connector(two(dns, 0.1), on_need=dial) as connector:
        with anyio.move_on_after(0.1) as scope:
            await connector.open_connection(HOST, server.port)
        assert scope.cancelled_caught
        with pytest.raises(pvdrace.ConnectFailed, match=r"timeout 0\.1 s"):
            await connector.open_connection(HOST, server.port, timeout=0.1)
    assert ended == ["a", "a"]


def test_an_attempt_has_the_time_of_the_warm_up_besides() -> None:
    scene = scenario("198.51.100.1", cell=pvd(v4=blackhole, warmup=1.5), pacing=FAST)
    check_replay(scene.report)
    assert same(
        scene.timeline(), "0 ms cell -> v4\n1800 ms cell x v4 timeout 1.8 s lost: all attempts failed"
    )
    scene = scenario("198.51.100.1", cell=pvd(v4=ok(1400), warmup=1.5), pacing=FAST)
    assert scene.won


async def test_a_question_needs_the_pvd_too(dns: Dns) -> None:
    asked_before: list[int] = []

    async def dial(domain: pvdrace.ProvisioningDomain) -> None:
        asked_before.append(len(dns.asked))
        if len(asked_before) > 1:
            raise RuntimeError("no\ndial tone")

    async with pvdrace.Connector(two(dns, 1.0), on_need=dial) as connector:
        (answer,) = await connector.resolve(HOST)
        assert (answer.address, answer.pvd) == ("127.0.0.1", "a")
        with pytest.raises(pvdrace.ResolutionFailed, match="a not brought up: no dial tone"):
            await connector.resolve(HOST)
    assert asked_before[0] == 0


def test_those_behind_wait_for_the_warm_up() -> None:
    scene = scenario(cell=pvd(v4=ok(10), warmup=1.5, cost="unmetered"), wifi=pvd(v4=ok(10), cost="unmetered"))
    assert [ranked.head_start for ranked in scene.report.ranking.ranked] == [0.0, 1.5]
