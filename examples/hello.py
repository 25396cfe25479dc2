"""A request over the first path that works, with TLS and the report of the race.

Run it: python examples/hello.py www.example.com 443
"""

import argparse
import ssl

import anyio

import pvdrace


async def main(host: str, port: int) -> None:
    """Race for a verified TLS stream, say hello, print the answer's first line and the timeline."""
    context = ssl.create_default_context()  # tls=True is the same without the next line
    context.set_alpn_protocols(["http/1.1"])
    async with await pvdrace.open_connection(host, port, tls=context, timeout=10) as connection:
        await connection.send(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await connection.receive()
    print(answer.split(b"\r\n")[0].decode())
    print(connection.report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(main, arguments.host, arguments.port, backend=arguments.backend)
