"""The blocking driver on real sockets of the loopback: as the asynchronous one, and nothing leaks."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import sys
import time
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest
import trustme

from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from proxies import http_proxy
from pvdrace.dns.asking import BlockingResolver
from pvdrace.dns.resolver import PvdResolver
from pvdrace.drivers.aio import Driven, drive
from pvdrace.drivers.blocking import BlockingDriver
from pvdrace.drivers.blocking_stages import SocketStage
from pvdrace.drivers.stages import StreamStage, discard
from pvdrace.model import Endpoint, LocalAddress, ProvisioningDomain, Ranked, Ranking
from pvdrace.race.actions import Connect
from pvdrace.race.events import Event, LookupFailed, PvdWithdrawn
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Lost, Race, Won
from pvdrace.race.report import RaceReport
from test_driver import descriptors, pvd, race_over, report_of

#: Slow enough for a busy machine to do the same twice.
STEADY = Pacing(
    connection_attempt_delay=0.2, minimum_connection_attempt_delay=0.2, path_delay=0.2, resolution_lead=0
)


def run(race: Race, **options: Any) -> BlockingDriver[socket.socket]:
    """A race to its end; the caller closes it."""
    driver: BlockingDriver[socket.socket] = BlockingDriver(race, BlockingResolver(), **options)
    driver.start()
    driver.run()
    return driver


def won(race: Race, **options: Any) -> socket.socket:
    """The winner of a race."""
    with contextlib.closing(run(race, **options)) as driver:
        assert isinstance(race.outcome, Won), report_of(race)
        return driver.winner() if driver.stage is None else driver.product()


def settled(wanted: int) -> int:
    """How many descriptors there are, once the servers of this process have closed their ends."""
    deadline = time.monotonic() + 5
    while descriptors() > wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    return descriptors()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert settled(before) <= before


# The same as the asynchronous driver: what became of every lookup and every attempt, and who won.


class World:
    """What a scenario is made of; `pvds` are in their order."""

    def __init__(self, stack: contextlib.ExitStack, authority: trustme.CA) -> None:
        self.stack = stack
        self.authority = authority
        self.pvds: list[ProvisioningDomain] = []
        self.port = 0
        self.host = HOST
        self.options: dict[str, Any] = {}
        self.tls = False

    def dns(self, aaaa: list[str] | None = None, a: list[str] | None = None) -> Dns:
        answers = {(HOST, kind): given for kind, given in (("AAAA", aaaa), ("A", a)) if given is not None}
        dns = Dns(answers)
        self.keep(dns)
        return dns

    def server(self, address: str, **options: Any) -> Server:
        server = Server(address, self.port, **options)
        self.keep(server)
        self.port = server.port
        return server

    def good(self, address: str) -> None:
        self.server(address, context=certificate_for(self.authority, HOST))

    def bad(self, address: str) -> None:
        self.server(address, context=certificate_for(trustme.CA(), HOST))

    def add(self, *pvds: ProvisioningDomain) -> None:
        self.pvds += pvds

    def keep(self, thing: Dns | Server | BlackHole) -> None:
        self.stack.callback(thing.close)


def one_answer(world: World) -> None:
    world.add(pvd("a", world.dns([], ["127.0.0.2"])))
    world.server("127.0.0.2")


def refused_then_another(world: World) -> None:
    world.add(pvd("a", world.dns([], ["127.0.0.4", "127.0.0.2"])))
    world.server("127.0.0.2")


def dead_address_then_another(world: World) -> None:
    world.add(pvd("a", world.dns([], ["127.0.0.2", "127.0.0.3"])))
    world.server("127.0.0.3")
    world.keep(BlackHole("127.0.0.2", world.port))


def dead_pvd_then_another(world: World) -> None:
    world.add(pvd("a", world.dns([], ["127.0.0.2"])), pvd("b", world.dns([], ["127.0.0.3"])))
    world.server("127.0.0.3")
    world.keep(BlackHole("127.0.0.2", world.port))


def silent_dns_in_the_first(world: World) -> None:
    world.add(pvd("a", world.dns()), pvd("b", world.dns([], ["127.0.0.3"])))
    world.server("127.0.0.3")


def only_negative_answers(world: World) -> None:
    world.add(pvd("a", world.dns([], [])), pvd("b", world.dns([], [])))
    world.port = 9


def no_resolver(world: World) -> None:
    world.add(pvd("a", None), pvd("b", world.dns([], ["127.0.0.3"])))
    world.server("127.0.0.3")


def everything_refused(world: World) -> None:
    world.add(pvd("a", world.dns(["::1"], ["127.0.0.2"])))
    world.port = 9


def nobody_answers_in_time(world: World) -> None:
    world.add(pvd("a", world.dns()))
    world.port = 9
    world.options["timeout"] = 0.3


def no_time_at_all(world: World) -> None:
    world.add(pvd("a", world.dns([], ["127.0.0.2"])))
    world.port = 9
    world.options["timeout"] = 0.0


def no_device(world: World) -> None:
    broken = ProvisioningDomain("broken", "nosuchdev0", addresses=(LocalAddress("127.0.0.1", 8),))
    world.add(broken, pvd("good", None))
    world.server("127.0.0.2")
    world.host = "127.0.0.2"


def a_verified_server(world: World) -> None:
    world.tls = True
    world.add(pvd("a", world.dns([], ["127.0.0.2"])))
    world.good("127.0.0.2")


def a_portal_in_the_first(world: World) -> None:
    world.tls = True
    world.add(pvd("portal", world.dns([], ["127.0.0.2"])), pvd("good", world.dns([], ["127.0.0.3"])))
    world.bad("127.0.0.2")
    world.good("127.0.0.3")


def nothing_but_portals(world: World) -> None:
    world.tls = True
    world.add(pvd("portal", world.dns([], ["127.0.0.2"])))
    world.bad("127.0.0.2")


def silence_after_the_handshake(world: World) -> None:
    world.tls = True
    world.add(pvd("a", world.dns([], ["127.0.0.2", "127.0.0.3"])))
    world.server("127.0.0.2", mute=True)
    world.good("127.0.0.3")


def the_first_handshake_holds_the_others_back(world: World) -> None:
    world.tls = True
    world.options["hold"] = True
    world.add(pvd("a", world.dns([], ["127.0.0.2", "127.0.0.3"])))
    world.bad("127.0.0.2")
    world.good("127.0.0.3")


SCENARIOS = (
    one_answer,
    refused_then_another,
    dead_address_then_another,
    dead_pvd_then_another,
    silent_dns_in_the_first,
    only_negative_answers,
    no_resolver,
    everything_refused,
    nobody_answers_in_time,
    no_time_at_all,
    no_device,
    a_verified_server,
    a_portal_in_the_first,
    nothing_but_portals,
    silence_after_the_handshake,
    the_first_handshake_holds_the_others_back,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_same_as_on_an_event_loop(scenario: Callable[[World], None], authority: trustme.CA) -> None:
    with contextlib.ExitStack() as stack:
        world = World(stack, authority)
        scenario(world)

        def race() -> Race:
            ranked = tuple(Ranked(pvd, n * STEADY.path_delay) for n, pvd in enumerate(world.pvds))
            return Race(Endpoint(world.host, world.port), Ranking(ranked), STEADY, **world.options)

        context = trusting(authority) if world.tls else None
        ours = race()
        with contextlib.closing(run(ours, stage=SocketStage(context, HOST) if context else None)) as driver:
            if isinstance(ours.outcome, Won):
                (driver.product() if context else driver.winner()).close()
        theirs = race()

        async def on_a_loop() -> None:
            if context is None:
                driven: Driven[None] = await drive(theirs, PvdResolver())
                if driven.sock is not None:
                    driven.sock.close()
            else:
                stage = StreamStage(context, HOST, None)
                streamed = await drive(theirs, PvdResolver(), stage=stage, discard=discard)
                if streamed.product is not None:
                    await streamed.product.aclose()

        anyio.run(on_a_loop)
    assert told(ours) == told(theirs)


def told(race: Race) -> object:
    """A report without its times, and without what depends on them alone: what was cut off by the end."""
    report = RaceReport.of(race)
    lookups = [(r.pvd, r.type, r.outcome, r.addresses, r.error) for r in report.lookups]
    attempts = [(a.pvd, a.remote, a.outcome, a.connected is not None, a.error) for a in report.attempts]
    winner = report.winner
    return report.failure, sorted(lookups, key=str), attempts, winner and (winner.pvd, winner.remote)


def test_the_winner_does_not_block_and_knows_its_round_trip_time() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        race = race_over(pvd("a", None), port=server.port, host="127.0.0.2")
        with won(race) as sock:
            assert sock.getblocking() is False
            assert sock.getpeername() == ("127.0.0.2", server.port)
    winner = RaceReport.of(race).winner
    assert winner is not None
    assert winner.rtt is not None
    assert 0 < winner.rtt < 1


def test_the_questions_leave_in_the_order_of_asking() -> None:
    """RFC 8305 s3: AAAA first."""
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): []})
    with closing(dns):
        run(race_over(pvd("a", dns), port=9)).close()
    assert dns.asked == [(HOST, "AAAA"), (HOST, "A")]


def test_what_was_answered_is_asked_once() -> None:
    dns, server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]}), Server("127.0.0.2")
    resolver = BlockingResolver()
    with closing(dns, server):
        for _ in range(3):
            race = race_over(pvd("a", dns), port=server.port)
            driver: BlockingDriver[socket.socket] = BlockingDriver(race, resolver)
            driver.start()
            driver.run()
            driver.winner().close()
            driver.close()
    assert dns.asked.count((HOST, "A")) == 1


def test_a_check_that_waits_lets_the_race_go_on() -> None:
    """A generator: the first server is silent, the check waits for it, and the second PvD wins meanwhile."""
    mute = Server("127.0.0.2", mute=True)
    server = Server("127.0.0.3", mute.port, word=b"right\n")
    heard: list[bytes] = []

    def check(sock: socket.socket) -> Generator[int, None, bool]:
        yield select.EPOLLIN
        heard.append(sock.recv(100))
        return heard[-1] == b"right\n"

    first, second = (Dns({(HOST, "AAAA"): [], (HOST, "A"): [a]}) for a in ("127.0.0.2", "127.0.0.3"))
    with closing(mute, server, first, second):
        race = race_over(pvd("a", first), pvd("b", second), port=server.port)
        won(race, stage=SocketStage(None, None, check)).close()
    assert heard == [b"right\n"]
    assert [a.outcome for a in RaceReport.of(race).attempts] == ["cancelled", "won"]


def test_a_check_that_says_no_loses() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        race = race_over(pvd("a", None), port=server.port, host="127.0.0.2")
        run(race, stage=SocketStage(None, None, lambda sock: False)).close()
    assert [a.error for a in RaceReport.of(race).attempts] == ["the check said no"]


def test_a_proxy_makes_the_tunnel(authority: trustme.CA) -> None:
    server = Server("127.0.0.1", context=certificate_for(authority, HOST))
    with closing(server), http_proxy(server.port) as proxy:
        behind = replace(pvd("a", None), proxy=proxy.url)
        race = race_over(behind, port=server.port)
        stage = SocketStage(trusting(authority), HOST)
        with won(race, stage=stage) as sock:
            sock.settimeout(5)
            assert sock.recv(100) == b"hello\n"
    [connect] = [entry for _, entry in race.log if isinstance(entry, Connect)]
    assert connect.through == proxy.url


class Bell:
    """A monitor that says at once that a PvD has gone, or cannot say."""

    def __init__(self, *events: Event) -> None:
        self.said = events
        self.bell = -1
        self.asked = 0

    def open(self) -> Sequence[int]:
        self.bell = os.eventfd(1)
        return (self.bell,)

    def events(self) -> Sequence[Event]:
        os.eventfd_read(self.bell)
        self.asked += 1
        if not self.said:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return self.said

    def close(self) -> None:
        os.close(self.bell)


def test_a_pvd_that_goes_in_mid_race_is_given_up() -> None:
    first, second = Dns({}), Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    server = Server("127.0.0.3")
    with closing(first, second, server):
        race = race_over(pvd("a", first), pvd("b", second), port=server.port)
        won(race, changes=Bell(PvdWithdrawn("a", "link removed"))).close()
    report = RaceReport.of(race)
    assert {r.error for r in report.lookups if r.pvd == "a"} == {"link removed"}


def test_a_refresh_that_fails_does_not_take_the_race_along(caplog: pytest.LogCaptureFixture) -> None:
    dns, server, bell = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]}), Server("127.0.0.2"), Bell()
    with closing(dns, server):
        won(race_over(pvd("a", dns), port=server.port), changes=bell).close()
    assert bell.asked == 1
    assert "No buffer space available" in caplog.text


# The paused race


def paused(race: Race) -> BlockingDriver[socket.socket]:
    driver: BlockingDriver[socket.socket] = BlockingDriver(race, BlockingResolver(), provisional=True)
    driver.start()
    driver.run(pause=True)
    return driver


def test_a_paused_race_goes_on_where_tls_fails(authority: trustme.CA) -> None:
    with contextlib.ExitStack() as stack:
        world = World(stack, authority)
        a_portal_in_the_first(world)
        race = race_over(*world.pvds, port=world.port)
        driver = stack.enter_context(contextlib.closing(paused(race)))
        assert race.outcome is None
        assert driver.leader().getpeername()[0] == "127.0.0.2"
        driver.go_on(SocketStage(trusting(authority), HOST))
        driver.run()
        with driver.product() as sock:
            assert sock.getpeername()[0] == "127.0.0.3"


def test_a_paused_race_is_won_by_who_is_connected() -> None:
    server = Server("127.0.0.2")
    dns = Dns({(HOST, "A"): ["127.0.0.2"]})  # the other question stays open
    with closing(server, dns):
        race = race_over(pvd("a", dns), port=server.port)
        with contextlib.closing(paused(race)) as driver:
            leader = driver.leader()
            driver.go_on(None)
            driver.run()
            with driver.winner() as sock:
                assert sock is leader
    assert isinstance(race.outcome, Won)


def test_a_paused_race_knows_of_the_handshake_it_is_paused_at() -> None:
    """Also where something else happened in the same moment, and was heard before."""

    class Busy(BlockingDriver[socket.socket]):
        """With a late event, which is legal, before that of the handshake."""

        def _connected(self, *arguments: Any) -> None:
            super()._connected(*arguments)
            self._inbox.appendleft(LookupFailed(99, "late"))

    server = Server("127.0.0.2")
    dns = Dns({(HOST, "A"): ["127.0.0.2"]})
    with closing(server, dns):
        race = race_over(pvd("a", dns), port=server.port)
        with contextlib.closing(Busy(race, BlockingResolver(), provisional=True)) as driver:
            driver.start()
            driver.run(pause=True)
            (attempt,) = RaceReport.of(race).attempts
            assert attempt.connected is not None


def test_the_clock_of_a_paused_race_stands_still(authority: trustme.CA) -> None:
    """Its owner takes longer than the whole race may, and than the patience with an attempt."""
    now = 100.0
    server = Server("127.0.0.2", context=certificate_for(authority, HOST))
    with closing(server):
        race = race_over(pvd("a", None), port=server.port, host="127.0.0.2", timeout=5.0)
        driver: BlockingDriver[socket.socket] = BlockingDriver(
            race, BlockingResolver(), provisional=True, clock=lambda: now
        )
        with contextlib.closing(driver):
            driver.start()
            driver.run(pause=True)
            now += 1000.0
            driver.go_on(SocketStage(trusting(authority), HOST))
            driver.run()
            driver.product().close()
    assert isinstance(race.outcome, Won), report_of(race)


def test_a_paused_race_that_is_given_up_leaves_nothing() -> None:
    server = Server("127.0.0.2")
    with closing(server):
        before = descriptors()
        driver = paused(race_over(pvd("a", None), port=server.port, host="127.0.0.2"))
        assert descriptors() > before
        driver.close()
        driver.close()
        assert settled(before) == before


def test_a_limit_ends_a_race_that_has_begun(authority: trustme.CA) -> None:
    mute = Server("127.0.0.2", mute=True)
    with closing(mute):
        race = race_over(pvd("a", None), port=mute.port, host="127.0.0.2")
        with contextlib.closing(paused(race)) as driver:
            race.limit(driver.resume() + 0.05)
            driver.go_on(SocketStage(trusting(authority), HOST))
            driver.run()
    assert isinstance(race.outcome, Lost)
    assert race.outcome.reason.startswith("timeout 0.")


# Nothing leaks


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the test run if it came out."""


