"""An httpx2 client that races: one argument more, and the report is with each response.

Run it: python examples/httpx2_client.py https://www.example.com/ [--prohibit SELECTOR] [--backend trio]
"""

import argparse

import anyio
import httpx2

import pvdrace
from pvdrace.integrations.httpx2 import AsyncPvdTransport


async def main(url: str, prohibit: list[str]) -> None:
    """Ask twice: the second request uses the connection of the first."""
    transport = AsyncPvdTransport(policy=pvdrace.Policy(prohibit=prohibit))
    async with httpx2.AsyncClient(transport=transport, timeout=10) as client:
        try:
            for _ in range(2):
                response = await client.get(url)
                print(response.status_code, response.text.strip())
        except httpx2.ConnectError as error:
            raise SystemExit(f"ConnectError: {error}") from None
        print(response.extensions["network_stream"].get_extra_info("pvdrace.report"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--prohibit", metavar="SELECTOR", action="append", default=[])
    parser.add_argument("--backend", default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.url, arguments.prohibit, backend=arguments.backend)
