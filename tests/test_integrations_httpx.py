"""httpx2 and httpx over races: asynchronous on both backends, and blocking."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from inspect import isawaitable
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest
import trustme

import pvdrace
import pvdrace.sync
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from proxies import ProxyServer, http_proxy, socks_proxy
from pvdrace.config import parse
from pvdrace.integrations._httpcore_trace import told
from pvdrace.integrations._httpx_clients import of_environment
from pvdrace.model import Candidate, Endpoint, ProvisioningDomain, Ranked, Ranking
from pvdrace.race.actions import Cancel, Connect, Lookup, Skip
from pvdrace.race.events import Connected, Failed, LookupAnswered, LookupFailed, PvdAdded, PvdWithdrawn, Ready
from pvdrace.race.outcome import Lost, Won
from pvdrace.race.pacing import Pacing
from pvdrace.race.report import RaceReport
from stepwise import Steps
from test_docs import DOCS, table
from web import Web, Web2

pytestmark = pytest.mark.anyio

QUICK = Pacing(path_delay=0.02, connection_attempt_delay=0.02, minimum_connection_attempt_delay=0.02)
#: The same, and a comes to its attempt before b may begin, however busy the machine is.
A_FIRST = Pacing(path_delay=0.5, connection_attempt_delay=0.02, minimum_connection_attempt_delay=0.02)


class Kit(NamedTuple):
    """A client, asynchronous on a backend or blocking."""

    name: str
    backend: str
    blocking: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{'blocking' if self.blocking else self.backend}"

    @property
    def module(self) -> Any:
        return importlib.import_module(self.name)

    @property
    def core(self) -> Any:
        return importlib.import_module(self.name.replace("httpx", "httpcore"))

    @property
    def adapter(self) -> Any:
        return importlib.import_module(f"pvdrace.integrations.{self.name}")

    def transport(self, connector: Any, **options: Any) -> Any:
        made = self.adapter.PvdTransport if self.blocking else self.adapter.AsyncPvdTransport
        return made(connector=connector, **options)

    @contextlib.asynccontextmanager
    async def connector(self, *servers: Dns, **options: Any) -> AsyncIterator[Any]:
        """One PvD on the loopback for each name server: a, b, ..."""
        pvds = "".join(
            f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["{dns.address}:{dns.port}"]\n'
            for name, dns in zip("abc", servers, strict=False)
        )
        config = parse(f"discover = []\n{pvds}")
        if self.blocking:
            with pvdrace.sync.Connector(config, **options) as blocking:
                yield blocking
        else:
            async with pvdrace.Connector(config, **options) as connector:
                yield connector

    @contextlib.asynccontextmanager
    async def client(self, connector: Any, *, timeout: Any = 10, **options: Any) -> AsyncIterator[Session]:
        transport = self.transport(connector, **options)
        if self.blocking:
            with self.module.Client(transport=transport, timeout=timeout) as client:
                yield Session(client, transport)
        else:
            async with self.module.AsyncClient(transport=transport, timeout=timeout) as client:
                yield Session(client, transport)


class Session:
    """A client, asked the same way whether it blocks or not."""

    def __init__(self, client: Any, transport: Any) -> None:
        self.client = client
        self.transport = transport

    async def get(self, url: str, **options: Any) -> Any:
        response = self.client.get(url, **options)
        return await response if isawaitable(response) else response


KITS = [
    Kit(name, backend, blocking)
    for name in ("httpx2", "httpx")
    for backend, blocking in (("asyncio", False), ("trio", False), ("asyncio", True))
]
ASYNCHRONOUS = [kit for kit in KITS if not kit.blocking]


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    found: Kit = request.param
    return found


only_async = pytest.mark.parametrize("kit", ASYNCHRONOUS, ids=str, indirect=True)
uvloop_too = pytest.mark.parametrize("kit", [*KITS, Kit("httpx2", "uvloop")], ids=str, indirect=True)
only_blocking = pytest.mark.parametrize("kit", [k for k in KITS if k.blocking], ids=str, indirect=True)


@pytest.fixture
def anyio_backend(kit: Kit) -> str | tuple[str, dict[str, Any]]:
    return ("asyncio", {"use_uvloop": True}) if kit.backend == "uvloop" else kit.backend


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def says(*addresses: str) -> Dns:
    return Dns({(HOST, "AAAA"): [], (HOST, "A"): addresses})


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = says("127.0.0.2")
    with closing(server):
        yield server


@pytest.fixture
def two() -> Iterator[tuple[Dns, Dns]]:
    """For a the name is 127.0.0.2, for b it is 127.0.0.3."""
    first, second = says("127.0.0.2"), says("127.0.0.3")
    with closing(first, second):
        yield first, second


def report_in(response: Any) -> pvdrace.RaceReport:
    report = response.extensions["network_stream"].get_extra_info("pvdrace.report")
    assert isinstance(report, pvdrace.RaceReport)
    return report


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(before: int) -> int:
    """How many descriptors are left over, once the servers of this process have closed their ends.

    One look is enough: a server may still take a connection that its client has closed.
    """
    left = descriptors() - before
    with anyio.move_on_after(5):
        while left > 0:
            gc.collect()
            await anyio.sleep(0.001)
            left = descriptors() - before
    return left


# ---------------------------------------------------------------------- what is won


@uvloop_too
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_response_and_the_report_of_its_connection(
    kit: Kit, dns: Dns, authority: trustme.CA, scheme: str
) -> None:
    context = certificate_for(authority, HOST) if scheme == "https" else None
    with Web("127.0.0.2", context=context) as web:
        url = f"{scheme}://{HOST}:{web.port}/"
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority)) as client,
        ):
            for body in (b"", b"x" * 1_000_000):
                response = await client.get(url) if not body else await put(client, url, body)
                assert response.content == (body or b"hello")
                report = report_in(response)
    assert report.winner is not None
    assert (report.winner.pvd, report.winner.remote) == ("a", "127.0.0.2")
    assert report.ready == ("tls" if scheme == "https" else "tcp")
    assert web.connections == 1
    stream = response.extensions["network_stream"]
    assert (stream.get_extra_info("ssl_object") is not None) == (scheme == "https")


async def put(client: Session, url: str, body: bytes) -> Any:
    response = client.client.put(url, content=body)
    return await response if isawaitable(response) else response


@uvloop_too
async def test_what_a_stream_says_of_itself(kit: Kit, dns: Dns) -> None:
    with Web("127.0.0.2") as web:
        async with kit.connector(dns) as connector, kit.client(connector) as client:
            response = await client.get(f"http://{HOST}:{web.port}/")
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("server_addr")[:2] == ("127.0.0.2", web.port)
            assert stream.get_extra_info("client_addr") == stream.get_extra_info("socket").getsockname()
            assert stream.get_extra_info("is_readable") is False
            assert stream.get_extra_info("what else") is None
        assert stream.get_extra_info("is_readable") is True  # closed


@uvloop_too
@pytest.mark.parametrize("fault", ["wrong certificate", "silence"])
async def test_a_path_that_fails_at_tls_loses(
    kit: Kit, two: tuple[Dns, Dns], authority: trustme.CA, fault: str
) -> None:
    """No certificate error and no timeout: the race goes on, in the next PvD."""
    with Web("127.0.0.3", context=certificate_for(authority, HOST)) as web:
        wrong = certificate_for(trustme.CA(), HOST)
        path = Server("127.0.0.2", web.port, context=wrong, mute=fault == "silence")
        with closing(path):
            async with (
                kit.connector(*two, pacing=A_FIRST) as connector,
                kit.client(connector, verify=trusting(authority)) as client,
            ):
                response = await client.get(f"https://{HOST}:{web.port}/")
    assert response.content == b"hello"
    report = report_in(response)
    assert report.winner is not None
    assert report.winner.pvd == "b"
    assert {attempt.pvd for attempt in report.attempts} == {"a", "b"}


@only_async
async def test_to_the_loopback_without_any_pvd(kit: Kit) -> None:
    """The default connector of the thread."""
    with Web("127.0.0.1") as web:
        async with kit.client(None) as client:
            response = await client.get(f"http://localhost:{web.port}/")
    assert response.content == b"hello"


@only_blocking
def test_the_default_connector_for_blocking_clients(kit: Kit) -> None:
    with Web("127.0.0.1") as web, kit.module.Client(transport=kit.transport(None)) as client:
        assert client.get(f"http://127.0.0.1:{web.port}/").content == b"hello"


async def test_unix_sockets_are_the_clients_own(kit: Kit, tmp_path: Any) -> None:
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        async with kit.connector() as connector, kit.client(connector, uds=path, timeout=0.3) as client:
            with pytest.raises(kit.module.ReadTimeout):
                await client.get("http://whatever.test/")
            with pytest.raises(kit.module.ReadTimeout):
                await client.get("http://whatever.test/")


# ---------------------------------------------------------------------- what is lost


async def test_errors_are_the_clients_and_have_the_report(kit: Kit, dns: Dns) -> None:
    async with kit.connector(dns) as connector, kit.client(connector) as client:
        with pytest.raises(kit.module.ConnectError) as raised:
            await client.get(f"http://{HOST}:9/")
    error: Any = raised.value
    assert error.report.outcome == "lost"
    assert pvdrace.report_of(error) is error.report
    assert isinstance(error.__cause__, kit.core.ConnectError)
    assert isinstance(error.__cause__.__cause__, pvdrace.ConnectFailed)
    assert str(error) == f"{HOST}:9: a AAAA no address, a v4 refused"
    assert error.request.url.port == 9


@pytest.mark.parametrize(
    ("policy", "url", "kind"),
    [
        (None, "http://nowhere.example.test/", pvdrace.ResolutionFailed),
        (pvdrace.Policy(require=["pvd:z"]), f"http://{HOST}/", pvdrace.NoUsablePvd),
        (pvdrace.Policy(prohibit=["pvd:a"]), f"http://{HOST}/", pvdrace.PolicyProhibited),
        (None, "http://a..b/", ValueError),
    ],
)
async def test_who_has_nobody_to_ask_is_told_so_by_the_client(
    kit: Kit, dns: Dns, policy: pvdrace.Policy | None, url: str, kind: type[Exception]
) -> None:
    dns.answers["nowhere.example.test", "A"] = dns.answers["nowhere.example.test", "AAAA"] = []
    async with kit.connector(dns) as connector, kit.client(connector, policy=policy) as client:
        with pytest.raises(kit.module.HTTPError) as raised:
            await client.get(url)
    assert isinstance(raised.value, kit.module.ConnectError)
    causes = [raised.value.__cause__, raised.value.__cause__.__context__]
    assert any(isinstance(cause, kind) for cause in causes)


@pytest.mark.parametrize("stage", ["handshake", "TLS"])
async def test_the_connect_timeout_is_for_the_whole_race(
    kit: Kit, dns: Dns, authority: trustme.CA, stage: str
) -> None:
    mute = Server("127.0.0.2", mute=True)
    hole = BlackHole("127.0.0.2", 0)
    port = mute.port if stage == "TLS" else hole.socks[0].getsockname()[1]
    timeout = kit.module.Timeout(30, connect=0.3)
    with closing(mute, hole):
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority), timeout=timeout) as client,
        ):
            began = time.monotonic()
            with pytest.raises(kit.module.ConnectTimeout) as raised:
                await client.get(f"https://{HOST}:{port}/")
    assert 0.2 < time.monotonic() - began < 5
    report = pvdrace.report_of(raised.value)
    assert report is not None
    assert raised.value.report is report


async def test_read_timeouts_stay_the_clients_own(kit: Kit, dns: Dns) -> None:
    mute = Server("127.0.0.2", mute=True)
    with closing(mute):
        async with kit.connector(dns) as connector, kit.client(connector, timeout=0.2) as client:
            with pytest.raises(kit.module.ReadTimeout):
                await client.get(f"http://{HOST}:{mute.port}/")


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"socket_options": [(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")]},
            "socket_options: SO_BINDTODEVICE chooses a path, and comes when the first packets have left: ",
        ),
        ({"socket_options": [(socket.IPPROTO_IP, 50, 3)]}, "socket_options: IP_UNICAST_IF chooses a path"),
        (
            {"socket_options": [(socket.IPPROTO_IPV6, 76, 3)]},
            "socket_options: IPV6_UNICAST_IF chooses a path",
        ),
        ({"socket_options": [(socket.SOL_SOCKET, 62, 3)]}, "socket_options: SO_BINDTOIFINDEX chooses a path"),
        ({"local_address": "eth0"}, "local_address must be an IP address, not 'eth0': for an interface say"),
        ({"policy": "pvd:a"}, "policy must be a pvdrace.Policy, not 'pvd:a'"),
        ({"label": 3}, "label must be a word, not 3"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_clear_error(
    kit: Kit, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as raised:
        kit.transport(None, **options)
    assert str(raised.value).startswith(message)


def test_a_connector_of_the_other_kind_is_a_type_error(kit: Kit) -> None:
    config = parse("discover = []")
    other: Any = (pvdrace.Connector if kit.blocking else pvdrace.sync.Connector)(config)
    with pytest.raises(TypeError, match=r"connector must be a pvdrace\."):
        kit.transport(other)
    with pytest.raises(TypeError, match=r"connector must be a pvdrace\."):
        kit.transport("pvdrace.toml")


def test_an_option_that_the_client_does_not_have_is_its_type_error(kit: Kit) -> None:
    with pytest.raises(TypeError, match="speed"):
        kit.transport(None, speed=3)


@uvloop_too
async def test_harmless_socket_options_are_set_on_the_winner(kit: Kit, dns: Dns) -> None:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with Web("127.0.0.2") as web:
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, socket_options=options) as client,
        ):
            response = await client.get(f"http://{HOST}:{web.port}/")
            sock = response.extensions["network_stream"].get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_an_option_that_the_kernel_refuses_leaks_nothing(kit: Kit, dns: Dns) -> None:
    with Web("127.0.0.2") as web:
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, socket_options=[(socket.SOL_SOCKET, 9999, 1)]) as client,
        ):
            before = 0
            for _ in range(2):  # what is opened once is open now
                before = descriptors()
                with pytest.raises(kit.module.ConnectError):
                    await client.get(f"http://{HOST}:{web.port}/")
            assert await settled(before) <= 0


@pytest.mark.parametrize(
    ("address", "source"), [("127.0.0.9", "127.0.0.9"), ("0.0.0.0", "127.0.0.1"), ("::", None)]
)
async def test_a_local_address(kit: Kit, dns: Dns, address: str, source: str | None) -> None:
    with Web("127.0.0.2") as web:
        async with kit.connector(dns) as connector, kit.client(connector, local_address=address) as client:
            try:
                response = await client.get(f"http://127.0.0.2:{web.port}/")
            except kit.module.ConnectError:
                assert source is None
            else:
                sock = response.extensions["network_stream"].get_extra_info("socket")
                assert sock.getsockname()[0] == source


async def test_a_local_address_that_no_pvd_has(kit: Kit, dns: Dns) -> None:
    async with kit.connector(dns) as connector, kit.client(connector, local_address="192.0.2.1") as client:
        with pytest.raises(kit.module.ConnectError, match=r"192\.0\.2\.1 is no address of it"):
            await client.get(f"http://{HOST}/")


def test_where_the_client_hides_its_pool_elsewhere_one_error_says_so(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = "ConnectionPool" if kit.blocking else "AsyncConnectionPool"
    monkeypatch.setattr(kit.core, pool, lambda **_: object())
    with pytest.raises(
        RuntimeError, match=f"^{kit.name} {kit.module.__version__}: .*_network_backend is not"
    ):
        kit.transport(None)


# ---------------------------------------------------------------------- pools


async def test_a_connection_is_used_again(kit: Kit, dns: Dns) -> None:
    with Web("127.0.0.2") as web:
        async with kit.connector(dns) as connector, kit.client(connector) as client:
            for _ in range(3):
                await client.get(f"http://{HOST}:{web.port}/")
    assert web.connections == 1


@uvloop_too
async def test_a_connection_that_policy_now_forbids_is_closed(kit: Kit, two: tuple[Dns, Dns]) -> None:
    with Web("127.0.0.2", word=b"a") as first, Web("127.0.0.3", first.port, word=b"b"):
        url = f"http://{HOST}:{first.port}/"
        async with kit.connector(*two) as connector, kit.client(connector) as client:
            response = await client.get(url)
            assert response.content == b"a"
            assert client.transport.policy is None
            client.transport.policy = pvdrace.Policy(prohibit=["pvd:a"])
            assert (await client.get(url)).content == b"b"
            assert response.extensions["network_stream"].get_extra_info("is_readable") is True
            with pytest.raises(ValueError, match=r"policy must be a pvdrace\.Policy"):
                client.transport.policy = "pvd:a"


async def test_http2(kit: Kit, dns: Dns, authority: trustme.CA) -> None:
    """Chosen by ALPN within the race. A policy that forbids the PvD takes the connection out of the pool."""
    with Web2("127.0.0.2", certificate_for(authority, HOST)) as web:
        url = f"https://{HOST}:{web.port}"
        async with (
            kit.connector(dns) as connector,
            kit.client(
                connector, verify=trusting(authority), http2=True, limits=kit.module.Limits(max_connections=1)
            ) as client,
        ):
            for _ in range(2):
                response = await client.get(url)
                assert (response.http_version, response.content) == ("HTTP/2", b"hello")
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            assert web.connections == 1
            client.transport.policy = pvdrace.Policy(prohibit=["pvd:a"])
            with pytest.raises(kit.module.ConnectError):
                await client.get(url)
            assert stream.get_extra_info("is_readable") is True
            client.transport.policy = None
            assert (await client.get(url)).content == b"hello"
    assert web.connections == 2


@only_async
async def test_http2_in_use_takes_no_more_requests_and_closes_when_it_is_done(
    kit: Kit, dns: Dns, authority: trustme.CA
) -> None:
    with Web2("127.0.0.2", certificate_for(authority, HOST)) as web:
        url = f"https://{HOST}:{web.port}"
        policy = pvdrace.Policy(require=["pvd:a"])
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority), http2=True, policy=policy) as client,
        ):
            async with client.client.stream("GET", f"{url}/hold") as held:
                client.transport.policy = pvdrace.Policy(prohibit=["pvd:a"])
                with pytest.raises(kit.module.ConnectError):
                    await client.get(url)
                web.release.set()
                assert await held.aread() == b"hello"
            assert held.extensions["network_stream"].get_extra_info("is_readable") is True
    assert web.connections == 1


@only_async
async def test_entered_in_one_task_and_left_in_another(kit: Kit, dns: Dns) -> None:
    """As test fixtures and lifespans of applications do."""
    async with kit.connector(dns) as connector:
        client = kit.module.AsyncClient(transport=kit.transport(connector))
        before = {task.id for task in anyio.get_running_tasks()}

        async def enter() -> None:
            await client.__aenter__()

        async def leave() -> None:
            await client.__aexit__(None, None, None)

        for step in (enter, leave):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)
        assert {task.id for task in anyio.get_running_tasks()} <= before


@only_async
async def test_closed_without_being_left(kit: Kit, dns: Dns) -> None:
    """``aclose`` alone, after entering by hand and without."""
    before = {task.id for task in anyio.get_running_tasks()}
    async with kit.connector(dns) as connector:
        for enter in (False, True):
            transport = kit.transport(connector)
            if enter:
                await transport.__aenter__()
            await transport.aclose()
            await transport.aclose()
    assert {task.id for task in anyio.get_running_tasks()} <= before


@only_async
async def test_a_connector_that_is_closed_first_does_no_harm(kit: Kit, dns: Dns) -> None:
    with Web("127.0.0.2") as web:
        async with kit.connector(dns) as connector, kit.client(connector) as client:
            await client.get(f"http://{HOST}:{web.port}/")
            connector.close()
            assert (await client.get(f"http://{HOST}:{web.port}/")).content == b"hello"


# ---------------------------------------------------------------------- proxies


async def test_through_an_http_proxy(kit: Kit, dns: Dns, authority: trustme.CA) -> None:
    """The leg to the proxy is raced; TLS inside of the tunnel is the client's own."""
    with Web("127.0.0.1", context=certificate_for(authority, HOST)) as web, http_proxy(web.port) as proxy:
        dns.answers["proxy.test", "AAAA"], dns.answers["proxy.test", "A"] = [], ["127.0.0.1"]
        url = proxy.url.replace("127.0.0.1", "proxy.test")
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority), proxy=url) as client,
        ):
            for _ in range(2):
                response = await client.get(f"https://{HOST}:{web.port}/")
                assert response.content == b"hello"
            big = await put(client, f"https://{HOST}:{web.port}/", b"x" * 1_000_000)
            assert big.content == b"x" * 1_000_000
            with pytest.raises(kit.module.ConnectError, match=r"(?i)certificate"):
                await client.get(f"https://other.test:{web.port}/")
    assert proxy.asked[0] == f"CONNECT {HOST}:{web.port} HTTP/1.1".encode()
    assert report_in(response).endpoint.host == "proxy.test"


