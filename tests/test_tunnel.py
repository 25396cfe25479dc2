"""A PvD with a proxy: nothing is looked up, one candidate, a tunnel before all else; failover, no race."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream

import pvdrace
from loopback import HOST, Dns, Server, certificate_for, closing, trusting
from proxies import ProxyServer, http_proxy, saying, socks_proxy
from pvdrace.config import Configuration, PvdConfig, parse
from pvdrace.dns.resolver import PvdResolver
from pvdrace.drivers import performing
from pvdrace.drivers.aio import drive
from pvdrace.drivers.stages import StreamStage, discard
from pvdrace.drivers.tunnel import open_tunnel
from pvdrace.model import (
    Endpoint,
    LocalAddress,
    ProvisioningDomain,
    PvdSet,
    Ranked,
    Ranking,
    Resolver,
    Route,
)
from pvdrace.race.actions import Connect, Lookup, Skip
from pvdrace.race.events import Failed, PvdWithdrawn
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Lost, Race
from pvdrace.race.report import RaceReport
from pvdrace.ranking import rank
from pvdrace.testing import scenario as scenes
from pvdrace.testing.scenario import Scenario, blackhole, ok, pvd, refused, same, scenario
from replayed import check_replay
from stepwise import Steps

PROXY = "http://10.0.1.9:3128"
SWIFT = Pacing(connection_attempt_delay=0.02, minimum_connection_attempt_delay=0.01, path_delay=0.02)
QUICK = Pacing(path_delay=0.25, attempt_timeout=0.4)


# ---------------------------------------------------------------------- the core, on virtual time


def told(scene: Scenario, timeline: str) -> bool:
    check_replay(scene.report)
    return same(scene.timeline(), timeline)


def test_a_pvd_with_a_proxy_looks_nothing_up() -> None:
    scene = scenario(wifi=pvd(v4=ok(99), v6=ok(99), proxy=PROXY, through=ok(30)))
    assert told(scene, "0 ms wifi -> v4 (proxy)\n 30 ms wifi won v4")
    winner = scene.report.winner
    assert winner is not None
    assert (winner.remote, winner.port, winner.through) == ("10.0.1.9", 3128, PROXY)
    assert scene.report.lookups == ()
    assert f"won by wifi through {PROXY} in 30 ms" in scene.report.summary()


def test_a_proxy_that_fails_is_the_end_of_its_pvd_and_the_next_goes_on() -> None:
    scene = scenario(
        wifi=pvd(v4=ok(10), proxy=PROXY, through=refused(20)), lte=pvd(dns=20, v6=ok(40), v4=ok(40))
    )
    assert told(
        scene,
        """
        0 ms  wifi -> v4 (proxy)
       20 ms  wifi x v4 refused    lte ? AAAA A
       40 ms  lte -> v6
       80 ms  lte won v6
        """,
    )


def test_a_proxy_that_fails_and_nobody_else() -> None:
    scene = scenario(wifi=pvd(v4=ok(10), proxy=PROXY, through=refused(20)))
    assert told(scene, "0 ms wifi -> v4 (proxy)\n 20 ms wifi x v4 refused  lost: all attempts failed")
    assert f"wifi through {PROXY} refused" in scene.report.summary()


def test_proxy_or_direct_is_failover_and_no_race() -> None:
    """Direct begins when the proxy has failed, not a moment before, with lookups of its own."""
    scene = scenario(
        wifi=pvd(dns=20, v6=ok(40), v4=ok(40), proxy=PROXY, proxy_or_direct=True, through=blackhole),
        pacing=QUICK,
    )
    assert told(
        scene,
        """
        0 ms  wifi -> v4 (proxy)
      400 ms  wifi x v4 timeout 0.4 s    wifi ? AAAA A
      420 ms  wifi -> v6
      460 ms  wifi won v6
        """,
    )
    proxied, direct = scene.report.attempts
    assert (proxied.through, direct.through) == (PROXY, None)
    assert (proxied.port, direct.port) == (3128, 443)


def test_proxy_or_direct_where_everything_fails() -> None:
    scene = scenario(
        wifi=pvd(dns=scenes.nodata(20), proxy=PROXY, proxy_or_direct=True, through=refused(10)), pacing=QUICK
    )
    assert told(
        scene,
        "0 ms wifi -> v4 (proxy)\n10 ms wifi x v4 refused wifi ? AAAA A\n30 ms lost: all attempts failed",
    )


def test_the_proxy_itself_may_be_the_destination_of_the_direct_way() -> None:
    scene = scenario(
        "10.0.1.9", wifi=pvd(v4=ok(10), proxy=PROXY, proxy_or_direct=True, through=refused(20)), port=3128
    )
    assert told(scene, "0 ms wifi -> v4 (proxy)\n20 ms wifi x v4 refused wifi -> v4\n30 ms wifi won v4")


def test_a_withdrawn_pvd_does_not_go_direct() -> None:
    scene = scenario(
        wifi=pvd(v4=ok(10), proxy=PROXY, proxy_or_direct=True, through=blackhole), withdraw={"wifi": 50}
    )
    assert not scene.won
    assert [type(action) for action in scene.report.actions()].count(Connect) == 1
    assert scene.report.lookups == ()


def test_what_policy_leaves_of_the_families_holds_for_the_way_to_the_proxy() -> None:
    no_ipv4 = pvdrace.Policy(prohibit=["family:ipv4"])
    scene = scenario(policy=no_ipv4, wifi=pvd(v4=ok(10), v6=ok(10), proxy=PROXY))
    assert not scene.won
    (left_out,) = scene.report.ranking.excluded
    assert left_out.excluded is not None
    assert left_out.excluded.rule == "family"
    assert scene.report.attempts == ()
    scene = scenario(
        policy=no_ipv4, wifi=pvd(dns=20, v4=ok(10), v6=ok(10), proxy=PROXY, proxy_or_direct=True)
    )
    assert scene.won, "what cannot be used has failed"
    assert [attempt.family for attempt in scene.report.attempts] == [6]


def over(host: str, **attributes: object) -> Race:
    domain = ProvisioningDomain("wifi", interface="wlan0", **attributes)  # type: ignore[arg-type]
    return Race(Endpoint(host, 443), Ranking((Ranked(domain),)))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "a.localhost"])
def test_a_loopback_destination_never_goes_through_it(host: str) -> None:
    race = over(host, proxy=PROXY)
    (action,) = race.start(0.0)[:1]
    assert isinstance(action, Connect)
    assert action.through is None
    assert action.candidate.port == 443


def test_a_link_local_destination_is_not_for_a_proxy() -> None:
    race = over("fe80::1%wlan0", proxy=PROXY)
    (action,) = race.start(0.0)
    assert action == Skip("wifi", "fe80::1%wlan0", "link-local: not for a proxy")
    assert isinstance(race.outcome, Lost)
    race = over("fe80::1%wlan0", proxy=PROXY, proxy_or_direct=True)
    _, action = race.start(0.0)
    assert isinstance(action, Connect)
    assert (action.through, action.candidate.remote) == (None, "fe80::1")


def test_a_proxy_behind_nat64_is_dialled_as_it_can_be() -> None:
    race = over(
        HOST, proxy=PROXY, addresses=(LocalAddress("2001:db8:1::2", 64),), pref64=("2001:db8:64::/96",)
    )
    (action,) = race.start(0.0)
    assert isinstance(action, Connect)
    assert (action.candidate.remote, action.candidate.port) == ("2001:db8:64::a00:109", 3128)


def test_a_pvd_whose_proxy_is_no_url_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="is not http://ADDRESS:PORT"):
        over(HOST, proxy="proxy.example:3128").start(0.0)


def test_the_report_of_a_race_through_a_proxy_as_json() -> None:
    race = over(HOST, proxy=PROXY, proxy_or_direct=True)
    (connect,) = race.start(5.0)
    assert isinstance(connect, Connect)
    race.handle(Failed(connect.id, "the proxy said 403 Forbidden"), 5.1)
    (aaaa, _) = race.tick(5.1)
    assert isinstance(aaaa, Lookup)
    report = RaceReport.of(race)
    check_replay(report)
    value = json.loads(report.to_json())
    assert value["attempts"][0]["through"] == PROXY
    assert value["race"]["pvds"][0]["proxy_or_direct"] is True
    # A report of before there were proxies says nothing of them.
    del value["log"][0][2]["through"]
    assert RaceReport.from_json(json.dumps(value)).attempts[0].through is None


def test_the_configuration_of_a_proxy() -> None:
    (config,) = parse('[[pvd]]\nname = "a"\nproxy = "socks5://[::1]:1080"\nproxy_or_direct = true').pvds
    assert (config.proxy, config.proxy_or_direct) == ("socks5://[::1]:1080", True)


@pytest.mark.anyio
async def test_what_would_run_asks_no_resolver() -> None:
    config = Configuration(
        discover=(),
        pvds=(
            PvdConfig("lo", interface="lo", resolvers=(Resolver("127.0.0.1"),), proxy="http://127.0.0.1:1"),
        ),
    )
    async with pvdrace.Connector(config) as here:
        explanation = await here.explain(HOST, 443)
    assert [(pvd.pvd, pvd.resolvers) for pvd in explanation.pvds] == [("lo", ())]


@pytest.mark.parametrize(
    ("host", "attributes", "runs"),
    [
        ("198.51.100.1", {}, True),  # no route of the PvD's leads there, the proxy's may
        ("2001:db8:99::1", {}, True),  # the PvD has no IPv6
        ("198.51.100.1", {"proxy": None}, False),
        ("2001:db8:99::1", {"proxy": None}, False),
        ("198.51.100.1", {"proxy": "http://[2001:db8::9]:3128"}, False),
        ("198.51.100.1", {"proxy": "http://[2001:db8::9]:3128", "proxy_or_direct": True}, True),
        ("198.51.100.1", {"unusable": "no carrier"}, False),
    ],
)
def test_the_ranking_asks_for_the_way_to_the_proxy(host: str, attributes: dict[str, Any], runs: bool) -> None:
    domain = ProvisioningDomain(
        "wifi",
        interface="wlan0",
        addresses=(LocalAddress("10.0.1.2", 24),),
        routes=(Route("10.0.1.0/24"),),
        **{"proxy": PROXY, **attributes},
    )
    ranking = rank(PvdSet((domain,)), Endpoint(host, 443))
    assert bool(ranking.ranked) is runs
    if runs and not domain.proxy_or_direct:
        (connect,) = Race(Endpoint(host, 443), ranking).start(0.0)
        assert isinstance(connect, Connect)
        assert connect.through == domain.proxy


# ---------------------------------------------------------------------- real sockets


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "A"): ["127.0.0.1"], (HOST, "AAAA"): []})
    with closing(server):
        yield server


def configured(proxy: str | None, dns: Dns, **more: object) -> PvdConfig:
    return PvdConfig("lo", interface="lo", resolvers=(Resolver("127.0.0.1", dns.port),), proxy=proxy, **more)  # type: ignore[arg-type]


def connector(*pvds: PvdConfig, **options: object) -> pvdrace.Connector:
    return pvdrace.Connector(Configuration(discover=(), pvds=pvds), **options)  # type: ignore[arg-type]


async def word(stream: ByteStream) -> bytes:
    with anyio.fail_after(5):
        return await stream.receive()


@pytest.mark.anyio
@pytest.mark.parametrize("made", [http_proxy, socks_proxy])
async def test_a_stream_through_a_proxy(made: object, dns: Dns) -> None:
    """The server speaks first, in the same segment as the proxy's reply: not a byte of it is lost."""
    server = Server("127.0.0.1", word=b"first words\n")
    with closing(server), made(server.port) as proxy:  # type: ignore[operator]
        async with connector(configured(proxy.url, dns)) as here:
            async with await here.open_connection(HOST, 443, timeout=5) as connection:
                assert await word(connection) == b"first words\n"
            winner = connection.report.winner
    assert winner is not None
    assert (winner.remote, winner.through) == ("127.0.0.1", proxy.url)
    assert f":{winner.port}" in proxy.url
    assert dns.asked == []
    (asked,) = proxy.asked
    assert HOST.encode() in asked
    assert asked.startswith(b"CONNECT " if proxy.url.startswith("http") else b"\x05\x01\x00\x03")


