"""niquests over races, on the loopback, blocking and asynchronous: `make test-niquests`."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import niquests
import pytest
import trustme
from niquests.packages.urllib3.util import ssl_

import pvdrace
import pvdrace.sync
from keepalive import WebServer, serving
from loopback import HOST, Dns, Server, certificate_for, closing
from proxies import http_proxy
from pvdrace.config import Configuration, parse
from pvdrace.integrations import _niquests_sockets
from pvdrace.integrations.niquests import RESUMES_TLS, AsyncPvdResolver, PvdResolver

NOWHERE = "nowhere.example.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def two() -> Iterator[Configuration]:
    """PvDs a and b on the loopback: the name is 127.0.0.2 in a, 127.0.0.3 in b."""
    nothing: dict[tuple[str, str], list[str]] = {
        (name, kind): [] for name in (HOST, NOWHERE) for kind in ("A", "AAAA")
    }
    servers = [Dns({**nothing, (HOST, "A"): [f"127.0.0.{n}"]}) for n in (2, 3)]
    pvds = "".join(
        f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["127.0.0.1:{dns.port}"]\n'
        for name, dns in zip("ab", servers, strict=True)
    )
    with closing(*servers):
        yield parse(f"discover = []\n{pvds}")


@pytest.fixture(autouse=True)
def no_connection_left() -> Iterator[None]:
    before = connections()
    yield
    deadline = time.monotonic() + 3
    while (left := connections() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    assert left == set()


def connections() -> set[str]:
    """The TCP sockets of this process; an event loop has sockets of other kinds for itself."""
    tables = [Path("/proc/self/net", name).read_text() for name in ("tcp", "tcp6")]
    known = {f"socket:[{line.split()[9]}]" for table in tables for line in table.splitlines()[1:]}
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(entry.path))
    return found & known


@pytest.fixture(params=["blocking", "asynchronous"])
def client(request: pytest.FixtureRequest, two: Configuration, ca_file: str) -> Client:
    return Client(two, ca_file, blocking=request.param == "blocking")


class Client:
    """Requests by a session of either kind, one after the other, and its resolver."""

    def __init__(self, config: Configuration, ca_file: str, *, blocking: bool) -> None:
        self.config = config
        self.ca_file = ca_file
        self.blocking = blocking
        self.resolver: Any = None

    async def get(self, *urls: str, policy: pvdrace.Policy | None = None, **settings: Any) -> list[Any]:
        request: dict[str, Any] = {"verify": settings.pop("verify", self.ca_file)}
        request |= {name: settings.pop(name) for name in ("timeout", "proxies") if name in settings}
        settings.setdefault("retries", 0)
        if self.blocking:
            with pvdrace.sync.Connector(self.config) as connector:
                self.resolver = PvdResolver(connector=connector, policy=policy, label="test")
                with niquests.Session(resolver=self.resolver, **settings) as session:
                    session.trust_env = False
                    return [session.get(url, **request) for url in urls]
        async with pvdrace.Connector(self.config) as connector:
            self.resolver = AsyncPvdResolver(connector=connector, policy=policy, label="test")
            async with niquests.AsyncSession(resolver=self.resolver, **settings) as session:
                session.trust_env = False
                return [await session.get(url, **request) for url in urls]

    def winner(self, port: int) -> str:
        report = self.resolver.report(HOST, port)
        return str(report.winner.pvd)


pytestmark = pytest.mark.asyncio


# ---------------------------------------------------------------------- the race


async def test_requests_and_the_report(client: Client) -> None:
    web = WebServer("127.0.0.2")
    with serving(web):
        first, again = await client.get(*[f"http://{HOST}:{web.port}/"] * 2)
        assert (first.content, again.content) == (b"hello", b"hello")
        assert client.resolver.report(HOST, 1) is None
        report = client.resolver.report(HOST, web.port)
    assert (report.winner.pvd, report.ready) == ("a", "tcp")
    assert len(web.connections) == 1
    told = first.conn_info
    assert told.destination_address == ("127.0.0.2", web.port)
    assert 0 <= told.established_latency.total_seconds() < 5  # a loop's clock may stand still so long
    assert 0 < told.resolution_latency.total_seconds() < 5


async def test_a_wrong_certificate_loses_the_race(client: Client, authority: trustme.CA) -> None:
    """The control is niquests with a resolver that knows but that one."""
    assert RESUMES_TLS
    portal = WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    real = WebServer("127.0.0.3", portal.port, word="real", context=certificate_for(authority, HOST))
    url = f"https://{HOST}:{portal.port}/"
    with serving(portal, real):
        responses = await client.get(url, url)
        assert [response.content for response in responses] == [b"real", b"real"]
        plain = niquests.Session(resolver=f"in-memory://default?hosts={HOST}:127.0.0.2")
        with plain, pytest.raises(niquests.exceptions.SSLError):
            plain.get(url, verify=client.ca_file)
    report = client.resolver.report(HOST, portal.port)
    assert (report.winner.pvd, report.ready) == ("b", "tls")
    assert str(report.attempts[0].error).startswith("wrong certificate")
    assert len(real.connections) == 1


async def test_silence_at_tls_loses_the_race(client: Client, authority: trustme.CA) -> None:
    mute = Server("127.0.0.2", mute=True)
    real = WebServer("127.0.0.3", mute.port, context=certificate_for(authority, HOST))
    with closing(mute), serving(real):
        await client.get(f"https://{HOST}:{real.port}/")
    assert client.winner(real.port) == "b"


async def test_not_verified_is_not_verified(client: Client) -> None:
    web = WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    with serving(web), pytest.warns(match="Unverified HTTPS request"):
        (response,) = await client.get(f"https://{HOST}:{web.port}/", verify=False)
    assert response.content == b"hello"


async def test_a_proxy_with_tls_behind_it(client: Client, authority: trustme.CA) -> None:
    web = WebServer("127.0.0.1", context=certificate_for(authority, "far.example"))
    with serving(web), http_proxy(web.port) as proxy:
        (response,) = await client.get("https://far.example/", proxies={"https": proxy.url})
        assert response.content == b"hello"
    assert proxy.asked[0].startswith(b"CONNECT far.example:443 ")


async def test_http3_is_declined(client: Client, authority: trustme.CA) -> None:
    """A server that offers it is spoken to as before."""
    web = WebServer("127.0.0.2", context=certificate_for(authority, HOST))
    web.headers = {"Alt-Svc": f'h3=":{web.port}"; ma=3600'}
    url = f"https://{HOST}:{web.port}/"
    with serving(web):
        responses = await client.get(url, url, url)
    assert [response.content for response in responses] == [b"hello"] * 3
    assert {response.http_version for response in responses} == {11}


# ---------------------------------------------------------------------- errors


async def test_nobody_has_the_right_certificate(client: Client) -> None:
    wrong = [WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))]
    wrong += [WebServer("127.0.0.3", wrong[0].port, context=certificate_for(trustme.CA(), HOST))]
    with serving(*wrong), pytest.raises(niquests.exceptions.SSLError) as raised:
        await client.get(f"https://{HOST}:{wrong[0].port}/")
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert {attempt.pvd for attempt in report.attempts} == {"a", "b"}


@pytest.mark.parametrize("policy", [None, pvdrace.Policy(prohibit=["pvd:*"])])
@pytest.mark.parametrize("host", [HOST, NOWHERE])
async def test_errors_are_those_of_niquests(client: Client, host: str, policy: pvdrace.Policy | None) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.2", 0))
        port = nobody.getsockname()[1]
    with pytest.raises(niquests.exceptions.ConnectionError) as raised:
        await client.get(f"https://{host}:{port}/", policy=policy)
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert report.outcome == "lost"


async def test_the_connect_timeout_bounds_tls_too(client: Client) -> None:
    mute = [Server("127.0.0.2", mute=True)]
    mute += [Server("127.0.0.3", mute[0].port, mute=True)]
    with closing(*mute), pytest.raises(niquests.exceptions.ConnectTimeout) as raised:
        await client.get(f"https://{HOST}:{mute[0].port}/", timeout=(0.3, 20))
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert 0.25 < report.elapsed < 5


async def test_happy_eyeballs_of_its_own_are_refused(client: Client) -> None:
    with pytest.raises(niquests.exceptions.ConnectionError, match="leave out happy_eyeballs"):
        await client.get(f"http://{HOST}/", happy_eyeballs=True)


async def test_a_family_that_is_disabled_is_prohibited(client: Client) -> None:
    web = WebServer("127.0.0.2")
    with serving(web):
        with pytest.raises(niquests.exceptions.ConnectionError) as raised:
            await client.get(f"http://{HOST}:{web.port}/", disable_ipv4=True)
        report = pvdrace.report_of(raised.value)
        assert report is not None
        assert not report.attempts
        policy = pvdrace.Policy(prefer=["pvd:a"], prohibit=["pvd:b"])
        (response,) = await client.get(f"http://{HOST}:{web.port}/", disable_ipv6=True, policy=policy)
        assert response.content == b"hello"
    assert [lookup.type for lookup in client.resolver.report(HOST, web.port).lookups] == ["A"]


async def test_what_contradicts_policy_is_refused(two: Configuration) -> None:
    with pvdrace.sync.Connector(two) as connector:
        resolver = PvdResolver(connector=connector)
        bound = [(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")]
        with pytest.raises(ValueError, match="SO_BINDTODEVICE chooses a path"):
            resolver.create_connection((HOST, 80), socket_options=bound)
        with pytest.raises(socket.gaierror, match="cannot share a port"):
            resolver.create_connection((HOST, 80), source_address=("127.0.0.1", 4000))
    async with pvdrace.Connector(two) as other:
        asynchronous = AsyncPvdResolver(connector=other)
        with pytest.raises(OSError, match="require"):
            await asynchronous.create_connection((HOST, 80), source_address=("127.0.0.1", 0))


async def test_a_connector_of_the_other_kind_is_refused() -> None:
    blocking: Any = pvdrace.sync.Connector()
    other: Any = pvdrace.Connector()
    with pytest.raises(TypeError, match=r"must be a pvdrace\.Connector"):
        AsyncPvdResolver(connector=blocking)
    with pytest.raises(TypeError, match=r"must be a pvdrace\.sync\.Connector"):
        PvdResolver(connector=other)


# ---------------------------------------------------------------------- the rest


async def test_one_session_for_many_threads(two: Configuration) -> None:
    web = WebServer("127.0.0.2")
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                assert session.get(f"http://{HOST}:{web.port}/").content == b"hello"
        except BaseException as error:
            failed.append(error)

    with (
        pvdrace.sync.Connector(two) as connector,
        serving(web),
        niquests.Session(resolver=PvdResolver(connector=connector)) as session,
    ):
        session.trust_env = False
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failed == []


async def test_without_the_hook_the_handshake_decides(
    two: Configuration, ca_file: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS is then made of the connection that was first: it works, and cannot lose any more."""
    ours = ssl_._ssl_wrap_socket_impl
    monkeypatch.setattr(ssl_, "_ssl_wrap_socket_impl", ours.__wrapped__)
    client = Client(two, ca_file, blocking=True)
    web = WebServer("127.0.0.2", context=certificate_for(authority, HOST))
    with serving(web):
        (response,) = await client.get(f"https://{HOST}:{web.port}/")
    assert response.content == b"hello"
    assert client.resolver.report(HOST, web.port).ready == "tcp"
    for other in (None, lambda sock, context: sock):
        monkeypatch.setattr(ssl_, "_ssl_wrap_socket_impl", other)
        assert not _niquests_sockets._resume_at_tls()
        assert ssl_._ssl_wrap_socket_impl is other


