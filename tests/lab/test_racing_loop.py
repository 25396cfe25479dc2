"""The loop that races, for asyncpg, where it matters. The lab's server only says who it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lab.racing import opened, policy, sent, trusting
from pvdrace.integrations.asyncpg import RacingLoop
from pvdrace.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.asyncio]


async def word(lab: Lab, **options: Any) -> str:
    """Through which provider the server saw a TLS connection come."""
    async with opened(lab) as connector:
        loop: Any = RacingLoop(connector=connector, timeout=10, **options)
        reader = asyncio.StreamReader()
        transport, _ = await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader), lab.name, 443, ssl=trusting(lab)
        )
        said = await asyncio.wait_for(reader.readline(), 5)
        transport.abort()
        await asyncio.sleep(0)
    return said.decode().strip()


@pytest.mark.parametrize("fault", ["blackhole", "portal", "stall"])
async def test_what_is_wrong_with_the_default_link_is_survived(t2: Lab, fault: str) -> None:
    getattr(t2["wA"], fault)()
    assert await word(t2) == "wB"


async def test_require_sends_nothing_elsewhere(t2: Lab) -> None:
    assert await word(t2, policy=policy(require="pvd:wB")) == "wB"
    assert sent(t2["wA"]) == []
