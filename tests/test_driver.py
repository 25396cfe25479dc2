"""The driver on real sockets of the loopback: what it brings, what it closes, and that nothing leaks."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import anyio
import pytest
import trustme
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute

from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from loops import eager_loop
from pvdrace.dns.resolver import PvdResolver
from pvdrace.drivers.aio import Driven, drive
from pvdrace.drivers.stages import StreamStage, discard
from pvdrace.model import Endpoint, LocalAddress, ProvisioningDomain, Ranked, Ranking, Resolver
from pvdrace.race.events import Event
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Lost, Race, Won
from pvdrace.race.report import RaceReport
from scripted_dns import answering, serving
from stepwise import Steps

pytestmark = pytest.mark.anyio

QUICK = Pacing(
    connection_attempt_delay=0.02,
    minimum_connection_attempt_delay=0.01,
    path_delay=0.02,
    resolution_delay=0.01,
    resolution_lead=0.005,
)


def pvd(name: str, dns: Dns | None, address: str = "127.0.0.1") -> ProvisioningDomain:
    """A PvD whose device is the loopback."""
    return ProvisioningDomain(
        name,
        interface="lo",
        addresses=(LocalAddress(address, 8), LocalAddress("::1", 128)),
        resolvers=(Resolver("127.0.0.1", dns.port),) if dns else (),
    )


def race_over(*pvds: ProvisioningDomain, port: int, host: str = HOST, **options: object) -> Race:
    ranked = tuple(Ranked(pvd, n * QUICK.path_delay) for n, pvd in enumerate(pvds))
    return Race(Endpoint(host, port), Ranking(ranked), QUICK, **options)  # type: ignore[arg-type]


def report_of(race: Race) -> str:
    return str(RaceReport.of(race))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settle(before: int) -> int:
    """How many descriptors are left over, once the servers of this process have closed their ends."""
    with anyio.move_on_after(5):
        while descriptors() > before:
            gc.collect()
            await anyio.sleep(0.001)
    return descriptors() - before


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


LOOPS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = ("asyncio", {"loop_factory": eager_loop})


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Every loop that the driver is to run on."""
    loop: tuple[str, dict[str, object]] = request.param
    return loop


@pytest.fixture
def backend(anyio_backend_name: str) -> str:
    return anyio_backend_name


async def test_a_name_is_looked_up_and_dialled_inside_its_pvd() -> None:
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    server = Server("127.0.0.2")
    with closing(dns, server):
        race = race_over(pvd("a", dns), port=server.port)
        driven: Driven[None] = await drive(race, PvdResolver())
        assert isinstance(race.outcome, Won), report_of(race)
        assert driven.sock is not None
        with driven.sock:
            assert driven.sock.getpeername() == ("127.0.0.2", server.port)
            assert driven.sock.getblocking() is False
    assert sorted(dns.asked) == [(HOST, "A"), (HOST, "AAAA")]


async def test_the_questions_leave_in_the_order_of_asking() -> None:
    """RFC 8305 s3: AAAA first, on every loop; trio starts the tasks of one moment in any order."""
    hosts = [f"host{number}.example" for number in range(20)]
    dns = Dns({(host, kind): [] for host in hosts for kind in ("A", "AAAA")})
    with closing(dns):
        for host in hosts:
            race = race_over(pvd("a", dns), port=9, host=host)
            await drive(race, PvdResolver())
            assert isinstance(race.outcome, Lost)
    assert dns.asked == [(host, kind) for host in hosts for kind in ("AAAA", "A")]


async def test_a_race_without_time_asks_nobody() -> None:
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(dns):
        race = race_over(pvd("a", dns), port=9, timeout=0)
        await drive(race, PvdResolver())
        await anyio.sleep(0.05)
    assert race.outcome == Lost("timeout 0.0 s")
    assert dns.asked == []


async def test_a_question_that_is_cancelled_at_once_holds_nothing() -> None:
    """Its task may not have begun; who asks the same later is not kept waiting."""
    dns, resolver = Dns({}), PvdResolver()
    released: list[tuple[socket.socket, int]] = []

    def keep(sock: socket.socket, replies: int = 1) -> None:
        released.append((sock, replies))

    async def one(scope: anyio.CancelScope) -> None:
        with scope:
            await pending.answer()

    with closing(dns):
        here = pvd("a", dns)
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            pending = resolver.begin(here, HOST, "A", release=keep)
            tasks.start_soon(one, scope)
            scope.cancel()
        [(left, replies)] = released
        left.close()
        assert replies == 1
        dns.answers[HOST, "A"] = ["127.0.0.2"]
        with anyio.fail_after(5):
            assert (await resolver.lookup(here, HOST, "A")).addresses == ("127.0.0.2",)


@pytest.mark.parametrize(("families", "asked"), [((4,), "127.0.0.1"), ((6,), "::1")])
async def test_policy_on_families_holds_for_the_questions_too(families: tuple[int, ...], asked: str) -> None:
    nothing = answering()
    with serving(nothing) as [four], serving(nothing, address="::1") as [six]:
        both = replace(pvd("a", None), resolvers=(six.resolver, four.resolver))
        race = Race(Endpoint(HOST, 9), Ranking((Ranked(both, families=families),)), QUICK)
        await drive(race, PvdResolver())
    assert [server.address for server in (four, six) if server.asked] == [asked]


