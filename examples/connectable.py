"""An anyio connectable that races, for whatever takes one.

Run it: python examples/connectable.py www.example.com 443 [--backend trio]
"""

from __future__ import annotations

import argparse
import ssl

import anyio
from anyio.abc import ByteStreamConnectable
from anyio.streams.buffered import BufferedByteReceiveStream

from pvdrace.integrations.anyio import PvdConnectable


async def first_line(remote: ByteStreamConnectable, host: str) -> str:
    """Knows nothing of pvdrace: the first line of what a web server answers."""
    async with await remote.connect() as stream:
        await stream.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return (await BufferedByteReceiveStream(stream).receive_until(b"\r\n", 4096)).decode()


async def main(host: str, port: int) -> None:
    """Ask by way of the first PvD that works."""
    context = ssl.create_default_context()  # tls=True is the same without the next line
    context.set_alpn_protocols(["http/1.1"])
    try:
        print(await first_line(PvdConnectable(host, port, tls=context, timeout=10), host))
    except anyio.ConnectionFailed as error:
        raise SystemExit(f"ConnectionFailed: {error}") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, backend=arguments.backend)