@pytest.mark.anyio
async def test_a_raw_socket_through_a_proxy(dns: Dns) -> None:
    server = Server("127.0.0.1", word=b"raw\n")
    with closing(server), socks_proxy(server.port) as proxy:
        async with connector(configured(proxy.url, dns)) as here:
            sock, report = await here.connect(HOST, 443, timeout=5)
            with sock:
                assert not sock.getblocking()
                with anyio.fail_after(5):
                    await anyio.wait_readable(sock)
                assert sock.recv(100) == b"raw\n"
    assert report.winner is not None
    assert report.winner.through == proxy.url


@pytest.mark.anyio
async def test_tls_and_the_check_come_after_the_tunnel(dns: Dns, authority: trustme.CA) -> None:
    server = Server("127.0.0.1", word=b"secret\n", context=certificate_for(authority, HOST))

    async def said(stream: ByteStream) -> bool:
        return await stream.receive() == b"secret\n"

    with closing(server), http_proxy(server.port) as proxy:
        async with (
            connector(configured(proxy.url, dns)) as here,
            await here.open_connection(
                HOST, 443, tls=trusting(authority), ready=said, timeout=5
            ) as connection,
        ):
            (attempt,) = connection.report.attempts
    assert attempt.connected is not None
    assert attempt.ended is not None
    assert attempt.started < attempt.connected < attempt.ended


