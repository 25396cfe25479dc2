"""urllib3 over races, on the loopback: what is urllib3's stays urllib3's, and what is ours is in it."""

from __future__ import annotations

import gc
import hashlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3
import urllib3.exceptions as errors
from urllib3.util.retry import Retry

import pvdrace
import pvdrace.sync
from keepalive import WebServer, serving
from loopback import HOST, Dns, Server, certificate_for, closing, trusting
from proxies import ProxyServer
from pvdrace.config import parse
from pvdrace.integrations.urllib3 import PvdPoolManager, PvdProxyManager, Racing

NAME = "localhost"
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
def two() -> Iterator[pvdrace.sync.Connector]:
    """PvDs a and b on the loopback: the name is 127.0.0.2 in a, 127.0.0.3 in b."""
    nothing: dict[tuple[str, str], list[str]] = {
        (name, kind): [] for name in (HOST, NOWHERE) for kind in ("A", "AAAA")
    }
    servers = [Dns({**nothing, (HOST, "A"): [f"127.0.0.{n}"]}) for n in (2, 3)]
    with closing(*servers), connector(*servers) as found:
        yield found


def connector(*servers: Dns, **options: Any) -> pvdrace.sync.Connector:
    pvds = "".join(
        f'[[pvd]]\nname = "{name}"\ninterface = "lo"\nresolvers = ["127.0.0.1:{dns.port}"]\n'
        for name, dns in zip("ab", servers, strict=False)
    )
    return pvdrace.sync.Connector(parse(f"discover = []\n{pvds}"), **options)


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    for _ in range(100):
        gc.collect()
        if len(os.listdir("/proc/self/fd")) <= len(before):
            return
        threading.Event().wait(0.02)
    pytest.fail("left open")


def winner(response: Any) -> str:
    report: pvdrace.RaceReport = response.report
    assert report.winner is not None
    return report.winner.pvd


# ---------------------------------------------------------------------- the race, and its report


def test_a_request_and_its_report(two: pvdrace.sync.Connector) -> None:
    web = WebServer("127.0.0.2")
    with serving(web), PvdPoolManager(connector=two) as http:
        first = http.request("GET", f"http://{HOST}:{web.port}/")
        again = http.request("GET", f"http://{HOST}:{web.port}/again")
    assert (first.data, winner(first), first.report.ready) == (b"hello", "a", "tcp")  # type: ignore[attr-defined]
    assert again.report is first.report, "the same connection"  # type: ignore[attr-defined]
    assert len(web.connections) == 1


def test_a_wrong_certificate_loses_the_race(two: pvdrace.sync.Connector, authority: trustme.CA) -> None:
    """The control is urllib3's own, pointed at the same place."""
    portal = WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    real = WebServer("127.0.0.3", portal.port, word="real", context=certificate_for(authority, HOST))
    context = trusting(authority)
    with serving(portal, real), PvdPoolManager(connector=two, ssl_context=context) as http:
        response = http.request("GET", f"https://{HOST}:{real.port}/")
        assert response.data == b"real"
        assert winner(response) == "b"
        assert http.request("GET", f"https://{HOST}:{real.port}/").report is response.report  # type: ignore[attr-defined]
        with (
            urllib3.PoolManager(ssl_context=context, server_hostname=HOST, retries=False) as plain,
            pytest.raises(errors.SSLError),
        ):
            plain.request("GET", f"https://127.0.0.2:{real.port}/")
    (lost,) = [attempt for attempt in response.report.attempts if attempt.pvd == "a"]  # type: ignore[attr-defined]
    assert str(lost.error).startswith("wrong certificate")


def test_silence_at_tls_loses_the_race(two: pvdrace.sync.Connector, authority: trustme.CA) -> None:
    mute = Server("127.0.0.2", mute=True)
    real = WebServer("127.0.0.3", mute.port, context=certificate_for(authority, HOST))
    with closing(mute), serving(real), PvdPoolManager(connector=two, ssl_context=trusting(authority)) as http:
        assert winner(http.request("GET", f"https://{HOST}:{real.port}/")) == "b"


