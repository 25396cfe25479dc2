"""What the sans-IO core and the ranking cost: beside one real connect, and beside a race on trio's clock.

    python benchmarks/bench_core.py [--check]

Both rows of a pair are measured in one run, in turns, so that what disturbs one disturbs the other. The
numbers are medians in microseconds. ``--check`` exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import select
import socket
import sys
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import trio
import trio.testing

from pvdrace.config import Configuration
from pvdrace.decisions import Decisions
from pvdrace.drivers.virtual import simulate
from pvdrace.expectation import Expectation
from pvdrace.history import History
from pvdrace.model import Endpoint, PvdSet
from pvdrace.race.actions import Connect
from pvdrace.race.events import LookupAnswered, Ready
from pvdrace.race.pacing import Pacing
from pvdrace.race.race import Race, Won
from pvdrace.ranking import rank
from pvdrace.testing.scenario import HOST, build_pvds, pvd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from pvdrace.race.actions import Lookup
    from pvdrace.race.events import Event

CORE_SHARE = 0.15
"""At most so much of a raw connect may the core take."""
SIMULATION_FACTOR = 15.0
"""At least so many times faster than trio's virtual clock must a simulated race be."""

ROUNDS = 40


class Row(NamedTuple):
    what: str
    microseconds: float
    ratio: str = ""
    target: str = ""
    reached: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    check = parser.parse_args().check
    gc.disable()  # as timeit does
    rows = [*one_attempt(), *whole_race()]
    for row in rows:
        verdict = "" if not row.target else "reached" if row.reached else "MISSED"
        print(f"{row.what:<62}{row.microseconds:>9.2f} us  {row.ratio:<8}{row.target:<18}{verdict}")
    return 1 if check and not all(row.reached for row in rows) else 0


# ---------------------------------------------------------------------- one attempt


def one_attempt() -> list[Row]:
    process = multiprocessing.get_context("spawn")
    ours, theirs = process.Pipe()
    server = process.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        address = ("127.0.0.1", ours.recv())
        endpoint = Endpoint(*address)
        ranking = rank(PvdSet(), endpoint)

        def raw() -> None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if sock.connect_ex(address):
                poll = select.poll()
                poll.register(sock, select.POLLOUT)
                poll.poll()
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            sock.close()

        def core() -> None:
            race = Race(endpoint, ranking)
            (connect,) = race.start(0.0)
            assert type(connect) is Connect
            race.handle(Ready(connect.id), 0.1)
            assert type(race.outcome) is Won

        raw_times: list[float] = []
        awaited_times: list[float] = []
        core_times: list[float] = []
        rankings = Ranked()
        for _ in range(ROUNDS):
            raw_times += timed(raw, 100)
            awaited_times += asyncio.run(awaited(address, 100))
            core_times += timed(core, 100)
            rankings.measure()
    finally:
        server.terminate()
        server.join()
    connect, share, inside = median(raw_times), median(core_times), median(awaited_times)
    return [
        Row("raw non-blocking connect and close on loopback", connect),
        Row("the same, awaited in an asyncio program", inside, f"core {share / inside:.1%}"),
        Row(
            "core: Race, start, handle(Ready), one attempt",
            share,
            f"{share / connect:.1%}",
            f"<= {CORE_SHARE:.0%} of raw",
            share <= CORE_SHARE * connect,
        ),
        *rankings.rows(connect),
    ]


class Ranked:
    """Four PvDs of which the times are known, ranked for one destination."""

    ENDPOINT = Endpoint(HOST, 443)

    def __init__(self) -> None:
        names = ("eth", "wifi", "lte", "vpn")
        self.pvds = build_pvds({name: pvd(cost="unmetered") for name in names})
        times = {name: (0.02 * n, 0.05 * n) for n, name in enumerate(names, 1)}
        known = {
            name: Expectation(ready, soon, incumbent=name == "eth") for name, (ready, soon) in times.items()
        }
        # As after each connection: a little else is known of the one that has won.
        self.known = [known, {**known, "eth": Expectation(0.021, 0.051, incumbent=True)}]
        self.turn = 0
        self.decisions = Decisions(Configuration(), None, Pacing(), History())
        self.warm_times: list[float] = []
        self.cold_times: list[float] = []
        self.other_times: list[float] = []
        self.names = 0
        self.kept_times: list[float] = []

    def warm(self) -> None:
        self.turn ^= 1
        rank(self.pvds, self.ENDPOINT, expected=self.known[self.turn])

    def cold(self) -> None:
        """For a snapshot that is new: nothing of the ranking is kept from before."""
        rank(PvdSet(self.pvds.pvds), self.ENDPOINT, expected=self.known[0])

    def another(self) -> None:
        """For a name that this snapshot has not been asked about."""
        self.names += 1
        rank(self.pvds, Endpoint(f"host{self.names}.example.com", 443), expected=self.known[0])

    def kept(self) -> None:
        """What a connection pays where nothing changed: the connector keeps its rankings."""
        self.decisions.decide(self.pvds, self.ENDPOINT, None, None, "tcp", 0.0)

    def measure(self) -> None:
        self.warm_times += timed(self.warm, 100)
        self.cold_times += timed(self.cold, 50)
        self.other_times += timed(self.another, 50)
        self.kept_times += timed(self.kept, 100)

    def rows(self, connect: float) -> list[Row]:
        times = (self.warm_times, self.cold_times, self.other_times, self.kept_times)
        warm, cold, other, kept = map(median, times)
        return [
            Row(
                "rank: four PvDs, warm history, something new learnt",
                warm,
                f"{warm / connect:.1%}",
                "<= raw",
                warm <= connect,
            ),
            Row("the same, nothing new: out of the connector's cache", kept, f"{kept / connect:.1%}"),
            Row("the same, a name that is new", other, f"{other / connect:.1%}"),
            Row("the same, a snapshot that is new", cold, f"{cold / connect:.1%}"),
        ]


