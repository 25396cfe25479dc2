"""draft-ietf-mif-current-practices s3.3, access-network selection, without radios: which failures count."""

from __future__ import annotations

from itertools import pairwise

import pytest

import pvdrace
from lab.racing import (
    ATTEMPT_DELAY,
    PATH_DELAY,
    SLACK,
    STEADY,
    described,
    opened,
    ordinary,
    policy,
    pvds_of,
    reach,
    sent,
)
from pvdrace.lab import Lab
from pvdrace.race.pacing import Pacing
from pvdrace.race.report import RaceReport

pytestmark = [pytest.mark.anyio, pytest.mark.lab]


def order(report: RaceReport) -> list[str]:
    return [ranked.pvd.name for ranked in report.ranking.ranked]


# ---------------------------------------------------------------------- last successfully attached first


@pytest.mark.row("5.1")
async def test_one_success_elsewhere_makes_no_favourite(t2: Lab) -> None:
    """HTC "last successfully attached first": the user's weight counts, not where it last went well."""
    t2["wA"].link_down()
    async with opened(t2, policy=policy(prefer="pvd:wA"), pacing=STEADY) as connector:
        assert (await reach(connector, t2))[0] == "wB"
        t2["wA"].link_up()
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wA", ["wA", "wB"])


@pytest.mark.row("5.1")
async def test_one_success_elsewhere_does_not_outweigh_cost(t2: Lab) -> None:
    """HTC: nor does it make what costs more come first."""
    costs = {"cost": pvdrace.CostClass.VARIABLE}
    async with opened(t2, described(t2, wA={"cost": pvdrace.CostClass.UNMETERED}, wB=costs)) as connector:
        t2["wA"].link_down()
        assert (await reach(connector, t2))[0] == "wB"
        t2["wA"].link_up()
        word, report = await reach(connector, t2)
        assert (word, order(report)) == ("wA", ["wA", "wB"])


# ---------------------------------------------------------------------- a list of one's own


@pytest.mark.row("5.2")
async def test_a_new_network_never_outranks_those_that_the_user_ranked(t4: Lab) -> None:
    """BlackBerry user-defined list: the order is the user's; who is not in it comes last.

    The new one is the fastest there is, and has the best metric.
    """
    ranked = pvdrace.Policy(prefer=["pvd:w4", "pvd:w3", "pvd:w2"])
    async with opened(t4, policy=ranked, pacing=STEADY) as connector:
        for _ in range(2):
            word, report = await reach(connector, t4)
            assert (word, order(report)) == ("w4", ["w4", "w3", "w2", "w1"])
        for name in ("w4", "w3", "w2"):
            t4[name].reset()
        word, report = await reach(connector, t4)
        assert (word, order(report)[-1]) == ("w1", "w1")


# ---------------------------------------------------------------------- attach failures


@pytest.mark.row("5.3")
async def test_the_timeout_of_a_failed_attachment_is_configurable(t2: Lab) -> None:
    """Both: L2 attach failure, next in list after a configurable timeout. No ARP: not after 3 s."""
    t2["wA"].no_arp()
    for delay in (ATTEMPT_DELAY, 0.4):
        async with opened(t2, pacing=Pacing(path_delay=delay)) as connector:
            word, report = await reach(connector, t2)
            assert word == "wB"
            began = min(attempt.started for attempt in report.attempts if attempt.pvd == "wB")
            assert delay <= began < delay + SLACK
    plain = ordinary(t2, t2.address4, 17, how="blocking", limit=0.8)
    assert plain.error == "TimeoutError", "control: waits"


@pytest.mark.row("5.4")
@pytest.mark.parametrize("host", ["name", "IPv4 address", "IPv6 address"])
async def test_a_network_that_gave_no_address_is_not_tried(t2: Lab, host: str) -> None:
    """Both: no IP address after attach ⇒ next: 0 attempts on A, no packet, no 3 s ARP wait."""
    to = {"name": t2.name, "IPv4 address": t2.address4, "IPv6 address": t2.address6}[host]
    for family in ("inet", "inet6"):
        t2.run(["ip", "-family", family, "addr", "flush", "dev", "wA"], check=True)
    try:
        async with opened(t2) as connector:
            t2.reset_counters()
            word, report = await reach(connector, t2, to, 17)
        assert (word, pvds_of(report)) == ("wB", {"wB"})
        assert report.elapsed < PATH_DELAY + SLACK
        assert sent(t2["wA"]) == []
    finally:
        t2["wA"].link_up()


