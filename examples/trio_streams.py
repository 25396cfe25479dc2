"""trio's streams over the first PvD whose server has the right certificate.

Run it: python examples/trio_streams.py www.example.com 443
"""

from __future__ import annotations

import argparse
import ssl

import trio

from pvdrace.integrations.trio import open_ssl_over_tcp_stream, report


async def main(host: str, port: int) -> None:
    """Ask a web server, and tell how the race went."""
    context = ssl.create_default_context()  # None is the same without the next line
    context.set_alpn_protocols(["http/1.1"])
    stream = await open_ssl_over_tcp_stream(
        host, port, ssl_context=context, https_compatible=True, timeout=10
    )
    async with stream:
        await stream.send_all(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await stream.receive_some()
    print(answer.decode().splitlines()[0])
    print(report(stream))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    trio.run(main, arguments.host, arguments.port)
