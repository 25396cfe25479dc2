"""The clients of `bench_clients`, to be run inside its lab: one URL, again and again, with and without us.

Usage: ``http_clients.py CLIENT URL new|reused ROUNDS EACH LIMIT CA_FILE CONFIG``. Prints one JSON object: for
``plain`` and ``ours`` a list of ``[seconds to the first byte, seconds in all, error or null]``. The two take
turns, EACH requests at a time, so that what else the machine does is shared by both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from inspect import isawaitable
from typing import Any

import pvdrace
import pvdrace.sync

#: Sends one request and reads the answer: the seconds to its first byte.
Ask = Callable[[], Any]


class Setting:
    """What a client is to do."""

    def __init__(self, url: str, reused: bool, limit: float, ca_file: str, config: str) -> None:
        self.url = url
        self.reused = reused
        self.limit = limit
        self.config = config
        self.ca_file = ca_file
        self.context = ssl.create_default_context(cafile=ca_file)
        self.context.set_alpn_protocols(["http/1.1"])


Side = Callable[[Setting, Any], AbstractAsyncContextManager[Ask]]


def to_first_byte(began: float) -> float:
    return time.perf_counter() - began


# ---------------------------------------------------------------------- httpx and httpx2


@contextlib.asynccontextmanager
async def with_httpx(setting: Setting, connector: Any, *, library: str) -> AsyncIterator[Ask]:
    httpx: Any = __import__(library)
    limits = httpx.Limits(max_keepalive_connections=10 if setting.reused else 0)
    transport: Any = None
    if connector is not None:
        adapter: Any = __import__(f"pvdrace.integrations.{library}", fromlist=["AsyncPvdTransport"])
        transport = adapter.AsyncPvdTransport(connector=connector, verify=setting.context, limits=limits)
    options = {"transport": transport} if transport else {"verify": setting.context, "limits": limits}
    async with httpx.AsyncClient(timeout=setting.limit, trust_env=False, **options) as client:

        async def ask() -> float:
            began = time.perf_counter()
            async with client.stream("GET", setting.url) as response:
                first = to_first_byte(began)
                await response.aread()
            return first

        yield ask


@contextlib.asynccontextmanager
async def with_httpx_blocking(setting: Setting, connector: Any, *, library: str) -> AsyncIterator[Ask]:
    httpx: Any = __import__(library)
    limits = httpx.Limits(max_keepalive_connections=10 if setting.reused else 0)
    transport: Any = None
    if connector is not None:
        adapter: Any = __import__(f"pvdrace.integrations.{library}", fromlist=["PvdTransport"])
        transport = adapter.PvdTransport(connector=connector, verify=setting.context, limits=limits)
    options = {"transport": transport} if transport else {"verify": setting.context, "limits": limits}
    with httpx.Client(timeout=setting.limit, trust_env=False, **options) as client:

        def ask() -> float:
            began = time.perf_counter()
            with client.stream("GET", setting.url) as response:
                first = to_first_byte(began)
                response.read()
            return first

        yield ask


# ---------------------------------------------------------------------- aiohttp


@contextlib.asynccontextmanager
async def with_aiohttp(setting: Setting, connector: Any, *, race: Any = "public") -> AsyncIterator[Ask]:
    import aiohttp

    options: dict[str, Any] = {"ssl": setting.context, "force_close": not setting.reused}
    if connector is None:
        own = aiohttp.TCPConnector(**options)
    else:
        from pvdrace.integrations.aiohttp import PvdConnector

        own = PvdConnector(connector=connector, race=race, **options)
    timeout = aiohttp.ClientTimeout(connect=setting.limit, total=setting.limit + 5)
    async with aiohttp.ClientSession(connector=own, timeout=timeout) as session:

        async def ask() -> float:
            began = time.perf_counter()
            async with session.get(setting.url) as response:
                first = to_first_byte(began)
                await response.read()
            return first

        yield ask


# ---------------------------------------------------------------------- requests and urllib3


@contextlib.asynccontextmanager
async def with_requests(setting: Setting, connector: Any) -> AsyncIterator[Ask]:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.verify = setting.ca_file
        if connector is not None:
            from pvdrace.integrations.requests import PvdAdapter

            session.mount("http://", PvdAdapter(connector=connector))
            session.mount("https://", PvdAdapter(connector=connector))
        headers = {} if setting.reused else {"Connection": "close"}

        def ask() -> float:
            began = time.perf_counter()
            with session.get(setting.url, stream=True, timeout=setting.limit, headers=headers) as response:
                first = to_first_byte(began)
                response.content  # noqa: B018 # it is read by this
            return first

        yield ask


@contextlib.asynccontextmanager
async def with_urllib3(setting: Setting, connector: Any) -> AsyncIterator[Ask]:
    import urllib3

    options: dict[str, Any] = {"ca_certs": setting.ca_file, "retries": False}
    if connector is None:
        manager = urllib3.PoolManager(**options)
    else:
        from pvdrace.integrations.urllib3 import PvdPoolManager

        manager = PvdPoolManager(connector=connector, **options)
    headers = {} if setting.reused else {"Connection": "close"}
    with manager:

        def ask() -> float:
            began = time.perf_counter()
            response = manager.request(
                "GET", setting.url, preload_content=False, timeout=setting.limit, headers=headers
            )
            first = to_first_byte(began)
            response.read()
            response.release_conn()
            return first

        yield ask


# ---------------------------------------------------------------------- all of them

ASYNCHRONOUS: dict[str, Side] = {
    "httpx2": partial(with_httpx, library="httpx2"),
    "httpx": partial(with_httpx, library="httpx"),
    "aiohttp": with_aiohttp,
    "aiohttp-full": partial(with_aiohttp, race="full"),
}
BLOCKING: dict[str, Side] = {
    "httpx2 (sync)": partial(with_httpx_blocking, library="httpx2"),
    "httpx (sync)": partial(with_httpx_blocking, library="httpx"),
    "urllib3": with_urllib3,
    "requests": with_requests,
}
CLIENTS = {**ASYNCHRONOUS, **BLOCKING}


async def timed(ask: Ask) -> tuple[float, float, str | None]:
    began = time.perf_counter()
    try:
        first = ask()
        if isawaitable(first):
            first = await first
    except Exception as error:
        spent = time.perf_counter() - began
        return spent, spent, type(error).__name__
    return first, time.perf_counter() - began, None


async def main() -> None:
    name, url, mode, rounds, each, limit, ca_file, config = sys.argv[1:]
    setting = Setting(url, mode == "reused", float(limit), ca_file, config)
    side = CLIENTS[name]
    found: dict[str, list[tuple[float, float, str | None]]] = {"plain": [], "ours": []}
    async with contextlib.AsyncExitStack() as stack:
        connector = (
            stack.enter_context(blocking(config))
            if name in BLOCKING
            else await stack.enter_async_context(pvdrace.Connector(config))
        )
        plain = await stack.enter_async_context(side(setting, None))
        ours = await stack.enter_async_context(side(setting, connector))
        for _ in range(int(rounds)):
            for who, ask in (("plain", plain), ("ours", ours)):
                for _ in range(int(each)):
                    found[who].append(await timed(ask))
    print(json.dumps(found))


@contextlib.contextmanager
def blocking(config: str) -> Iterator[Any]:
    with pvdrace.sync.Connector(config) as connector:
        yield connector


if __name__ == "__main__":
    asyncio.run(main())
