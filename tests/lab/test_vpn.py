"""The slides' VPN that wants everything, the printer included, and advice that is right and wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pvdrace
from lab.conftest import PRINTER, PRIVATE
from lab.racing import described, opened, ordinary, policy, pvds_of, reach, sent
from pvdrace.config import Configuration
from pvdrace.lab import Lab
from pvdrace.rules import Match, Rule

pytestmark = [pytest.mark.anyio, pytest.mark.lab]

ZONE = "corp.example"
EVERYTHING = {"zones": (ZONE, ".")}
TO_THE_LAN = policy(require="pvd:wA")
SUBNETS = ("198.51.100.96/28", "2001:db8:99::100/120")
THE_LAN = [Rule(Match(host=("*.lan",)), TO_THE_LAN), Rule(Match(subnet=SUBNETS), TO_THE_LAN)]


def with_rules(config: Configuration, *rules: Rule) -> Configuration:
    return replace(config, rules=rules)


# ---------------------------------------------------------------------- the printer


@pytest.mark.row("1.1")
@pytest.mark.parametrize("by", ["name", "IPv4 address", "IPv6 address"])
async def test_the_printer_answers_while_the_vpn_is_up(t2v: Lab, by: str) -> None:
    """ "Turn on VPN, printer goes away": one more PvD takes nothing away. The VPN sees no packet for it."""
    plan = t2v["wA"].plan
    host = {"name": PRINTER, "IPv4 address": plan.local4, "IPv6 address": plan.local6}[by]
    config = with_rules(described(t2v, vpn=EVERYTHING), *THE_LAN)
    async with opened(t2v, config) as connector:
        word, report = await reach(connector, t2v, host, 17)
        assert word == "wA"
        (left_out,) = report.ranking.excluded
        assert left_out.pvd.name == "vpn"
        assert "not pvd:wA, which is required (rule" in str(left_out.excluded)
        assert sent(t2v["vpn"]) == []
        word, _ = await reach(connector, t2v, PRIVATE, 17)
        assert word == "vpn", "and the VPN is up"
    plain = ordinary(t2v, host, 17, limit=0.5)
    assert plain.word is None
    assert sent(t2v["vpn"]) != [], "the ordinary stack sends the VPN everything"


# ---------------------------------------------------------------------- go to Pirate Bay, get fired


@pytest.mark.row("1.2", "6.1")
async def test_what_is_private_stays_off_the_vpn(t2v: Lab) -> None:
    """ "Turn on VPN, go to Pirate Bay, get fired": prohibited, the VPN sees neither DNS nor SYN."""
    personal = policy(prohibit="type:vpn")
    async with opened(t2v, described(t2v, vpn=EVERYTHING)) as connector:
        for host in (t2v.name, t2v.address4, t2v.address6):
            word, _ = await reach(connector, t2v, host, 17, policy=personal)
            assert word == "wA"
        assert sent(t2v["vpn"]) == []
    assert ordinary(t2v, port=17).word == "vpn", "by default the employer sees it all"
    assert {"dns", "syn"} <= {packet.kind for packet in sent(t2v["vpn"])}


FORCED = Rule(Match(), policy(require="type:vpn"))


@pytest.mark.row("1.2", "6.1")
async def test_a_forced_tunnel_gets_everything_or_nothing_happens(t2v: Lab) -> None:
    """ "Turn on VPN": force-tunnel: the LAN sees nothing, and with the VPN down the call fails closed."""
    config = with_rules(described(t2v, vpn=EVERYTHING), FORCED)
    async with opened(t2v, config) as connector:
        for host in (t2v.name, t2v.address4):
            word, report = await reach(connector, t2v, host, 17)
            assert word == "vpn"
            assert [str(ranked.excluded) for ranked in report.ranking.excluded] == [
                "not type:vpn, which is required (rule 1)"
            ]
        t2v["vpn"].link_down()
        for host in (t2v.name, t2v.address4, PRIVATE):
            with pytest.raises(pvdrace.NoUsablePvd, match="wA skipped") as caught:
                await reach(connector, t2v, host, 17)
            # The zone of the VPN would be lost without a policy, too; all else is the policy's doing.
            assert isinstance(caught.value, pvdrace.PolicyProhibited) is (host != PRIVATE)
            assert caught.value.report is not None
            assert caught.value.report.elapsed < 1.0
    assert sent(t2v["wA"]) == []


@pytest.mark.row("1.2")
async def test_a_split_tunnel_that_is_down_takes_only_its_own_names_along(t2v_split: Lab) -> None:
    """ "Turn on VPN": split: the personal goes on, the VPN's own names fail, and leak nowhere."""
    async with opened(t2v_split) as connector:
        assert (await reach(connector, t2v_split, PRIVATE, 17))[0] == "vpn"
        t2v_split["vpn"].link_down()
        word, report = await reach(connector, t2v_split)
        assert (word, pvds_of(report)) == ("wA", {"wA"})
        t2v_split.reset_counters()
        with pytest.raises(pvdrace.NoUsablePvd, match=f"wA skipped \\({ZONE} belongs to vpn\\)"):
            await reach(connector, t2v_split, PRIVATE, 17)
    assert sent(t2v_split["wA"]) == []
    ordinary(t2v_split, PRIVATE, 17, limit=2.5, dns_timeout=1)
    assert any(packet.dns_name == PRIVATE for packet in sent(t2v_split["wA"])), "control: the name leaks"


