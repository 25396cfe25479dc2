"""`PvdConnector` on the loopback: aiohttp's sessions over a race, in both ways. asyncio's alone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import pytest
import pytest_asyncio
import trustme
from aiohttp import web

import pvdrace
from loopback import HOST, BlackHole, Dns, Server, certificate_for, closing, trusting
from proxies import http_proxy
from pvdrace.config import parse
from pvdrace.config.policy_file import PolicyFile
from pvdrace.integrations.aiohttp import PvdConnector, trace_config, unknown_hooks
from pvdrace.rules import Match, Rule
from stepwise import Steps

pytestmark = pytest.mark.asyncio

Way = Literal["public", "full"]
QUICK = pvdrace.Pacing(
    connection_attempt_delay=0.02,
    minimum_connection_attempt_delay=0.01,
    maximum_connection_attempt_delay=0.1,
    path_delay=0.02,
    resolution_delay=0.01,
    resolution_lead=0.005,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["public", "full"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def dns() -> Iterator[Dns]:
    """The name is 127.0.0.2, and nothing in IPv6."""
    server = Dns(at("127.0.0.2"))
    with closing(server):
        yield server


@pytest_asyncio.fixture
async def one(dns: Dns) -> AsyncIterator[pvdrace.Connector]:
    async with connector(dns) as only:
        yield only


def at(address: str) -> dict[tuple[str, str], list[str]]:
    return {(HOST, "AAAA"): [], (HOST, "A"): [address]}


def connector(*servers: Dns, **options: Any) -> pvdrace.Connector:
    """One PvD on the loopback for each name server: a, b, ..."""
    pvds = "".join(
        f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["{dns.address}:{dns.port}"]\n'
        for name, dns in zip("abc", servers, strict=False)
    )
    return pvdrace.Connector(parse(f"discover = []\n{pvds}"), **options)


@contextlib.asynccontextmanager
async def site(address: str, port: int = 0, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A web server of aiohttp's that says at which address it is; its port."""

    async def say(request: web.Request) -> web.Response:
        return web.Response(text=address)

    async def wait(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"...")
        await asyncio.sleep(float(request.query.get("seconds", "30")))
        return response

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get("/", say)
    app.router.add_get("/wait", wait)
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=128)
        await web.SockSite(runner, listener, ssl_context=context).start()
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def opened(
    over: pvdrace.Connector, way: Way, authority: trustme.CA | None = None, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that leaves no task behind; the reports of its requests are in `REPORTS`."""
    before = asyncio.all_tasks()
    reports: list[pvdrace.RaceReport] = []

    async def note(_: aiohttp.ClientSession, __: SimpleNamespace, report: pvdrace.RaceReport) -> None:
        reports.append(report)

    own: dict[str, Any] = {
        name: options.pop(name) for name in ("policy", "label", "family", "limit") if name in options
    }
    traces = [trace_config(note), *options.pop("trace_configs", [])]
    if authority is not None:
        own["ssl"] = trusting(authority)
    over_pvds = PvdConnector(connector=over, race=way, **own)
    async with aiohttp.ClientSession(connector=over_pvds, trace_configs=traces, **options) as session:
        REPORTS[session] = reports
        yield session
    del REPORTS[session]
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)}
    assert not left


REPORTS: dict[aiohttp.ClientSession, list[pvdrace.RaceReport]] = {}


async def get(session: aiohttp.ClientSession, url: str, **options: Any) -> str:
    async with session.get(url, **options) as response:
        return await response.text()


def descriptors() -> int:
    """All but what uvloop keeps to spare."""
    found = 0
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            found += os.readlink(entry.path) != os.devnull
    return found


async def settled(before: int) -> int:
    """How many descriptors are left over, once the servers of this process have closed their ends."""
    async with asyncio.timeout(5):
        while descriptors() > before:
            gc.collect()
            await asyncio.sleep(0.001)
    return descriptors() - before


# ---------------------------------------------------------------------- what it is for


@pytest.mark.parametrize("secure", [False, True])
async def test_a_session_over_the_race(
    one: pvdrace.Connector, authority: trustme.CA, way: Way, secure: bool
) -> None:
    """Two requests, one connection, one report; and where to find that."""
    context = certificate_for(authority, HOST) if secure else None
    async with site("127.0.0.2", context=context) as port, opened(one, way, authority) as session:
        url = f"{'https' if secure else 'http'}://{HOST}:{port}"
        assert await get(session, url) == "127.0.0.2"
        assert await get(session, url) == "127.0.0.2"
        first, again = REPORTS[session]
        async with session.get(f"{url}/wait") as response:
            assert isinstance(session.connector, PvdConnector)
            assert session.connector.report(response.connection) is first
        assert session.connector.report(response.connection) is None, "the response has given it back"
    assert first is again
    assert first.winner is not None
    assert (first.winner.pvd, first.winner.remote) == ("a", "127.0.0.2")
    assert first.ready == ("tls" if secure else "tcp")


async def test_a_wrong_certificate_moves_on_to_the_next_pvd(authority: trustme.CA, way: Way) -> None:
    """HEv3 s6.1: an intercepting portal completes TCP, and has no certificate of that name."""
    portal, server = certificate_for(trustme.CA(), HOST), certificate_for(authority, HOST)
    first, second = Dns(at("127.0.0.2")), Dns(at("127.0.0.3"))
    with closing(first, second):
        async with (
            site("127.0.0.2", context=portal) as port,
            site("127.0.0.3", port, server),
            connector(first, second) as both,
        ):
            async with opened(both, way, authority) as session:
                assert await get(session, f"https://{HOST}:{port}") == "127.0.0.3"
                (report,) = REPORTS[session]
            plain = aiohttp.TCPConnector(ssl=trusting(authority))
            async with aiohttp.ClientSession(connector=plain) as session:
                with pytest.raises(aiohttp.ClientConnectorCertificateError):  # the control
                    await get(session, f"https://127.0.0.2:{port}", server_hostname=HOST)
    assert [(a.pvd, a.outcome) for a in report.attempts] == [("a", "failed"), ("b", "won")]
    assert str(report.attempts[0].error).startswith("wrong certificate")
    assert report.attempts[0].connected is not None


async def test_a_fingerprint_is_part_of_the_race(authority: trustme.CA, way: Way) -> None:
    """Who trusts one certificate only is not sent to the portal either."""
    leaf = authority.issue_cert(HOST)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    wanted = aiohttp.Fingerprint(hashlib.sha256(der).digest())
    first, second = Dns(at("127.0.0.2")), Dns(at("127.0.0.3"))
    with closing(first, second):
        async with (
            site("127.0.0.2", context=certificate_for(trustme.CA(), HOST)) as port,
            site("127.0.0.3", port, server),
            connector(first, second) as both,
            opened(both, way) as session,
        ):
            assert await get(session, f"https://{HOST}:{port}", ssl=wanted) == "127.0.0.3"
            only = aiohttp.Fingerprint(hashlib.sha256(b"another").digest())
            with pytest.raises(aiohttp.ServerFingerprintMismatch) as caught:
                await get(session, f"https://{HOST}:{port}", ssl=only)
    lost = pvdrace.report_of(caught.value)
    assert lost is not None
    assert [attempt.outcome for attempt in lost.attempts] == ["failed", "failed"]


async def test_silence_at_tls_moves_on_to_the_next_pvd(authority: trustme.CA, way: Way) -> None:
    mute = Server("127.0.0.2", mute=True)
    first, second = Dns(at("127.0.0.2")), Dns(at("127.0.0.3"))
    with closing(mute, first, second):
        async with (
            site("127.0.0.3", mute.port, certificate_for(authority, HOST)),
            connector(first, second, pacing=QUICK) as both,
            opened(both, way, authority) as session,
        ):
            began = time.monotonic()
            assert await get(session, f"https://{HOST}:{mute.port}") == "127.0.0.3"
            assert time.monotonic() - began < 3
            (report,) = REPORTS[session]
    assert [attempt.outcome for attempt in report.attempts][-1] == "won"


@pytest.mark.parametrize(("literal", "bare"), [("127.0.0.2", "127.0.0.2"), ("[::1]", "::1")])
@pytest.mark.parametrize("secure", [False, True])
async def test_an_address_is_raced_without_a_lookup(
    one: pvdrace.Connector, dns: Dns, authority: trustme.CA, way: Way, literal: str, bare: str, secure: bool
) -> None:
    """aiohttp asks no resolver for it."""
    context = certificate_for(authority, bare) if secure else None
    async with site(bare, context=context) as port, opened(one, way, authority) as session:
        url = f"{'https' if secure else 'http'}://{literal}:{port}"
        assert [await get(session, url), await get(session, url)] == [bare, bare]
        first, again = REPORTS[session]
    assert first is again
    assert first.winner is not None
    assert dns.asked == []


async def test_a_websocket(one: pvdrace.Connector, authority: trustme.CA, way: Way) -> None:
    context = certificate_for(authority, HOST)
    async with site("127.0.0.2", context=context) as port, opened(one, way, authority) as session:
        async with session.ws_connect(f"wss://{HOST}:{port}/ws") as talk:
            await talk.send_str("hello")
            assert await talk.receive_str() == "HELLO"
        assert [report.outcome for report in REPORTS[session]] == ["won"]


@pytest.mark.parametrize("literal", [False, True])
async def test_the_way_to_a_proxy_is_raced(
    one: pvdrace.Connector, dns: Dns, authority: trustme.CA, way: Way, literal: bool
) -> None:
    """The request goes through it; what is looked up, and raced, is the proxy."""
    dns.answers["proxy.example.test", "A"] = ["127.0.0.1"]
    dns.answers["proxy.example.test", "AAAA"] = []
    name = "127.0.0.1" if literal else "proxy.example.test"
    async with site("127.0.0.1", context=certificate_for(authority, HOST)) as port:
        with http_proxy(port) as proxy:
            own = proxy.url.replace("127.0.0.1", name)
            async with opened(one, way, authority) as session:
                assert await get(session, f"https://{HOST}:{port}", proxy=own) == "127.0.0.1"
                (report,) = REPORTS[session]
    assert report.endpoint.host == name
    assert {asked for asked, _ in dns.asked} == (set() if literal else {name})


async def test_many_at_once(one: pvdrace.Connector, authority: trustme.CA, way: Way) -> None:
    """Each has its own race, and the limit of the pool holds."""
    context = certificate_for(authority, HOST)
    async with site("127.0.0.2", context=context) as port, opened(one, way, authority, limit=8) as session:
        url = f"https://{HOST}:{port}"
        assert await asyncio.gather(*(get(session, url) for _ in range(40))) == ["127.0.0.2"] * 40
        assert len({id(report) for report in REPORTS[session]}) <= 8


# ---------------------------------------------------------------------- policy


async def test_policy_label_and_family(dns: Dns, way: Way) -> None:
    file = PolicyFile("p", rules=(Rule(Match(label=["mail"]), pvdrace.Policy(require=["pvd:b"])),))
    dns.answers[HOST, "AAAA"] = ["::1"]
    async with site("127.0.0.2") as port, site("::1", port), connector(dns, dns, policy=file) as both:
        url = f"http://{HOST}:{port}"
        for options, pvd in (
            ({"policy": pvdrace.Policy(require=["pvd:a"])}, "a"),
            ({"policy": pvdrace.Policy(require=["pvd:b"])}, "b"),
            ({"label": "mail"}, "b"),
        ):
            async with opened(both, way, **options) as session:
                await get(session, url)
                (report,) = REPORTS[session]
                assert report.winner is not None
                assert report.winner.pvd == pvd
        for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
            async with opened(both, way, family=family) as session:
                assert await get(session, url) == address
                assert isinstance(session.connector, PvdConnector)
                assert session.connector.family == family


async def test_what_comes_back_to_the_pool_late_goes_too(dns: Dns, way: Way) -> None:
    """A connection that is in use when policy changes is not interrupted, and does not idle afterwards."""
    async with site("127.0.0.2") as port, connector(dns, dns) as both, opened(both, way) as session:
        own = session.connector
        assert isinstance(own, PvdConnector)
        for policy, kept in ((None, True), (pvdrace.Policy(require=["pvd:b"]), False)):
            async with session.get(f"http://{HOST}:{port}/wait?seconds=0.1") as response:
                assert response.connection is not None
                transport = response.connection.transport
                own.policy = policy
                assert await response.read() == b"..."
            assert transport is not None
            assert transport.is_closing() is not kept
        assert await get(session, f"http://{HOST}:{port}") == "127.0.0.2"
        assert [report.winner.pvd for report in REPORTS[session] if report.winner] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"resolver": object()}, ValueError, "resolver= cannot be raced: names are"),
        ({"socket_factory": print}, ValueError, "socket_factory= cannot be raced: a socket"),
        ({"local_addr": ("127.0.0.1", 0)}, ValueError, "local_addr= cannot be raced: the source"),
        ({"race": "fast"}, ValueError, "race must be"),
        ({"policy": "pvd:a"}, ValueError, r"policy must be a pvdrace\.Policy"),
        ({"family": 99}, ValueError, "family must be"),
        ({"connector": aiohttp}, TypeError, r"connector must be a pvdrace\.Connector, not <module"),
        ({"label": 3}, ValueError, "label must be a word, not 3"),
    ],
)
async def test_what_cannot_be_is_refused(options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        PvdConnector(**options)


async def test_an_unknown_aiohttp_is_not_guessed_at(
    one: pvdrace.Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unknown_hooks() is None, "the installed one is known"

    async def changed(self: object, host: str) -> list[Any]:
        return []

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", changed)
    with pytest.raises(
        RuntimeError, match=rf"aiohttp {aiohttp.__version__}: TCPConnector._resolve_host takes host"
    ):
        PvdConnector(connector=one, race="full")
    automatic = PvdConnector(connector=one, race="auto")
    assert automatic.race == "public"
    await automatic.close()
    monkeypatch.undo()
    automatic = PvdConnector(connector=one, race="auto")
    assert automatic.race == "full"
    await automatic.close()


# ---------------------------------------------------------------------- errors and times


async def test_the_errors_are_aiohttps(
    one: pvdrace.Connector, dns: Dns, authority: trustme.CA, way: Way
) -> None:
    """Each with the report, as an attribute and among its causes."""
    dns.answers["nowhere.example.test", "A"] = dns.answers["nowhere.example.test", "AAAA"] = []
    async with (
        site("127.0.0.2", context=certificate_for(trustme.CA(), HOST)) as port,
        opened(one, way, authority) as session,
    ):
        with socket.create_server(("127.0.0.2", 0)) as listener:
            closed = listener.getsockname()[1]
        for url, kind, cause, words in (
            (f"http://{HOST}:{closed}", aiohttp.ClientConnectorError, pvdrace.ConnectFailed, "a v4 refused"),
            (f"http://127.0.0.2:{closed}", aiohttp.ClientConnectorError, pvdrace.ConnectFailed, "v4 refused"),
            (
                f"https://{HOST}:{port}",
                aiohttp.ClientConnectorCertificateError,
                pvdrace.ConnectFailed,
                "certificate",
            ),
            (
                "http://nowhere.example.test:80",
                aiohttp.ClientConnectorDNSError,
                pvdrace.ResolutionFailed,
                "no address",
            ),
        ):
            REPORTS[session].clear()
            with pytest.raises(kind) as caught:
                await get(session, url)
            assert type(caught.value) is kind
            report = pvdrace.report_of(caught.value)
            assert report is not None
            assert getattr(caught.value, "report", None) is report
            assert REPORTS[session] == [report]
            assert words in str(caught.value)
            assert any(isinstance(each, cause) for each in chain(caught.value))
        with pytest.raises(aiohttp.InvalidURL):
            await get(session, "http://256.256.256.256/")
    async with opened(one, way, policy=pvdrace.Policy(require=["pvd:c"])) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="not pvd:c, which is required") as none:
            await get(session, f"http://{HOST}:{port}")
    assert any(isinstance(each, pvdrace.NoUsablePvd) for each in chain(none.value))


def chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found


@pytest.mark.parametrize("which", ["connect", "sock_connect", "total"])
async def test_the_times_of_aiohttp_bound_the_race(
    one: pvdrace.Connector, authority: trustme.CA, way: Way, which: str
) -> None:
    """TLS included: a server that says nothing after TCP."""
    before = descriptors()
    mute = Server("127.0.0.2", mute=True)
    with closing(mute):
        timeout = aiohttp.ClientTimeout(**{which: 0.2})
        async with opened(one, way, authority, timeout=timeout) as session:
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError) as caught:
                await get(session, f"https://{HOST}:{mute.port}")
            assert time.monotonic() - began < 2
            if which != "total":  # where aiohttp has a timer of its own round all of it
                assert type(caught.value) is aiohttp.ConnectionTimeoutError
                report = pvdrace.report_of(caught.value)
                assert report is not None
                assert str(report.failure).startswith("timeout 0.")
    assert await settled(before) <= 0


class Web(Server):
    """One request, one answer, in a thread: so that the steps of the test are the client's alone."""

    def _serve(self) -> None:
        assert self.context is not None
        while True:
            peer, _ = self.sock.accept()
            if self.closing:
                peer.close()
                return
            with contextlib.suppress(OSError), peer:
                peer.settimeout(5)
                with self.context.wrap_socket(peer, server_side=True) as secure:
                    if secure.recv(65536):
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        secure.recv(1)


async def test_cancellation_at_every_step_leaks_nothing(authority: trustme.CA, way: Way) -> None:
    """Lookups, a black hole, a portal's TLS handshake, the winner's: cancelled after each step."""
    first = Dns({(HOST, "AAAA"): ["::1"], (HOST, "A"): ["127.0.0.2"]})
    second = Dns(at("127.0.0.3"))
    portal = Server("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    server = Web("127.0.0.3", portal.port, context=certificate_for(authority, HOST))
    hole = BlackHole("::1", portal.port)
    context = trusting(authority)
    with closing(portal, server, hole, first, second):
        async with (
            connector(first, second, pacing=QUICK) as both,
            aiohttp.ClientSession(
                connector=PvdConnector(connector=both, race=way, ssl=context, force_close=True)
            ) as session,
        ):

            async def work() -> None:
                for name in "ab":
                    both.resolver.forget(name)
                async with session.get(f"https://{HOST}:{portal.port}/") as response:
                    assert response.status == 200

            await work()  # what is loaded once is loaded now
            whole = Steps()
            await whole.run(work, "asyncio")
            assert whole.count > 10
            await asyncio.sleep(0.3)  # the servers' ends of those two runs are closed
            before, tasks = descriptors(), len(asyncio.all_tasks())
            cancelled = 0
            for step in range(1, whole.count + 1):
                steps = Steps(step)
                with contextlib.suppress(aiohttp.ClientError):  # it came when the answer was on its way
                    await steps.run(work, "asyncio")
                cancelled += steps.scope.cancelled_caught
                assert await settled(before) <= 0, f"a descriptor is left after a cancellation at step {step}"
                assert len(asyncio.all_tasks()) == tasks, (
                    f"a task is left after a cancellation at step {step}"
                )
            assert cancelled > whole.count / 2


# ---------------------------------------------------------------------- aiohttp's own trace hooks


async def test_the_trace_hooks_are_called(one: pvdrace.Connector, authority: trustme.CA, way: Way) -> None:
    """In the order in which aiohttp itself calls them, for a new connection and for one of the pool."""
    told: list[str] = []
    names = (
        "dns_resolvehost_start",
        "dns_resolvehost_end",
        "connection_create_start",
        "connection_create_end",
        "connection_reuseconn",
        "request_end",
    )

    def hooks() -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        for name in names:

            async def note(*_: object, name: str = name) -> None:
                told.append(name)

            getattr(config, f"on_{name}").append(note)
        return config

    async with site("127.0.0.2", context=certificate_for(authority, HOST)) as port:
        async with opened(one, way, authority, trace_configs=[hooks()]) as session:
            await get(session, f"https://{HOST}:{port}")
            await get(session, f"https://{HOST}:{port}")
        ours, told[:] = list(told), []
        context = trusting(authority)
        plain = aiohttp.TCPConnector(ssl=context, resolver=_Fixed(), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=plain, trace_configs=[hooks()]) as session:
            await get(session, f"https://{HOST}:{port}")
            await get(session, f"https://{HOST}:{port}")
    assert ours == told
    assert len(ours) == 7


class _Fixed(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> Any:
        return [{"hostname": host, "host": "127.0.0.2", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


async def test_a_report_knows_its_request(one: pvdrace.Connector, way: Way) -> None:
    """``trace_request_ctx`` is the request's own; a listener that raises leaves nothing open."""
    heard: list[object] = []

    async def note(_: aiohttp.ClientSession, context: SimpleNamespace, report: pvdrace.RaceReport) -> None:
        heard.append((context.trace_request_ctx, report.winner.pvd if report.winner else None))
        if context.trace_request_ctx == "broken":
            raise LookupError("not today")

    async with site("127.0.0.2") as port:
        before = descriptors()
        async with opened(one, way, trace_configs=[trace_config(note)]) as session:
            url = f"http://{HOST}:{port}"
            await asyncio.gather(*(get(session, url, trace_request_ctx=word) for word in ("x", "y")))
            assert sorted(heard, key=str) == [("x", "a"), ("y", "a")]
            with pytest.raises(LookupError, match="not today"):
                await get(session, url, trace_request_ctx="broken")
            await get(session, url, trace_request_ctx="z")
            assert heard[-2:] == [("broken", "a"), ("z", "a")]
        assert await settled(before) <= 0


async def test_a_connector_that_nobody_closed_is_not_kept(one: pvdrace.Connector, way: Way) -> None:
    """aiohttp complains of that; what looks after its pool ends with it."""
    before = asyncio.all_tasks()
    async with site("127.0.0.2") as port:
        session = aiohttp.ClientSession(connector=PvdConnector(connector=one, race=way))
        await get(session, f"http://{HOST}:{port}")
        assert watchers(before)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del session
            gc.collect()
        async with asyncio.timeout(5):
            await asyncio.wait(watchers(before) or {asyncio.ensure_future(asyncio.sleep(0))})


def watchers(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() - before if "_watch" in repr(task)}
