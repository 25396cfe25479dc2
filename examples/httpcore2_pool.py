"""A connection pool of httpcore2 by a racing network backend, and a policy that changes under way.

Run it: python examples/httpcore2_pool.py https://www.example.com/ [--backend trio]
"""

import argparse
import ssl

import anyio
import httpcore2

import pvdrace
from pvdrace.integrations.httpx2 import AsyncPvdNetworkBackend


async def main(url: str) -> None:
    """Ask; then ask again, not by that PvD any more."""
    backend = AsyncPvdNetworkBackend()
    async with httpcore2.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(), network_backend=backend
    ) as pool:
        winner = await ask(pool, url)
        backend.policy = pvdrace.Policy(prohibit=[f"pvd:{winner}"])
        await backend.prune(pool)  # closes what is forbidden now; httpx2's transport does it by itself
        await ask(pool, url)


async def ask(pool: httpcore2.AsyncConnectionPool, url: str) -> str:
    """One request; the PvD of its connection."""
    response = await pool.request("GET", url, extensions={"timeout": {"connect": 10.0, "read": 10.0}})
    report: pvdrace.RaceReport = response.extensions["network_stream"].get_extra_info("pvdrace.report")
    winner = report.winner
    assert winner is not None  # a lost race raises
    print(response.status, response.content.decode().strip(), "through", winner.pvd)
    return winner.pvd


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--backend", default="asyncio")
    arguments = parser.parse_args()
    try:
        anyio.run(main, arguments.url, backend=arguments.backend)
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