# ---------------------------------------------------------------------- errors


def test_nobody_has_the_right_certificate(two: pvdrace.sync.Connector, authority: trustme.CA) -> None:
    wrong = [WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))]
    wrong += [WebServer("127.0.0.3", wrong[0].port, context=certificate_for(trustme.CA(), HOST))]
    manager = PvdPoolManager(connector=two, ssl_context=trusting(authority), retries=Retry(0))
    with serving(*wrong), manager as http, pytest.raises(errors.MaxRetryError) as raised:
        http.request("GET", f"https://{HOST}:{wrong[0].port}/")
    assert isinstance(raised.value.reason, errors.SSLError)
    assert "a v4 wrong certificate" in str(raised.value)
    chain = causes(raised.value)
    assert any(isinstance(cause, pvdrace.ConnectFailed) for cause in chain)
    assert any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain)
    report = raised.value.report  # type: ignore[attr-defined]
    assert report is pvdrace.report_of(raised.value)
    assert report is raised.value.reason.report  # type: ignore[attr-defined]
    assert {attempt.pvd for attempt in report.attempts} == {"a", "b"}


def refused(found: pvdrace.sync.Connector) -> tuple[dict[str, Any], str]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.2", 0))
        return {}, f"http://{HOST}:{nobody.getsockname()[1]}/"


def unknown(found: pvdrace.sync.Connector) -> tuple[dict[str, Any], str]:
    return {}, f"http://{NOWHERE}/"


def prohibited(found: pvdrace.sync.Connector) -> tuple[dict[str, Any], str]:
    return {"policy": pvdrace.Policy(prohibit=["pvd:*"])}, f"http://{HOST}/"


