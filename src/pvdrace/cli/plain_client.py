"""What a program does without pvdrace: one `asyncio.open_connection`, timed.

A script of its own that prints JSON.
Arguments: host, port, file of authorities, seconds until it gives up, happy_eyeballs_delay or nothing.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time


async def main(host: str, port: str, ca_file: str, limit: str, delay: str = "") -> None:
    """Connect, and say how long it took or what was wrong."""
    context = ssl.create_default_context(cafile=ca_file)
    options = {"happy_eyeballs_delay": float(delay)} if delay else {}
    error: str | None = None
    started = time.perf_counter()
    try:
        async with asyncio.timeout(float(limit)):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context, **options)  # type: ignore[arg-type]
            writer.transport.abort()
    except TimeoutError:
        error = f"gave up after {float(limit):g} s"
    except ssl.SSLCertVerificationError:
        error = "wrong certificate"
    except OSError as failure:
        error = failure.strerror or str(failure)
    sys.stdout.write(json.dumps({"elapsed": time.perf_counter() - started, "error": error}))
    sys.stdout.flush()
    # A lookup that still hangs in its thread must not hold up the exit.
    import os

    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
