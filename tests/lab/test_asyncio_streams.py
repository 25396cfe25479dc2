"""The drop-in for asyncio where it matters: several links, a portal in front. asyncio's alone."""

from __future__ import annotations

import asyncio

import pytest

import pvdrace
from lab.racing import opened, ordinary, policy, trusting
from pvdrace.integrations.asyncio import create_connection, open_connection
from pvdrace.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.asyncio]


@pytest.mark.row("1.3")
async def test_behind_a_portal_tls_fails_and_the_race_goes_on(t2: Lab) -> None:
    """HEv3 s6.1: the portal completes TCP and shows its own certificate; the next PvD has the right one."""
    t2["wA"].portal()
    async with opened(t2) as connector:
        reader, writer = await open_connection(
            t2.name, 443, connector=connector, ssl=trusting(t2), timeout=10
        )
        assert (await reader.readline()).decode().strip() == "wB"
        report: pvdrace.RaceReport = writer.get_extra_info("pvdrace.report")
        writer.close()
        await writer.wait_closed()
    portal = [attempt for attempt in report.attempts if attempt.pvd == "wA"]
    assert portal
    for attempt in portal:
        assert attempt.connected is not None
        assert str(attempt.error).startswith("wrong certificate")
    assert report.winner is not None
    assert report.winner.pvd == "wB"
    assert ordinary(t2).error == "SSLCertVerificationError", "control: asyncio's own fails there"


async def test_a_protocol_is_connected_in_the_pvd_that_is_required(t2: Lab) -> None:
    over = asyncio.get_running_loop().create_future()

    class Word(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            over.set_result(data.decode().strip())

    async with opened(t2) as connector:
        transport, protocol = await create_connection(
            Word, t2.name, 443, connector=connector, ssl=trusting(t2), policy=policy(require="pvd:wB")
        )
        assert await asyncio.wait_for(over, 10) == "wB"
        assert isinstance(protocol, Word)
        assert transport.get_extra_info("sockname")[0] in (t2["wB"].address4, t2["wB"].address6)
        transport.abort()
        await asyncio.sleep(0)
