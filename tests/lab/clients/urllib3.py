"""urllib3, and what stands on it: requests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
import urllib3.exceptions

import pvdrace.sync
from lab.clients.base import Client
from pvdrace.integrations.requests import PvdAdapter
from pvdrace.integrations.urllib3 import PvdPoolManager


class Urllib3Session:
    def __init__(self, manager: PvdPoolManager) -> None:
        self.manager = manager

    def get(self, url: str) -> bytes:
        return self.manager.request("GET", url).data

    def put(self, url: str, body: bytes) -> bytes:
        return self.manager.request("PUT", url, body=body).data

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.manager.policy = policy


class Blocking:
    blocking = True
    backends = ("asyncio",)
    pools = True
    watches = False
    resumes_tls = True
    proxied = False


class Urllib3(Blocking):
    name = "urllib3"
    errors: tuple[type[Exception], ...] = (urllib3.exceptions.MaxRetryError,)
    timeouts: tuple[type[Exception], ...] = (urllib3.exceptions.MaxRetryError,)

    @contextlib.contextmanager
    def open(
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> Iterator[Urllib3Session]:
        with PvdPoolManager(
            connector=connector,
            policy=policy,
            ca_certs=ca_file,
            retries=urllib3.Retry(0),
            timeout=urllib3.Timeout(connect=timeout, read=10),
        ) as manager:
            yield Urllib3Session(manager)


class RequestsSession:
    def __init__(self, session: requests.Session, adapter: PvdAdapter, timeout: float) -> None:
        self.session = session
        self.adapter = adapter
        self.timeout = (timeout, 10)

    def get(self, url: str) -> bytes:
        return self.session.get(url, timeout=self.timeout).content

    def put(self, url: str, body: bytes) -> bytes:
        return self.session.put(url, body, timeout=self.timeout).content

    def set_policy(self, policy: pvdrace.Policy | None) -> None:
        self.adapter.policy = policy


class Requests(Blocking):
    name = "requests"
    errors: tuple[type[Exception], ...] = (requests.ConnectionError,)
    timeouts: tuple[type[Exception], ...] = (requests.ConnectTimeout,)

    @contextlib.contextmanager
    def open(
        self, connector: Any, ca_file: str, *, policy: pvdrace.Policy | None, timeout: float
    ) -> Iterator[RequestsSession]:
        adapter = PvdAdapter(connector=connector, policy=policy)
        with requests.Session() as session:
            session.trust_env = False
            session.verify = ca_file
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            yield RequestsSession(session, adapter, timeout)


CLIENTS: list[Client] = [Urllib3(), Requests()]
