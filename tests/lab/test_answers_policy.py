"""RFC 7556 s5.2.1: what holds for a name holds for its answers, however they are dialled."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pvdrace
from lab.racing import configuration, opened, policy, reach, sent
from pvdrace.lab import Lab
from pvdrace.model import Reachability, Reached

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

PORT = 17  # the server's word, unasked


async def test_a_rule_for_the_name_holds_for_its_answers_wherever_they_are_dialled(t2: Lab) -> None:
    """An answer is dialled by its address, which no rule for a name matches: it holds all the same."""
    rule = pvdrace.Rule(
        pvdrace.Match(host=["v4only.example.test"], port=[PORT]),
        pvdrace.Policy(prohibit=["pvd:wB"], cross_pvd=True),
    )
    async with opened(t2, replace(configuration(t2), rules=(rule,))) as connector:
        answer, *_ = await connector.resolve("v4only.example.test", policy=policy(require="pvd:wA"))
        t2["wA"].blackhole()
        t2.reset_counters()
        with pytest.raises(pvdrace.ConnectFailed):
            await connector.connect(answer, PORT, timeout=0.6)
        assert sent(t2["wB"]) == []


async def test_a_rule_for_the_name_and_a_port_leaves_a_family_out(t2: Lab) -> None:
    rule = pvdrace.Rule(
        pvdrace.Match(host=["v4only.example.test"], port=[PORT]), pvdrace.Policy(prohibit=["family:ipv4"])
    )
    async with opened(t2, replace(configuration(t2), rules=(rule,))) as connector:
        answer, *_ = await connector.resolve("v4only.example.test")
        t2.reset_counters()
        with pytest.raises(pvdrace.NoUsablePvd):
            await connector.connect(answer, PORT, timeout=2)
        for link in t2:
            assert sent(link) == []


async def test_an_answer_of_a_pvd_that_turns_out_to_be_behind_a_portal_is_not_dialled(t2: Lab) -> None:
    """That it is dialled in its PvD alone says nothing about the portal there: it must not win."""
    async with opened(t2) as connector:
        answer, *_ = await connector.resolve("v4only.example.test", policy=policy(require="pvd:wA"))
        found = tuple(Reached(family, Reachability.PORTAL, "HTTP 302", 0) for family in (6, 4))
        assert connector._monitor.learn((await connector.snapshot())["wA"], found)
        t2.reset_counters()
        with pytest.raises(pvdrace.NoUsablePvd, match="captive portal"):
            await connector.connect(answer, PORT, timeout=2)
        assert sent(t2["wA"]) == []
        word, _ = await reach(connector, t2, answer, PORT, policy=policy(require="pvd:wA"))
        assert word == "wA", "who asks for it by its name may have it"
