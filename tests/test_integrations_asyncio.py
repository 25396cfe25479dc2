"""The drop-in for asyncio: streams and protocols, won in a race. asyncio's alone, on each of its loops."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from typing import Any

import pytest
import pytest_asyncio
import trustme

import pvdrace
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, connector, trusting
from pvdrace.config.policy_file import PolicyFile
from pvdrace.integrations.asyncio import create_connection, open_connection, with_family
from pvdrace.rules import Match, Rule
from pvdrace.selectors import Selector
from stepwise import Steps

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    """The name is 127.0.0.2, and nothing in IPv6."""
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


@pytest.fixture
def both_ways(dns: Dns) -> Iterator[tuple[Dns, Dns]]:
    """The name in both families, said by a server of each."""
    dns.answers[HOST, "AAAA"] = ["::1"]
    six = Dns(dns.answers, "::1")
    with closing(six):
        yield dns, six


@pytest_asyncio.fixture
async def one(dns: Dns) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(before: int) -> int:
    """How many descriptors are left over, once the servers of this process have closed their ends."""
    async with asyncio.timeout(5):
        while descriptors() > before:
            gc.collect()
            await asyncio.sleep(0.001)
    return descriptors() - before


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class Listener(asyncio.Protocol):
    """What asyncio told a protocol."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append(transport)

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(error)
        self.over.set_result(None)


# ---------------------------------------------------------------------- streams