async def test_a_forwarding_proxy(kit: Kit, dns: Dns) -> None:
    with Web("127.0.0.2") as web:
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, proxy=f"http://{HOST}:{web.port}") as client,
        ):
            assert (await client.get("http://elsewhere.test/x")).content == b"hello"
    assert web.asked == ["GET http://elsewhere.test/x HTTP/1.1"]


@uvloop_too
async def test_tls_inside_of_tls(kit: Kit, dns: Dns, authority: trustme.CA) -> None:
    """To the proxy TLS is a stage of the race, through it TLS goes inside of that."""
    context = certificate_for(authority, "proxy.test")
    dns.answers["proxy.test", "AAAA"], dns.answers["proxy.test", "A"] = [], ["127.0.0.1"]
    with Web("127.0.0.1", context=certificate_for(authority, HOST)) as web, http_proxy(web.port) as inner:

        def talk(peer: socket.socket) -> None:
            with context.wrap_socket(peer, server_side=True) as secure:
                inner.talk(secure)

        with ProxyServer("https", talk) as proxy:
            trusted = trusting(authority)
            options = {"url": proxy.url.replace("127.0.0.1", "proxy.test"), "ssl_context": trusted}
            async with (
                kit.connector(dns) as connector,
                kit.client(connector, verify=trusted, proxy=kit.module.Proxy(**options)) as client,
            ):
                response = await client.get(f"https://{HOST}:{web.port}/")
                big = await put(client, f"https://{HOST}:{web.port}/", b"x" * 300_000)
                stream = response.extensions["network_stream"]
                assert stream.get_extra_info("ssl_object") is not None
                assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    assert response.content == b"hello"
    assert big.content == b"x" * 300_000
    assert report_in(response).ready == "tls"


