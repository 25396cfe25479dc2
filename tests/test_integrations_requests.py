"""requests over races, on the loopback: sessions, their errors, proxies and pickles."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import trustme

import pvdrace
import pvdrace.sync
from keepalive import WebServer, serving
from loopback import HOST, Dns, Server, certificate_for, closing
from proxies import http_proxy
from pvdrace.config import parse
from pvdrace.integrations.requests import PvdAdapter

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
def one() -> Iterator[pvdrace.sync.Connector]:
    """One PvD on the loopback, in which the name is 127.0.0.2."""
    nothing: dict[tuple[str, str], list[str]] = {
        (name, kind): [] for name in (HOST, NOWHERE) for kind in ("A", "AAAA")
    }
    dns = Dns({**nothing, (HOST, "A"): ["127.0.0.2"]})
    pvd = f'[[pvd]]\nname = "a"\ninterface = "lo"\nresolvers = ["127.0.0.1:{dns.port}"]\n'
    with closing(dns), pvdrace.sync.Connector(parse(f"discover = []\n{pvd}")) as connector:
        yield connector


def mounted(adapter: PvdAdapter, **settings: Any) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    for name, value in settings.items():
        setattr(session, name, value)
    return session


def test_a_session(one: pvdrace.sync.Connector, authority: trustme.CA, ca_file: str) -> None:
    web = WebServer("127.0.0.2", context=certificate_for(authority, HOST))
    with serving(web), mounted(PvdAdapter(connector=one), verify=ca_file) as session:
        first: Any = session.get(f"https://{HOST}:{web.port}/")
        again: Any = session.get(f"https://{HOST}:{web.port}/again")
    assert (first.text, first.report.winner.pvd, first.report.ready) == ("hello", "a", "tls")
    assert again.report is first.report is first.raw.report
    assert len(web.connections) == 1


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_verify_is_that_of_requests(one: pvdrace.sync.Connector, ca_file: str) -> None:
    web = WebServer("127.0.0.2", context=certificate_for(trustme.CA(), HOST))
    with serving(web), mounted(PvdAdapter(connector=one)) as session:
        url = f"https://{HOST}:{web.port}/"
        assert session.get(url, verify=False).text == "hello"
        for verify in (True, ca_file):
            with pytest.raises(requests.exceptions.SSLError) as raised:
                session.get(url, verify=verify)
            assert report_on(raised.value).attempts[0].connected is not None
        with pytest.raises(OSError, match="Could not find"):
            session.get(url, verify="/no/such/file")


def report_on(error: Any) -> pvdrace.RaceReport:
    report: pvdrace.RaceReport = error.report
    assert report is pvdrace.report_of(error)
    assert report.outcome == "lost"
    return report


@pytest.mark.parametrize(
    ("server", "host", "policy", "error"),
    [
        (None, HOST, None, requests.exceptions.ConnectionError),
        (None, NOWHERE, None, requests.exceptions.ConnectionError),
        (None, HOST, pvdrace.Policy(prohibit=["pvd:a"]), requests.exceptions.ConnectionError),
        ("mute", HOST, None, requests.exceptions.ConnectTimeout),
    ],
)
def test_errors_are_those_of_requests(
    one: pvdrace.sync.Connector,
    server: str | None,
    host: str,
    policy: pvdrace.Policy | None,
    error: type[Exception],
) -> None:
    with mounted(PvdAdapter(connector=one, policy=policy)) as session:
        if server is None:
            with socket.socket() as nobody:
                nobody.bind(("127.0.0.2", 0))
                port = nobody.getsockname()[1]
            with pytest.raises(requests.RequestException) as raised:
                session.get(f"https://{host}:{port}/")
        else:
            mute = Server("127.0.0.2", mute=True)
            with closing(mute), pytest.raises(requests.RequestException) as raised:
                session.get(f"https://{host}:{mute.port}/", timeout=(0.3, 20))
    assert type(raised.value) is error
    report_on(raised.value)


def test_a_read_timeout_is_no_lost_race(one: pvdrace.sync.Connector) -> None:
    mute = Server("127.0.0.2", mute=True)
    with (
        closing(mute),
        mounted(PvdAdapter(connector=one)) as session,
        pytest.raises(requests.ReadTimeout) as raised,
    ):
        session.get(f"http://{HOST}:{mute.port}/", timeout=(20, 0.1))
    assert pvdrace.report_of(raised.value) is None


def test_proxies_are_raced_to(one: pvdrace.sync.Connector, authority: trustme.CA, ca_file: str) -> None:
    web = WebServer("127.0.0.1", context=certificate_for(authority, "far.example"))
    adapter = PvdAdapter(connector=one)
    with serving(web), http_proxy(web.port) as proxy, mounted(adapter, verify=ca_file) as session:
        session.proxies = {"https": proxy.url}
        response: Any = session.get("https://far.example/", headers={"Connection": "close"})
        assert (response.text, response.report.endpoint.host) == ("hello", "127.0.0.1")
        adapter.policy = pvdrace.Policy(require=["pvd:nobody"])
        (manager,) = adapter.proxy_manager.values()
        assert manager.policy is adapter.policy
    assert proxy.asked == [b"CONNECT far.example:443 HTTP/1.0"] or proxy.asked == [
        b"CONNECT far.example:443 HTTP/1.1"
    ]


def test_socks_proxies_are_refused(one: pvdrace.sync.Connector) -> None:
    """They would open sockets by themselves, wherever policy says they must not."""
    with (
        mounted(PvdAdapter(connector=one), proxies={"http": "socks5h://127.0.0.1:1"}) as session,
        pytest.raises(requests.exceptions.InvalidSchema, match="socks5h proxies cannot be raced"),
    ):
        session.get(f"http://{HOST}/")


def test_pickled_it_keeps_its_policy() -> None:
    policy = pvdrace.Policy(prohibit=["cost:variable"])
    adapter = PvdAdapter(3, 4, 2, True, policy=policy, label="sync")
    copy = pickle.loads(pickle.dumps(adapter))
    assert copy.policy == policy
    assert copy.poolmanager.racing.label == "sync"
    assert copy.poolmanager.policy is copy.policy
    assert (copy._pool_connections, copy._pool_maxsize, copy._pool_block) == (3, 4, True)
    assert copy.max_retries.total == 2
    session = pickle.loads(pickle.dumps(mounted(adapter)))
    web = WebServer("127.0.0.1")
    with serving(web), session:
        assert session.get(f"http://localhost:{web.port}/").report.winner is not None


def test_with_a_connector_of_its_own_it_is_not_pickled(one: pvdrace.sync.Connector) -> None:
    with pytest.raises(TypeError, match="connector of its own cannot be pickled"):
        pickle.dumps(PvdAdapter(connector=one))


def test_a_connector_that_does_not_block_is_refused() -> None:
    other: Any = pvdrace.Connector()
    with pytest.raises(TypeError, match=r"must be a pvdrace\.sync\.Connector"):
        PvdAdapter(connector=other)


def test_one_session_for_many_threads(one: pvdrace.sync.Connector) -> None:
    web = WebServer("127.0.0.2")
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert session.get(f"http://{HOST}:{web.port}/").text == "hello"
        except BaseException as error:
            failed.append(error)

    with serving(web), mounted(PvdAdapter(pool_maxsize=3, pool_block=True, connector=one)) as session:
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failed == []
        assert len(web.connections) <= 3
