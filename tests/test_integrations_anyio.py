"""`PvdConnectable`: whatever takes an anyio connectable races."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSConnectable, TLSStream

import pvdrace
import pvdrace.sync
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, connector, trusting
from pvdrace.integrations.anyio import PvdConnectable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(server):
        yield server


@pytest.fixture
async def one(dns: Dns, anyio_backend: str) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


async def test_each_connect_is_a_race_of_its_own(one: pvdrace.Connector) -> None:
    with closing(server := Server("127.0.0.2")):
        connectable = PvdConnectable(HOST, server.port, connector=one, timeout=10)
        for _ in range(2):
            async with await connectable.connect() as connection:
                assert await connection.receive() == b"hello\n"
                assert connection.report.winner is not None
                assert connection.report.winner.remote == "127.0.0.2"
    assert repr(connectable) == f"<PvdConnectable {HOST}:{server.port}>"


async def test_tls_is_a_stage_of_the_race(dns: Dns, authority: trustme.CA) -> None:
    """The first PvD's server has a certificate of somebody else's."""
    intercepted = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.3"]})
    right = Server("127.0.0.2", context=certificate_for(authority, HOST))
    wrong = Server("127.0.0.3", right.port, context=certificate_for(trustme.CA(), HOST))
    with closing(intercepted, right, wrong):
        async with connector(intercepted, dns) as two:
            connectable = PvdConnectable(
                HOST, right.port, tls=trusting(authority), connector=two, timeout=10, label="test"
            )
            async with await connectable.connect() as connection:
                assert await connection.receive() == b"hello\n"
    assert connection.report.winner is not None
    assert connection.report.winner.pvd == "b"
    assert "wrong certificate" in str(connection.report)


async def test_inside_a_connectable_of_anyio_tls_comes_after_the_race(
    one: pvdrace.Connector, authority: trustme.CA
) -> None:
    server = Server("127.0.0.2", context=certificate_for(authority, HOST))
    with closing(server):
        connectable = TLSConnectable(
            PvdConnectable(HOST, server.port, connector=one),
            hostname=HOST,
            ssl_context=trusting(authority),
            standard_compatible=False,
        )
        async with await connectable.connect() as stream:
            assert isinstance(stream, TLSStream)
            assert await stream.receive() == b"hello\n"


async def test_policy_may_be_set_anew(one: pvdrace.Connector) -> None:
    with closing(server := Server("127.0.0.2")):
        connectable = PvdConnectable(HOST, server.port, connector=one)
        await (await connectable.connect()).aclose()
        connectable.policy = pvdrace.Policy(prohibit=["pvd:a"])
        with pytest.raises(anyio.ConnectionFailed) as raised:
            await connectable.connect()
    assert isinstance(raised.value.__cause__, pvdrace.PolicyProhibited)
    assert "prohibited by pvd:a" in str(raised.value)


async def test_failure_is_anyios_with_the_report(one: pvdrace.Connector) -> None:
    hole = BlackHole("127.0.0.2", 0)
    port = hole.socks[0].getsockname()[1]
    with closing(hole), pytest.raises(anyio.ConnectionFailed) as raised:
        await PvdConnectable(HOST, port, connector=one, timeout=0.05).connect()
    assert isinstance(raised.value.__cause__, pvdrace.ConnectFailed)
    report = getattr(raised.value, "report", None)
    assert report is pvdrace.report_of(raised.value)
    assert report is not None
    assert "timeout" in str(report.failure)


def test_what_is_no_endpoint_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="port must be a number"):
        PvdConnectable(HOST, 0)
    with pytest.raises(ValueError, match="neither a host name"):
        PvdConnectable("https://www.example.com", 443)
    with pytest.raises(TypeError, match=r"must be a pvdrace\.Connector"):
        PvdConnectable(HOST, 443, connector=pvdrace.sync.Connector)  # type: ignore[arg-type]
