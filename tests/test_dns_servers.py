"""Which resolver is asked first, and from which address (RFC 8305 s3.1, RFC 6724 s5)."""

from __future__ import annotations

import pytest

from pvdrace.dns.servers import MAX_PENALTY, MAX_REMEMBERED, Server, Standings, choose_source
from pvdrace.model import LocalAddress, ProvisioningDomain, Resolver


def wifi(*resolvers: str, name: str = "wifi", attachment: int = 0) -> ProvisioningDomain:
    return ProvisioningDomain(
        name, "wlan0", 3, resolvers=tuple(map(Resolver, resolvers)), attachment=attachment
    )


def order(standings: Standings, pvd: ProvisioningDomain, now: float) -> list[str]:
    return [str(server) for server in standings.order(pvd, now)]


def server(address: str) -> Server:
    return Server(Resolver(address), None)


def test_the_given_order_stands_among_equals() -> None:
    assert order(Standings(), wifi("10.0.0.2", "10.0.0.1"), 0.0) == ["10.0.0.2", "10.0.0.1"]


def test_ipv6_comes_first_among_equals() -> None:
    pvd = wifi("10.0.0.1", "2001:db8::1", "2001:db8::2")
    assert order(Standings(), pvd, 0.0) == ["2001:db8::1", "2001:db8::2", "10.0.0.1"]


def test_who_answered_last_comes_before_the_unknown() -> None:
    standings, pvd = Standings(), wifi("2001:db8::1", "10.0.0.1", "10.0.0.2")
    standings.answered(pvd, server("10.0.0.2"), 1.0)
    assert order(standings, pvd, 2.0)[0] == "10.0.0.2"
    standings.answered(pvd, server("10.0.0.1"), 3.0)
    assert order(standings, pvd, 4.0) == ["10.0.0.1", "10.0.0.2", "2001:db8::1"]


def test_silence_is_penalised_longer_every_time_until_it_answers() -> None:
    standings, pvd, now, lengths = Standings(), wifi("10.0.0.1", "10.0.0.2"), 0.0, []
    for _ in range(7):
        standings.was_silent(pvd, server("10.0.0.1"), now)
        length = next(s for s in range(10_000) if order(standings, pvd, now + s)[0] == "10.0.0.1")
        lengths.append(length)
        now += length
    assert lengths == [30, 60, 120, 240, 480, MAX_PENALTY, MAX_PENALTY]
    standings.answered(pvd, server("10.0.0.1"), now)
    standings.was_silent(pvd, server("10.0.0.1"), now)
    assert order(standings, pvd, now + 30.0)[0] == "10.0.0.1"


def test_all_are_silent_the_longest_ago_is_asked_first() -> None:
    standings, pvd = Standings(), wifi("10.0.0.1", "10.0.0.2")
    standings.was_silent(pvd, server("10.0.0.1"), 1.0)
    standings.was_silent(pvd, server("10.0.0.2"), 0.0)
    assert order(standings, pvd, 2.0) == ["10.0.0.2", "10.0.0.1"]


@pytest.mark.parametrize(
    "other", [wifi("10.0.0.1", "10.0.0.2", name="lte"), wifi("10.0.0.1", "10.0.0.2", attachment=1)]
)
def test_another_pvd_or_attachment_has_its_own_experience(other: ProvisioningDomain) -> None:
    standings = Standings()
    standings.was_silent(wifi("10.0.0.1", "10.0.0.2"), server("10.0.0.1"), 0.0)
    assert order(standings, other, 1.0)[0] == "10.0.0.1"


def test_forget() -> None:
    standings, pvd = Standings(), wifi("10.0.0.1", "10.0.0.2")
    standings.was_silent(pvd, server("10.0.0.1"), 0.0)
    standings.forget("wifi")
    assert order(standings, pvd, 1.0)[0] == "10.0.0.1"


def test_memory_is_bounded() -> None:
    standings = Standings()
    for attachment in range(MAX_REMEMBERED + 10):
        standings.was_silent(wifi(attachment=attachment), server("10.0.0.1"), 0.0)
    assert len(standings._known) == MAX_REMEMBERED


ADDRESSES = (
    LocalAddress("fe80::2", 64),
    LocalAddress("2001:db8:1::2", 64),
    LocalAddress("2001:db8:2::2", 64),
    LocalAddress("2001:db8:2::9", 64, deprecated=True),
    LocalAddress("192.168.1.2", 24),
    LocalAddress("10.0.0.2", 8),
)


@pytest.mark.parametrize(
    ("resolver", "source"),
    [
        ("fe80::1", "fe80::2"),
        ("2001:db8:1::1", "2001:db8:1::2"),
        ("2001:db8:2::1", "2001:db8:2::2"),
        ("2001:db8:2::9", "2001:db8:2::2"),
        ("192.168.1.1", "192.168.1.2"),
        ("10.9.9.9", "10.0.0.2"),
    ],
)
def test_the_source_is_near_its_server(resolver: str, source: str) -> None:
    """RFC 6724 s5: the same scope, not deprecated, the longest matching prefix."""
    pvd = ProvisioningDomain("wifi", "wlan0", 3, addresses=ADDRESSES, resolvers=(Resolver(resolver),))
    assert choose_source(pvd, resolver) == source
    assert Standings().order(pvd, 0.0) == [Server(Resolver(resolver), source)]


@pytest.mark.parametrize(
    ("families", "expected"),
    [((6, 4), ["2001:db8::1", "10.0.0.1"]), ((4,), ["10.0.0.1"]), ((6,), ["2001:db8::1"])],
)
@pytest.mark.parametrize("interface", ["wlan0", "lo"])
def test_a_family_that_policy_forbids_is_not_used(
    interface: str, families: tuple[int, ...], expected: list[str]
) -> None:
    resolvers = (Resolver("2001:db8::1"), Resolver("10.0.0.1"))
    pvd = ProvisioningDomain("wifi", interface, 3, addresses=ADDRESSES, resolvers=resolvers)
    assert [str(server) for server in Standings().order(pvd, 0.0, families)] == expected


def test_no_address_of_the_family_no_source_no_question() -> None:
    pvd = ProvisioningDomain(
        "wifi", "wlan0", 3, addresses=ADDRESSES[:4], resolvers=(Resolver("10.0.0.1"), Resolver("fe80::1"))
    )
    assert choose_source(pvd, "10.0.0.1") is None
    assert order(Standings(), pvd, 0.0) == ["fe80::1"]
