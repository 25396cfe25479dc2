"""What a program does without pvdrace: one `asyncio.open_connection`, timed.

A script of its own that prints JSON.
Arguments: host, port, file of authorities, seconds until it gives up, happy_eyeballs_delay or nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time

#: The median of so many, but what takes long, in seconds, is tried once.
REPEATS = 3
LONG = 1.0


async def main(host: str, port: str, ca_file: str, limit: str, delay: str = "") -> None:
    """Connect, and print how long it took or what was wrong."""
    runs: list[tuple[float, str | None]] = []
    while len(runs) < REPEATS:
        runs.append(await connect(host, int(port), ca_file, float(limit), float(delay) if delay else None))
        if runs[-1][0] > LONG or runs[-1][1]:
            break
    elapsed, error = sorted(runs)[len(runs) // 2] if all(e is None for _, e in runs) else runs[-1]
    sys.stdout.write(json.dumps({"elapsed": elapsed, "error": error}))
    sys.stdout.flush()
    os._exit(0)  # a lookup that still hangs in its thread must not hold up the exit


async def connect(
    host: str, port: int, ca_file: str, limit: float, delay: float | None
) -> tuple[float, str | None]:
    """One connection: seconds, and what was wrong."""
    context = ssl.create_default_context(cafile=ca_file)
    error: str | None = None
    started = time.perf_counter()
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(host, port, ssl=context, happy_eyeballs_delay=delay)
            writer.transport.abort()
    except TimeoutError:
        error = f"gave up after {limit:g} s"
    except ssl.SSLCertVerificationError:
        error = "wrong certificate"
    except OSError as failure:
        error = failure.strerror or str(failure)
    return time.perf_counter() - started, error


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
