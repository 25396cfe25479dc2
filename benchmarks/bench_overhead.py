"""What a connection costs on the loopback, beyond the kernel's own work.

One run, one table: median and 99th percentile of one connect and close, on asyncio, on trio and in blocking
code, for a raw non-blocking socket, the usual clients, and ours. One candidate is 127.0.0.1; two are ::1 and
127.0.0.1, both answering. The server is another process. ``--check`` exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import select
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import aiohappyeyeballs
import anyio
import trio

import pvdrace
import pvdrace.sync

Connect = Callable[[], Awaitable[None]]
BLOCKING = "blocking"


@dataclass
class Row:
    loop: str
    candidates: int
    name: str
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples) * 1e6

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.samples, n=100)[98] * 1e6


def serve(ready: Connection) -> None:
    """Accept and close, on both loopback addresses and one port."""
    six = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=4096)
    port = six.getsockname()[1]
    four = socket.create_server(("127.0.0.1", port), backlog=4096)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {0})
    ready.send(port)
    while True:
        for listener in select.select([six, four], [], [])[0]:
            listener.accept()[0].close()


def raw(port: int) -> Connect:
    async def connect() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if sock.connect_ex(("127.0.0.1", port)):
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            poll.poll()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.close()

    return connect


def ours_connect(connector: pvdrace.Connector, host: str, port: int) -> Connect:
    async def connect() -> None:
        sock, _ = await connector.connect(host, port)
        sock.close()

    return connect


def ours_open(connector: pvdrace.Connector, host: str, port: int) -> Connect:
    async def connect() -> None:
        connection = await connector.open_connection(host, port)
        await connection.aclose()

    return connect


def by_asyncio(host: str, port: int, delay: float | None) -> Connect:
    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port, happy_eyeballs_delay=delay)
        writer.close()
        await writer.wait_closed()

    return connect


def by_anyio(host: str, port: int) -> Connect:
    async def connect() -> None:
        stream = await anyio.connect_tcp(host, port)
        await stream.aclose()

    return connect


def by_trio(host: str, port: int) -> Connect:
    async def connect() -> None:
        stream = await trio.open_tcp_stream(host, port)
        await stream.aclose()

    return connect


def by_aiohappyeyeballs(port: int, addresses: int) -> Connect:
    infos = [
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)),
    ][-addresses:]

    async def connect() -> None:
        sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=0.25)
        sock.close()

    return connect


async def measure(loop: str, port: int, rounds: int) -> list[Row]:
    """Interleave the contestants, so that a slow moment of the machine hits them all."""
    async with pvdrace.Connector(pvdrace.Configuration(discover=())) as connector:
        contestants: list[tuple[int, str, Connect]] = [(1, "raw non-blocking connect", raw(port))]
        for candidates, host in ((1, "127.0.0.1"), (2, "localhost")):
            if loop == "asyncio":
                delay = None if candidates == 1 else 0.25
                contestants += [
                    (candidates, "aiohappyeyeballs", by_aiohappyeyeballs(port, candidates)),
                    (candidates, "asyncio.open_connection", by_asyncio(host, port, delay)),
                ]
            else:
                contestants.append((candidates, "trio.open_tcp_stream", by_trio(host, port)))
            contestants += [
                (candidates, "anyio.connect_tcp", by_anyio(host, port)),
                (candidates, "pvdrace connect", ours_connect(connector, host, port)),
                (candidates, "pvdrace open_connection", ours_open(connector, host, port)),
            ]
        rows = [Row(loop, candidates, name, []) for candidates, name, _ in contestants]
        for _, _, connect in contestants:
            for _ in range(50):
                await connect()
        batch = 25
        for _ in range(rounds // batch):
            for row, (_, _, connect) in zip(rows, contestants, strict=True):
                for _ in range(batch):
                    start = time.perf_counter()
                    await connect()
                    row.samples.append(time.perf_counter() - start)
        return rows


def measure_blocking(port: int, rounds: int) -> list[Row]:
    """The same without an event loop."""

    def by_socket(host: str) -> Callable[[], socket.socket]:
        return lambda: socket.create_connection((host, port))

    with pvdrace.sync.Connector(pvdrace.Configuration(discover=())) as connector:

        def ours(host: str) -> Callable[[], socket.socket]:
            return lambda: connector.connect(host, port)[0]

        def provisional(host: str) -> Callable[[], socket.socket]:
            return lambda: connector.begin(host, port).settle()[0]

        contestants: list[tuple[int, str, Callable[[], socket.socket]]] = []
        for candidates, host in ((1, "127.0.0.1"), (2, "localhost")):
            contestants += [
                (candidates, "socket.create_connection", by_socket(host)),
                (candidates, "pvdrace.sync connect", ours(host)),
                (candidates, "pvdrace.sync begin, settle", provisional(host)),
            ]
        rows = [Row(BLOCKING, candidates, name, []) for candidates, name, _ in contestants]
        batch = 25
        for _ in range(rounds // batch):
            for row, (_, _, connect) in zip(rows, contestants, strict=True):
                for _ in range(batch):
                    start = time.perf_counter()
                    connect().close()
                    row.samples.append(time.perf_counter() - start)
        return rows


def show(rows: list[Row]) -> None:
    print(f"{'loop':8} {'candidates':>10}  {'':26} {'median us':>10} {'p99 us':>8} {'x raw':>6}")
    for row in rows:
        base = find(rows, "asyncio", 1, "raw") if row.loop == BLOCKING else find(rows, row.loop, 1, "raw")
        figures = f"{row.median:10.1f} {row.p99:8.1f} {row.median / base.median:6.2f}"
        print(f"{row.loop:8} {row.candidates:>10}  {row.name:26} {figures}")


def find(rows: list[Row], loop: str, candidates: int, name: str) -> Row:
    return next(r for r in rows if (r.loop, r.candidates) == (loop, candidates) and r.name.startswith(name))


def check(rows: list[Row]) -> bool:
    """The targets: ratios between rows of this run."""
    good = True
    for candidates in (1, 2):
        pairs = [
            ("asyncio", "pvdrace connect", "aiohappyeyeballs", 1.0),
            ("asyncio", "pvdrace open_connection", "anyio.connect_tcp", 0.6),
            ("trio", "pvdrace open_connection", "trio.open_tcp_stream", 0.6),
        ]
        for loop, ours, theirs, limit in pairs:
            ratio = find(rows, loop, candidates, ours).median / find(rows, loop, candidates, theirs).median
            verdict = "ok" if ratio <= limit else "MISSED"
            good = good and ratio <= limit
            what = f"{candidates} candidate(s), {loop}: {ours} / {theirs}"
            print(f"{verdict:7} {what} = {ratio:.2f} (at most {limit})")
        ratio = find(rows, BLOCKING, candidates, "pvdrace.sync connect").median
        ratio /= find(rows, "asyncio", candidates, "pvdrace connect").median
        good = good and ratio <= 1.0
        verdict = "ok" if ratio <= 1.0 else "MISSED"
        print(
            f"{verdict:7} {candidates} candidate(s): blocking / asyncio, pvdrace = {ratio:.2f} (at most 1.0)"
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    with contextlib.suppress(OSError, IndexError):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[1]})
    port = here.recv()
    rows: list[Row] = []
    for loop in ("asyncio", "trio"):
        print(f"measuring on {loop} ...", file=sys.stderr)
        rows += anyio.run(measure, loop, port, options.rounds, backend=loop)
    print("measuring blocking code ...", file=sys.stderr)
    rows += measure_blocking(port, options.rounds)
    server.terminate()
    server.join()
    show(rows)
    good = check(rows)
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
