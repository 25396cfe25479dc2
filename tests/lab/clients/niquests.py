"""niquests: in an environment of its own, where it is the only client (``make test-niquests``)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import Any

import pvdrace
from lab.clients.base import Client


class NiquestsSession:
    def __init__(self, session: Any, resolver: Any, timeout: float) -> None:
        self.session = session
        self.resolver = resolver
        self.timeout = (timeout, 10)

    def get(self, url: str) -> Any:
        return self.session.get(url, timeout=self.timeout).content

    def put(self, url: str, body: bytes) -> Any:
        return self.session.put(url, body, timeout=self.timeout).content

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.resolver.policy = policy


class AsyncNiquestsSession(NiquestsSession):
    async def get(self, url: str) -> Any:
        return (await self.session.get(url, timeout=self.timeout)).content

    async def put(self, url: str, body: bytes) -> Any:
        return (await self.session.put(url, body, timeout=self.timeout)).content


class Niquests:
    name = "niquests"
    blocking = True
    backends = ("asyncio",)
    pools = True
    watches = False
    resumes_tls = True
    proxied = False

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        import niquests

        return (niquests.exceptions.ConnectionError,)

    @property
    def timeouts(self) -> tuple[type[Exception], ...]:
        import niquests

        return (niquests.exceptions.ConnectTimeout,)

    @contextlib.contextmanager
    def open(
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> Iterator[NiquestsSession]:
        import niquests

        from pvdrace.integrations.niquests import PvdResolver

        resolver = PvdResolver(connector=connector, policy=policy)
        with niquests.Session(resolver=resolver) as session:
            session.trust_env = False
            session.verify = ca_file
            yield NiquestsSession(session, resolver, timeout)


class AsyncNiquests(Niquests):
    name = "niquests-async"
    blocking = False

    @contextlib.asynccontextmanager
    async def open(  # type: ignore[override]
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> AsyncIterator[AsyncNiquestsSession]:
        import niquests

        from pvdrace.integrations.niquests import AsyncPvdResolver

        resolver = AsyncPvdResolver(connector=connector, policy=policy)
        async with niquests.AsyncSession(resolver=resolver) as session:
            session.trust_env = False
            session.verify = ca_file
            yield AsyncNiquestsSession(session, resolver, timeout)


CLIENTS: list[Client] = [Niquests(), AsyncNiquests()] if find_spec("niquests") else []
