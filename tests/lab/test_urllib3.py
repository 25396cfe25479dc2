"""urllib3 and requests where it matters, beyond the shared suite: what is pooled, and what plain ones do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3

import pvdrace.sync
from lab.racing import configuration, policy, sent, trusting
from pvdrace.integrations.requests import PvdAdapter
from pvdrace.integrations.urllib3 import PvdPoolManager
from pvdrace.lab import Lab

pytestmark = pytest.mark.lab


@contextlib.contextmanager
def manager(lab: Lab) -> Iterator[PvdPoolManager]:
    with (
        pvdrace.sync.Connector(configuration(lab)) as connector,
        PvdPoolManager(connector=connector, ssl_context=trusting(lab), retries=False, timeout=10.0) as http,
    ):
        yield http


def word(response: Any) -> str:
    return str(response.data.decode().strip())


def idle(http: PvdPoolManager, url: str) -> list[Any]:
    """The connections that are open and wait for a request."""
    pool: Any = http.connection_from_url(url)
    return [connection for connection in pool.pool.queue if connection is not None and connection.sock]


@pytest.mark.parametrize("loss", ["link", "policy"])
def test_all_idle_connections_go_at_the_next_request(t2: Lab, loss: str) -> None:
    """Also those to others than the one that is asked next, and nothing more is sent by the link."""
    urls = [f"http://{t2.name}/", f"https://{t2.name}/"]
    with manager(t2) as http:
        assert [word(http.request("GET", url)) for url in urls] == ["wA", "wA"]
        (other,) = idle(http, urls[1])
        assert other.objection() is None
        if loss == "link":
            t2["wA"].link_down()
        else:
            http.policy = policy(prohibit="pvd:wA")
        assert word(http.request("GET", urls[0])) == "wB"
        assert other.sock is None, "closed, though nobody wanted it"
        assert word(http.request("GET", urls[1])) == "wB"
        t2["wA"].heal()
        http.policy = None
        assert [word(http.request("GET", url)) for url in urls] == ["wB", "wB"], (
            "what is there is good enough"
        )


def test_a_connection_that_comes_back_late_is_asked_too(t2: Lab) -> None:
    url = f"http://{t2.name}/"
    with manager(t2) as http:
        late: Any = http.request("GET", url, preload_content=False)
        http.policy = policy(prohibit="pvd:wA")
        assert word(http.request("GET", url)) == "wB"
        connection = late.connection
        assert late.read().strip() == b"wA"
        late.release_conn()
        assert connection.sock is None, "it does not idle, either"
        for _ in range(2):
            assert word(http.request("GET", url)) == "wB"


def test_a_source_address_leaves_one_pvd(t2: Lab) -> None:
    url = f"http://{t2.name}/"
    address = t2["wB"].address4
    assert address is not None
    with (
        pvdrace.sync.Connector(configuration(t2)) as connector,
        PvdPoolManager(connector=connector, source_address=(address, 0)) as http,
    ):
        response: Any = http.request("GET", url)
    assert (word(response), response.report.winner.local) == ("wB", address)
    assert sent(t2["wA"]) == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [("portal", requests.exceptions.SSLError), ("blackhole", requests.exceptions.ConnectTimeout)],
)
def test_plain_requests_fails_where_ours_does_not(t2: Lab, fault: str, error: type[Exception]) -> None:
    getattr(t2["wA"], fault)()
    url = f"https://{t2.name}/"
    with requests.Session() as plain, resolved(t2), pytest.raises(error):
        plain.trust_env = False
        plain.get(url, verify=t2.ca_file, timeout=(0.7, 5))
    began = time.monotonic()
    with (
        pvdrace.sync.Connector(configuration(t2)) as connector,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.mount("https://", PvdAdapter(connector=connector))
        response: Any = session.get(url, verify=t2.ca_file, timeout=(10, 5))
        assert (response.text.strip(), response.report.winner.pvd) == ("wB", "wB")
    assert time.monotonic() - began < 5


@contextlib.contextmanager
def resolved(lab: Lab) -> Iterator[None]:
    """The name by the first address of the server: this process has the resolvers of the machine."""
    real = urllib3.util.connection.create_connection

    def to_the_server(address: tuple[str, int], *arguments: Any, **options: Any) -> Any:
        assert address[0] == lab.name
        return real((lab.address4, address[1]), *arguments, **options)

    urllib3.util.connection.create_connection = to_the_server
    try:
        yield
    finally:
        urllib3.util.connection.create_connection = real