@pytest.mark.parametrize(
    ("arrange", "reason", "cause"),
    [
        (refused, errors.NewConnectionError, pvdrace.ConnectFailed),
        (unknown, errors.NameResolutionError, pvdrace.ResolutionFailed),
        (prohibited, errors.NewConnectionError, pvdrace.PolicyProhibited),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_errors_are_those_of_urllib3(
    two: pvdrace.sync.Connector,
    scheme: str,
    arrange: Callable[[pvdrace.sync.Connector], tuple[dict[str, Any], str]],
    reason: type[Exception],
    cause: type[Exception],
) -> None:
    options, url = arrange(two)
    url = url.replace("http:", f"{scheme}:")
    with (
        PvdPoolManager(connector=two, retries=Retry(0), **options) as http,
        pytest.raises(errors.MaxRetryError) as raised,
    ):
        http.request("GET", url)
    assert type(raised.value.reason) is reason
    assert any(type(error) is cause for error in causes(raised.value))
    assert raised.value.report.outcome == "lost"  # type: ignore[attr-defined]
    assert raised.value.reason.report is raised.value.report  # type: ignore[attr-defined]


@pytest.mark.parametrize("retries", [False, Retry(0)])
def test_the_connect_timeout_bounds_tls_too(two: pvdrace.sync.Connector, retries: Any) -> None:
    mute = [Server("127.0.0.2", mute=True)]
    mute += [Server("127.0.0.3", mute[0].port, mute=True)]
    timeout = urllib3.Timeout(connect=0.3, read=20)
    with (
        closing(*mute),
        PvdPoolManager(connector=two, timeout=timeout, retries=retries) as http,
        pytest.raises((errors.MaxRetryError, errors.ConnectTimeoutError)) as raised,
    ):
        http.request("GET", f"https://{HOST}:{mute[0].port}/")
    error = raised.value.reason if isinstance(raised.value, errors.MaxRetryError) else raised.value
    assert type(error) is errors.ConnectTimeoutError
    assert 0.25 < error.report.elapsed < 5  # type: ignore[attr-defined]


def test_each_retry_is_a_race() -> None:
    reports: list[pvdrace.RaceReport] = []
    dns = Dns({(HOST, "AAAA"): [], (HOST, "A"): ["127.0.0.2"]})
    with closing(dns), connector(dns, hooks=[reports.append]) as only:
        _, url = refused(only)
        retries = Retry(connect=2, backoff_factor=0)
        with PvdPoolManager(connector=only) as http, pytest.raises(errors.MaxRetryError):
            http.request("GET", url, retries=retries)
    assert [report.outcome for report in reports] == ["lost"] * 3


def test_no_host_name_is_an_error_of_the_address(two: pvdrace.sync.Connector) -> None:
    with PvdPoolManager(connector=two) as http, pytest.raises(errors.LocationParseError, match="too long"):
        http.request("GET", f"http://{'a' * 64}.example/")


def causes(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(cause)
    return found


# ---------------------------------------------------------------------- what is urllib3's


def fingerprint(context_of: trustme.LeafCert) -> str:
    der = ssl.PEM_cert_to_DER_cert(context_of.cert_chain_pems[0].bytes().decode())
    return hashlib.sha256(der).hexdigest()


TLS_OPTIONS: dict[str, Callable[[str, trustme.LeafCert], dict[str, Any]]] = {
    "nothing that is trusted": lambda ca, leaf: {},
    "a file of authorities": lambda ca, leaf: {"ca_certs": ca},
    "authorities as text": lambda ca, leaf: {"ca_cert_data": Path(ca).read_text()},
    "a context": lambda ca, leaf: {"ssl_context": ssl.create_default_context(cafile=ca)},
    "a file that is not there": lambda ca, leaf: {"ca_certs": "/no/such/file"},
    "not verified": lambda ca, leaf: {"cert_reqs": "CERT_NONE"},
    "the right fingerprint": lambda ca, leaf: {
        "cert_reqs": "CERT_NONE",
        "assert_fingerprint": fingerprint(leaf),
    },
    "another fingerprint": lambda ca, leaf: {"ca_certs": ca, "assert_fingerprint": "ab" * 32},
    "another name asserted": lambda ca, leaf: {"ca_certs": ca, "assert_hostname": "other.test"},
    "no name asserted": lambda ca, leaf: {
        "ca_certs": ca,
        "assert_hostname": False,
        "server_hostname": "x.test",
    },
    "a name of the certificate's": lambda ca, leaf: {"ca_certs": ca, "server_hostname": "second.test"},
    "a name that is not in it": lambda ca, leaf: {"ca_certs": ca, "server_hostname": "third.test"},
    "a version that is too old": lambda ca, leaf: {
        "ca_certs": ca,
        "ssl_maximum_version": ssl.TLSVersion.TLSv1_1,
    },
    "a file for a client": lambda ca, leaf: {"ca_certs": ca, "cert_file": "/no/such/file"},
}


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("what", TLS_OPTIONS)
def test_tls_settings_mean_what_they_mean(authority: trustme.CA, ca_file: str, what: str) -> None:
    """By both managers: the same answer or the same kind of error, the same name asked for."""
    leaf = authority.issue_cert(NAME, "second.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    asked: list[Any] = []
    context.sni_callback = lambda sock, name, own: asked.append(name)
    web = WebServer("127.0.0.1", context=context)
    outcomes = []
    with serving(web):
        for manager in (urllib3.PoolManager, PvdPoolManager):
            with manager(retries=False, **TLS_OPTIONS[what](ca_file, leaf)) as http:
                pool: Any = http.connection_from_url(f"https://{NAME}:{web.port}/")
                connection = pool._get_conn()
                outcome: Any
                try:
                    response = pool.urlopen("GET", "/")
                    outcome = response.data
                    connection.connect()
                    outcome = (outcome, connection.is_verified)
                except errors.HTTPError as error:
                    outcome = type(error)
                except OSError as error:
                    outcome = type(error)
                connection.close()
                outcomes.append((outcome, list(dict.fromkeys(asked))))
                asked.clear()
    plain, ours = outcomes
    assert ours == plain
    # No new default trust: a plain success is one for a reason.
    assert isinstance(plain[0], tuple) == (what in WORKING)


WORKING = (
    "a file of authorities",
    "authorities as text",
    "a context",
    "not verified",
    "the right fingerprint",
    "no name asserted",
    "a name of the certificate's",
)


def test_the_context_is_left_as_it_was(authority: trustme.CA) -> None:
    web = WebServer("127.0.0.1", context=certificate_for(authority, NAME))
    context = trusting(authority)
    with serving(web), PvdPoolManager(ssl_context=context) as http:
        pool: Any = http.connection_from_url(f"https://{NAME}:{web.port}/")
        connection = pool._get_conn()
        connection.connect()
        assert connection.ssl_context is context
        assert connection.sock.context is context
        connection.close()


class ForeignContext:
    """A context that is no `ssl.SSLContext`, as pyOpenSSL's: it needs a socket that blocks."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.__dict__["context"] = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.context, name, value)

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        assert sock.gettimeout() == 7
        secure: ssl.SSLSocket = self.context.wrap_socket(sock, **options)
        return secure


def test_a_foreign_context_gets_a_socket_that_blocks(authority: trustme.CA) -> None:
    web = WebServer("127.0.0.1", context=certificate_for(authority, NAME))
    context: Any = ForeignContext(trusting(authority))
    with serving(web), PvdPoolManager(ssl_context=context, timeout=7.0) as http:
        assert http.request("GET", f"https://{NAME}:{web.port}/").data == b"hello"


def test_socket_options_are_set_on_the_winner() -> None:
    web = WebServer("127.0.0.1")
    keepalive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with serving(web), PvdPoolManager(socket_options=[keepalive], timeout=4.0) as http:
        pool: Any = http.connection_from_url(f"http://{NAME}:{web.port}/")
        connection = pool._get_conn()
        connection.connect()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0, "not asked for"
        assert connection.sock.gettimeout() == 4.0
        connection.close()
    with serving(web := WebServer("127.0.0.1")), PvdPoolManager() as http:
        pool = http.connection_from_url(f"http://{NAME}:{web.port}/")
        connection = pool._get_conn()
        connection.connect()
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0, "urllib3's default"
        connection.close()


@pytest.mark.parametrize("number", [25, 62])
def test_socket_options_that_choose_a_path_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"SO_BINDTO.*policy=pvdrace\.Policy"):
        PvdPoolManager(socket_options=[(socket.SOL_SOCKET, number, b"lo\0")])
    with PvdPoolManager() as http:
        pool: Any = http.connection_from_host(
            NAME, pool_kwargs={"socket_options": [(socket.SOL_SOCKET, number, b"lo\0")]}
        )
        with pytest.raises(ValueError, match="SO_BINDTO"):
            pool._new_conn()


def test_a_source_address() -> None:
    web = WebServer("127.0.0.1")
    with serving(web), PvdPoolManager(source_address=("127.0.0.1", 0)) as http:
        assert http.request("GET", f"http://{NAME}:{web.port}/").data == b"hello"
    with pytest.raises(ValueError, match="cannot share a port"):
        PvdPoolManager(source_address=("127.0.0.1", 4000))


def test_a_connector_that_does_not_block_is_refused() -> None:
    other: Any = pvdrace.Connector()
    with pytest.raises(TypeError, match=r"must be a pvdrace\.sync\.Connector"):
        PvdPoolManager(connector=other)
    with pytest.raises(ValueError, match=r"must be a pvdrace\.Policy"):
        Racing(policy="wifi")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- proxies


def forwarding(port: int, context: ssl.SSLContext | None = None) -> ProxyServer:
    """A proxy, itself inside TLS if it has a context, that makes each tunnel to a port of 127.0.0.1."""

    def talk(peer: socket.socket) -> None:
        if context is not None:
            peer = context.wrap_socket(peer, server_side=True)
        with peer:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += peer.recv(1)
            server.asked.append(request.split(b"\r\n")[0])
            if not request.startswith(b"CONNECT"):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nforwarded")
                return
            with socket.create_connection(("127.0.0.1", port), 5) as behind:
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                carry(peer, behind)

    server = ProxyServer("http" if context is None else "https", talk)
    server.url = server.url.replace("127.0.0.1", NAME)
    return server


def carry(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways, in one thread: a TLS socket is not for two at once."""
    while True:
        ready, _, _ = select.select([one, other], [], [], 5)
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


@pytest.mark.parametrize("secure_proxy", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("given", [False, True], ids=["", "own context"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy(
    authority: trustme.CA, ca_file: str, scheme: str, secure_proxy: bool, given: bool
) -> None:
    """Forwarded, tunnelled, and TLS inside TLS, as by urllib3's own `ProxyManager`."""
    web = WebServer("127.0.0.1", word="forwarded", context=certificate_for(authority, "far.example"))
    context = certificate_for(authority, NAME) if secure_proxy else None
    options: dict[str, Any] = {"proxy_ssl_context": trusting(authority)} if given else {}
    url = f"{scheme}://far.example:{web.port}/"
    asked = {}
    with serving(web):
        for manager in (urllib3.ProxyManager, PvdProxyManager):
            with (
                forwarding(web.port, context) as proxy,
                manager(proxy.url, ca_certs=ca_file, retries=False, **options) as http,
            ):
                response = http.request("GET", url, headers={"Connection": "close"})
                assert response.data == b"forwarded"
            asked[manager] = proxy.asked
    assert asked[PvdProxyManager] == asked[urllib3.ProxyManager]
    report: pvdrace.RaceReport = response.report  # type: ignore[attr-defined]
    assert report.endpoint.host == NAME
    assert report.ready == ("tls" if secure_proxy else "tcp")


def test_forwarding_for_https(authority: trustme.CA, ca_file: str) -> None:
    """TLS is with the proxy alone."""
    with (
        forwarding(0, certificate_for(authority, NAME)) as proxy,
        PvdProxyManager(proxy.url, ca_certs=ca_file, use_forwarding_for_https=True, retries=False) as http,
    ):
        assert http.request("GET", "https://far.example/").data == b"forwarded"
    assert proxy.asked == [b"GET https://far.example/ HTTP/1.1"]


def test_a_race_for_the_way_to_the_proxy(
    two: pvdrace.sync.Connector, authority: trustme.CA, ca_file: str
) -> None:
    """TLS to the proxy can lose: one with a wrong certificate, one with the right one."""
    portal = WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    right = WebServer("127.0.0.3", portal.port, word="through", context=certificate_for(authority, HOST))
    with (
        serving(portal, right),
        PvdProxyManager(f"https://{HOST}:{portal.port}", ca_certs=ca_file, connector=two) as http,
    ):
        response = http.request("GET", "http://far.example/")
    assert (response.data, winner(response)) == (b"through", "b")
    assert right.paths == ["http://far.example/"]


# ---------------------------------------------------------------------- pools


def test_one_manager_for_many_threads(two: pvdrace.sync.Connector, authority: trustme.CA) -> None:
    web = WebServer("127.0.0.2", context=certificate_for(authority, HOST))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for n in range(15):
                if n % 5 == 4:
                    http.policy = pvdrace.Policy(avoid=["pvd:b"]) if n % 10 == 4 else None
                response = http.request("GET", f"https://{HOST}:{web.port}/", retries=False)
                assert (response.data, winner(response)) == (b"hello", "a")
        except BaseException as error:
            failed.append(error)

    with (
        serving(web),
        PvdPoolManager(connector=two, maxsize=3, block=True, ssl_context=trusting(authority)) as http,
    ):
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failed == []
    assert len(web.connections) <= 3
