"""`pvdrace.changes`: every race that runs hears of PvDs that come and go, whoever else has looked first."""

from __future__ import annotations

import os
import select
from contextlib import aclosing, asynccontextmanager, closing
from typing import TYPE_CHECKING

import anyio
import pytest

from namespaces import add_link, network_namespace, run
from pvdrace import ConnectFailed, Connector
from pvdrace.changes import RaceChanges
from pvdrace.config import parse
from pvdrace.model import Endpoint
from pvdrace.monitor import Monitor
from pvdrace.race.race import Race
from pvdrace.ranking import rank

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from pvdrace.model import ProvisioningDomain, PvdSet

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

#: Seconds after which a test gives up. An attempt is given up after 10.
PATIENCE = 8
CONFIGURATION = parse('discover = []\n[[pvd]]\nname = "eth0"\n[[pvd]]\nname = "wlan0"\n')
HOST = "198.51.100.1"
CUT = "ip link delete wlan0", "ip link delete eth0"


@pytest.fixture
def black_holes() -> Iterator[None]:
    """Two links with a router of which nothing comes back."""
    with network_namespace():
        for prefix, name in enumerate(("eth0", "wlan0"), 1):
            add_link(name, prefix, metric=100 * prefix)
            run(f"ip neighbour add 10.{prefix}.0.1 lladdr 02:00:00:00:00:01 dev {name} nud permanent")
        yield


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def races(
    connector: Connector, meanwhile: Callable[[], Awaitable[object]], count: int = 3
) -> list[str]:
    """What each of several races says in the end, when ``meanwhile`` has happened to all of them."""
    said: list[str] = []

    async def one() -> None:
        with pytest.raises(ConnectFailed) as caught:
            await connector.connect(HOST, 443)
        said.append(str(caught.value))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
            await anyio.sleep(0.1)
            await meanwhile()
    return said


async def nobody(connector: Connector) -> None:
    """Nobody looks but the races."""


async def a_new_call(connector: Connector) -> None:
    """It sees what has happened, before any race runs again."""
    assert all(pvd.unusable for pvd in await connector.snapshot())


@pytest.mark.parametrize("other", [nobody, a_new_call])
async def test_every_race_ends_when_its_links_are_gone(
    black_holes: None, other: Callable[[Connector], Awaitable[None]]
) -> None:
    before = descriptors()
    async with Connector(CONFIGURATION) as connector:

        async def cut() -> None:
            run(*CUT)
            await other(connector)

        said = await races(connector, cut)
        assert len(said) == 3
        assert all("wlan0 withdrawn" in text for text in said), said
    assert descriptors() == before


async def test_somebody_who_watches_takes_nothing_away(black_holes: None) -> None:
    seen: list[str] = []
    async with Connector(CONFIGURATION) as connector, anyio.create_task_group() as tasks:

        async def watch() -> None:
            async with aclosing(connector.watch()) as changes:
                async for change in changes:
                    seen.append(str(change))
                    if len(seen) == 2:
                        return

        async def cut() -> None:
            tasks.start_soon(watch)
            await anyio.sleep(0.05)
            run(*CUT)

        assert len(await races(connector, cut)) == 3


@pytest.mark.parametrize("looked", ["stale", "refresh"])
async def test_what_happens_before_a_race_begins_to_wait_is_not_lost(black_holes: None, looked: str) -> None:
    """Somebody else has drained the kernel's socket between the snapshot and the first wait."""
    async with monitoring(Held()) as monitor:
        known = monitor.snapshot
        run(*CUT)
        assert monitor.stale()
        if looked == "refresh":
            await monitor.refresh()
        changes = listening(monitor, known)
        assert rung(changes)
        assert len(await changes.events()) == 2
        assert await changes.events() == ()
        assert not rung(changes)
        changes.close()


