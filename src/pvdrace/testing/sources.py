"""`check_source`: does a source of provisioning domains keep its promises?"""

from __future__ import annotations

import ipaddress
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio

from ..discovery.source import Source
from ..model import ProvisioningDomain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def check_source(
    source: Source,
    change: Callable[[], Awaitable[None]] | None = None,
    *,
    patience: float = 5.0,
) -> None:
    """Run a `Source` through everything that the monitor relies on; AssertionError says what it broke.

    ``change`` makes the source's PvDs different from before, each time that it is called; without it the
    promises of ``changes()`` are only tested for a source at rest. ``patience``: seconds to wait for the
    source to notice. Run it on asyncio and on trio.
    """
    assert isinstance(source, Source), f"{source!r} lacks name, snapshot() or changes()"
    assert len(source.name.split()) == 1, f"name {source.name!r} is not one word"
    await _check_snapshots(source)
    await _check_rest(source)
    if change is not None:
        await _check_change_before_waiting(source, change, patience)
        await _check_change_while_waiting(source, change, patience)
        await _check_rest(source)


async def _check_snapshots(source: Source) -> None:
    first = await source.snapshot()
    assert isinstance(first, tuple), f"snapshot() gave {type(first).__name__}, not a tuple"
    for pvd in first:
        assert isinstance(pvd, ProvisioningDomain), f"snapshot() has {pvd!r} in it"
        assert source.name in pvd.sources, f"{pvd.name}: sources {pvd.sources} lack {source.name!r}"
        _check_values(pvd)
    names = [pvd.name for pvd in first]
    assert len(set(names)) == len(names), f"a name is used twice: {', '.join(names)}"
    assert await source.snapshot() == first, "two snapshots differ though nothing has changed"
    descriptors = _descriptors()
    for _ in range(3):
        await source.snapshot()
    assert _descriptors() <= descriptors, "snapshot() leaves descriptors open"


def _check_values(pvd: ProvisioningDomain) -> None:
    assert pvd.name.strip(), "a PvD has no name"
    assert pvd.interface or pvd.unusable, f"{pvd.name}: usable, but without an interface"
    texts: list[tuple[str, Callable[[str], Any]]] = [
        *((address.address, ipaddress.ip_address) for address in pvd.addresses),
        *((resolver.address, ipaddress.ip_address) for resolver in pvd.resolvers),
        *((route.destination, ipaddress.ip_network) for route in pvd.routes),
        *((route.gateway, ipaddress.ip_address) for route in pvd.routes if route.gateway),
        *((prefix, ipaddress.ip_network) for prefix in pvd.pref64),
    ]
    for text, parse in texts:
        try:
            canonical = str(parse(text))
        except ValueError as error:
            raise AssertionError(f"{pvd.name}: {error}") from None
        assert canonical == text, f"{pvd.name}: {text} is written {canonical}"


async def _check_rest(source: Source) -> None:
    """At rest, after a snapshot, a wait is a wait; and cancelling it leaves nothing open."""
    await source.snapshot()
    descriptors = _descriptors()
    for _ in range(2):
        with anyio.move_on_after(0.05):
            async with aclosing(source.changes()) as changes:
                async for _ in changes:
                    raise AssertionError("changes() yielded though nothing has changed")
            await anyio.sleep_forever()
    assert _descriptors() <= descriptors, "a cancelled changes() leaves descriptors open"


async def _check_change_before_waiting(
    source: Source, change: Callable[[], Awaitable[None]], patience: float
) -> None:
    before = await source.snapshot()
    await change()
    await _next_change(source, patience, "a change between snapshot() and changes() was lost")
    assert await source.snapshot() != before, "changes() yielded, but snapshot() is as before"


async def _check_change_while_waiting(
    source: Source, change: Callable[[], Awaitable[None]], patience: float
) -> None:
    before = await source.snapshot()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_next_change, source, patience, "changes() did not notice a change")
        await anyio.sleep(0.02)
        await change()
    assert await source.snapshot() != before, "changes() yielded, but snapshot() is as before"


async def _next_change(source: Source, patience: float, complaint: str) -> None:
    with anyio.move_on_after(patience):
        async with aclosing(source.changes()) as changes:
            async for _ in changes:
                return
        raise AssertionError("changes() ended though there was a change")
    raise AssertionError(complaint)


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
