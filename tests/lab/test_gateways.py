"""draft-ietf-mif-current-practices s3.1 (RFC 6419 s3.1), BlackBerry's gateways: a proxy, per PvD."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pvdrace
from lab.racing import configuration, opened, ordinary, reach, sent, trusting
from pvdrace.config import Configuration
from pvdrace.lab import Lab
from pvdrace.race.pacing import Pacing

pytestmark = [pytest.mark.anyio, pytest.mark.lab, pytest.mark.row("3.25")]

PORTS = {"http": 3128, "socks5": 1080}
NOBODY = 3129  # where no proxy listens: refused
QUICK = Pacing(path_delay=0.25, attempt_timeout=0.5)


def with_proxy(lab: Lab, url: str, *, or_direct: bool = False) -> Configuration:
    """The lab's PvDs, wA with a proxy."""
    found = configuration(lab)
    pvds = tuple(
        replace(pvd, proxy=url, proxy_or_direct=or_direct) if pvd.name == "wA" else pvd for pvd in found.pvds
    )
    return replace(found, pvds=pvds)


def alone(config: Configuration) -> Configuration:
    """The first PvD and no other."""
    return replace(config, discover=(), pvds=config.pvds[:1])


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("scheme", PORTS)
async def test_a_pvd_with_a_proxy_sends_to_the_proxy_alone(t2: Lab, scheme: str, family: int) -> None:
    """BlackBerry gateways: PvD with proxy, SYN goes to proxy only; and no DNS, names are the proxy's.

    TLS is verified end to end, and the server says that it was reached through A. Nothing forwarded by A's
    router is needed: it drops all of that.
    """
    link = t2["wA"]
    link.blackhole()
    gateway = str(link.gateway4) if family == 4 else f"[{link.gateway6}]"
    url = f"{scheme}://{gateway}:{PORTS[scheme]}"
    async with opened(t2, with_proxy(t2, url)) as connector:
        word, report = await reach(connector, t2)
    assert word == "wA"
    assert report.winner is not None
    assert report.winner.through == url
    packets = sent(link)
    assert {(packet.address, packet.port) for packet in packets} == {(gateway.strip("[]"), PORTS[scheme])}
    assert [packet.kind for packet in packets].count("syn") == 1
    assert not [packet for packet in packets if packet.dns_name]
    assert sent(t2["wB"]) == []


async def test_a_raw_socket_comes_with_its_tunnel(t2: Lab) -> None:
    """The server's word is unasked and may be right behind the proxy's reply: it is the socket's."""
    async with opened(t2, with_proxy(t2, f"http://{t2['wA'].gateway4}:3128")) as connector:
        word, _ = await reach(connector, t2, t2.address4, 17)
        assert word == "wA"
        word, _ = await reach(connector, t2, "local.example.test", 17)
        assert word == "wA"


async def test_control_the_ordinary_stack_knows_no_proxy_and_fails(t2: Lab) -> None:
    """BlackBerry gateways, control: behind a router that lets only its proxy out, nobody gets out."""
    t2["wA"].blackhole()
    plain = ordinary(t2, how="blocking")
    assert plain.error == "TimeoutError"
    assert {packet.port for packet in sent(t2["wA"])} == {53, 443}


@pytest.mark.parametrize("dead", ["refused", "silent", "cannot"])
async def test_a_dead_proxy_is_the_end_of_its_pvd_unless_policy_lets_it_go_direct(t2: Lab, dead: str) -> None:
    """BlackBerry gateways: proxy dead ⇒ direct only if policy allows. Failover: never both at once."""
    gateway = t2["wA"].gateway4
    url = {
        "refused": f"http://{gateway}:{NOBODY}",
        "silent": "http://203.0.113.66:3128",
        "cannot": f"socks5://{gateway}:1080",
    }[dead]
    host = "unknown.example.test" if dead == "cannot" else t2.name
    async with opened(t2, alone(with_proxy(t2, url)), pacing=QUICK) as connector:
        with pytest.raises(pvdrace.ConnectFailed) as caught:
            await connector.open_connection(host, 443, timeout=5)
    assert url in str(caught.value)
    assert not [packet for packet in sent(t2["wA"]) if packet.dns_name or packet.address == t2.address4]
    assert sent(t2["wB"]) == []

    async with opened(t2, alone(with_proxy(t2, url, or_direct=True)), pacing=QUICK) as connector:
        if dead == "cannot":  # there is no such name, on any way
            with pytest.raises(pvdrace.ConnectFailed) as caught:
                await connector.open_connection(host, 443, timeout=5)
            assert "the proxy said host unreachable" in str(caught.value)
        else:
            word, report = await reach(connector, t2)
            assert word == "wA"
            proxied, *direct = report.attempts
            assert proxied.through == url
            assert proxied.ended is not None
            started = [a.started for a in direct] + [lookup.started for lookup in report.lookups]
            assert min(started) >= proxied.ended
            assert {a.through for a in direct} == {None}
    assert [packet for packet in sent(t2["wA"]) if packet.dns_name]


async def test_where_the_proxy_is_dead_the_race_goes_on_in_the_next_pvd(t2: Lab) -> None:
    """BlackBerry gateways: without the direct way of A it is B's turn, at once where A says no."""
    url = f"http://{t2['wA'].gateway4}:{NOBODY}"
    async with opened(t2, with_proxy(t2, url)) as connector:
        connection = await connector.open_connection(t2.name, 443, tls=trusting(t2), timeout=5)
        async with connection:
            assert (await connection.receive()).strip() == b"wB"
    (failed,) = [attempt for attempt in connection.report.attempts if attempt.pvd == "wA"]
    assert (failed.error, failed.through) == ("refused", url)
    assert {packet.port for packet in sent(t2["wA"])} == {NOBODY}
