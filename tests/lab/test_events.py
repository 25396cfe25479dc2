"""draft-ietf-mif-current-practices s3.1 (RFC 6419 s3.1): what mobile systems tell applications, and when."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

import pvdrace
from lab.racing import configuration, opened, policy, reach, sent
from pvdrace.config import Configuration
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")


def with_keys(lab: Lab, name: str, **keys: object) -> Configuration:
    """The lab's PvDs, one of them with more keys."""
    found = configuration(lab)
    pvds = tuple(replace(pvd, **keys) if pvd.name == name else pvd for pvd in found.pvds)  # type: ignore[arg-type]
    return replace(found, pvds=pvds)


# ---------------------------------------------------------------------- WM: opens on demand


async def test_a_link_that_is_opened_on_demand(t2: Lab) -> None:
    """WM: opens on demand, drops idle. The hook is called before the first packet, and B does not wait for A.

    A carries nothing until the hook has "dialled"; then the race that asked for it wins there.
    """
    link = t2["wA"]
    link.blackhole()
    needed: list[tuple[str, int]] = []

    async def dial(pvd: pvdrace.ProvisioningDomain) -> None:
        needed.append((pvd.name, len(sent(link))))
        await anyio.to_thread.run_sync(link.heal)

    config = with_keys(t2, "wA", warmup=2.0)
    async with opened(t2, config, on_need=dial) as connector:
        word, report = await reach(connector, t2, policy=policy(require="pvd:wA"))
    assert word == "wA"
    assert needed == [("wA", 0)]
    assert report.winner is not None
    assert [packet.kind for packet in sent(link)].count("syn") == 1, "the first SYN was answered"


async def test_control_without_the_hook_the_first_packets_are_lost(t2: Lab) -> None:
    """WM: opens on demand, control: nobody dials, and nothing comes back."""
    t2["wA"].blackhole()
    async with opened(t2, with_keys(t2, "wA", warmup=0.1)) as connector:
        with pytest.raises(pvdrace.ConnectFailed):
            await reach(connector, t2, policy=policy(require="pvd:wA"), timeout=0.5)


async def test_a_link_that_cannot_be_opened_leaves_the_race_to_the_other(t2: Lab) -> None:
    """WM: opens on demand: what the hook raises is in the report, and B wins at once."""

    def dial(pvd: pvdrace.ProvisioningDomain) -> None:
        raise ConnectionError("no carrier")

    async with opened(t2, with_keys(t2, "wA", warmup=1.0), on_need=dial) as connector:
        word, report = await reach(connector, t2)
    assert word == "wB"
    assert sent(t2["wA"]) == []
    assert {lookup.error for lookup in report.lookups if lookup.pvd == "wA"} == {"not brought up: no carrier"}
