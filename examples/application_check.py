"""Let the application say what a winner is: here, a server that answers a request with 200.

    python examples/application_check.py www.example.com 80

A path whose check fails has lost, and the race goes on in the next PvD: the redirect of a captive portal is
no 200.
"""

import argparse

import anyio
from anyio.abc import ByteStream

import pvdrace


async def main(host: str, port: int) -> None:
    """Race for a stream on which a request has been answered."""

    async def answers(stream: ByteStream) -> bool:
        await stream.send(f"HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return (await stream.receive()).startswith(b"HTTP/1.1 200")

    async with await pvdrace.open_connection(host, port, ready=answers, timeout=10) as connection:
        print(f"decided by {connection.report.ready}")
        print(connection.report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, backend=arguments.backend)
