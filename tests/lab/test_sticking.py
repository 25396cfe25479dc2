"""The slides' "pick one and stick with it until something changes", and what becomes of it here."""

from __future__ import annotations

import anyio
import pytest

import pvdrace
from lab.racing import PATH_DELAY, SLACK, opened, ordinary, reach
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")


@pytest.mark.row("1.14")
async def test_links_that_are_well_by_turns_do_not_stop_anybody(t2: Lab) -> None:
    """ "pick one and stick with it until something changes" fails when neither dominates.

    The health of the two links alternates, in the middle of what is going on: every connection succeeds,
    at the cost of a head start at most. Who has picked the default route is stuck for its timeout.
    """
    took: list[float] = []

    async def some(connector: pvdrace.Connector) -> None:
        for _ in range(2):
            _, report = await reach(connector, t2, port=17, timeout=5)
            took.append(report.elapsed)

    plain: list[str | None] = []
    async with opened(t2) as connector:
        for turn in range(4):
            sick, well = (t2[NAMES[(turn + n) % 2]] for n in (0, 1))
            well.heal()
            sick.blackhole()
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(some, connector)
            if turn < 2:
                plain.append(ordinary(t2, t2.address4, 17, limit=0.3).word)
    assert len(took) == 24
    assert max(took) < PATH_DELAY + 2 * SLACK
    assert plain == [None, "wA"], "control: stuck whenever it is the default route's turn"
