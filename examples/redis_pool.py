"""A Redis client whose connections are won in races, TLS included with a rediss:// URL.

Run it: python examples/redis_pool.py redis://cache.example.com/
"""

from __future__ import annotations

import argparse
import asyncio

import redis.asyncio

import pvdrace
from pvdrace.integrations.redis import AsyncPvdConnectionPool


async def main(url: str) -> None:
    """Set a key and read it again."""
    pool = AsyncPvdConnectionPool.from_url(url, decode_responses=True, socket_connect_timeout=5)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        await client.set("greeting", "hello")
        print(await client.get("greeting"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    try:
        asyncio.run(main(parser.parse_args().url))
    except redis.exceptions.RedisError as error:
        report = pvdrace.report_of(error)
        why = f" ({report.summary()})" if report else ""
        raise SystemExit(f"{type(error).__name__}: {error}{why}") from None
