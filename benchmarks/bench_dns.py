"""One DNS query on loopback, several ways, one table: median and 99th percentile, and the ratio to a raw one.

The server runs in a process of its own and answers from bytes, so that it costs every client the same;
nothing is cached, and the ways take turns. The ratio is the hardest with both on one CPU, so that is what is
measured: a wake-up of another CPU costs all the same. Below the table: what dnspython's codec takes without
any socket, and what its import adds to what pvdrace loads anyway. ``--check`` exits with 1 if a target of the
project is missed: on asyncio and on trio, the median at most 7 x the raw exchange's, and below that of
``dns.asyncquery.udp``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import dns._asyncio_backend
import dns._trio_backend
import dns.asyncquery
import dns.message
import uvloop
from dns._asyncbackend import Backend

from pvdrace.dns import PvdResolver
from pvdrace.dns.wire import build_query
from pvdrace.model import ProvisioningDomain, Resolver

AT_MOST = 7.0
"""A query of ours, in raw exchanges."""

ROUNDS = 5
WARM_UP = 50
RAW = "raw non-blocking UDP"
RECORD = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\xc6\x33\x64\x01"  # TTL 0: never cached
NAMES = (f"host{number}.example.test" for number in itertools.count())

Query = Callable[[], Awaitable[None]]


@dataclass
class Row:
    name: str
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples) * 1e6

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.samples, n=100)[98] * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("queries", nargs="?", type=int, default=1000, help="in each of five rounds")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    options = parser.parse_args()
    pid, port = start_server()
    try:
        rows = measure(port, options.queries)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    show(rows)
    print(f"\ndnspython's codec alone, a query and its reply: {codec(options.queries):.0f} us (median)")
    print(f"dnspython's import, after pvdrace's own: {import_time() * 1e3:.0f} ms (median of five)")
    good = check(rows)
    return 0 if good or not options.check else 1


def measure(port: int, count: int) -> list[Row]:
    """All ways in turn, so that a busy moment of the machine is everybody's."""
    pvd = ProvisioningDomain("bench", "lo", 1, resolvers=(Resolver("127.0.0.1", port),))
    resolver = PvdResolver(cache_size=1)
    on_asyncio, on_trio = dns._asyncio_backend.Backend(), dns._trio_backend.Backend()

    async def ours() -> None:
        answer = await resolver.lookup(pvd, next(NAMES), "A")
        assert answer.addresses == ("198.51.100.1",)

    async def theirs(backend: Backend) -> None:
        query = dns.message.make_query(next(NAMES), "A")
        reply = await dns.asyncquery.udp(query, "127.0.0.1", port=port, backend=backend)
        assert reply.answer[0][0].to_text() == "198.51.100.1"

    async def timed(query: Query) -> list[float]:
        for _ in range(WARM_UP):
            await query()
        samples = []
        for _ in range(count):
            start = time.perf_counter()
            await query()
            samples.append(time.perf_counter() - start)
        return samples

    def by_uvloop() -> list[float]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(timed(ours))

    contestants: list[tuple[str, Callable[[], list[float]]]] = [
        (RAW, lambda: raw(port, count)),
        ("ours, asyncio", lambda: anyio.run(timed, ours)),
        ("ours, uvloop", by_uvloop),
        ("ours, trio", lambda: anyio.run(timed, ours, backend="trio")),
        ("dns.asyncquery.udp, asyncio", lambda: anyio.run(timed, lambda: theirs(on_asyncio))),
        ("dns.asyncquery.udp, trio", lambda: anyio.run(timed, lambda: theirs(on_trio), backend="trio")),
    ]
    rows = [Row(name) for name, _ in contestants]
    for _ in range(ROUNDS):
        for row, (_, run) in zip(rows, contestants, strict=True):
            row.samples += run()
    return rows


def raw(port: int, count: int) -> list[float]:
    """The floor: socket, connect, send, poll, receive, close, with ready bytes and nothing parsed."""
    message = build_query("host.example.test", "A", bytes).message
    samples = []
    for _ in range(count):
        start = time.perf_counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(("127.0.0.1", port))
            sock.send(message)
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            poll.poll()
            sock.recv(4096)
        samples.append(time.perf_counter() - start)
    return samples


def codec(count: int) -> float:
    """The median of making a query and reading its reply by dnspython, in microseconds."""
    samples = []
    for _ in range(count):
        name = next(NAMES)
        start = time.perf_counter()
        query = dns.message.make_query(name, "A")
        wire = query.to_wire()
        encoded = time.perf_counter() - start
        reply = answer(wire)
        start = time.perf_counter()
        assert query.is_response(dns.message.from_wire(reply))
        samples.append(encoded + time.perf_counter() - start)
    return statistics.median(samples) * 1e6


def import_time() -> float:
    """Seconds."""
    code = (
        "import time, pvdrace.connector; start = time.perf_counter(); import dns.message;"
        "print(time.perf_counter() - start)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)


def show(rows: list[Row]) -> None:
    base = find(rows, RAW).median
    print(f"{'one DNS query, A':<30}{'median us':>10}{'p99 us':>9}{'x raw':>7}")
    for row in rows:
        print(f"{row.name:<30}{row.median:>10.1f}{row.p99:>9.1f}{row.median / base:>7.2f}")


def find(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


def check(rows: list[Row]) -> bool:
    """The targets: ratios between medians of this run."""
    good = True
    for loop in ("asyncio", "trio"):
        ours = find(rows, f"ours, {loop}").median
        for name, limit in ((RAW, AT_MOST), (f"dns.asyncquery.udp, {loop}", 1.0)):
            ratio = ours / find(rows, name).median
            reached = ratio < limit or ratio == limit == AT_MOST
            good = good and reached
            bound = "at most" if limit == AT_MOST else "below"
            print(
                f"{'ok' if reached else 'MISSED':7} ours, {loop} / {name} = {ratio:.2f} ({bound} {limit:g})"
            )
    return good


def start_server() -> tuple[int, int]:
    """A process that answers every question with one A record; both on one CPU."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pid = os.fork()
    if pid:
        sock.close()
        return pid, port
    while True:
        query, client = sock.recvfrom(4096)
        sock.sendto(answer(query), client)


def answer(query: bytes) -> bytes:
    """The reply to a query, cut out of it."""
    end = query.index(b"\0", 12) + 5
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + RECORD


if __name__ == "__main__":
    sys.exit(main())