async def awaited(address: tuple[str, int], times: int) -> list[float]:
    """The raw connect as an asynchronous program makes it: it waits for the socket to become writable."""
    found = []
    for _ in range(times):
        start = perf_counter()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if sock.connect_ex(address):
            await anyio.wait_writable(sock)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.close()
        found.append((perf_counter() - start) * 1e6)
    return found


def serve(parent: Connection) -> None:
    """Accept and close, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        parent.send(listener.getsockname()[1])
        while True:
            listener.accept()[0].close()


def timed(function: Callable[[], None], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = perf_counter()
        function()
        times.append((perf_counter() - begin) * 1e6)
    return times


# ---------------------------------------------------------------------- a whole race, simulated

# Two PvDs, 250 ms apart; each answers AAAA and A after 20 ms, its IPv6 is a black hole, its IPv4 takes
# 300 ms. Four attempts start; the first PvD's IPv4 wins after 570 ms. On trio: an open_tcp_stream each.
DNS, HANDSHAKE, WINS_AFTER = 0.020, 0.300, 0.570
V6, V4 = "2001:db8:99::1", "198.51.100.1"


def whole_race() -> list[Row]:
    pvds = build_pvds({"wifi": pvd(), "lte": pvd()})
    endpoint = Endpoint(HOST, 443)
    ranking = rank(pvds, endpoint)
    pacing = Pacing(resolution_lead=0.0)  # trio cannot ask before it may dial
    world = World()

    def ours() -> None:
        race = Race(endpoint, ranking, pacing)
        ended = simulate(race, world)
        assert abs(ended - WINS_AFTER) < 1e-9, ended
        assert sum(type(entry) is Connect for _, entry in race.log) == 4

    our_times: list[float] = []
    trio_times: list[float] = []
    for _ in range(ROUNDS):
        our_times += timed(ours, 50)
        trio_times += trio.run(trio_races, 10, clock=trio.testing.MockClock(autojump_threshold=0))
    mine, trios = median(our_times), median(trio_times)
    return [
        Row("two-PvD race, four attempts, on trio's MockClock", trios),
        Row(
            "the same race, simulated",
            mine,
            f"{trios / mine:.1f} x",
            f">= {SIMULATION_FACTOR:.0f} x faster",
            trios >= SIMULATION_FACTOR * mine,
        ),
    ]


class World:
    """What the fake resolver and the fake sockets are to trio."""

    def lookup(self, action: Lookup) -> Sequence[tuple[float, Event]]:
        return ((DNS, LookupAnswered(action.id, (V6,) if action.type == "AAAA" else (V4,))),)

    def connect(self, action: Connect) -> Sequence[tuple[float, Event]]:
        return () if action.candidate.family == 6 else ((HANDSHAKE, Ready(action.id)),)


async def trio_races(count: int) -> list[float]:
    """Races inside one run: its start and end are not counted."""
    trio.socket.set_custom_hostname_resolver(Resolver())
    trio.socket.set_custom_socket_factory(Factory())
    times = []
    for _ in range(count):
        FakeSocket.attempts = 0
        begin, virtual = perf_counter(), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio_path, 0.0, nursery.cancel_scope)
            nursery.start_soon(trio_path, 0.25, nursery.cancel_scope)
        times.append((perf_counter() - begin) * 1e6)
        assert abs(trio.current_time() - virtual - WINS_AFTER) < 1e-9
        assert FakeSocket.attempts == 4
    return times


async def trio_path(head_start: float, race: trio.CancelScope) -> None:
    await trio.sleep(head_start)
    await trio.open_tcp_stream(HOST, 443)
    race.cancel()


class Resolver(trio.abc.HostnameResolver):
    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        await trio.sleep(DNS)
        tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(socket.AF_INET6, *tcp, (V6, port, 0, 0)), (socket.AF_INET, *tcp, (V4, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


class Factory(trio.abc.SocketFactory):
    def socket(self, family: Any = None, type: Any = None, proto: Any = None) -> FakeSocket:
        return FakeSocket(family)


class FakeSocket(trio.socket.SocketType):
    """As much of a socket as `trio.open_tcp_stream` asks of one."""

    attempts = 0

    def __init__(self, family: int) -> None:
        self._family = family

    type = socket.SOCK_STREAM

    @property
    def family(self) -> Any:
        return self._family

    async def connect(self, address: Any) -> None:
        FakeSocket.attempts += 1
        if self._family == socket.AF_INET6:
            await trio.sleep_forever()
        await trio.sleep(HANDSHAKE)

    def setsockopt(self, *args: Any) -> None:
        """A fake has no options."""

    def getpeername(self) -> Sequence[Any]:
        return ()

    def close(self) -> None:
        """A fake holds nothing."""


if __name__ == "__main__":
    sys.exit(main())
