"""Clients that know nothing of pvdrace, inside ``pvdrace.sync.installed()``."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.exceptions
import botocore.httpsession
import requests
import urllib3

import pvdrace
import pvdrace.sync
from lab.clients.base import Client, trusting

#: A method, a URL, a body; the body of the answer.
Ask = Callable[[str, str, "bytes | None"], bytes]


class InstalledSession:
    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def get(self, url: str) -> bytes:
        return self.ask("GET", url, None)

    def put(self, url: str, body: bytes) -> bytes:
        return self.ask("PUT", url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        raise NotImplementedError  # it holds for a block


class Installed:
    """One client, made by ``start`` of the file with the authority and the timeout."""

    blocking = True
    backends = ("asyncio",)
    pools = False  # ours: nobody looks after the pools of strangers
    watches = False
    resumes_tls = True
    proxied = False

    def __init__(
        self,
        name: str,
        start: Callable[[str, float], contextlib.AbstractContextManager[Ask]],
        *errors: type[Exception],
    ) -> None:
        self.name = f"installed-{name}"
        self.start = start
        self.errors: tuple[type[Exception], ...] = errors
        self.timeouts: tuple[type[Exception], ...] = errors

    @contextlib.contextmanager
    def open(
        self,
        connector: pvdrace.sync.Connector,
        ca_file: str,
        *,
        policy: pvdrace.Policy | None,
        timeout: float,
    ) -> Iterator[InstalledSession]:
        with pvdrace.sync.installed(connector, policy), self.start(ca_file, timeout) as ask:
            yield InstalledSession(ask)


@contextlib.contextmanager
def standard_library(ca_file: str, timeout: float) -> Iterator[Ask]:
    context = trusting(ca_file)

    def ask(method: str, url: str, body: bytes | None) -> bytes:
        parts = urlsplit(url)
        host = str(parts.hostname)
        connection = (
            http.client.HTTPSConnection(host, timeout=timeout, context=context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, timeout=timeout)
        )
        with contextlib.closing(connection):
            connection.request(method, parts.path or "/", body)
            return connection.getresponse().read()

    yield ask


@contextlib.contextmanager
def urllib_request(ca_file: str, timeout: float) -> Iterator[Ask]:
    context = trusting(ca_file)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )

    def ask(method: str, url: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(url, data=body, method=method)
        with opener.open(request, timeout=timeout) as response:
            return bytes(response.read())

    yield ask


@contextlib.contextmanager
def urllib3_pool(ca_file: str, timeout: float) -> Iterator[Ask]:
    with urllib3.PoolManager(ca_certs=ca_file, timeout=timeout, retries=False) as pool:
        yield lambda method, url, body: pool.request(method, url, body=body).data


@contextlib.contextmanager
def requests_session(ca_file: str, timeout: float) -> Iterator[Ask]:
    with requests.Session() as session:
        session.trust_env = False

        def ask(method: str, url: str, body: bytes | None) -> bytes:
            return session.request(method, url, data=body, timeout=timeout, verify=ca_file).content

        yield ask


@contextlib.contextmanager
def botocore_session(ca_file: str, timeout: float) -> Iterator[Ask]:
    session: Any = botocore.httpsession.URLLib3Session(verify=ca_file, timeout=timeout)

    def ask(method: str, url: str, body: bytes | None) -> bytes:
        request = botocore.awsrequest.AWSRequest(method, url, data=body or b"")
        return bytes(session.send(request.prepare()).content)

    try:
        yield ask
    finally:
        session.close()


CLIENTS: list[Client] = [
    Installed("http.client", standard_library, pvdrace.ConnectFailed, ssl.SSLError),
    Installed("urllib.request", urllib_request, urllib.error.URLError),
    Installed("urllib3", urllib3_pool, urllib3.exceptions.HTTPError),
    Installed("requests", requests_session, requests.exceptions.ConnectionError),
    Installed("botocore", botocore_session, botocore.exceptions.ConnectionError),
]