# ---------------------------------------------------------------------- the strongest signal


@pytest.mark.row("5.5")
async def test_the_strongest_signal_does_not_veto_what_is_seen(t2x: Lab) -> None:
    """Both, same SSID: a perfect signal and a black hole: B wins, and is the first at the second connect."""
    strong = {"link_quality": 1.0, "type": "wifi"}
    weak = {"link_quality": 0.1, "type": "wifi"}
    async with opened(t2x, described(t2x, wA=strong, wB=weak)) as connector:
        word, report = await reach(connector, t2x)
        assert (word, order(report)) == ("wB", ["wA", "wB"])
        word, report = await reach(connector, t2x)
        assert (word, order(report)) == ("wB", ["wB", "wA"])


@pytest.mark.row("5.6")
async def test_each_candidate_is_tried_once_in_order(t4: Lab) -> None:
    """Next AP, then next SSID: three dead and one alive: each tried once, in order."""
    t4["w1"].blackhole()
    t4["w2"].no_arp()
    t4["w3"].reset()
    async with opened(t4, policy=policy(require="family:ipv4")) as connector:
        word, report = await reach(connector, t4, "v4only.example.test", 17)
    assert (word, order(report)) == ("w4", ["w1", "w2", "w3", "w4"])
    # w2's name server is as far away as all else behind it: there the lookup is what was tried.
    assert [attempt.pvd for attempt in report.attempts] == ["w1", "w3", "w4"]
    assert [lookup.pvd for lookup in report.lookups] == ["w1", "w2", "w3", "w4"]
    for earlier, later in pairwise(report.lookups):
        assert earlier.started <= later.started


@pytest.mark.row("5.6")
async def test_each_candidate_is_tried_once_in_order_where_there_is_nothing_to_look_up(t4: Lab) -> None:
    """Next AP, then next SSID: of an address, each is one attempt."""
    t4["w1"].blackhole()
    t4["w2"].no_arp()
    t4["w3"].reset()
    async with opened(t4) as connector:
        word, report = await reach(connector, t4, t4.address4, 17)
    assert word == "w4"
    assert [attempt.pvd for attempt in report.attempts] == ["w1", "w2", "w3", "w4"]


# ---------------------------------------------------------------------- make before break


@pytest.mark.row("5.7", "3.38")
async def test_a_stream_stays_where_it_is_when_another_network_gets_better(t2: Lab) -> None:
    """BlackBerry: stronger AP ⇒ restarts; AMSS model 2: per packet. Here: new connections only.

    Every packet of a stream is on one link, while B becomes the better one and A again.
    """
    async with opened(t2, pacing=STEADY) as connector:
        stream = await connector.open_connection(t2.name, 80, timeout=5)
        async with stream:
            assert stream.report.winner is not None
            local = stream.report.winner.local
            for better in ("wB", "wA", "wB"):
                prefer_by_route(t2, better)
                try:
                    for _ in range(3):
                        await stream.send(b"who\n")
                        assert await stream.receive() == b"wA\n"
                    word, _ = await reach(connector, t2, port=22, policy=policy(prefer=f"pvd:{better}"))
                    assert word == f"SSH-2.0-lab_{better}"
                finally:
                    prefer_by_route(t2, better, "del")
    assert local in {packet.source for packet in sent(t2["wA"]) if packet.port == 80}
    assert not [packet for packet in sent(t2["wB"]) if packet.port == 80]


def prefer_by_route(lab: Lab, name: str, how: str = "add") -> None:
    """A default route of metric 1 through a link, which the kernel sends everything to that is not bound."""
    for family, gateway in (("-4", lab[name].gateway4), ("-6", lab[name].gateway6)):
        route = ["default", "via", str(gateway), "dev", name, "metric", "1"]
        lab.run(["ip", family, "route", how, *route], check=True)
