"""draft-ietf-mif-current-practices s3.2 (RFC 6419 s3.2), desktop systems: ties, host-wide DNS."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import STEADY, described, opened, ordinary, policy, pvds_of, reach, sent
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

NAMES = ("wA", "wB")
TIED = {name: {"metric": 7} for name in NAMES}


# ---------------------------------------------------------------------- a tie


@pytest.mark.row("4.2")
async def test_a_tie_has_the_same_winner_every_time(t2: Lab) -> None:
    """Windows tie, pre-Vista: first bound interface. Here: equal PvDs go by name, in 50 runs.

    Each run knows nothing of the others; the devices are made anew in both orders.
    """
    words: list[str] = []

    async def some() -> None:
        for _ in range(5):
            async with opened(t2, described(t2, **TIED), pacing=STEADY) as connector:
                word, report = await reach(connector, t2, t2.address4, 17)
            assert [str(reason) for reason in report.ranking.ranked[0].because] == ["by name"]
            words.append(word)

    for bring_up in (NAMES, NAMES[::-1]):
        for name in NAMES:
            t2[name].remove()
        for name in bring_up:
            t2[name].link_up()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(some)
    assert words == ["wA"] * 50


@pytest.mark.row("4.2")
async def test_a_tie_stays_with_the_same_winner_when_it_is_known(t2: Lab) -> None:
    """Windows tie: what is learnt on the way changes nothing: the same winner in 50 runs of one connector."""
    async with opened(t2, described(t2, **TIED), pacing=STEADY) as connector:
        words = [(await reach(connector, t2, t2.address4, 17))[0] for _ in range(50)]
    assert words == ["wA"] * 50


# ---------------------------------------------------------------------- host-wide DNS


@pytest.mark.row("4.10")
async def test_a_host_wide_list_of_name_servers_overrides_nobodys_own(t2: Lab) -> None:
    """Windows host-wide DNS server list overrides per-interface lists. Here: A's names are asked at A only.

    ``resolv.conf`` names the servers of both; wB has nothing else to go by, wA has its own.
    """
    described_by_hand = described(t2, wA={"zones": ("corp.example", ".")})
    config = replace(
        described_by_hand,
        discover=("netlink",),
        pvds=tuple(p for p in described_by_hand.pvds if p.name == "wA"),
    )
    with t2.enter(resolv_conf=True):
        async with opened(t2, config) as connector:
            snapshot = await connector.snapshot()
            assert [r.address for r in snapshot["wA"].resolvers] == list(t2["wA"].resolvers)
            assert all(resolver.scoped for resolver in snapshot["wA"].resolvers)
            assert not any(resolver.scoped for resolver in snapshot["wB"].resolvers)
            word, report = await reach(connector, t2, PRIVATE, 17)
            assert (word, pvds_of(report)) == ("wA", {"wA"})
            assert {str(lookup.server) for lookup in report.lookups} <= set(t2["wA"].resolvers)
            assert sent(t2["wB"]) == []
            word, _ = await reach(connector, t2, policy=policy(require="pvd:wB"))
            assert word == "wB", "the list serves whoever has no other"
    t2["wA"].dns("dead")
    ordinary(t2, PRIVATE, 17, limit=2.5, dns_timeout=1)
    asked = {packet.dns_name for packet in sent(t2["wB"])}
    assert PRIVATE in asked, "control: the ordinary stack goes through the host-wide list"


# ---------------------------------------------------------------------- load sharing


@pytest.mark.row("4.3")
async def test_load_is_shared_by_destination(t2: Lab) -> None:
    """Windows tie, Vista+: host-to-router load sharing (RFC 4311), optional, and sticky.

    Of 200 destinations each PvD gets 40 to 60 %; the same destination always has the same PvD.
    """
    # Two of them are behind one provider each.
    hosts = [f"198.51.100.{n}" for n in range(1, 203) if n not in (101, 102)]
    words: dict[str, list[str]] = {}

    async def some(connector: pvdrace.Connector, own: list[str]) -> None:
        for host in own:
            words[host] = [(await reach(connector, t2, host, 17))[0] for _ in range(2)]

    spread = pvdrace.Policy(rank_by=["spread"])
    async with opened(t2, policy=spread, pacing=STEADY) as connector, anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(some, connector, hosts[n::20])
    assert len(words) == 200
    assert all(first == second for first, second in words.values())
    share = sum(first == "wA" for first, _ in words.values()) / 200
    assert 0.4 <= share <= 0.6