def interrupting(work: Callable[[], object], at: int) -> int:
    """Do ``work``, and raise at the ``at``-th line of the driver's loop; how many lines there were.

    There a program spends its time, and there the signal comes. Between two lines that make a socket it may
    come too: then the socket is the garbage collector's.
    """
    count = 0

    def tracer(frame: types.FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        code = frame.f_code
        if not code.co_filename.endswith("drivers/blocking.py") or code.co_name not in ("run", "_wait"):
            return None
        if event == "line":
            count += 1
            if count == at:
                raise Interrupted
        return tracer

    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def test_an_interrupt_at_any_moment_leaks_nothing(authority: trustme.CA) -> None:
    with contextlib.ExitStack() as stack:
        world = World(stack, authority)
        a_portal_in_the_first(world)
        context = trusting(authority)

        def work() -> None:
            race = race_over(*world.pvds, port=world.port)
            driver: BlockingDriver[socket.socket] = BlockingDriver(
                race, BlockingResolver(), stage=SocketStage(context, HOST)
            )
            with contextlib.closing(driver):
                driver.start()
                driver.run()
                driver.product().close()

        whole = interrupting(work, 0)
        assert whole > 30
        time.sleep(0.3)  # the servers' ends of that run are closed
        before = descriptors()
        for at in range(1, whole + 1):
            with contextlib.suppress(Interrupted):
                interrupting(work, at)
            assert settled(before) <= before, f"left open after an interrupt at line {at} of {whole}"


def test_two_thousand_races_leave_no_descriptor_behind() -> None:
    server = Server("127.0.0.2")
    resolver = BlockingResolver()
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server, dns):
        here = pvd("a", dns)
        before = descriptors()
        for number in range(2000):
            host = "127.0.0.2" if number % 2 else HOST
            driver: BlockingDriver[socket.socket] = BlockingDriver(
                race_over(here, port=server.port, host=host), resolver
            )
            driver.start()
            driver.run()
            driver.winner().close()
            driver.close()
        assert settled(before) <= before


def test_an_ssl_context_is_what_the_type_says(authority: trustme.CA) -> None:
    server = Server("127.0.0.2", context=certificate_for(authority, HOST))
    with closing(server):
        race = race_over(pvd("a", None), port=server.port, host="127.0.0.2")
        with won(race, stage=SocketStage(trusting(authority), HOST)) as sock:
            assert isinstance(sock, ssl.SSLSocket)
            assert sock.version() is not None
