"""A session of niquests whose connections are races; in an environment without requests and urllib3.

Run it: python examples/niquests_session.py https://www.example.com/
"""

import argparse
import asyncio
from urllib.parse import urlsplit

import niquests

from pvdrace.integrations.niquests import AsyncPvdResolver, PvdResolver


def blocking(url: str, host: str, port: int, ca_file: str | None) -> None:
    """The resolver makes the connections, and knows what their races were like."""
    resolver = PvdResolver()
    with niquests.Session(resolver=resolver) as session:
        response = session.get(url, timeout=(10, 30), verify=ca_file or True)
        print(response.status_code, str(response.text).strip())
        print(resolver.report(host, port))


async def asynchronous(url: str, host: str, port: int, ca_file: str | None) -> None:
    """The same on asyncio."""
    resolver = AsyncPvdResolver()
    async with niquests.AsyncSession(resolver=resolver) as session:
        response = await session.get(url, timeout=(10, 30), verify=ca_file or True)
        print(response.status_code, str(response.text).strip())
        print(resolver.report(host, port))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--ca-file", help="trust only this authority")
    parser.add_argument("--asynchronous", action="store_true")
    arguments = parser.parse_args()
    parts = urlsplit(arguments.url)
    asked = (arguments.url, str(parts.hostname), parts.port or 443, arguments.ca_file)
    if arguments.asynchronous:
        asyncio.run(asynchronous(*asked))
    else:
        blocking(*asked)
