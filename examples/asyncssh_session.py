"""A command by asyncssh, over the socket that won a race, or over a tunnel that races.

Run it: python examples/asyncssh_session.py www.example.com uptime [--tunnel]
"""

import argparse
import asyncio

import asyncssh

import pvdrace
from pvdrace.integrations.asyncpg import RacingLoop


async def by_sock(host: str, port: int, command: str) -> None:
    """asyncssh takes a connected socket; the name stays, for the host key."""
    sock, report = await pvdrace.connect(host, port, timeout=10)
    print(report)
    async with asyncssh.connect(host, port, sock=sock) as session:
        print((await session.run(command)).stdout)


async def by_tunnel(host: str, port: int, command: str) -> None:
    """Here asyncssh itself says what to connect to: names and ports of its configuration hold."""
    tunnel = RacingLoop(timeout=10)
    async with asyncssh.connect(host, port, tunnel=tunnel) as session:
        print(tunnel.report)
        print((await session.run(command)).stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("command")
    parser.add_argument("--port", type=int, default=22)
    parser.add_argument("--tunnel", action="store_true")
    arguments = parser.parse_args()
    how = by_tunnel if arguments.tunnel else by_sock
    try:
        asyncio.run(how(arguments.host, arguments.port, arguments.command))
    except (OSError, pvdrace.PvdRaceError, asyncssh.Error) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
