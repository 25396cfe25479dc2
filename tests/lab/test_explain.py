"""An explanation says what a race will do, and sends nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lab.racing import opened, policy, reach, sent
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


@pytest.mark.row("4.11")
async def test_the_command_sends_no_packet_though_probes_are_configured(t2: Lab, tmp_path: Path) -> None:
    """It is no reason to probe that somebody asks what would be: the metered link pays for it."""
    config = tmp_path / "pvdrace.toml"
    config.write_text(t2.config() + f'\n[probe]\nhttp = "http://{t2.name}/generate_204"\n')
    command = [sys.executable, "-m", "pvdrace", "explain", t2.name, "443", "--config", str(config)]
    t2.reset_counters()
    done = await anyio.to_thread.run_sync(lambda: t2.run(command, check=True, timeout=30))
    assert "wA" in done.stdout
    await anyio.sleep(0.1)
    assert [sent(link) for link in t2] == [[], []]


async def test_what_is_known_of_a_port_without_tls_is_explained_as_such(t2: Lab) -> None:
    """History keeps times apart by what a winner had to do; who explains says for what."""
    async with opened(t2) as connector:
        for name in ("wA", "wB"):
            await reach(connector, t2, port=17, policy=policy(require=f"pvd:{name}"))
        _, report = await reach(connector, t2, port=17)
        explained = await connector.explain(t2.name, 17, ready="tcp")
    assert [pvd.pvd for pvd in explained.pvds] == [ranked.pvd.name for ranked in report.ranking.ranked]
    assert "ready in about" in str(explained)
