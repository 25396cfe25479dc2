"""pvdrace's blocking connection, with the standard library's HTTP on its socket."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import pvdrace
import pvdrace.sync
from lab.clients.base import Client, trusting


class OwnBlockingSession:
    """A connection for each request."""

    def __init__(
        self,
        connector: pvdrace.sync.Connector,
        context: ssl.SSLContext,
        policy: pvdrace.Policy | None,
        timeout: float,
    ) -> None:
        self.connector = connector
        self.context = context
        self.policy = policy
        self.timeout = timeout

    def get(self, url: str) -> bytes:
        return self.ask("GET", url, None)

    def put(self, url: str, body: bytes) -> bytes:
        return self.ask("PUT", url, body)

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.policy = policy

    def ask(self, method: str, url: str, body: bytes | None) -> bytes:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        opened = self.connector.open_connection(
            str(parts.hostname),
            port,
            tls=self.context if secure else False,
            policy=self.policy,
            timeout=self.timeout,
        )
        with opened:
            connection = http.client.HTTPConnection(str(parts.hostname), port)
            connection.sock = opened.sock
            connection.request(method, parts.path or "/", body)
            return connection.getresponse().read()


class OwnBlocking:
    name = "pvdrace.sync"
    blocking = True
    backends = ("asyncio",)
    pools = False
    watches = False
    errors: tuple[type[Exception], ...] = (pvdrace.PvdRaceError,)
    timeouts: tuple[type[Exception], ...] = (pvdrace.ConnectFailed,)
    resumes_tls = True
    proxied = False

    @contextlib.contextmanager
    def open(
        self,
        connector: pvdrace.sync.Connector,
        ca_file: str,
        *,
        policy: pvdrace.Policy | None,
        timeout: float,
    ) -> Iterator[OwnBlockingSession]:
        yield OwnBlockingSession(connector, trusting(ca_file), policy, timeout)


CLIENTS: list[Client] = [OwnBlocking()]
