"""An explanation says what a race will do, and sends nothing."""

from __future__ import annotations

import anyio
import pytest

from lab.racing import opened, policy, reach
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]


@pytest.mark.row("4.11")
async def test_it_sends_no_packet_and_says_what_the_race_does(t2: Lab) -> None:
    async with opened(t2) as connector:
        t2.reset_counters()
        for wanted in (None, policy(prefer="pvd:wB"), policy(prohibit="pvd:wA")):
            explanation = await connector.explain(t2.name, 443, policy=wanted)
        await anyio.sleep(0.1)
        assert [link.counters().packets for link in t2] == [0, 0]
        _, report = await reach(connector, t2, policy=policy(prohibit="pvd:wA"))
    assert [pvd.pvd for pvd in explanation.pvds if not pvd.excluded] == ["wB"]
    assert [ranked.pvd.name for ranked in report.ranking.ranked] == ["wB"]
    (explained, _) = explanation.pvds
    assert {lookup.server for lookup in report.lookups} <= set(explained.resolvers)
    assert next(lookup.server for lookup in report.lookups) == explained.resolvers[0]