@pytest.mark.anyio
async def test_a_tunnel_that_is_there_when_it_is_cancelled_is_not_used(
    dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply and the cancellation come in one step: what follows would be ended by nobody."""
    drivers: list[Any] = []
    closed: list[socket.socket] = []
    begin, tunnelled = performing.Performing.__init__, open_tunnel

    def noted(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        drivers.append(self)

    async def cancelled(sock: socket.socket, proxy: str, destination: Endpoint) -> None:
        await tunnelled(sock, proxy, destination)
        driver = drivers[-1]
        driver._perform(driver.race.handle(PvdWithdrawn("lo", "gone"), driver.clock()))
        closed.append(sock)

    async def stage(sock: socket.socket, candidate: object) -> None:
        with sock:
            await anyio.sleep_forever()

    async def nothing(product: object) -> None:
        return None

    monkeypatch.setattr(performing.Performing, "__init__", noted)
    monkeypatch.setattr(performing, "open_tunnel", cancelled)
    server = Server("127.0.0.1", word=b"first words\n")
    with closing(server), http_proxy(server.port) as proxy, anyio.fail_after(5):
        async with connector(configured(proxy.url, dns), pacing=QUICK) as here:
            with pytest.raises(pvdrace.PvdRaceError):
                await here.race_for(stage, HOST, 443, discard=nothing, timeout=1)
    assert [sock.fileno() for sock in closed] == [-1]


FAULTS: dict[str, tuple[Callable[[], ProxyServer], str]] = {
    "refusal": (
        lambda: saying("http", b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        "the proxy said 502 Bad Gateway",
    ),
    "closed": (lambda: saying("http", b"HTTP/1.1 2"), "the proxy closed the connection"),
    "reset": (
        lambda: saying("http", b"HTTP/1.1 2", pause=0.05, then="reset"),
        "the proxy's connection: reset",
    ),
    "gibberish": (lambda: saying("http", b"220 mail ESMTP\r\n"), "the proxy does not speak HTTP"),
    "endless": (lambda: saying("http", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9999), "is longer than"),
    "silence": (lambda: saying("http", then="silent"), "timeout 0.4 s"),
    "half": (lambda: saying("http", b"HTTP/1.1 200 OK\r\n", then="silent"), "timeout 0.4 s"),
    "socks": (
        lambda: saying("socks5", b"\x05\x00\x05\x05\x00\x01" + bytes(6)),
        "the proxy said connection refused (SOCKS 5)",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_a_proxy_does_wrong_is_the_attempts_failure(fault: str, dns: Dns) -> None:
    make, error = FAULTS[fault]
    with make() as proxy:
        async with connector(configured(proxy.url, dns), pacing=QUICK) as here:
            with pytest.raises(pvdrace.ConnectFailed) as caught:
                await here.open_connection(HOST, 443, timeout=5)
            with pytest.raises(pvdrace.ConnectFailed):
                await here.open_connection(HOST, 443, tls=True, timeout=5)
    assert caught.value.report is not None
    (attempt,) = caught.value.report.attempts
    assert attempt.outcome == "failed"
    assert error in (attempt.error or "")
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert dns.asked == []


@pytest.mark.anyio
async def test_the_direct_way_where_policy_allows_it(dns: Dns) -> None:
    server = Server("127.0.0.1", word=b"direct\n")
    with closing(server), saying("http", b"HTTP/1.1 503 Busy\r\n\r\n") as proxy:
        async with (
            connector(configured(proxy.url, dns, proxy_or_direct=True)) as here,
            await here.open_connection(HOST, server.port, timeout=5) as connection,
        ):
            assert await word(connection) == b"direct\n"
    proxied, direct = connection.report.attempts
    assert (proxied.error, direct.outcome) == ("the proxy said 503 Busy", "won")
    assert (proxied.through, direct.through) == (proxy.url, None)
    assert sorted(dns.asked) == [(HOST, "A")] or sorted(dns.asked) == [(HOST, "A"), (HOST, "AAAA")]


@pytest.mark.anyio
async def test_a_silent_proxy_and_a_pvd_that_works(dns: Dns) -> None:
    """The next PvD starts after its head start, and the tunnel that never was leaves nothing behind."""
    server = Server("127.0.0.1", word=b"other\n")
    second = PvdConfig("other", interface="lo", resolvers=(Resolver("127.0.0.1", dns.port),), metric=5)
    with closing(server), saying("http", then="silent") as proxy:
        async with (
            connector(configured(proxy.url, dns), second) as here,
            await here.open_connection(HOST, server.port, timeout=5) as connection,
        ):
            assert await word(connection) == b"other\n"
    outcomes = {attempt.pvd: attempt.outcome for attempt in connection.report.attempts}
    assert outcomes == {"lo": "cancelled", "other": "won"}


@pytest.mark.anyio
async def test_localhost_is_not_asked_of_a_proxy(dns: Dns) -> None:
    server = Server("127.0.0.1", word=b"home\n")
    with closing(server), saying("http", b"HTTP/1.1 503 Busy\r\n\r\n") as proxy:
        async with (
            connector(configured(proxy.url, dns)) as here,
            await here.open_connection("127.0.0.1", server.port, timeout=5) as connection,
        ):
            assert await word(connection) == b"home\n"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["refusal", "silence"])
async def test_cancelled_at_any_step_nothing_is_left(
    anyio_backend: str, kind: str, dns: Dns, authority: trustme.CA
) -> None:
    """A proxy that fails, or says nothing, in the first PvD; a tunnel and TLS in the second."""
    server = Server("127.0.0.1", context=certificate_for(authority, HOST))
    make, _ = FAULTS[kind]
    context = trusting(authority)
    with closing(server), make() as bad, http_proxy(server.port) as good:
        second = replace(configured(good.url, dns), name="second", metric=5)
        ranked = [
            Ranked(ProvisioningDomain(pvd.name, interface="lo", proxy=pvd.proxy), n * 0.02)
            for n, pvd in enumerate((configured(bad.url, dns), second))
        ]

        async def work() -> None:
            race = Race(Endpoint(HOST, 443), Ranking(tuple(ranked)), SWIFT)
            driven = await drive(race, PvdResolver(), stage=StreamStage(context, HOST, None), discard=discard)
            assert driven.product is not None, str(RaceReport.of(race))
            await discard(driven.product)

        await work()
        whole = Steps()
        await whole.run(work, anyio_backend)
        await anyio.sleep(0.1)
        before, tasks = descriptors(), len(anyio.get_running_tasks())
        cancelled = 0
        for at in range(1, whole.count + 1):
            steps = Steps(at)
            await steps.run(work, anyio_backend)
            cancelled += steps.scope.cancelled_caught
            with anyio.move_on_after(5):
                while descriptors() > before:
                    gc.collect()
                    await anyio.sleep(0.001)
            assert descriptors() <= before, f"a descriptor is left after a cancellation at step {at}"
            assert len(anyio.get_running_tasks()) == tasks, f"a task is left after step {at}"
        assert cancelled > whole.count / 2


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
