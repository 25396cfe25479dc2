"""One client of `bench_regret`, to be run inside the lab: ten connections in a row, name to verified TLS.

Usage: regret_clients.py CLIENT BACKEND HOST PORT ROUNDS LIMIT CONFIG. CLIENT is ``pvdrace``, ``only:NAME``
(the same, in one PvD) or ``default`` (asyncio.open_connection). Prints JSON: a list of rounds, each a list
of ``[seconds, PvD or null, error or null]``. A round has a connector of its own: nothing is known before.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time

import anyio

import pvdrace

CONNECTIONS = 10


async def ours(host: str, port: int, limit: float, config: str, only: str | None) -> list[object]:
    policy = pvdrace.Policy(require=[f"pvd:{only}"]) if only else None
    context = ssl.create_default_context()
    results: list[object] = []
    async with pvdrace.Connector(config, policy=policy) as connector:
        for _ in range(CONNECTIONS):
            start = time.perf_counter()
            try:
                connection = await connector.open_connection(host, port, tls=context, timeout=limit)
            except pvdrace.PvdRaceError as error:
                results.append([time.perf_counter() - start, None, str(error)[:200]])
                if only:
                    break  # a path that fails once is no oracle
                continue
            elapsed = time.perf_counter() - start
            assert connection.report.winner is not None
            results.append([elapsed, connection.report.winner.pvd, None])
            await connection.aclose()
    return results


async def by_default_route(host: str, port: int, limit: float) -> list[object]:
    context = ssl.create_default_context()
    results: list[object] = []
    for _ in range(CONNECTIONS):
        start = time.perf_counter()
        try:
            async with asyncio.timeout(limit):
                _, writer = await asyncio.open_connection(host, port, ssl=context, happy_eyeballs_delay=0.25)
        except (OSError, TimeoutError) as error:
            results.append([time.perf_counter() - start, None, f"{type(error).__name__}: {error}"[:200]])
            return results  # it learns nothing: the other nine are the same
        results.append([time.perf_counter() - start, None, None])
        writer.transport.abort()
    return results


async def main(client: str, host: str, port: int, rounds: int, limit: float, config: str) -> None:
    found = []
    for _ in range(rounds):
        if client == "default":
            found.append(await by_default_route(host, port, limit))
        else:
            found.append(await ours(host, port, limit, config, client.partition(":")[2] or None))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    client, backend, host, port, rounds, limit, config = sys.argv[1:]
    anyio.run(main, client, host, int(port), int(rounds), float(limit), config, backend=backend)
    os._exit(0)  # a silent name server keeps a thread of the C library busy for seconds: do not wait
