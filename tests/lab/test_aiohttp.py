"""aiohttp where it matters, beyond the shared suite: the ordinary connector as the control, and the pool."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import aiohttp
import pytest

import pvdrace
from lab.racing import SLACK, opened, policy, sent, trusting
from lab.test_clients import established
from pvdrace.config import parse
from pvdrace.integrations.aiohttp import PvdConnector, trace_config
from pvdrace.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.asyncio]

Way = Literal["public", "full"]


@pytest.fixture(params=["public", "full"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


async def word(session: aiohttp.ClientSession, url: str, **options: object) -> str:
    async with session.get(url, **options) as response:  # type: ignore[arg-type]
        return (await response.text()).strip()


async def gone(lab: Lab, name: str) -> None:
    """Wait until nothing is open in a PvD, 2 s and a busy machine's time at most."""
    deadline = time.monotonic() + 2 + SLACK
    while left := established(lab, name):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.02)


async def test_a_portal_loses_where_the_ordinary_connector_reports_its_certificate(t2: Lab, way: Way) -> None:
    t2["wA"].portal()
    reports: list[pvdrace.RaceReport] = []

    async def note(_: object, __: object, report: pvdrace.RaceReport) -> None:
        reports.append(report)

    async with opened(t2) as connector:
        own = PvdConnector(connector=connector, race=way, ssl=trusting(t2))
        async with aiohttp.ClientSession(connector=own, trace_configs=[trace_config(note)]) as session:
            assert await word(session, f"https://{t2.name}/") == "wB"
    (report,) = reports
    portal = [attempt for attempt in report.attempts if attempt.pvd == "wA"]
    assert portal
    assert str(portal[0].error).startswith("wrong certificate")
    plain = aiohttp.TCPConnector(ssl=trusting(t2))
    async with aiohttp.ClientSession(connector=plain) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await word(session, f"https://{t2.address4}/", server_hostname=t2.name)


async def test_a_dead_default_link_costs_a_head_start(t2: Lab, way: Way) -> None:
    """By its address too, which aiohttp asks no resolver for; the ordinary connector uses up its time."""
    t2["wA"].blackhole()
    for host in (t2.name, t2.address4):
        async with opened(t2) as connector:
            own = PvdConnector(connector=connector, race=way)
            async with aiohttp.ClientSession(connector=own) as session:
                began = time.monotonic()
                assert await word(session, f"http://{host}/") == "wB"
                assert time.monotonic() - began < 1 + SLACK
    limit = aiohttp.ClientTimeout(sock_connect=1)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(), timeout=limit) as session:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await word(session, f"http://{t2.address4}/")


async def test_an_idle_connection_goes_with_its_pvd(t2: Lab, way: Way) -> None:
    """Nobody asks for anything meanwhile."""
    async with opened(t2) as connector:
        own = PvdConnector(connector=connector, race=way, ssl=trusting(t2))
        async with aiohttp.ClientSession(connector=own) as session:
            assert await word(session, f"https://{t2.name}/") == "wA"
            assert established(t2, "wA")
            await asyncio.to_thread(t2["wA"].link_down)
            await gone(t2, "wA")


async def test_an_idle_connection_goes_when_policy_forbids_it(t2: Lab, way: Way) -> None:
    """At once, not when it is asked for; and what the policy allows stays."""
    async with opened(t2) as connector:
        own = PvdConnector(connector=connector, race=way, ssl=trusting(t2))
        async with aiohttp.ClientSession(connector=own) as session:
            assert await word(session, f"https://{t2.name}/") == "wA"
            own.policy = policy(prefer="pvd:wB")
            await asyncio.sleep(0.02)
            assert established(t2, "wA"), "that another one is better is no reason"
            own.policy = policy(prohibit="pvd:wA")
            await gone(t2, "wA")


async def test_a_prohibited_pvd_sees_nothing_of_an_address(t2: Lab, way: Way) -> None:
    """The way for addresses is another one than for names: the first try must not leave the machine."""
    async with opened(t2) as connector:
        own = PvdConnector(connector=connector, race=way, policy=policy(prohibit="pvd:wA"), ssl=trusting(t2))
        async with aiohttp.ClientSession(connector=own) as session:
            assert await word(session, f"http://{t2.address4}/") == "wB"
            assert await word(session, f"https://{t2.address4}/", server_hostname=t2.name) == "wB"
    assert sent(t2["wA"]) == []


async def test_a_rule_of_the_configuration_is_the_hosts(t2: Lab, way: Way) -> None:
    rule = f'[[rule]]\nmatch = {{ host = ["{t2.name}"] }}\nrequire = ["pvd:wB"]\n'
    config = parse(t2.config() + rule)
    async with opened(t2, config) as connector:
        own = PvdConnector(connector=connector, race=way)
        async with aiohttp.ClientSession(connector=own) as session:
            assert await word(session, f"http://{t2.name}/") == "wB"
            assert await word(session, f"http://{t2.address4}/") == "wA"
