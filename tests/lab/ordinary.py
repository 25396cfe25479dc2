"""What the ordinary stack does: a program of its own, run inside the lab as the control of a test.

``python ordinary.py '{"how": "asyncio", "host": ..., "port": ..., "limit": ..., ...}'`` prints one JSON
object: the server's word (which provider it was reached through), or the error, and the seconds it took.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
from typing import Any


def main() -> None:
    options = json.loads(sys.argv[1])
    how = {"blocking": blocking, "asyncio": with_asyncio}[options.pop("how")]
    began = time.perf_counter()
    outcome: dict[str, Any] = {"word": None, "error": None}
    try:
        outcome["word"] = how(**options)
    except (OSError, asyncio.IncompleteReadError) as error:
        outcome["error"] = type(error).__name__
    outcome["seconds"] = time.perf_counter() - began
    sys.stdout.write(json.dumps(outcome))


def blocking(
    host: str, port: int, limit: float, tls: bool, source: str | None, device: str | None, eyeballs: bool
) -> str:
    """`socket.create_connection`, or a socket that is bound to a device and nothing else."""
    if device is None:
        sock = socket.create_connection((host, port), limit, (source, 0) if source else None)
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.settimeout(limit)
        sock.connect((host, port))
    with sock:
        if tls:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        with sock:
            return sock.recv(64).decode().strip()


def with_asyncio(
    host: str, port: int, limit: float, tls: bool, source: str | None, device: str | None, eyeballs: bool
) -> str:
    """`asyncio.open_connection`, with Happy Eyeballs where asked for."""

    async def talk() -> str:
        reader, writer = await asyncio.open_connection(
            host,
            port,
            ssl=ssl.create_default_context() if tls else None,
            happy_eyeballs_delay=0.25 if eyeballs else None,
        )
        word = await reader.readline()
        writer.close()
        return word.decode().strip()

    return asyncio.run(asyncio.wait_for(talk(), limit))


if __name__ == "__main__":
    main()
