"""The core on asyncio and trio, by anyio.

One loop owns everything. All sockets of a race live in one registry and are waited for through one epoll
descriptor, so a race is one awaiting task however many attempts are in flight, and one ``finally`` closes
whatever did not win. Tasks are spawned only for what has to await on its own: a lookup that the cache cannot
answer, a proxy's tunnel, what follows the transport handshake (TLS, the application's check). They
report through an eventfd that the same epoll watches, with the descriptors that say that a PvD came or went.

Results are handled before the timer when both are due; time is read once a step.

A race can be paused at its first transport handshake and go on later, in another task (`drive_to_handshake`):
nothing of it runs meanwhile, its clock included, and its sockets stay open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..net.lingering import close_now
from .performing import Driven as Driven
from .performing import Performing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..dns.conversations import Release
    from ..race.race import Race
    from .roles import Changes, Lookups, Stage
    from .warmup import OnNeed

T = TypeVar("T")


async def drive(
    race: Race,
    lookups: Lookups,
    *,
    changes: Changes | None = None,
    stage: Stage[T] | None = None,
    discard: Callable[[T], Awaitable[None]] | None = None,
    release: Release = close_now,
    on_need: OnNeed | None = None,
    clock: Callable[[], float] = anyio.current_time,
) -> Driven[T]:
    """Run a race to its end on real sockets. ``race.outcome`` says how it ended.

    ``discard`` closes the product of a stage that came too late. ``release`` takes the losers' sockets: it
    closes them, at once or when their peers have had their say (see `pvdrace.net.lingering`). ``on_need`` is
    called before the first packet in a PvD that has to be brought up (see `WarmUps`). Cancellation releases
    everything.
    """
    driver = Performing(race, lookups, changes, stage, release, on_need, clock)
    try:
        actions = race.start(clock())
        if stage is None:
            actions = await driver.run(actions)
        if race.outcome is None:
            await driver.run_with_tasks(actions)
        return driver.result()
    finally:
        await driver.end(discard)


async def drive_to_handshake(
    race: Race,
    lookups: Lookups,
    *,
    changes: Changes | None = None,
    release: Release = close_now,
    on_need: OnNeed | None = None,
    clock: Callable[[], float] = anyio.current_time,
) -> Paused:
    """Run a race until its first transport handshake is done, or it is lost; the arguments as of `drive`."""
    driver: Performing[Any] = Performing(race, lookups, changes, None, release, on_need, clock)
    driver.pausing = True
    try:
        actions = await driver.run(race.start(clock()))
        if race.outcome is None and not driver.connected:
            await driver.run_with_tasks(actions)
    except BaseException:
        await driver.end(None)
        raise
    return Paused(driver)


class Paused:
    """A race that is paused at its first transport handshake, or is lost, with all that it holds.

    One of the three has to be called, once, in any task of the same event loop.
    """

    def __init__(self, driver: Performing[Any]) -> None:
        self._driver = driver

    async def settle(self) -> Driven[Any]:
        """The handshake was all that was wanted: it has won. Nothing waits here."""
        driver = self._driver
        driver.go_on()
        try:
            driver.settle()
            return driver.result()
        finally:
            await driver.end(None)

    async def resume(self, stage: Stage[T], discard: Callable[[T], Awaitable[None]] | None) -> Driven[T]:
        """Go on, with a stage after each handshake, the one that is done among them; else as `drive`."""
        driver: Performing[T] = self._driver
        driver.go_on()
        try:
            if driver.race.outcome is None:
                driver.stage = stage
                await driver.run_with_tasks(driver.unfinished())
            return driver.result()
        finally:
            await driver.end(discard)

    async def close(self) -> None:
        """Nothing of it is wanted any more."""
        await self._driver.end(None)
