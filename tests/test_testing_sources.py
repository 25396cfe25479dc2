"""`pvdrace.testing.sources.check_source`: a good source passes, and each broken promise is named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pvdrace.model import LocalAddress, ProvisioningDomain, Resolver, Route
from pvdrace.testing.sources import check_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


class Modem:
    """A source that keeps its promises. What is broken below is broken in a copy of this."""

    name = "modem"

    def __init__(self) -> None:
        self.signal = 1
        self.told: int | None = None
        self.moved = anyio.Event()

    async def change(self) -> None:
        self.signal += 1
        self.moved.set()
        self.moved = anyio.Event()

    def pvd(self, **more: Any) -> ProvisioningDomain:
        values: dict[str, Any] = {
            "name": "lte",
            "interface": "wwan0",
            "addresses": (LocalAddress("10.64.0.2", 30),),
            "routes": (Route("0.0.0.0/0", "10.64.0.1", self.signal),),
            "sources": ("modem",),
        }
        return ProvisioningDomain(**(values | more))

    async def snapshot(self) -> Any:
        self.told = self.signal
        return (self.pvd(),)

    async def changes(self) -> AsyncGenerator[None, None]:
        while True:
            while self.told == self.signal:
                await self.moved.wait()
            yield


async def test_a_source_that_keeps_its_promises() -> None:
    modem = Modem()
    await check_source(modem)
    await check_source(modem, modem.change)


def with_pvd(**values: Any) -> type[Modem]:
    class Broken(Modem):
        async def snapshot(self) -> Any:
            self.told = self.signal
            return (self.pvd(**values),)

    return Broken


class NoWord(Modem):
    name = "my modem"


class AList(Modem):
    async def snapshot(self) -> Any:
        return [self.pvd()]


class NoPvd(Modem):
    async def snapshot(self) -> Any:
        return ("lte",)


class Twins(Modem):
    async def snapshot(self) -> Any:
        return (self.pvd(), self.pvd())


class Restless(Modem):
    async def snapshot(self) -> Any:
        self.signal += 1
        return await super().snapshot()


class LeakySnapshot(Modem):
    async def snapshot(self) -> Any:
        leaked.append(os.open("/dev/null", os.O_RDONLY))
        return await super().snapshot()


class LeakyWait(Modem):
    async def changes(self) -> AsyncGenerator[None, None]:
        leaked.append(os.open("/dev/null", os.O_RDONLY))
        async for _ in super().changes():
            yield


class CriesWolf(Modem):
    async def changes(self) -> AsyncGenerator[None, None]:
        yield


class Deaf(Modem):
    async def changes(self) -> AsyncGenerator[None, None]:
        await anyio.sleep_forever()
        yield


class Forgetful(Modem):
    """Sees only what happens while it waits."""

    async def changes(self) -> AsyncGenerator[None, None]:
        await self.moved.wait()
        yield


class Quits(Modem):
    async def changes(self) -> AsyncGenerator[None, None]:
        return
        yield


class AllTalk(Modem):
    """Says that something has changed, and shows what it showed before."""

    async def snapshot(self) -> Any:
        self.told = self.signal
        return (self.pvd(routes=()),)


leaked: list[int] = []

BROKEN = [
    (NoWord, "'my modem' is not one word"),
    (AList, "gave list, not a tuple"),
    (NoPvd, "has 'lte' in it"),
    (Twins, "a name is used twice: lte, lte"),
    (with_pvd(sources=()), "lte: sources () lack 'modem'"),
    (with_pvd(name=" "), "a PvD has no name"),
    (with_pvd(interface=None), "lte: usable, but without an interface"),
    (with_pvd(resolvers=(Resolver("dns.example"),)), "lte: 'dns.example' does not appear to be"),
    (with_pvd(addresses=(LocalAddress("2001:DB8::1", 64),)), "lte: 2001:DB8::1 is written 2001:db8::1"),
    (with_pvd(routes=(Route("10.0.0.1/8"),)), "lte: 10.0.0.1/8 has host bits set"),
    (with_pvd(pref64=("64:ff9b::",)), "lte: 64:ff9b:: is written 64:ff9b::/128"),
    (Restless, "two snapshots differ though nothing has changed"),
    (LeakySnapshot, "snapshot() leaves descriptors open"),
    (LeakyWait, "a cancelled changes() leaves descriptors open"),
    (CriesWolf, "changes() yielded though nothing has changed"),
    (Deaf, "a change between snapshot() and changes() was lost"),
    (Forgetful, "a change between snapshot() and changes() was lost"),
    (Quits, "changes() ended though there was a change"),
    (AllTalk, "changes() yielded, but snapshot() is as before"),
]


@pytest.mark.parametrize(("kind", "complaint"), BROKEN, ids=[complaint for _, complaint in BROKEN])
async def test_a_broken_promise_is_named(kind: type[Modem], complaint: str) -> None:
    source = kind()
    try:
        with pytest.raises(AssertionError) as caught:
            await check_source(source, source.change, patience=0.1)
        assert complaint in str(caught.value)
    finally:
        while leaked:
            os.close(leaked.pop())


async def test_what_is_no_source_at_all() -> None:
    with pytest.raises(AssertionError, match="lacks name"):
        await check_source(object())  # type: ignore[arg-type]