async def test_through_a_socks_proxy(kit: Kit, dns: Dns, authority: trustme.CA) -> None:
    with Web("127.0.0.1", context=certificate_for(authority, HOST)) as web, socks_proxy(web.port) as proxy:
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority), proxy=proxy.url) as client,
        ):
            response = await client.get(f"https://{HOST}:{web.port}/")
    assert response.content == b"hello"
    assert HOST.encode() in proxy.asked[0]


@pytest.mark.parametrize(
    ("environment", "patterns"),
    [
        ({}, {}),
        ({"http": "proxy.test:8080"}, {"http://": "http://proxy.test:8080"}),
        (
            {"https": "http://p.test", "all": "socks5://q.test"},
            {"https://": "http://p.test", "all://": "socks5://q.test"},
        ),
        ({"http": "p.test", "no": "*"}, {}),
        (
            {"no": "localhost, .a.test,b.test,10.0.0.1,::1,10.0.0.0/8,http://c.test"},
            dict.fromkeys(
                [
                    *("all://localhost", "all://*.a.test", "all://*b.test", "all://10.0.0.1"),
                    *("all://[::1]", "all://10.0.0.0/8", "http://c.test"),
                ]
            ),
        ),
    ],
)
def test_the_proxies_of_the_environment(
    kit: Kit, environment: dict[str, str], patterns: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the words of the client itself, which has a function of its own for it."""
    assert of_environment(environment) == patterns
    in_brackets = {"no": "[::2],fd00::/8"}
    assert of_environment(in_brackets) == {"all://[::2]": None, "all://[fd00::]/8": None}
    utils = importlib.import_module(f"{kit.name}._utils")
    monkeypatch.setattr(utils, "getproxies", lambda: environment)
    assert utils.get_environment_proxies() == patterns


async def test_a_client_with_the_proxies_of_the_environment(
    kit: Kit, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Web("127.0.0.2", word=b"proxy") as proxy, Web("127.0.0.2", word=b"direct") as web:
        monkeypatch.setenv("http_proxy", f"http://{HOST}:{proxy.port}")
        monkeypatch.setenv("no_proxy", f"other.test,{HOST}")
        make = kit.adapter.client if kit.blocking else kit.adapter.async_client
        async with kit.connector(dns) as connector:
            for options, host, word in (
                ({}, "far.test", b"proxy"),
                ({}, HOST, b"direct"),
                ({"trust_env": False}, HOST, b"direct"),
                ({"proxy": f"http://{HOST}:{proxy.port}"}, HOST, b"proxy"),
            ):
                client = make(connector=connector, http1=True, headers={"x": "y"}, **options)
                async with entered(client) as session:
                    assert (await session.get(f"http://{host}:{web.port}/")).content == word


def test_a_client_takes_nothing_that_would_not_race(kit: Kit) -> None:
    """``proxies`` and ``app`` were arguments of httpx until 0.28."""
    make = kit.adapter.client if kit.blocking else kit.adapter.async_client
    mock = kit.module.MockTransport(lambda request: kit.module.Response(200))
    for name, value in (("transport", mock), ("proxies", {"all://": "http://p.test"}), ("app", print)):
        with pytest.raises(ValueError, match=f"^{name}= cannot be raced"):
            make(**{name: value})


@contextlib.asynccontextmanager
async def entered(client: Any) -> AsyncIterator[Session]:
    if hasattr(client, "__aenter__"):
        async with client:
            yield Session(client, None)
    else:
        with client:
            yield Session(client, None)


# ---------------------------------------------------------------------- traces


def tracer(kit: Kit, events: list[tuple[str, dict[str, Any]]]) -> Any:
    def trace(name: str, info: dict[str, Any]) -> None:
        events.append((name, info))

    async def atrace(name: str, info: dict[str, Any]) -> None:
        events.append((name, info))
        await anyio.lowlevel.checkpoint()

    return trace if kit.blocking else atrace


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_trace_has_the_race_in_it(
    kit: Kit, two: tuple[Dns, Dns], authority: trustme.CA, scheme: str
) -> None:
    """In order, among httpcore's own events: the address that is refused, and the one that wins."""
    context = certificate_for(authority, HOST) if scheme == "https" else None
    events: list[tuple[str, dict[str, Any]]] = []
    with Web("127.0.0.3", context=context) as web:
        async with (
            kit.connector(*two) as connector,
            kit.client(connector, verify=trusting(authority)) as client,
        ):
            extensions = {"trace": tracer(kit, events)}
            for _ in range(2):
                response = await client.get(f"{scheme}://{HOST}:{web.port}/", extensions=extensions)
            assert response.request.extensions["trace"] is extensions["trace"]
    names = [name for name, _ in events]
    race = [name for name in names if name.startswith("pvdrace.")]
    assert race[0] == "pvdrace.race.started"
    assert race[-1] == "pvdrace.race.complete"
    for name in (
        "lookup.started",
        "lookup.complete",
        "attempt.started",
        "attempt.failed",
        "attempt.complete",
    ):
        assert f"pvdrace.{name}" in race
    assert race.count("pvdrace.race.complete") == 1
    assert names[:2] == ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
    assert names.index("connection.connect_tcp.complete") < names.index("pvdrace.race.started")
    after = "connection.start_tls.complete" if scheme == "https" else "http11.send_request_headers.complete"
    assert names.index("pvdrace.race.complete") == names.index(after) - 1
    infos = [info for name, info in events if name.startswith("pvdrace.")]
    assert [info["time"] for info in infos] == sorted(info["time"] for info in infos)
    failed = next(info for name, info in events if name == "pvdrace.attempt.failed")
    assert (failed["pvd"], failed["remote"], failed["error"]) == ("a", "127.0.0.2", "refused")
    assert infos[-1]["report"].outcome == "won"


async def test_a_trace_of_a_race_that_is_lost(kit: Kit, dns: Dns) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    async with kit.connector(dns) as connector, kit.client(connector) as client:
        with pytest.raises(kit.module.ConnectError):
            await client.get(f"http://{HOST}:9/", extensions={"trace": tracer(kit, events)})
    names = [name for name, _ in events]
    assert names.index("pvdrace.attempt.failed") < names.index("pvdrace.race.failed")
    assert names[names.index("pvdrace.race.failed") + 1] == "connection.connect_tcp.failed"
    assert names.count("pvdrace.race.started") == 1


def test_every_event_has_its_name_in_the_documentation() -> None:
    """And the keys of its info: a race with everything in it that a race can have."""
    pvd = ProvisioningDomain("a", interface="lo")
    lookup = Lookup(1, pvd, HOST, "AAAA")
    attempt = Connect(2, Candidate(pvd, None, "127.0.0.2", 9, 4))
    log: list[Any] = [
        *(lookup, LookupAnswered(1, ("::1",)), LookupFailed(1, "silence"), Cancel(lookup, "over")),
        *(attempt, Connected(2), Ready(2), Failed(2, "refused"), Cancel(attempt, "over")),
        *(Skip("a", "::1", "no route"), PvdAdded(Ranked(pvd, 0.0, ()), 0), PvdWithdrawn("a", "gone")),
    ]
    endpoint = Endpoint(HOST, 9)
    timed = [(10.5, entry) for entry in log]
    lost = told(RaceReport(endpoint, Ranking(()), timed, 10.0, Lost("nobody")))
    won = told(RaceReport(endpoint, Ranking(()), timed, 10.0, Won(attempt)))
    names = {name: set(info) - {"time"} for events in (lost, won) for name, info in events}
    documented: dict[str, set[str]] = {}
    for cells in table(DOCS / "httpx.md", "Traces"):
        keys = set(re.findall(r"`(\w+)`", cells[1]))
        if cells[1].startswith("and "):
            keys |= {"pvd", "type"}
        documented |= dict.fromkeys(re.findall(r"`(pvdrace\.[.a-z]+)`", cells[0]), keys)
    assert documented == names


@pytest.mark.parametrize("where", ["connect_tcp.complete", "start_tls.started", "start_tls.complete"])
async def test_a_trace_that_raises_leaks_nothing(
    kit: Kit, dns: Dns, authority: trustme.CA, where: str
) -> None:
    def trace(name: str, info: dict[str, Any]) -> None:
        if name == f"connection.{where}":
            raise ZeroDivisionError

    async def atrace(name: str, info: dict[str, Any]) -> None:
        trace(name, info)

    with Web("127.0.0.2", context=certificate_for(authority, HOST)) as web:
        async with (
            kit.connector(dns) as connector,
            kit.client(connector, verify=trusting(authority)) as client,
        ):
            extensions = {"trace": trace if kit.blocking else atrace}
            before = 0
            for _ in range(2):  # what is opened once is open now
                before = descriptors()
                with pytest.raises(ZeroDivisionError):
                    await client.get(f"https://{HOST}:{web.port}/", extensions=extensions)
            assert await settled(before) <= 0


# ---------------------------------------------------------------------- cancellation


@only_async
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kept", [False, True])
async def test_cancellation_at_every_step_leaks_nothing(
    kit: Kit, two: tuple[Dns, Dns], authority: trustme.CA, scheme: str, kept: bool
) -> None:
    """Entering, lookups, a path that fails at TLS, one that wins, the request, a trace, leaving.

    Also where the client is kept: what a request leaves in its pool is not swept away by the end.
    """
    context = certificate_for(authority, HOST) if scheme == "https" else None
    web = Web("127.0.0.3", context=context)
    portal = Server("127.0.0.2", web.port, context=certificate_for(trustme.CA(), HOST))
    trusted = trusting(authority)
    with web, closing(portal) if scheme == "https" else contextlib.nullcontext():
        if scheme == "http":
            portal.close()
        limits = kit.module.Limits(max_keepalive_connections=0)
        async with (
            kit.connector(*two, pacing=QUICK) as connector,
            kit.client(connector, verify=trusted, limits=limits) as lasting,
        ):

            async def ask(client: Session, extensions: dict[str, Any]) -> None:
                url = f"{scheme}://{HOST}:{web.port}/"
                response = await client.get(url, extensions=extensions)
                assert response.content == b"hello"

            async def work() -> None:
                for name in "ab":
                    connector.resolver.forget(name)
                if kept:
                    await ask(lasting, {})
                else:
                    async with kit.client(connector, verify=trusted) as client:
                        await ask(client, {"trace": tracer(kit, [])})

            await work()  # what is loaded once is loaded now
            whole = Steps()
            await whole.run(work, kit.backend)
            assert whole.count > 5
            await anyio.sleep(0.3)  # the servers' ends of those two runs are closed
            before, tasks = descriptors(), len(anyio.get_running_tasks())
            cancelled = 0
            # httpx is the same code: each third step of it will do, and takes a third of the time.
            stride = 1 if kit.module.__name__ == "httpx2" else 3
            for at in range(1, whole.count + 1, stride):
                steps = Steps(at)
                await steps.run(work, kit.backend)
                cancelled += steps.scope.cancelled_caught
                assert await settled(before) <= 0, f"a descriptor is left, cancelled at step {at}"
                assert len(anyio.get_running_tasks()) == tasks, f"a task is left, cancelled at step {at}"
            assert cancelled > whole.count / stride / 2


# ---------------------------------------------------------------------- the core alone


@pytest.mark.parametrize("pruned", [True, False])
async def test_a_pool_of_the_core_with_our_network_backend(
    kit: Kit, two: tuple[Dns, Dns], authority: trustme.CA, pruned: bool
) -> None:
    """All of it public. Policy, in a pool that is pruned and in one that asks each connection."""
    first = Web("127.0.0.2", word=b"a", context=certificate_for(authority, HOST))
    second = Web("127.0.0.3", first.port, word=b"b", context=certificate_for(authority, HOST))
    url = f"https://{HOST}:{first.port}/"
    adapter, core = kit.adapter, kit.core
    with first, second:
        async with kit.connector(*two) as connector:
            if kit.blocking:
                backend = adapter.PvdNetworkBackend(connector)
                with core.ConnectionPool(trusting(authority), network_backend=backend) as pool:
                    assert pool.request("GET", url).content == b"a"
                    backend.policy = pvdrace.Policy(prohibit=["pvd:a"])
                    if pruned:
                        backend.prune(pool)
                    assert pool.request("GET", url).content == b"b"
                    with pytest.raises(core.ConnectError) as raised:
                        pool.request("GET", f"https://{HOST}:9/")
            else:
                backend = adapter.AsyncPvdNetworkBackend(connector)
                async with core.AsyncConnectionPool(trusting(authority), network_backend=backend) as pool:
                    assert (await pool.request("GET", url)).content == b"a"
                    backend.policy = pvdrace.Policy(prohibit=["pvd:a"])
                    if pruned:
                        await backend.prune(pool)
                        assert pool.connections == [] or pool.connections[0].is_closed()
                    assert (await pool.request("GET", url)).content == b"b"
                    with pytest.raises(core.ConnectError) as raised:
                        await pool.request("GET", f"https://{HOST}:9/")
    error: Any = raised.value
    assert error.report.outcome == "lost"
    assert pvdrace.report_of(error) is error.report


@pytest.mark.parametrize(("name", "other"), [("httpx2", "httpx"), ("httpx", "httpx2")])
def test_one_adapter_loads_one_client(name: str, other: str) -> None:
    code = f"import sys, pvdrace; pvdrace.integrations.{name}; print({other!r} in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