async def test_an_answer_is_dialled_only_in_the_pvd_that_gave_it() -> None:
    """RFC 7556 s5.2.1: each PvD dials its own answer, though the other's is there first and refuses."""
    here, there = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]}), Dns({(HOST, "AAAA"): []})
    there.answers[HOST, "A"] = ["127.0.0.3"]
    server = Server("127.0.0.3")
    with closing(here, there, server):
        race = race_over(pvd("a", here), pvd("b", there, "127.0.0.9"), port=server.port)
        driven: Driven[None] = await drive(race, PvdResolver())
        assert driven.sock is not None
        driven.sock.close()
    report = RaceReport.of(race)
    assert [(a.pvd, a.remote, a.outcome) for a in report.attempts] == [
        ("a", "127.0.0.2", "failed"),
        ("b", "127.0.0.3", "won"),
    ]
    assert report.winner is not None
    assert report.winner.local == "127.0.0.9"


class Unreadable:
    """A monitor that has news, and cannot say which."""

    def __init__(self) -> None:
        self.bell = -1
        self.asked = 0

    def open(self) -> Sequence[int]:
        self.bell = os.eventfd(1)
        return (self.bell,)

    async def events(self) -> Sequence[Event]:
        os.eventfd_read(self.bell)
        self.asked += 1
        raise OSError(errno.ENOBUFS, "No buffer space available")

    def close(self) -> None:
        os.close(self.bell)


async def test_a_refresh_that_fails_does_not_take_the_race_along(caplog: pytest.LogCaptureFixture) -> None:
    before, changes = descriptors(), Unreadable()
    dns, server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]}), Server("127.0.0.2")
    with closing(dns, server):
        race = race_over(pvd("a", dns), port=server.port)
        driven: Driven[None] = await drive(race, PvdResolver(), changes=changes)
        assert driven.sock is not None
        driven.sock.close()
    assert await settle(before) <= 0
    assert changes.asked == 1
    assert "No buffer space available" in caplog.text


async def test_the_report_has_the_kernels_round_trip_time() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        race = race_over(pvd("a", None), port=server.port, host="127.0.0.2")
        driven: Driven[None] = await drive(race, PvdResolver())
        assert driven.sock is not None
        driven.sock.close()
    winner = RaceReport.of(race).winner
    assert winner is not None
    assert winner.rtt is not None
    assert 0 < winner.rtt < 1


async def test_a_wrong_certificate_loses_and_the_race_goes_on(authority: trustme.CA) -> None:
    """HEv3 s6.1: behind an intercepting portal TCP connects at once; only TLS tells."""
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Server("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    first = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    second = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    with closing(portal, server, first, second):
        stage = StreamStage(trusting(authority), HOST, None)
        race = race_over(pvd("portal", first), pvd("good", second), port=server.port)
        driven = await drive(race, PvdResolver(), stage=stage, discard=discard)
        assert driven.product is not None, report_of(race)
        async with driven.product:
            assert await driven.product.receive() == b"hello\n"
            assert driven.product.extra(TLSAttribute.server_side) is False
    report = RaceReport.of(race, "tls")
    assert report.winner is not None
    assert report.winner.pvd == "good"
    [failed] = [a for a in report.attempts if a.pvd == "portal"]
    assert failed.connected is not None
    assert failed.error is not None
    assert failed.error.startswith("wrong certificate: ")


async def test_hold_the_first_handshake_decides_and_its_failure_brings_the_others_back(
    authority: trustme.CA,
) -> None:
    """ready="tcp" with TLS: rivals are held back; when the leader fails at TLS the race goes on with them."""
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Server("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2", "127.0.0.3"]})
    with closing(portal, server, dns):
        stage = StreamStage(trusting(authority), HOST, None)
        race = race_over(pvd("a", dns), port=server.port, hold=True)
        driven = await drive(race, PvdResolver(), stage=stage, discard=discard)
        assert driven.product is not None, report_of(race)
        await driven.product.aclose()
    assert [a.outcome for a in RaceReport.of(race).attempts] == ["failed", "won"]


async def test_a_check_that_says_no_loses(authority: trustme.CA) -> None:
    wrong, right = Server("127.0.0.2", word=b"portal\n"), None
    right = Server("127.0.0.3", wrong.port, word=b"right\n")
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2", "127.0.0.3"]})
    heard: list[bytes] = []

    async def check(stream: ByteStream) -> bool:
        heard.append(await stream.receive())
        return heard[-1] == b"right\n"

    with closing(wrong, right, dns):
        race = race_over(pvd("a", dns), port=wrong.port)
        driven = await drive(race, PvdResolver(), stage=StreamStage(None, None, check), discard=discard)
        assert driven.product is not None, report_of(race)
        await driven.product.aclose()
    assert heard == [b"portal\n", b"right\n"]
    assert [a.error for a in RaceReport.of(race).attempts] == ["the check said no", None]


