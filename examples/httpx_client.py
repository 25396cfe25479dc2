"""httpx over races: the blocking client and the asynchronous one. httpx2 has the same names.

Run it: python examples/httpx_client.py https://www.example.com/
"""

import argparse
import sys

import anyio
import httpx

import pvdrace
from pvdrace.integrations.httpx import AsyncPvdTransport, PvdTransport


def show(response: httpx.Response) -> None:
    """What came, and the PvD of the connection that it came by."""
    report: pvdrace.RaceReport = response.extensions["network_stream"].get_extra_info("pvdrace.report")
    print(response.status_code, response.text.strip(), "through", report.winner and report.winner.pvd)


def blocking(url: str) -> None:
    """One argument more than without."""
    with httpx.Client(transport=PvdTransport(), timeout=10) as client:
        show(client.get(url))


async def asynchronous(url: str) -> None:
    """The same, on asyncio or trio."""
    async with httpx.AsyncClient(transport=AsyncPvdTransport(), timeout=10) as client:
        show(await client.get(url))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--backend", default="asyncio")
    arguments = parser.parse_args()
    try:
        blocking(arguments.url)
        anyio.run(asynchronous, arguments.url, backend=arguments.backend)
    except httpx.TransportError as error:
        print(pvdrace.report_of(error) or error, file=sys.stderr)
        raise SystemExit(f"{type(error).__name__}: {error}") from None