async def test_reader_writer_and_report(one: pvdrace.Connector) -> None:
    """Both ways, to a server of asyncio's own."""
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.readline())
        writer.write(said[-1].upper() * 2)
        await close(writer)

    async with await asyncio.start_server(serve, "127.0.0.2", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await open_connection(HOST, port, connector=one)
        writer.write(b"hello\n")
        await writer.drain()
        assert await reader.readline() == b"HELLO\n"
        assert await reader.read() == b"HELLO\n"
        report = writer.get_extra_info("pvdrace.report")
        assert writer.get_extra_info("peername") == ("127.0.0.2", port)
        assert writer.get_extra_info("no such thing", "default") == "default"
        await close(writer)
    assert said == [b"hello\n"]
    assert isinstance(report, pvdrace.RaceReport)
    assert report.winner is not None
    assert (report.winner.pvd, report.winner.remote, report.ready) == ("a", "127.0.0.2", "tcp")


async def test_tls_by_asyncio(one: pvdrace.Connector, authority: trustme.CA) -> None:
    server = Server("127.0.0.2", context=certificate_for(authority, HOST))
    with closing(server):
        reader, writer = await open_connection(HOST, server.port, connector=one, ssl=trusting(authority))
        assert await reader.readline() == b"hello\n"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert writer.get_extra_info("pvdrace.report").ready == "tls"
        await close(writer)


async def test_the_system_trusts_no_authority_of_ours(one: pvdrace.Connector, authority: trustme.CA) -> None:
    """``ssl=True`` verifies: the failure is a race's, with the report."""
    server = Server("127.0.0.2", context=certificate_for(authority, HOST))
    with closing(server), pytest.raises(pvdrace.ConnectFailed, match="wrong certificate") as caught:
        await open_connection(HOST, server.port, connector=one, ssl=True)
    assert caught.value.report is not None
    assert caught.value.report.attempts[0].connected is not None


@pytest.mark.parametrize(("hostname", "wins"), [("other.example.test", True), (HOST, False), (None, False)])
async def test_server_hostname_is_what_is_verified(
    one: pvdrace.Connector, authority: trustme.CA, hostname: str | None, wins: bool
) -> None:
    server = Server("127.0.0.2", context=certificate_for(authority, "other.example.test"))
    options: dict[str, Any] = {"connector": one, "ssl": trusting(authority), "server_hostname": hostname}
    with closing(server):
        if wins:
            reader, writer = await open_connection(HOST, server.port, **options)
            assert await reader.readline() == b"hello\n"
            await close(writer)
        else:
            with pytest.raises(pvdrace.ConnectFailed, match="wrong certificate"):
                await open_connection(HOST, server.port, **options)


@pytest.mark.parametrize("literal", ["::1", "[::1]"])
async def test_an_address_is_verified_without_its_brackets(authority: trustme.CA, literal: str) -> None:
    server = Server("::1", context=certificate_for(authority, "::1"))
    with closing(server):
        async with connector() as nothing:
            reader, writer = await open_connection(
                literal, server.port, connector=nothing, ssl=trusting(authority)
            )
            assert await reader.readline() == b"hello\n"
            await close(writer)


async def test_limit_is_the_readers(one: pvdrace.Connector) -> None:
    server = Server("127.0.0.2", word=b"x" * 1000 + b"\n")
    with closing(server):
        reader, writer = await open_connection(HOST, server.port, connector=one, limit=100)
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        await close(writer)
        reader, writer = await open_connection(HOST, server.port, connector=one)
        assert len(await reader.readline()) == 1001
        await close(writer)


async def test_policy_is_the_calls(dns: Dns) -> None:
    server = Server("127.0.0.2")
    with closing(server):
        async with connector(dns, dns) as both:
            for name in ("a", "b"):
                policy = pvdrace.Policy(require=[f"pvd:{name}"])
                _, writer = await open_connection(HOST, server.port, connector=both, policy=policy)
                assert writer.get_extra_info("pvdrace.report").winner.pvd == name
                await close(writer)
            with pytest.raises(pvdrace.NoUsablePvd):
                await open_connection(
                    HOST, server.port, connector=both, policy=pvdrace.Policy(require=["pvd:c"])
                )


async def test_a_label_finds_its_rule(dns: Dns) -> None:
    server = Server("127.0.0.2")
    file = PolicyFile("p", rules=(Rule(Match(label=["mail"]), pvdrace.Policy(require=["pvd:b"])),))
    with closing(server):
        async with connector(dns, dns, policy=file) as both:
            for label, name in (("mail", "b"), (None, "a")):
                _, writer = await open_connection(HOST, server.port, connector=both, label=label)
                assert writer.get_extra_info("pvdrace.report").winner.pvd == name
                await close(writer)


async def test_a_family_leaves_all_else_of_a_policy_as_it_is() -> None:
    policy = pvdrace.Policy(
        ["pvd:a"],
        ["pvd:b"],
        ["pvd:c"],
        ["pvd:d"],
        capacity_profile="scavenger",
        latency_budget=1.0,
        min_rate=2.0,
        rank_by=["cost"],
        racing="failover",
        priority=3,
        cross_pvd=True,
    )
    given = with_family(policy, socket.AF_INET)
    assert given is not None
    for name in (field.name for field in fields(policy) if field.compare):
        more = (Selector("family", "ipv4"),) if name == "require" else ()
        left = getattr(policy, name)
        assert left, f"{name} is not in this test"
        assert getattr(given, name) == (left + more if more else left)


async def test_timeout_is_the_whole_races(one: pvdrace.Connector, authority: trustme.CA) -> None:
    """A server that says nothing after TCP, and TLS wanted of it."""
    mute = Server("127.0.0.2", mute=True)
    with closing(mute):
        before = descriptors()
        with pytest.raises(pvdrace.ConnectFailed, match=r"timeout 0\.2 s"):
            await open_connection(HOST, mute.port, connector=one, ssl=trusting(authority), timeout=0.2)
    assert await settled(before) <= 0


async def test_tls_failure_moves_on_to_the_next_pvd(authority: trustme.CA) -> None:
    """HEv3 s6.1: an intercepting portal completes TCP, and has no certificate of that name."""
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Server("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    first = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    second = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    with closing(portal, server, first, second):
        async with connector(first, second) as both:
            reader, writer = await open_connection(HOST, portal.port, connector=both, ssl=trusting(authority))
            assert await reader.readline() == b"hello\n"
            report = writer.get_extra_info("pvdrace.report")
            await close(writer)
    assert [(a.pvd, a.outcome) for a in report.attempts] == [("a", "failed"), ("b", "won")]
    assert report.attempts[0].error.startswith("wrong certificate")


async def test_cancellation_at_every_step_leaks_nothing(authority: trustme.CA) -> None:
    """Lookups, a black hole, a portal's TLS handshake, the winner's: cancelled after each step."""
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Server("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    hole = BlackHole("::1", portal.port)
    first = Dns({(HOST, "AAAA"): ["::1"], (HOST, "A"): ["127.0.0.2"]})
    second = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    quick = pvdrace.Pacing(
        connection_attempt_delay=0.02,
        minimum_connection_attempt_delay=0.01,
        path_delay=0.02,
        resolution_delay=0.01,
        resolution_lead=0.005,
    )
    context = trusting(authority)
    with closing(portal, server, hole, first, second):
        async with connector(first, second, pacing=quick) as both:

            async def work() -> None:
                for dns_server in "ab":
                    both.resolver.forget(dns_server)
                _, writer = await open_connection(HOST, server.port, connector=both, ssl=context)
                writer.transport.abort()
                await asyncio.sleep(0)

            await work()  # what is loaded once is loaded now
            whole = Steps()
            await whole.run(work, "asyncio")
            assert whole.count > 10
            await asyncio.sleep(0.3)  # the servers' ends of those two runs are closed
            before, tasks = descriptors(), len(asyncio.all_tasks())
            cancelled = 0
            for at in range(1, whole.count + 1):
                steps = Steps(at)
                await steps.run(work, "asyncio")
                cancelled += steps.scope.cancelled_caught
                assert await settled(before) <= 0, f"a descriptor is left after a cancellation at step {at}"
                assert len(asyncio.all_tasks()) == tasks, f"a task is left after a cancellation at step {at}"
            assert cancelled > whole.count / 2


# ---------------------------------------------------------------------- protocols


@pytest.mark.parametrize("tls", [False, True])
async def test_create_connection(one: pvdrace.Connector, authority: trustme.CA, tls: bool) -> None:
    """The contract: ``(transport, protocol)``, and the protocol is told what it would be by asyncio."""
    server = Server("127.0.0.2", context=certificate_for(authority, HOST) if tls else None)
    reports: list[pvdrace.RaceReport] = []
    one.hooks = (reports.append,)
    with closing(server):
        transport, protocol = await create_connection(
            Listener, HOST, server.port, connector=one, ssl=trusting(authority) if tls else None
        )
        await protocol.over
    assert isinstance(protocol, Listener)
    assert protocol.told == [transport, b"hello\n", None]
    transport.close()
    assert [report.ready for report in reports] == ["tls" if tls else "tcp"]


async def test_without_tls_there_is_one_protocol(one: pvdrace.Connector, dns: Dns) -> None:
    """Of two attempts, one refused: the factory is called for the winner alone."""
    dns.answers[HOST, "A"] = ["127.0.0.4", "127.0.0.2"]
    server = Server("127.0.0.2")
    made: list[Listener] = []

    def factory() -> Listener:
        made.append(Listener())
        return made[-1]

    with closing(server):
        transport, protocol = await create_connection(factory, HOST, server.port, connector=one)
        await protocol.over
    transport.close()
    assert made == [protocol]


async def test_a_factory_that_fails_leaves_no_socket(one: pvdrace.Connector) -> None:
    server = Server("127.0.0.2")

    def broken() -> asyncio.Protocol:
        raise LookupError("no protocol today")

    with closing(server):
        before = descriptors()
        with pytest.raises(LookupError, match="no protocol today"):
            await create_connection(broken, HOST, server.port, connector=one)
        assert await settled(before) <= 0


# ---------------------------------------------------------------------- family


@pytest.mark.parametrize(
    ("family", "asked"),
    [(socket.AF_INET, ["A"]), (socket.AF_INET6, ["AAAA"]), (socket.AF_UNSPEC, ["A", "AAAA"]), (2, ["A"])],
)
async def test_family_is_a_requirement(both_ways: tuple[Dns, Dns], family: int, asked: list[str]) -> None:
    """As in a policy: nothing is asked for, and nobody is asked, in the other family."""
    six = Server("::1")
    four = Server("127.0.0.2", six.port)
    with closing(six, four):
        async with connector(both_ways) as one:
            _, writer = await open_connection(HOST, six.port, connector=one, family=family)
            peer = writer.get_extra_info("peername")[0]
            await close(writer)
    questions = {dns.family: [rdtype for _, rdtype in dns.asked] for dns in both_ways}
    assert sorted(rdtype for dns in both_ways for _, rdtype in dns.asked) == asked
    if family != socket.AF_UNSPEC:
        assert questions[socket.AddressFamily(family)] == asked
    assert peer == ("127.0.0.2" if asked == ["A"] else "::1")


async def test_family_comes_beside_the_callers_policy(both_ways: tuple[Dns, Dns]) -> None:
    """Both hold: the PvD is the policy's, the family the argument's; a contradiction leaves nothing."""
    six = Server("::1")
    four = Server("127.0.0.2", six.port)
    with closing(six, four):
        async with connector(both_ways, both_ways) as both:

            async def winner(family: int, **lists: Any) -> tuple[str, int]:
                _, writer = await open_connection(
                    HOST, six.port, connector=both, family=family, policy=pvdrace.Policy(**lists)
                )
                await close(writer)
                found = writer.get_extra_info("pvdrace.report").winner
                return found.pvd, found.family

            four_or_six = ["family:ipv4", "family:ipv6"]
            assert await winner(socket.AF_INET, require=["pvd:b"]) == ("b", 4)
            assert await winner(socket.AF_INET6, require=["pvd:b", *four_or_six]) == ("b", 6)
            assert await winner(socket.AF_INET, require=four_or_six, prefer=["pvd:b"]) == ("b", 4)
            for refused in ({"require": ["family:ipv6"]}, {"prohibit": ["family:ipv4"]}):
                with pytest.raises(pvdrace.NoUsablePvd, match="ipv4"):
                    await winner(socket.AF_INET, **refused)


async def test_an_address_of_the_other_family_is_refused(one: pvdrace.Connector) -> None:
    with pytest.raises(pvdrace.PvdRaceError):
        await open_connection("127.0.0.2", 9, connector=one, family=socket.AF_INET6)


# ---------------------------------------------------------------------- what cannot be raced


@pytest.mark.parametrize("function", ["open_connection", "create_connection"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sock": object()}, "sock= cannot be raced: .* use asyncio itself"),
        ({"local_addr": ("192.0.2.1", 0)}, r"local_addr= cannot be raced: .* policy=Policy\(require="),
        ({"flags": socket.AI_NUMERICHOST}, "flags= cannot be raced: names are not looked up by getaddrinfo"),
        ({"proto": socket.IPPROTO_UDP}, "proto must be 0 or IPPROTO_TCP"),
        ({"family": socket.AF_UNIX}, "family must be AF_UNSPEC, AF_INET or AF_INET6"),
        ({"server_hostname": HOST}, "server_hostname is only meaningful with ssl"),
        ({"ssl_handshake_timeout": 1.0}, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"ssl_shutdown_timeout": 1.0, "ssl": False}, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)
async def test_what_cannot_be_raced_is_refused_by_name(
    one: pvdrace.Connector, function: str, options: dict[str, Any], said: str
) -> None:
    arguments: list[Any] = [] if function == "open_connection" else [asyncio.Protocol]
    call = getattr(pvdrace.integrations.asyncio, function)
    with pytest.raises(ValueError, match=said):
        await call(*arguments, HOST, 443, connector=one, **options)


async def test_an_unknown_argument_is_a_type_error(one: pvdrace.Connector) -> None:
    with pytest.raises(TypeError, match="'ssl_context'"):
        await open_connection(HOST, 443, connector=one, ssl_context=None)  # type: ignore[call-arg]


async def test_the_arguments_of_asyncio_that_have_no_effect_are_taken(one: pvdrace.Connector) -> None:
    server = Server("127.0.0.2")
    with closing(server):
        reader, writer = await open_connection(
            HOST,
            server.port,
            connector=one,
            proto=socket.IPPROTO_TCP,
            happy_eyeballs_delay=0.1,
            interleave=1,
            all_errors=True,
        )
        assert await reader.readline() == b"hello\n"
        await close(writer)


async def test_tls_timeouts_are_handed_on(one: pvdrace.Connector, authority: trustme.CA) -> None:
    mute = Server("127.0.0.2", mute=True)
    options: dict[str, Any] = {"ssl": trusting(authority), "ssl_handshake_timeout": 0.1}
    with (
        closing(mute),
        pytest.raises(pvdrace.ConnectFailed, match=r"SSL handshake is taking longer than 0\.1"),
    ):
        await open_connection(HOST, mute.port, connector=one, **options)
