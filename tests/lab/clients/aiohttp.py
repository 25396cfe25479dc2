"""aiohttp, in both ways to race."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp

import pvdrace
from lab.clients.base import Client, trusting
from pvdrace.integrations.aiohttp import PvdConnector


class AiohttpSession:
    def __init__(self, session: aiohttp.ClientSession, connector: PvdConnector) -> None:
        self.session = session
        self.connector = connector

    async def get(self, url: str) -> bytes:
        async with self.session.get(url) as response:
            return await response.read()

    async def put(self, url: str, body: bytes) -> bytes:
        async with self.session.put(url, data=io.BytesIO(body)) as response:
            return await response.read()

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.connector.policy = policy


class Aiohttp:
    blocking = False
    backends = ("asyncio",)
    pools = True
    watches = True
    errors: tuple[type[Exception], ...] = (aiohttp.ClientConnectorError,)
    timeouts: tuple[type[Exception], ...] = (aiohttp.ConnectionTimeoutError,)
    resumes_tls = True
    proxied = False

    def __init__(self, name: str, race: Literal["public", "full"]) -> None:
        self.name = name
        self.race = race

    @contextlib.asynccontextmanager
    async def open(
        self, connector: pvdrace.Connector, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[AiohttpSession]:
        context = trusting(ca_file)  # aiohttp sets no ALPN in a context that it is given
        own = PvdConnector(connector=connector, policy=policy, race=self.race, ssl=context)
        limits = aiohttp.ClientTimeout(connect=timeout)
        async with aiohttp.ClientSession(connector=own, timeout=limits) as session:
            yield AiohttpSession(session, own)


CLIENTS: list[Client] = [Aiohttp("aiohttp", "public"), Aiohttp("aiohttp-full", "full")]
