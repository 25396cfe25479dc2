"""One DNS query on loopback, six ways, one table: microseconds, and the ratio to a raw UDP exchange.

Run it with ``python benchmarks/bench_dns.py [QUERIES]``. The server runs in a process of its own and answers
from bytes, so that it costs every client the same. Best of five means; nothing is cached. The ratio is the
hardest with both on one CPU, so that is what is measured: a wake-up of another CPU costs all the same.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import anyio
import dns._asyncio_backend
import dns._trio_backend
import dns.asyncquery
import dns.message

from pvdrace.dns import PvdResolver
from pvdrace.dns.wire import build_query
from pvdrace.model import ProvisioningDomain, Resolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dns._asyncbackend import Backend

ROUNDS = 5
NAMES = (f"host{number}.example.test" for number in itertools.count())


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    pid, port = start_server()
    pvd = ProvisioningDomain("bench", "lo", 1, resolvers=(Resolver("127.0.0.1", port),))

    async def ours() -> None:
        answer = await resolver.lookup(pvd, next(NAMES), "A")
        assert answer.addresses == ("198.51.100.1",)

    async def peer(backend: Backend) -> None:
        query = dns.message.make_query(next(NAMES), "A")
        reply = await dns.asyncquery.udp(query, "127.0.0.1", port=port, backend=backend)
        assert reply.answer[0][0].to_text() == "198.51.100.1"

    async def timed(call: Callable[[], Awaitable[None]]) -> float:
        for _ in range(50):
            await call()
        start = time.perf_counter()
        for _ in range(count):
            await call()
        return (time.perf_counter() - start) / count * 1e6

    resolver = PvdResolver(cache_size=1)
    peer_asyncio, peer_trio = dns._asyncio_backend.Backend(), dns._trio_backend.Backend()
    rows: dict[str, list[float]] = {}
    try:
        for _ in range(ROUNDS):
            rows.setdefault("raw non-blocking UDP", []).append(raw(port, count))
            rows.setdefault("ours, asyncio", []).append(anyio.run(timed, ours))
            rows.setdefault("ours, trio", []).append(anyio.run(timed, ours, backend="trio"))
            rows.setdefault("dns.asyncquery.udp, asyncio", []).append(
                anyio.run(timed, lambda: peer(peer_asyncio))
            )
            rows.setdefault("dns.asyncquery.udp, trio", []).append(
                anyio.run(timed, lambda: peer(peer_trio), backend="trio")
            )
            try:
                import uvloop
            except ImportError:
                continue
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                rows.setdefault("ours, uvloop", []).append(runner.run(timed(ours)))
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    base = min(rows["raw non-blocking UDP"])
    print(f"{'one DNS query, A':<30}{'us':>8}{'x raw':>8}")
    for name, means in rows.items():
        print(f"{name:<30}{min(means):>8.1f}{min(means) / base:>8.1f}")


def raw(port: int, count: int) -> float:
    """The floor: socket, connect, send, poll, receive, close, with ready bytes and nothing parsed."""
    message = build_query("host.example.test", "A", bytes).message
    start = time.perf_counter()
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(("127.0.0.1", port))
            sock.send(message)
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            poll.poll()
            sock.recv(4096)
    return (time.perf_counter() - start) / count * 1e6


def start_server() -> tuple[int, int]:
    """A process that answers every question with one A record."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pid = os.fork()
    if pid:
        sock.close()
        return pid, port
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\xc6\x33\x64\x01"  # TTL 0: never cached
    while True:
        query, client = sock.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        sock.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + record, client)


if __name__ == "__main__":
    main()
