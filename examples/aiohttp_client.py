"""aiohttp over several networks: one argument changed, and the race is in it.

Run it: python examples/aiohttp_client.py https://www.example.com/
"""

import argparse
import asyncio
from types import SimpleNamespace

import aiohttp

import pvdrace
from pvdrace.integrations.aiohttp import PvdConnector, trace_config


async def show(session: aiohttp.ClientSession, context: SimpleNamespace, report: pvdrace.RaceReport) -> None:
    """aiohttp calls this for each connection that a request gets."""
    print(report)


async def main(url: str, full: bool) -> None:
    """As with any session; ``race="full"`` has TLS in the race."""
    connector = PvdConnector(race="full" if full else "public")
    timeout = aiohttp.ClientTimeout(connect=10)
    async with (
        aiohttp.ClientSession(
            connector=connector, timeout=timeout, trace_configs=[trace_config(show)]
        ) as session,
        session.get(url) as response,
    ):
        print(response.status, response.reason)
        await response.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--full", action="store_true", help="with TLS in the race")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, arguments.full))
