"""PostgreSQL by asyncpg, which takes a loop and no socket: a loop whose connections are races.

Run it: python examples/asyncpg_query.py 'postgresql://user@db.example.com/db' 'SELECT 1'
"""

import asyncio
import sys

import asyncpg  # type: ignore[import-untyped]

from pvdrace.integrations.asyncpg import RacingLoop


async def main(dsn: str, query: str) -> None:
    """One value, and how the connection came about. `asyncpg.create_pool` takes the loop as well."""
    loop = RacingLoop(timeout=10)
    connection = await asyncpg.connect(dsn, loop=loop)
    print(loop.report)
    try:
        print(await connection.fetchval(query))
    finally:
        await connection.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2]))
    except (OSError, asyncpg.PostgresError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
