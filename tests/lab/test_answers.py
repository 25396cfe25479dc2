"""draft-ietf-mif-current-practices s3.1 (RFC 6419 s3.1), AMSS: DNS on the bound interface; its answers."""

from __future__ import annotations

from dataclasses import replace

import anyio.to_thread
import pytest

import pvdrace
from lab.conftest import PRIVATE
from lab.racing import configuration, opened, policy, reach, sent, trusting
from pvdrace.lab import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.lab, pytest.mark.row("3.41")]

PORT = 17  # the server's word, unasked


async def test_answers_know_their_pvd_and_are_dialled_there(t2: Lab) -> None:
    """AMSS DNS on the bound interface: each PvD answers for itself, and its answer is dialled in it."""
    async with opened(t2) as connector:
        answers = await connector.resolve(PRIVATE)
        assert [(answer.pvd, answer.address) for answer in answers] == [
            ("wA", "2001:db8:99::21"),
            ("wA", "198.51.100.21"),
            ("wB", "2001:db8:99::22"),
            ("wB", "198.51.100.22"),
        ]
        for answer in answers:
            assert str(answer) == answer.address
            assert answer.server in t2[answer.pvd].resolvers
            word, report = await reach(connector, t2, answer, PORT)
            assert word == answer.pvd
            assert [(a.pvd, a.remote) for a in report.attempts] == [(answer.pvd, answer.address)]
            sock, _ = await connector.connect(answer, PORT, timeout=5)
            sock.close()
    for link in t2:
        dialled = {packet.address for packet in sent(link) if packet.port == PORT}
        assert dialled == {answer.address for answer in answers if answer.pvd == link.name}


async def test_a_question_stays_where_policy_puts_it(t2: Lab) -> None:
    """AMSS per-request netpolicy: the other link's resolver hears nothing."""
    async with opened(t2) as connector:
        answers = await connector.resolve(PRIVATE, policy=policy(require="pvd:wB family:ipv4"))
        assert [(answer.pvd, answer.family) for answer in answers] == [("wB", 4)]
        assert sent(t2["wA"]) == []
        with pytest.raises(pvdrace.NoUsablePvd, match="wA skipped"):
            await connector.resolve(PRIVATE, policy=policy(require="pvd:nobody"))
        with pytest.raises(pvdrace.ResolutionFailed, match=r"wB A NXDOMAIN"):
            await connector.resolve("nobody.example.test", policy=policy(require="pvd:wB"))
    assert sent(t2["wA"]) == []


async def test_an_answer_elsewhere_is_an_error_unless_policy_lets_it_cross(t2: Lab) -> None:
    """AMSS: connecting such an answer on another PvD raises unless the explicit cross-PvD policy is on."""
    async with opened(t2) as connector:
        answer, *_ = await connector.resolve("v4only.example.test", policy=policy(require="pvd:wA"))
        t2.reset_counters()
        for elsewhere in (policy(require="pvd:wB"), policy(prohibit="pvd:wA")):
            with pytest.raises(pvdrace.PolicyProhibited, match="is an answer of wA"):
                await connector.connect(answer, PORT, policy=elsewhere, timeout=5)
        for link in t2:
            assert sent(link) == []
        crossing = pvdrace.Policy(require=["pvd:wB"], cross_pvd=True)
        word, _ = await reach(connector, t2, answer, PORT, policy=crossing)
        assert word == "wB"
        preferred = policy(prefer="pvd:wB", require="family:ipv4")
        word, _ = await reach(connector, t2, answer, PORT, policy=preferred)
        assert word == "wA", "a preference does not move it"
        with pytest.raises(pvdrace.NoUsablePvd):
            await connector.connect(answer, PORT, policy=policy(require="family:ipv6"), timeout=5)


async def test_a_dead_pvd_is_not_left_for_the_other(t2: Lab) -> None:
    """AMSS: the answer of A is A's, also where A is dead and B could reach the address."""
    async with opened(t2) as connector:
        answer, *_ = await connector.resolve("v4only.example.test", policy=policy(require="pvd:wA"))
        t2["wA"].blackhole()
        t2.reset_counters()
        with pytest.raises(pvdrace.ConnectFailed):
            await connector.connect(answer, PORT, timeout=0.4)
        assert sent(t2["wB"]) == []
        # An answer of a network that is gone, or was attached anew, is void (RFC 7556 s5.2.1).
        await anyio.to_thread.run_sync(t2["wA"].remove)
        with pytest.raises(pvdrace.NoUsablePvd):
            await connector.connect(answer, PORT, timeout=5)
        await anyio.to_thread.run_sync(t2["wA"].link_up)
        with pytest.raises(pvdrace.NoUsablePvd, match="attached anew since it gave the answer"):
            await connector.connect(answer, PORT, timeout=5)
        assert sent(t2["wB"]) == []


async def test_the_name_to_verify_is_the_one_that_was_asked_for(t2: Lab) -> None:
    """An answer is an address; its certificate is the name's."""
    async with opened(t2) as connector:
        answer, *_ = await connector.resolve(t2.name)
        word, report = await reach(connector, t2, answer, 443)
    assert word == answer.pvd == "wA"
    assert report.lookups == ()


async def test_a_pvd_with_a_proxy_is_not_asked(t2: Lab) -> None:
    """There, names are the proxy's matter."""
    found = configuration(t2)
    proxied = replace(found.pvds[0], proxy=f"http://{t2['wA'].gateway4}:3128")
    async with opened(t2, replace(found, pvds=(proxied, *found.pvds[1:]))) as connector:
        answers = await connector.resolve(t2.name)
        assert {answer.pvd for answer in answers} == {"wB"}
        with pytest.raises(pvdrace.NoUsablePvd, match="wA leaves names to its proxy"):
            await connector.resolve(t2.name, policy=policy(require="pvd:wA"))
        # What was answered elsewhere may cross into it, if policy says so: the proxy is told the address.
        crossing = pvdrace.Policy(require=["pvd:wA"], cross_pvd=True)
        connection = await connector.open_connection(
            answers[0], 443, tls=trusting(t2), policy=crossing, timeout=5
        )
        async with connection:
            assert (await connection.receive()).strip() == b"wA"
    assert not [packet for packet in sent(t2["wA"]) if packet.dns_name]


@pytest.mark.parametrize("name", ["198.51.100.1", "localhost", "::1"])
async def test_what_needs_no_lookup(t2: Lab, name: str) -> None:
    async with opened(t2) as connector:
        with pytest.raises(ValueError, match="needs no lookup"):
            await connector.resolve(name)
