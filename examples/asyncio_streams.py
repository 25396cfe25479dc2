"""A program on asyncio streams: one import changed, and the race is in it.

Run it: python examples/asyncio_streams.py www.example.com 443
"""

import argparse
import asyncio
import ssl

from pvdrace.integrations.asyncio import open_connection


async def main(host: str, port: int) -> None:
    """As with `asyncio.open_connection`, and the report is the writer's extra information."""
    context = ssl.create_default_context()  # ssl=True is the same without the next line
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await open_connection(host, port, ssl=context, timeout=10)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    print(answer.split(b"\r\n")[0].decode())
    print(writer.get_extra_info("pvdrace.report"))
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.host, arguments.port))