# ---------------------------------------------------------------------- guidance


@pytest.mark.row("1.9")
@pytest.mark.parametrize(
    ("host", "right"),
    [(PRIVATE, "vpn"), ("10.1.0.2", "vpn"), ("www.example.test", "wA"), ("198.51.100.1", "wA")],
)
async def test_guidance_that_is_right_is_followed_without_a_race(
    t2v_split: Lab, host: str, right: str
) -> None:
    """ "guidance right": the first SYN is on the right link, and there is no packet on the other."""
    async with opened(t2v_split) as connector:
        word, report = await reach(connector, t2v_split, host, 17)
    assert word == right
    assert pvds_of(report) == {right}
    assert sent(t2v_split["wA" if right == "vpn" else "vpn"]) == []


ZONE_CLAIMS = {"the same": (ZONE, "."), "a more specific": (PRIVATE, ".")}


@pytest.mark.row("1.10")
@pytest.mark.parametrize("claim", ZONE_CLAIMS)
async def test_a_zone_that_an_untrusted_domain_claims_is_not_its(t2: Lab, claim: str) -> None:
    """ "guidance wrong": names of corp.example never go to A, which claims them and is not trusted.

    RFC 7556 s7.1, RFC 6731 s4. All else still goes there: A has the better metric, and it works.
    """
    claims = {"zones": ZONE_CLAIMS[claim], "route_preference": "high"}
    owner = {"zones": (ZONE, ".")}
    async with opened(t2, described(t2, wA={**claims, "trusted": False}, wB=owner)) as connector:
        assert (await reach(connector, t2))[0] == "wA"
        t2.reset_counters()
        word, report = await reach(connector, t2, PRIVATE, 17)
        assert (word, pvds_of(report)) == ("wB", {"wB"})
        assert not [packet for packet in sent(t2["wA"]) if packet.dns_name or packet.port == 17]
    t2.reset_counters()
    async with opened(t2, described(t2, wA=claims, wB=owner)) as connector:
        assert (await reach(connector, t2, PRIVATE, 17))[0] == "wA"
        assert sent(t2["wA"]) != [], "control: a trusted one is believed"


@pytest.mark.row("1.10")
async def test_evidence_outweighs_what_a_network_says_of_itself(t2x: Lab) -> None:
    """ "guidance wrong": A calls itself the preferred router, and leads nowhere: B, and B first from then."""
    async with opened(t2x, described(t2x, wA={"route_preference": "high", "metric": 1})) as connector:
        word, report = await reach(connector, t2x)
        assert (word, report.ranking.ranked[0].pvd.name) == ("wB", "wA")
        word, report = await reach(connector, t2x)
        assert (word, report.ranking.ranked[0].pvd.name) == ("wB", "wB")