async def test_a_race_that_is_cancelled_while_it_looks_leaves_it_to_the_others(black_holes: None) -> None:
    source = Held()
    async with monitoring(source) as monitor, anyio.create_task_group() as tasks:
        changes = [listening(monitor) for _ in range(2)]
        first = anyio.CancelScope()

        async def cancelled() -> None:
            with first:
                await changes[0].events()

        run(*CUT)
        source.hold()
        tasks.start_soon(cancelled)
        await source.asked.wait()
        assert await changes[1].events() == (), "the other is looking"
        assert not rung(changes[1])
        first.cancel()
        source.release()
        with anyio.fail_after(PATIENCE):
            await anyio.wait_readable(changes[1].bell)
        assert len(await changes[1].events()) == 2
        for each in changes:
            each.close()


async def test_an_error_does_not_make_races_wake_each_other_for_ever(black_holes: None) -> None:
    source = Held()
    async with monitoring(source) as monitor:
        changes = [listening(monitor) for _ in range(2)]
        run(*CUT)
        source.error = OSError("no modem")
        for each in changes:
            with pytest.raises(OSError, match="no modem"):
                await each.events()
        rings = 0
        while any(map(rung, changes)) and rings < 10:
            rings += 1
            for each in filter(rung, changes):
                with pytest.raises(OSError, match="no modem"):
                    await each.events()
        assert rings < 3
        source.error = None
        run("ip link set lo down")  # the next event finds what was missed
        assert monitor.stale()
        assert all(map(rung, changes))
        assert [len(await each.events()) for each in changes] == [2, 2]
        for each in changes:
            each.close()


async def test_a_monitor_that_is_closed_while_a_race_looks(black_holes: None) -> None:
    source = Held()
    async with monitoring(source) as monitor:
        changes = listening(monitor)
        source.hold()
        found: list[int] = []

        async def look() -> None:
            found.append(len(await changes.events()))

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(monitor.refresh)
                await source.asked.wait()
                run(*CUT)
                tasks.start_soon(look)
                await anyio.sleep(0.01)
                monitor.close()
                source.release()
        assert found == [0]
        changes.close()
        changes.close()


async def test_who_opens_a_monitor_in_vain_leaves_it_to_who_waits_for_it(black_holes: None) -> None:
    source = Held()
    source.hold()
    monitor = Monitor(CONFIGURATION, sources=[source])
    first = anyio.CancelScope()
    found: list[PvdSet] = []

    async def in_vain() -> None:
        with first:
            await monitor.open()

    async def patient() -> None:
        found.append(await monitor.open())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_vain)
            await source.asked.wait()
            tasks.start_soon(patient)
            await anyio.sleep(0.01)
            source.release()
            first.cancel()
    assert found == [monitor.snapshot]
    assert monitor.fileno() >= 0
    monitor.close()


class Held:
    """A further source that can be made to wait, or to fail."""

    name = "held"

    def __init__(self) -> None:
        self.gate: anyio.Event | None = None
        self.error: OSError | None = None

    def hold(self) -> None:
        self.gate, self.asked = anyio.Event(), anyio.Event()

    def release(self) -> None:
        gate, self.gate = self.gate, None
        assert gate is not None
        gate.set()

    async def snapshot(self) -> tuple[ProvisioningDomain, ...]:
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            self.asked.set()
            await self.gate.wait()
        return ()

    async def changes(self) -> AsyncGenerator[None, None]:
        await anyio.sleep_forever()
        yield


@asynccontextmanager
async def monitoring(source: Held) -> AsyncGenerator[Monitor, None]:
    """A monitor with a further source, open."""
    with closing(Monitor(CONFIGURATION, sources=[source])) as monitor:
        await monitor.open()
        yield monitor


def listening(monitor: Monitor, known: PvdSet | None = None) -> RaceChanges:
    """A race as the driver has it when it waits."""
    endpoint = Endpoint(HOST, 443)
    known = known or monitor.snapshot
    race = Race(endpoint, rank(known, endpoint))
    race.start(0.0)
    changes = RaceChanges(monitor, known, race, lambda pvds: rank(pvds, endpoint))
    assert changes.open() == (changes.bell, monitor.fileno())
    return changes


def rung(changes: RaceChanges) -> bool:
    return bool(select.select([changes.bell], [], [], 0)[0])
