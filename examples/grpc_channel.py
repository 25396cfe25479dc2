"""A gRPC channel by way of the proxy, which looks the name up and races: grpcio takes no socket.

    pvdrace proxy &
    python examples/grpc_channel.py www.example.com:443

It asks the server's health service (grpc.health.v1), of which most servers have one.
"""

import argparse
import asyncio

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]

SERVING = b"\x08\x01"  # HealthCheckResponse, status = SERVING


async def main(target: str, proxy: str) -> None:
    """The channel option says which proxy; TLS is the channel's own, through it."""
    options = [("grpc.http_proxy", proxy)]
    async with grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer: bytes = await check(b"", timeout=10)
        print("serving" if answer == SERVING else f"not serving: {answer!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--proxy", default="http://127.0.0.1:1080")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.target, arguments.proxy))
    except grpc.aio.AioRpcError as error:
        raise SystemExit(f"{error.code().name}: {error.details()}") from None
