"""A race that is handed over at its first transport handshake, and goes on, or does not, from there."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute

import pvdrace
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from pvdrace.config import parse
from pvdrace.model import Endpoint, Ranked, Ranking, Reason
from pvdrace.paths import Path, objection
from pvdrace.race.pacing import Pacing
from stepwise import Steps

pytestmark = pytest.mark.anyio

QUICK = Pacing(
    connection_attempt_delay=0.02,
    minimum_connection_attempt_delay=0.01,
    path_delay=0.02,
    resolution_delay=0.01,
    resolution_lead=0.005,
)
A, B = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def names() -> Iterator[tuple[Dns, Dns]]:
    """In the PvD ``a`` the name is `A`, in ``b`` it is `B`."""
    servers = Dns({(HOST, "AAAA"): [], (HOST, "A"): [A]}), Dns({(HOST, "AAAA"): [], (HOST, "A"): [B]})
    with closing(*servers):
        yield servers


def connector(names: tuple[Dns, Dns], **options: Any) -> pvdrace.Connector:
    pvds = "".join(
        f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["127.0.0.1:{dns.port}"]\n'
        for name, dns in zip("ab", names, strict=True)
    )
    return pvdrace.Connector(parse(f"discover = []\n{pvds}"), **{"pacing": QUICK, **options})


def on_one_port(*makers: Any) -> list[Any]:
    """Servers at `A` and `B` on the same port."""
    first = makers[0](A, 0)
    return [first, *(make(B, first.port) for make in makers[1:])]


async def test_settled_it_is_a_connection_like_any_other(names: tuple[Dns, Dns]) -> None:
    server = Server(A)
    reports: list[pvdrace.RaceReport] = []
    with closing(server):
        async with connector(names, pacing=replace(QUICK, path_delay=0.4), hooks=[reports.append]) as here:
            provisional = await here.begin(HOST, server.port)
            assert provisional.report.outcome == "cancelled"  # so far
            assert not reports
            connection = await provisional.settle()
            async with connection:
                assert await connection.receive() == b"hello\n"
    assert connection.report.winner is not None
    assert connection.report.winner.pvd == "a"
    assert connection.report.ready == "tcp"
    assert reports == [connection.report]
    assert connection.path.pvd.name == "a"


async def test_settled_as_a_socket(names: tuple[Dns, Dns]) -> None:
    server = Server(A)
    with closing(server):
        async with connector(names) as here:
            sock, report = await (await here.begin(HOST, server.port)).settle_socket()
            with sock:
                assert sock.getpeername() == (A, server.port)
    assert report.outcome == "won"


async def test_secured_it_is_tls(names: tuple[Dns, Dns], authority: trustme.CA) -> None:
    server = Server(A, context=certificate_for(authority, HOST))
    with closing(server):
        async with connector(names, pacing=replace(QUICK, path_delay=0.4)) as here:
            provisional = await here.begin(HOST, server.port)
            async with await provisional.secure(trusting(authority)) as connection:
                assert await connection.receive() == b"hello\n"
    assert connection.report.ready == "tls"
    assert [attempt.pvd for attempt in connection.report.attempts if attempt.outcome == "won"] == ["a"]


@pytest.mark.parametrize("first", ["wrong certificate", "silent", "no TLS"])
async def test_what_fails_at_tls_loses_and_the_race_goes_on(
    names: tuple[Dns, Dns], authority: trustme.CA, first: str
) -> None:
    """In the next PvD; the report is that of the whole race, and runs again to the same end."""
    kinds: dict[str, Any] = {
        "wrong certificate": lambda a, p: Server(a, p, context=certificate_for(trustme.CA(), HOST)),
        "silent": lambda a, p: Server(a, p, mute=True),
        "no TLS": lambda a, p: Server(a, p),
    }
    servers = on_one_port(kinds[first], lambda a, p: Server(a, p, context=certificate_for(authority, HOST)))
    with closing(*servers), anyio.fail_after(10):
        async with connector(names, pacing=replace(QUICK, path_delay=0.4)) as here:
            provisional = await here.begin(HOST, servers[0].port)
            assert {attempt.pvd for attempt in provisional.report.attempts} == {"a"}
            async with await provisional.secure(trusting(authority)) as connection:
                assert await connection.receive() == b"hello\n"
    report = connection.report
    assert report.winner is not None
    assert report.winner.pvd == "b"
    (lost,) = [attempt for attempt in report.attempts if attempt.pvd == "a"]
    assert lost.connected is not None
    assert lost.outcome == ("cancelled" if first == "silent" else "failed")
    assert report.replay().to_dict() == report.to_dict()


async def test_a_lookup_that_the_pause_has_ended_is_made_anew(authority: trustme.CA) -> None:
    """``b`` is still being asked when ``a``, which waited for an AAAA, has its handshake; it fails at TLS."""
    slow = Dns({})
    asked = Dns({(HOST, "A"): [A]})
    servers = on_one_port(
        lambda a, p: Server(a, p), lambda a, p: Server(a, p, context=certificate_for(authority, HOST))
    )
    pacing = replace(QUICK, resolution_delay=0.2)
    with closing(slow, asked, *servers), anyio.fail_after(10):
        async with connector((asked, slow), pacing=pacing) as here:
            provisional = await here.begin(HOST, servers[0].port)
            before = len(slow.asked)
            assert before > 0
            slow.answers.update({(HOST, "AAAA"): [], (HOST, "A"): [B]})
            async with await provisional.secure(trusting(authority)) as connection:
                assert connection.report.winner is not None
                assert connection.report.winner.pvd == "b"
            assert len(slow.asked) > before
    assert connection.report.replay().to_dict() == connection.report.to_dict()


async def test_finished_with_a_stage_of_ones_own(names: tuple[Dns, Dns]) -> None:
    servers = on_one_port(lambda a, p: Server(a, p), lambda a, p: Server(a, p, word=b"good\n"))
    seen: list[str] = []

    async def stage(sock: socket.socket, candidate: Any) -> bytes:
        with sock:
            seen.append(candidate.pvd.name)
            await anyio.wait_readable(sock)
            word = sock.recv(100)
            if word != b"good\n":
                raise ValueError("not good enough")
            return word

    async def nothing(product: bytes) -> None:
        return None

    with closing(*servers), anyio.fail_after(10):
        async with connector(names) as here:
            provisional = await here.begin(HOST, servers[0].port)
            first = provisional.report.attempts[0].pvd
            product, report = await provisional.finish(stage, discard=nothing, ready="word")
    assert product == b"good\n"
    assert report.ready == "word"
    assert seen[0] == first


async def test_where_everything_fails_the_error_has_the_whole_race(
    names: tuple[Dns, Dns], authority: trustme.CA
) -> None:
    servers = on_one_port(*[lambda a, p: Server(a, p)] * 2)
    reports: list[pvdrace.RaceReport] = []
    with closing(*servers), anyio.fail_after(10):
        async with connector(names, hooks=[reports.append]) as here:
            provisional = await here.begin(HOST, servers[0].port)
            with pytest.raises(pvdrace.ConnectFailed) as raised:
                await provisional.secure(trusting(authority))
    assert raised.value.report is not None
    assert {attempt.pvd for attempt in raised.value.report.attempts} == {"a", "b"}
    assert reports == [raised.value.report]


async def test_the_time_is_that_of_the_whole_race(names: tuple[Dns, Dns], authority: trustme.CA) -> None:
    servers = on_one_port(*[lambda a, p: Server(a, p, mute=True)] * 2)
    with closing(*servers), anyio.fail_after(10):
        async with connector(names) as here:
            provisional = await here.begin(HOST, servers[0].port, timeout=0.3)
            with pytest.raises(pvdrace.ConnectFailed, match=r"timeout"):
                await provisional.secure(trusting(authority))


async def test_the_time_of_the_pause_is_not_the_races(names: tuple[Dns, Dns], authority: trustme.CA) -> None:
    server = Server(A, context=certificate_for(authority, HOST))
    with closing(server), anyio.fail_after(20):
        async with connector(names, pacing=replace(QUICK, path_delay=0.4)) as here:
            provisional = await here.begin(HOST, server.port, timeout=2)
            await anyio.sleep(2.2)
            async with await provisional.secure(trusting(authority)) as connection:
                assert connection.report.elapsed < 2
    assert connection.report.replay().to_dict() == connection.report.to_dict()


async def test_nobody_answers(names: tuple[Dns, Dns]) -> None:
    with socket.create_server((A, 0)) as unused:
        port = unused.getsockname()[1]
    holes = BlackHole(A, port), BlackHole(B, port)
    with closing(*holes):
        async with connector(names) as here:
            with pytest.raises(pvdrace.ConnectFailed):
                await here.begin(HOST, port, timeout=0.2)


async def test_once_and_no_more(names: tuple[Dns, Dns]) -> None:
    server = Server(A)
    with closing(server):
        async with connector(names, pacing=replace(QUICK, path_delay=0.4)) as here:
            provisional = await here.begin(HOST, server.port)
            await provisional.aclose()
            await provisional.aclose()
            with pytest.raises(RuntimeError, match="once"):
                await provisional.settle()
    assert provisional.report.outcome == "cancelled"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["settle", "secure", "aclose"])
async def test_cancelled_at_any_step_it_leaves_nothing(
    names: tuple[Dns, Dns], authority: trustme.CA, anyio_backend_name: str, how: str
) -> None:
    servers = on_one_port(
        lambda a, p: Server(a, p), lambda a, p: Server(a, p, context=certificate_for(authority, HOST))
    )
    trusted = trusting(authority)

    async def work() -> None:
        here.resolver.forget("a")
        here.resolver.forget("b")
        provisional = await here.begin(HOST, servers[0].port)
        try:
            if how == "aclose":
                return
            done = provisional.settle() if how == "settle" else provisional.secure(trusted)
            async with await done as connection:
                await connection.receive()
        finally:
            await provisional.aclose()

    with closing(*servers), anyio.fail_after(60):
        async with connector(names) as here:
            whole = Steps()
            await whole.run(work, anyio_backend_name)
            assert whole.count > 0
            before = descriptors()
            for at in range(1, whole.count + 2):
                await Steps(at).run(work, anyio_backend_name)
            for _ in range(500):
                if descriptors() <= before:
                    break
                await anyio.sleep(0.01)
            assert descriptors() <= before


# ---------------------------------------------------------------------- objections


HERE = pvdrace.ProvisioningDomain("a", interface="eth0", attachment=1)
PATH = Path(HERE, 4, Endpoint(HOST, 443))


def after(*pvds: pvdrace.ProvisioningDomain) -> pvdrace.PvdSet:
    return pvdrace.PvdSet(pvds, 2)


def changed(**fields: Any) -> pvdrace.ProvisioningDomain:
    values: dict[str, Any] = {"name": "a", "interface": "eth0", "attachment": 1, **fields}
    return pvdrace.ProvisioningDomain(**values)


PROHIBITED = Reason("prohibit", "prohibited by pvd:a (call)")
OBJECTIONS: dict[str, tuple[pvdrace.PvdSet, Ranking, str | None]] = {
    "as before": (after(HERE), Ranking((Ranked(HERE),)), None),
    "gone": (after(), Ranking(()), "gone"),
    "unusable": (after(changed(unusable="link down")), Ranking(()), "link down"),
    "attached anew": (
        after(changed(attachment=2)),
        Ranking((Ranked(changed(attachment=2)),)),
        "attached anew",
    ),
    "a portal": (
        after(changed(reachability=pvdrace.Reachability.PORTAL)),
        Ranking(()),
        "behind a captive portal",
    ),
    "prohibited": (after(HERE), Ranking((), (Ranked(HERE, excluded=PROHIBITED),)), str(PROHIBITED)),
    "its family is": (
        after(HERE),
        Ranking((Ranked(HERE, families=(6,)),)),
        "IPv4 is not to be used in a any more",
    ),
    "worse than another": (after(HERE), Ranking((Ranked(HERE, head_start=9.0),)), None),
}


@pytest.mark.parametrize(("pvds", "ranking", "reason"), OBJECTIONS.values(), ids=OBJECTIONS)
def test_what_is_said_against_a_path(pvds: pvdrace.PvdSet, ranking: Ranking, reason: str | None) -> None:
    assert objection(PATH, pvds, ranking) == reason


async def test_a_connector_objects_to_what_policy_forbids_now(names: tuple[Dns, Dns]) -> None:
    server = Server(A)
    with closing(server):
        async with connector(names) as here, await here.open_connection(HOST, server.port) as connection:
            assert Path.of(connection.report) == connection.path
            assert here.objection(connection.path) is None
            forbidden = connection.path.under(pvdrace.Policy(prohibit=["pvd:a"]))
            assert here.objection(forbidden) == "prohibited by pvd:a (call)"


def test_the_report_of_an_error_that_a_client_has_wrapped() -> None:
    report = pvdrace.RaceReport(Endpoint(HOST, 443), Ranking(()), [])
    ours = pvdrace.ConnectFailed("no", report)
    try:
        try:
            raise ours
        except pvdrace.ConnectFailed as error:
            raise ConnectionError("theirs") from error
    except ConnectionError as theirs:
        assert pvdrace.report_of(theirs) is report
    assert pvdrace.report_of(ExceptionGroup("all", [ValueError(), ours])) is report
    assert pvdrace.report_of(ValueError(ours)) is report
    assert pvdrace.report_of(ValueError("other")) is None
    assert pvdrace.report_of(None) is None


async def test_streams_send_at_once(names: tuple[Dns, Dns]) -> None:
    """No Nagle (RFC 896): a small request does not wait for the answer to what was sent before it."""
    server = Server(A)
    with closing(server):
        async with connector(names) as here:
            for connection in (
                await here.open_connection(HOST, server.port),
                await (await here.begin(HOST, server.port)).settle(),
            ):
                async with connection:
                    raw = connection.extra(SocketAttribute.raw_socket)
                    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_nothing_stands_against_a_path_that_never_leaves_the_machine() -> None:
    """And nobody has to look at the PvDs to know that: a connector that never did holds no descriptor."""
    server = Server("127.0.0.1")
    with closing(server):
        here = pvdrace.Connector()
        async with await here.open_connection("127.0.0.1", server.port) as connection:
            before = descriptors()
            assert here.objection(connection.path) is None
            blocking = pvdrace.sync.Connector()
            assert blocking.objection(connection.path) is None
            assert descriptors() == before
        here.close()
        blocking.close()
