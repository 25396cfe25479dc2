"""A WebSocket over the first PvD that works, made anew as often as it breaks.

Run it: python examples/websocket.py wss://www.example.com/ [CA-FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import Any

from websockets.exceptions import InvalidHandshake

from pvdrace.integrations.websockets import connect


async def main(uri: str, ca_file: str | None) -> None:
    """Say hello, print the answer and how the connection came about."""
    options: dict[str, Any] = {"ssl": ssl.create_default_context(cafile=ca_file)} if ca_file else {}
    async with connect(uri, **options) as websocket:
        print(websocket.report)  # type: ignore[attr-defined]
        await websocket.send("hello")
        print(await websocket.recv())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("uri")
    parser.add_argument("ca_file", nargs="?", help="trust only this authority")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.uri, arguments.ca_file))
    except (OSError, InvalidHandshake) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