async def test_a_paused_race_that_nobody_wants_is_closed(two: Configuration) -> None:
    web = WebServer("127.0.0.2")
    with serving(web):
        with pvdrace.sync.Connector(two) as connector:
            PvdResolver(connector=connector).create_connection((HOST, web.port)).close()
        async with pvdrace.Connector(two) as other:
            sock = await AsyncPvdResolver(connector=other).create_connection((HOST, web.port))
            sock.close()
            await sock.wait_for_close()


# ---------------------------------------------------------------------- the documentation


@pytest.mark.parametrize("documented", [PvdResolver, AsyncPvdResolver])
async def test_the_documentation_says_what_a_resolver_takes_and_has(documented: type) -> None:
    """docs/api.md is made where niquests is not, so it is written there by hand."""
    page = Path(__file__).parents[2].joinpath("docs", "api.md").read_text("utf-8")
    [(arguments, body)] = re.findall(
        rf"^\.\. py:class:: {documented.__module__}\.{documented.__name__}\(([^)]*)\)\n(.*?)^(?:\.\.|```)",
        page,
        re.DOTALL | re.MULTILINE,
    )
    assert arguments == ", ".join(
        ["*", *(f"{each.name}={each.default}" for each in inspect.signature(documented).parameters.values())]
    )
    for name in re.findall(r"py:(?:property|method):: (\w+)", body):
        assert hasattr(documented, name)
