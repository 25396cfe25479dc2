"""One client of `bench_lab`, to be run inside the lab: name to verified TLS, timed, and printed as JSON.

Usage: lab_clients.py CLIENT HOST PORT RUNS LIMIT TOGETHER. Each result is ``[seconds, error or null]``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohappyeyeballs
import anyio
import trio

import pvdrace

Once = Callable[[str, int, ssl.SSLContext], Awaitable[None]]


async def asyncio_happy(host: str, port: int, context: ssl.SSLContext) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=context, happy_eyeballs_delay=0.25)
    writer.transport.abort()


async def asyncio_plain(host: str, port: int, context: ssl.SSLContext) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.transport.abort()


async def by_aiohappyeyeballs(host: str, port: int, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=0.25)
    _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
    writer.transport.abort()


async def by_anyio(host: str, port: int, context: ssl.SSLContext) -> None:
    stream = await anyio.connect_tcp(host, port, ssl_context=context)
    await anyio.aclose_forcefully(stream)


async def by_trio(host: str, port: int, context: ssl.SSLContext) -> None:
    stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)
    await stream.do_handshake()
    await trio.aclose_forcefully(stream)


async def by_pvdrace(host: str, port: int, context: ssl.SSLContext, *, only: str | None = None) -> float:
    """A connector of its own for each run: nothing learnt, nothing cached."""
    policy = pvdrace.Policy(require=[f"pvd:{only}"]) if only else None
    async with pvdrace.Connector(sys.argv[7], policy=policy) as connector:
        start = time.perf_counter()
        connection = await connector.open_connection(host, port, tls=context)
        elapsed = time.perf_counter() - start
        await anyio.aclose_forcefully(connection)
        return elapsed


CLIENTS: dict[str, tuple[str, Callable[..., Awaitable[float | None]]]] = {
    "asyncio, happy_eyeballs_delay=.25": ("asyncio", asyncio_happy),
    "asyncio plain": ("asyncio", asyncio_plain),
    "aiohappyeyeballs": ("asyncio", by_aiohappyeyeballs),
    "anyio.connect_tcp": ("asyncio", by_anyio),
    "trio.open_ssl_over_tcp_stream": ("trio", by_trio),
    "pvdrace on asyncio": ("asyncio", by_pvdrace),
    "pvdrace on trio": ("trio", by_pvdrace),
    "(pvdrace, require wifi)": ("asyncio", partial(by_pvdrace, only="wifi")),
}


async def one(client: Callable[..., Awaitable[float | None]], host: str, port: int, limit: float) -> object:
    context = ssl.create_default_context()
    start = time.perf_counter()
    try:
        with anyio.fail_after(limit):
            own = await client(host, port, context)
    except TimeoutError:
        return [time.perf_counter() - start, "limit"]
    except Exception as error:
        return [time.perf_counter() - start, f"{type(error).__name__}: {error}"[:80]]
    return [time.perf_counter() - start if own is None else own, None]


async def main(name: str, host: str, port: int, runs: int, limit: float, together: bool) -> None:
    client = CLIENTS[name][1]
    results: list[object] = []
    if together:

        async def task() -> None:
            results.append(await one(client, host, port, limit))

        async with anyio.create_task_group() as tasks:
            for _ in range(runs):
                tasks.start_soon(task)
    else:
        if runs > 1:
            await one(client, host, port, limit)  # imports and first calls are not the network's
        results = [await one(client, host, port, limit) for _ in range(runs)]
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    name, host, port, runs, limit, together = sys.argv[1:7]
    anyio.run(main, name, host, int(port), int(runs), float(limit), together == "1", backend=CLIENTS[name][0])
    os._exit(0)  # a silent name server keeps a thread of the C library busy for seconds: do not wait