async def test_a_server_that_goes_silent_after_tcp_does_not_hold_the_race_up(authority: trustme.CA) -> None:
    """T2x, "SYN-ACK only": readiness at TLS gets past it; the silent attempt is closed."""

    async def once() -> None:
        mute = Server("127.0.0.2", mute=True)
        server = Server("127.0.0.3", mute.port, context=certificate_for(authority, HOST))
        dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2", "127.0.0.3"]})
        with closing(mute, server, dns):
            race = race_over(pvd("a", dns), port=mute.port)
            stage = StreamStage(trusting(authority), HOST, None)
            driven = await drive(race, PvdResolver(), stage=stage, discard=discard)
            assert driven.product is not None, report_of(race)
            await driven.product.aclose()
        assert [a.outcome for a in RaceReport.of(race).attempts] == ["cancelled", "won"]

    await once()  # what the loop opens once and keeps is open now
    before = descriptors()
    await once()
    assert await settle(before) == 0


async def test_everything_refused_is_a_loss_with_the_reasons() -> None:
    dns = Dns({(HOST, "AAAA"): ["::1"], (HOST, "A"): ["127.0.0.2"]})
    with closing(dns):
        race = race_over(pvd("a", dns), port=9)
        driven: Driven[None] = await drive(race, PvdResolver())
    assert driven == Driven()
    assert race.outcome == Lost("all attempts failed")
    assert RaceReport.of(race).summary() == f"{HOST}:9: a v6 refused, a v4 refused"


async def test_the_overall_timeout_closes_everything() -> None:
    before = descriptors()
    dns = Dns({})
    with closing(dns):
        race = race_over(pvd("a", dns), port=9, timeout=0.05)
        await drive(race, PvdResolver())
        assert race.outcome == Lost("timeout 0.05 s")
    assert await settle(before) == 0


async def test_a_pin_that_cannot_be_set_fails_that_attempt_alone() -> None:
    """Fail closed: never an unpinned dial; the next PvD goes on."""
    server = Server("127.0.0.2")
    broken = ProvisioningDomain("broken", "nosuchdev0", addresses=(LocalAddress("127.0.0.1", 8),))
    with closing(server):
        race = race_over(broken, pvd("good", None), port=server.port, host="127.0.0.2")
        driven: Driven[None] = await drive(race, PvdResolver())
        assert driven.sock is not None
        driven.sock.close()
    first, second = RaceReport.of(race).attempts
    assert (first.pvd, first.outcome) == ("broken", "failed")
    assert "nosuchdev0" in str(first.error)
    assert (second.pvd, second.outcome) == ("good", "won")


@pytest.fixture
def world(authority: trustme.CA) -> Iterator[tuple[Dns, Dns, Server, ssl.SSLContext]]:
    """One PvD that shows a wrong certificate, one that is right."""
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Server("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    first = Dns({(HOST, "AAAA"): ["::1"], (HOST, "A"): ["127.0.0.2"]})
    second = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    hole = BlackHole("::1", portal.port)
    with closing(portal, server, first, second, hole):
        yield first, second, server, trusting(authority)


async def test_cancellation_at_every_step_leaks_nothing(
    world: tuple[Dns, Dns, Server, ssl.SSLContext], backend: str
) -> None:
    """Lookups, a silent attempt, a failing TLS handshake, a winning one: cancelled after each step."""
    first, second, server, context = world

    async def work() -> None:
        race = race_over(pvd("portal", first), pvd("good", second), port=server.port)
        stage = StreamStage(context, HOST, None)
        driven = await drive(race, PvdResolver(), stage=stage, discard=discard)
        assert driven.product is not None, report_of(race)
        await discard(driven.product)

    await work()  # what is loaded once is loaded now
    whole = Steps()
    await whole.run(work, backend)
    assert whole.count > 10
    await anyio.sleep(0.3)  # the servers' ends of those two runs are closed
    before, tasks = descriptors(), len(anyio.get_running_tasks())
    cancelled = 0
    for at in range(1, whole.count + 1):
        steps = Steps(at)
        await steps.run(work, backend)
        cancelled += steps.scope.cancelled_caught
        assert await settle(before) == 0, f"a descriptor is left after a cancellation at step {at}"
        assert len(anyio.get_running_tasks()) == tasks, f"a task is left after a cancellation at step {at}"
    assert cancelled > whole.count / 2


async def test_five_hundred_at_once() -> None:
    server = Server("127.0.0.2")
    resolver = PvdResolver()
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    before = descriptors()
    won: list[bool] = []

    async def one(number: int) -> None:
        host = "127.0.0.2" if number % 2 else HOST
        race = race_over(pvd("a", dns), port=server.port, host=host)
        driven: Driven[None] = await drive(race, resolver)
        won.append(isinstance(race.outcome, Won))
        if driven.sock is not None:
            driven.sock.close()

    with closing(server, dns):
        async with anyio.create_task_group() as tasks:
            for number in range(500):
                tasks.start_soon(one, number)
        assert won == [True] * 500
        assert await settle(before) <= 0
